//! An answer as text, for a model to read. What was recalled is inside a fence; an answer that recalls nothing is its
//! JSON.

use serde_json::Value;

use super::fence::{Item, NOTICE, fenced};

/// How an answer is shown.
#[derive(Clone, Copy)]
pub enum Shown {
    /// It recalls nothing.
    AsJson,
    /// It recalls: a heading of ours, and what goes inside the fence.
    Recalled(fn(&Value) -> (String, Vec<Item>)),
}

impl Shown {
    /// The answer as text, and as it is given to programs: with the notice beside what was recalled.
    pub fn apply(self, mut answer: Value) -> (String, Value) {
        match self {
            Self::AsJson => (answer.to_string(), answer),
            Self::Recalled(parts) => {
                let (heading, items) = parts(&answer);
                let shown = if items.is_empty() { heading } else { fenced(&heading, &items) };
                if let Value::Object(members) = &mut answer {
                    members.insert("notice".into(), NOTICE.into());
                }
                (shown, answer)
            }
        }
    }
}

/// The answer to a recall.
pub fn recalled(answer: &Value) -> (String, Vec<Item>) {
    let mut heading =
        counted(answer, "results", "memory recalled, the best first", "memories recalled, the best first");
    if let Some(lacks) = answer["degraded"].as_array().filter(|lacks| !lacks.is_empty()) {
        let lacks: Vec<&str> = lacks.iter().filter_map(Value::as_str).collect();
        heading.push_str(&format!(" The answer is not complete: {}.", lacks.join(", ")));
    }
    for reason in answer["explanation"].as_array().into_iter().flatten() {
        heading.push_str(&format!(" There are no more: {}.", reason["detail"].as_str().unwrap_or_default()));
    }
    (heading, items(answer, "results"))
}

/// One memory.
pub fn memory(answer: &Value) -> (String, Vec<Item>) {
    ("One memory.".into(), vec![item(answer)])
}

/// A page of memories.
pub fn memories(answer: &Value) -> (String, Vec<Item>) {
    (paged(answer, counted(answer, "memories", "memory", "memories")), items(answer, "memories"))
}

/// A page of a conversation.
pub fn messages(answer: &Value) -> (String, Vec<Item>) {
    (paged(answer, counted(answer, "messages", "turn", "turns")), items(answer, "messages"))
}

/// The versions of a memory.
pub fn versions(answer: &Value) -> (String, Vec<Item>) {
    (counted(answer, "versions", "version", "versions, the oldest first"), items(answer, "versions"))
}

/// The answer to a lookup in the cache.
pub fn cached(answer: &Value) -> (String, Vec<Item>) {
    if answer["hit"] == true {
        let kind = answer["kind"].as_str().unwrap_or_default();
        let item = Item::new(answer["response"].as_str().unwrap_or_default())
            .with("entry", answer["entry_id"].as_str())
            .with("answer to", answer["prompt"].as_str())
            .with("expires at", answer["expires_at"].as_str());
        return (format!("A cached answer ({kind})."), vec![item]);
    }
    match answer["near_miss"].as_object() {
        None => ("No cached answer.".into(), Vec::new()),
        Some(near) => {
            let item = Item::new(near["prompt"].as_str().unwrap_or_default())
                .with("entry", near["entry_id"].as_str())
                .with("refused because", Some(&near["refused"].to_string()));
            ("No cached answer. The nearest prompt that was answered:".into(), vec![item])
        }
    }
}

fn counted(answer: &Value, member: &str, one: &str, many: &str) -> String {
    match answer[member].as_array().map_or(0, Vec::len) {
        0 => "Nothing is there.".into(),
        1 => format!("1 {one}."),
        count => format!("{count} {many}."),
    }
}

fn paged(answer: &Value, heading: String) -> String {
    match answer["next"].as_str() {
        None => heading,
        Some(next) => format!("{heading} There are more: cursor {next}."),
    }
}

fn items(answer: &Value, member: &str) -> Vec<Item> {
    answer[member].as_array().into_iter().flatten().map(item).collect()
}

/// A memory with where it comes from.
fn item(memory: &Value) -> Item {
    let member = |name: &str| memory[name].as_str();
    let version = memory["version"].as_u64().map(|version| version.to_string());
    Item::new(member("text").unwrap_or_default())
        .with("id", member("id"))
        .with("version", version.as_deref())
        .with("kind", member("kind"))
        .with("written by", memory["origin"]["writer"].as_str())
        .with("by way of", memory["origin"]["path"].as_str())
        .with("actor", member("actor"))
        .with("recorded at", member("recorded_at"))
        .with("valid from", member("valid_from"))
        .with("valid to", member("valid_to"))
        .with("superseded at", member("superseded_at"))
}
