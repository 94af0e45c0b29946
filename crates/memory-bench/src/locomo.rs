//! Reads LoCoMo (Maharana et al. 2024), a public set of long conversations with questions. Its licence, CC BY-NC, keeps
//! it out of this repository: the files are the caller's own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono::NaiveDateTime;
use memory_testkit::labelled::{Conversation, Question, Session, Turn};
use serde_json::Value;

/// The names of the question categories 1 to 4. Category 5 asks about what was never said, and has no answer to find.
const CATEGORIES: [&str; 4] = ["multi-hop", "temporal", "open-domain", "single-hop"];

/// The conversations and the questions of categories 1 to 4 of all files.
pub fn read(files: &[PathBuf]) -> Result<(Vec<Conversation>, Vec<Question>)> {
    let (mut conversations, mut questions) = (Vec::new(), Vec::new());
    for file in files {
        let text = std::fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))?;
        let json: Value = serde_json::from_slice(&text).with_context(|| format!("{}: not JSON", file.display()))?;
        let samples = match json {
            Value::Array(samples) => samples,
            sample => vec![sample],
        };
        for sample in &samples {
            let user = name(sample, file, conversations.len());
            // One release has the conversation inside the sample, another is the conversation.
            let conversation = sample.get("conversation").unwrap_or(sample);
            let sessions = sessions(conversation, &user).with_context(|| file.display().to_string())?;
            questions.extend(questions_of(sample, &user, &sessions));
            conversations.push(Conversation { user, sessions });
        }
    }
    if questions.is_empty() {
        bail!("no question of categories 1 to 4 in the files");
    }
    Ok((conversations, questions))
}

fn name(sample: &Value, file: &Path, at: usize) -> String {
    match sample.get("sample_id").and_then(Value::as_str) {
        Some(id) => id.to_owned(),
        None => format!("{}-{at}", file.file_stem().unwrap_or_default().to_string_lossy()),
    }
}

fn sessions(conversation: &Value, user: &str) -> Result<Vec<Session>> {
    let mut sessions = Vec::new();
    for number in 1.. {
        let Some(date) = conversation.get(format!("session_{number}_date_time")).and_then(Value::as_str) else { break };
        let Some(turns) = conversation.get(format!("session_{number}")).and_then(Value::as_array) else { continue };
        let date = NaiveDateTime::parse_from_str(date, "%I:%M %p on %d %B, %Y")
            .with_context(|| format!("session {number}: {date}"))?;
        let turns = turns.iter().filter_map(turn).collect();
        sessions.push(Session { id: format!("{user}-{number}"), date: date.and_utc(), turns });
    }
    if sessions.is_empty() {
        bail!("no session_1 in it: not a LoCoMo conversation");
    }
    Ok(sessions)
}

fn turn(turn: &Value) -> Option<Turn> {
    let text = |key: &str| turn.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let caption = text("blip_caption");
    let said = if caption.is_empty() { text("text") } else { format!("{} [image: {caption}]", text("text")) };
    (!said.trim().is_empty()).then(|| Turn { id: text("dia_id"), speaker: text("speaker"), text: said })
}

/// The questions whose evidence is in the conversation; in the set a few name a turn that does not exist.
fn questions_of(sample: &Value, user: &str, sessions: &[Session]) -> Vec<Question> {
    let turns: Vec<&str> = sessions.iter().flat_map(|session| &session.turns).map(|turn| turn.id.as_str()).collect();
    let questions = sample.get("qa").and_then(Value::as_array).into_iter().flatten().enumerate();
    questions
        .filter_map(|(at, question)| {
            let category = usize::try_from(question.get("category")?.as_u64()?).ok()?;
            let kind = CATEGORIES.get(category.checked_sub(1)?)?;
            let named = question.get("evidence")?.as_array()?.iter().filter_map(Value::as_str);
            let mut relevant: Vec<String> = named
                .flat_map(|ids| ids.split([';', ' ']))
                .filter(|id| turns.contains(id))
                .map(str::to_owned)
                .collect();
            relevant.sort_unstable();
            relevant.dedup();
            let question = question.get("question")?.as_str()?.to_owned();
            let id = format!("{user}-{at}");
            (!relevant.is_empty()).then(|| Question {
                id,
                user: user.to_owned(),
                question,
                kind: (*kind).to_owned(),
                relevant,
            })
        })
        .collect()
}
