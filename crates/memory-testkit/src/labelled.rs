//! The labelled sets: conversations with questions, and pairs of prompts. Written for this project; their READMEs in
//! `fixtures/` say how.

use serde::Deserialize;

const CONVERSATIONS: &str = include_str!("../fixtures/recall/conversations.json");
const QUESTIONS: &str = include_str!("../fixtures/recall/questions.jsonl");
const PAIRS: &str = include_str!("../fixtures/cache/pairs.jsonl");

/// A user's conversation over several sessions.
#[derive(Debug, Clone, Deserialize)]
pub struct Conversation {
    /// The user.
    pub user: String,
    /// The sessions, in order.
    pub sessions: Vec<Session>,
}

/// One session of a conversation.
#[derive(Debug, Clone, Deserialize)]
pub struct Session {
    /// The session's id.
    pub id: String,
    /// When it began.
    pub date: memory_core::Timestamp,
    /// The turns, in order.
    pub turns: Vec<Turn>,
}

/// One turn of a session.
#[derive(Debug, Clone, Deserialize)]
pub struct Turn {
    /// The turn's id, unique over all conversations.
    pub id: String,
    /// Who speaks.
    pub speaker: String,
    /// What is said.
    pub text: String,
}

/// A question with the turns that answer it.
#[derive(Debug, Clone, Deserialize)]
pub struct Question {
    /// The question's id.
    pub id: String,
    /// Whose memory is asked.
    pub user: String,
    /// The question.
    pub question: String,
    /// What makes it hard: paraphrase, name, number, date, context, actor or multi.
    pub kind: String,
    /// The ids of all turns that carry the answer.
    pub relevant: Vec<String>,
}

/// A prompt in the cache and a prompt that is asked.
#[derive(Debug, Clone, Deserialize)]
pub struct Pair {
    /// The pair's id.
    pub id: String,
    /// The prompt in the cache.
    pub cached: String,
    /// The prompt that is asked.
    pub asked: String,
    /// Whether the answer to one is the answer to the other.
    pub same: bool,
    /// How they differ.
    pub kind: String,
    /// `dev`, which the guard was written on, or `test`.
    pub split: String,
}

/// The conversations of the recall set.
///
/// # Panics
/// When the fixture is malformed.
#[must_use]
pub fn conversations() -> Vec<Conversation> {
    #[derive(Deserialize)]
    struct File {
        conversations: Vec<Conversation>,
    }
    serde_json::from_str::<File>(CONVERSATIONS).expect("a well-formed fixture").conversations
}

/// The questions of the recall set.
///
/// # Panics
/// When the fixture is malformed.
#[must_use]
pub fn questions() -> Vec<Question> {
    lines(QUESTIONS)
}

/// The pairs of the cache set.
///
/// # Panics
/// When the fixture is malformed.
#[must_use]
pub fn pairs() -> Vec<Pair> {
    lines(PAIRS)
}

fn lines<T: for<'a> Deserialize<'a>>(text: &str) -> Vec<T> {
    text.lines().map(|line| serde_json::from_str(line).expect("a well-formed fixture")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_label_names_a_turn_of_its_conversation() {
        let conversations = conversations();
        let mut ids = HashSet::new();
        for conversation in &conversations {
            for turn in conversation.sessions.iter().flat_map(|session| &session.turns) {
                assert!(ids.insert((conversation.user.as_str(), turn.id.as_str())), "{} twice", turn.id);
            }
        }
        let questions = questions();
        assert!(ids.len() >= 400 && questions.len() >= 60, "{} turns, {} questions", ids.len(), questions.len());
        for question in &questions {
            assert!(!question.relevant.is_empty(), "{}", question.id);
            for turn in &question.relevant {
                assert!(ids.contains(&(question.user.as_str(), turn.as_str())), "{} names {turn}", question.id);
            }
        }
    }

    #[test]
    fn the_pairs_hold_enough_of_every_kind() {
        let pairs = pairs();
        assert!(pairs.len() >= 300, "{}", pairs.len());
        let ids: HashSet<_> = pairs.iter().map(|pair| &pair.id).collect();
        assert_eq!(ids.len(), pairs.len(), "an id twice");
        for kind in ["number", "unit", "negation", "name", "direction", "order", "scope"] {
            let count = pairs.iter().filter(|pair| pair.kind == kind && !pair.same).count();
            assert!(count >= 20, "{count} pairs of kind {kind}");
        }
    }
}
