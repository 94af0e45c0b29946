//! Sending what a file holds, in batches that may be sent again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Entry, Flow, Format, Options, Record, Skip, Source};
use crate::client::{Client, Problem, Query};

/// The most memories in one request.
pub const BATCH: usize = 200;
/// About the most bytes in one request; a server takes 32 MiB unless told otherwise.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How many questions for memories are under way at once.
const QUESTIONS: usize = 16;
/// How often a server that does not answer is asked again, and how long the first pause is.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Memories.
    pub memories: u64,
    /// What was left out, by reason.
    pub skipped: std::collections::BTreeMap<Skip, u64>,
    /// Places that are broken, the first few.
    pub broken: Vec<super::Broken>,
    /// How many places are broken.
    pub broken_count: u64,
    /// Whether something after a broken place could not be read.
    pub cut_short: bool,
}

impl Survey {
    /// How many broken places are kept.
    pub const SHOWN: usize = 10;

    /// Reads the whole file and writes nothing.
    #[must_use]
    pub fn of(source: &Source, format: Format, options: &Options) -> Self {
        let mut survey = Self::default();
        let _ = super::read(source, format, options, &mut |entry| {
            match entry {
                Entry::Memory(_) => survey.memories += 1,
                Entry::Skipped(skip) => *survey.skipped.entry(skip).or_default() += 1,
                Entry::Broken(broken) => {
                    survey.broken_count += 1;
                    survey.cut_short |= broken.fatal;
                    if survey.broken.len() < Self::SHOWN {
                        survey.broken.push(broken);
                    }
                }
            }
            Flow::Continue(())
        });
        survey
    }
}

/// What became of the memories of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// They are new.
    pub created: u64,
    /// They were there.
    pub unchanged: u64,
    /// They were forgotten, and stay forgotten.
    pub refused_forgotten: u64,
    /// They were there with another text: somebody corrected them since.
    pub changed_since: u64,
    /// What they say was rejected.
    pub rejected: u64,
    /// Whether the sending was stopped before the end.
    pub stopped: bool,
}

impl Sent {
    /// How many memories were dealt with.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.created + self.unchanged + self.refused_forgotten + self.changed_since + self.rejected
    }

    fn add(&mut self, other: Self) {
        self.created += other.created;
        self.unchanged += other.unchanged;
        self.refused_forgotten += other.refused_forgotten;
        self.changed_since += other.changed_since;
        self.rejected += other.rejected;
    }
}

/// Sends every memory of `source`, in order, and tells `progress` after each batch what became of them so far.
///
/// A batch is acknowledged as a whole, so at any moment what was sent is a beginning of the file. A batch that is there
/// already is not sent again, so doing this anew goes on where it ended. When `stop` is set, it ends after the batch
/// that is under way.
///
/// # Errors
/// What the server answered to a batch. Batches before it are written.
pub async fn send(
    client: &Client,
    source: Arc<Source>,
    format: Format,
    options: Options,
    stop: &AtomicBool,
    mut progress: impl FnMut(&Sent),
) -> Result<Sent, Problem> {
    let (sender, mut batches) = mpsc::channel(2);
    let reader = tokio::task::spawn_blocking(move || read_batches(&source, format, &options, &sender));
    let mut sent = Sent::default();
    while let Some(batch) = batches.recv().await {
        if stop.load(Ordering::Relaxed) {
            sent.stopped = true;
            break;
        }
        sent.add(send_batch(client, batch).await?);
        progress(&sent);
    }
    // The reader ends by itself once nobody receives.
    drop(batches);
    let _ = reader.await;
    Ok(sent)
}

fn read_batches(source: &Source, format: Format, options: &Options, sender: &mpsc::Sender<Vec<Record>>) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let flow = super::read(source, format, options, &mut |entry| {
        let Entry::Memory(record) = entry else { return Flow::Continue(()) };
        let size = record.size_bytes();
        if !batch.is_empty() && (batch.len() == BATCH || bytes + size > BATCH_BYTES) {
            bytes = 0;
            if sender.blocking_send(std::mem::take(&mut batch)).is_err() {
                return Flow::Break(());
            }
        }
        bytes += size;
        batch.push(*record);
        Flow::Continue(())
    });
    if flow.is_continue() && !batch.is_empty() {
        // Nobody receives any more when the sending failed.
        let _ = sender.blocking_send(batch);
    }
}

async fn send_batch(client: &Client, batch: Vec<Record>) -> Result<Sent, Problem> {
    let mut sent = Sent::default();
    let mut parts = VecDeque::from([batch]);
    while let Some(part) = parts.pop_front() {
        // One question tells a first import from a repeated one; only the latter is worth the others.
        let seen = match part.last() {
            Some(last) if present(client, last).await?.is_some() => presence(client, &part).await?,
            _ => HashMap::new(),
        };
        let part = leave_out(part, &seen, &mut sent);
        if part.is_empty() {
            continue;
        }
        match post(client, &part).await {
            Ok(answer) => count(&answer, &mut sent),
            Err(problem) if problem.status == 413 && part.len() > 1 => {
                let mut first = part;
                let second = first.split_off(first.len() / 2);
                parts.push_front(second);
                parts.push_front(first);
            }
            // One of them was corrected since it was imported. Which one, the questions tell.
            Err(problem) if problem.status == 409 && &*problem.code == "id_taken" => {
                let seen = presence(client, &part).await?;
                if !seen.values().any(|same| !same) {
                    return Err(problem);
                }
                let left = leave_out(part, &seen, &mut sent);
                if !left.is_empty() {
                    count(&post(client, &left).await?, &mut sent);
                }
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(sent)
}

/// Counts what is there and gives what is not. When a part of a batch is missing, what is there with the same text goes
/// along: a turn is understood by the turn before it.
fn leave_out(batch: Vec<Record>, seen: &HashMap<Uuid, bool>, sent: &mut Sent) -> Vec<Record> {
    if seen.is_empty() {
        return batch;
    }
    let missing = batch.iter().any(|record| !seen.contains_key(&record.id));
    let mut left = Vec::new();
    for record in batch {
        match seen.get(&record.id) {
            Some(false) => sent.changed_since += 1,
            Some(true) if !missing => sent.unchanged += 1,
            _ => left.push(record),
        }
    }
    left
}

async fn post(client: &Client, batch: &[Record]) -> Result<Value, Problem> {
    let body = json!({ "memories": batch });
    let headers = [("X-Orchestra-Writer", "import")];
    patiently(|| client.call(Method::POST, "/v1/memories", Some(&body), &headers)).await
}

fn count(answer: &Value, sent: &mut Sent) {
    for item in answer["items"].as_array().into_iter().flatten() {
        match item["status"].as_str() {
            Some("unchanged") => sent.unchanged += 1,
            Some("refused_forgotten") => sent.refused_forgotten += 1,
            Some("refused_rejected") => sent.rejected += 1,
            _ => sent.created += 1,
        }
    }
}

/// The memories of the batch that are there, each with whether its text is the same.
async fn presence(client: &Client, batch: &[Record]) -> Result<HashMap<Uuid, bool>, Problem> {
    let mut seen = HashMap::new();
    let mut questions = JoinSet::new();
    let mut keep = |answer: Result<Result<(Uuid, Option<bool>), Problem>, tokio::task::JoinError>| match answer {
        Ok(Ok((id, Some(same)))) => {
            seen.insert(id, same);
            Ok(())
        }
        Ok(Ok((_, None))) => Ok(()),
        Ok(Err(problem)) => Err(problem),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    for record in batch {
        if questions.len() == QUESTIONS
            && let Some(answer) = questions.join_next().await
        {
            keep(answer)?;
        }
        let (client, record) = (client.clone(), record.clone());
        questions.spawn(async move { Ok((record.id, present(&client, &record).await?)) });
    }
    while let Some(answer) = questions.join_next().await {
        keep(answer)?;
    }
    Ok(seen)
}

/// Whether the memory is there with the same text; `None` when it is not there.
async fn present(client: &Client, record: &Record) -> Result<Option<bool>, Problem> {
    let scope = &record.scope;
    let query = Query::new(format!("/v1/memories/{}", record.id))
        .with("user", scope.user.as_ref())
        .with("agent", scope.agent.as_ref())
        .with("session", scope.session.as_ref());
    match patiently(|| client.get(query.as_str())).await {
        Ok(memory) => Ok(Some(memory["text"] == record.text.as_str())),
        Err(problem) if matches!(problem.status, 404 | 410) => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// Tries again what may succeed later.
async fn patiently<F: Future<Output = Result<Value, Problem>>>(call: impl Fn() -> F) -> Result<Value, Problem> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match call().await {
            Err(problem) if problem.is_retryable() => {
                tracing::debug!(code = &*problem.code, "call failed, trying again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            other => return other,
        }
    }
    call().await
}
