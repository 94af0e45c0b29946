//! OpenAI chats: `{"messages": [{"role", "content", "name"?}, …], …}`, one a line, or a JSON list of them.

use std::ops::ControlFlow;

use memory_core::{MemoryKind, Metadata, Timestamp};
use serde_json::{Map, Value};

use super::record::{Collector, Found, Names};
use super::stream::{self, Shape};
use super::{Flow, Place, Skip, time};

/// Members of a chat that say what the model could do, not what was said.
const NOT_METADATA: [&str; 7] =
    ["messages", "tools", "functions", "function_call", "tool_choice", "parallel_tool_calls", "response_format"];
/// Members that may hold the identity of a chat, the first that is there counts.
const IDS: [&str; 4] = ["session", "session_id", "conversation_id", "id"];
/// Members that may hold a time, the first that is there counts.
const TIMES: [&str; 5] = ["timestamp", "created_at", "create_time", "created", "date"];

pub(super) fn read(text: &str, found: &mut Collector<'_, '_>) -> Flow {
    if text.trim_start().starts_with('[') {
        return match stream::elements(text, Shape::List, &mut |at, value: Value| {
            chat(&value, None, &format!("[{at}]"), found)
        }) {
            Ok(flow) => flow,
            Err(broken) => found.fatal(broken),
        };
    }
    // One chat over several lines is one JSON document; else a line is a chat.
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let whole = lines.next().is_some_and(|(_, first)| serde_json::from_str::<serde::de::IgnoredAny>(first).is_err());
    if whole && let Ok(value) = serde_json::from_str(text) {
        return chat(&value, None, "", found);
    }
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let place = Place::line(at + 1);
        match serde_json::from_str(line) {
            Ok(value) => chat(&value, Some(place), "", found)?,
            Err(error) => {
                let place = Place { column: error.column().max(1), ..place };
                let message =
                    format!("{}; expected {{\"messages\": […]}} on a line of its own", stream::without_place(&error));
                found.broken(place, message)?;
            }
        }
    }
    ControlFlow::Continue(())
}

fn chat(value: &Value, place: Option<Place>, path: &str, found: &mut Collector<'_, '_>) -> Flow {
    let at = |inner: &str| if path.is_empty() { inner.to_owned() } else { format!("{path}.{inner}") };
    let Some(chat) = value.as_object() else {
        return found.broken(place, format!("{}given {}; expected {{\"messages\": […]}}", prefix(path), what(value)));
    };
    let messages = match chat.get("messages") {
        Some(Value::Array(messages)) => messages,
        Some(other) => {
            return found
                .broken(place, format!("{}: given {}; expected a list of messages", at("messages"), what(other)));
        }
        None => return found.broken(place, format!("{}no \"messages\"; expected {{\"messages\": […]}}", prefix(path))),
    };
    let metadata = metadata(chat);
    let session = IDS.iter().find_map(|name| identity(chat.get(*name)?)).unwrap_or_else(|| fingerprint(messages));
    let scope = Names {
        user: chat.get("user").and_then(identity),
        agent: chat.get("agent").and_then(identity),
        session: Some(session),
    };
    let date = TIMES.iter().find_map(|name| time::from_json(chat.get(*name)?));
    for (ordinal, message) in messages.iter().enumerate() {
        let inner = at(&format!("messages[{ordinal}]"));
        match turn(message, &inner) {
            Err(mistake) => found.broken(place, mistake)?,
            Ok(Turn::SystemPrompt) => found.skip(Skip::SystemPrompt)?,
            Ok(Turn::Said { actor, text, at }) => found.memory(Found {
                path: inner,
                scope: scope.clone(),
                fallback_kind: MemoryKind::Message,
                actor: Some(actor),
                metadata: metadata.clone(),
                valid_from: at.or(date),
                ordinal: ordinal as u64,
                ..Found::new(place, text)
            })?,
        }
    }
    ControlFlow::Continue(())
}

enum Turn {
    SystemPrompt,
    Said { actor: String, text: String, at: Option<Timestamp> },
}

fn turn(message: &Value, path: &str) -> Result<Turn, String> {
    let Some(message) = message.as_object() else {
        return Err(format!("{path}: given {}; expected {{\"role\": …, \"content\": …}}", what(message)));
    };
    let role = match message.get("role") {
        Some(Value::String(role)) => role.as_str(),
        Some(other) => return Err(format!("{path}.role: given {}; expected a text such as \"user\"", what(other))),
        None => return Err(format!("{path}: no \"role\"; expected {{\"role\": …, \"content\": …}}")),
    };
    if matches!(role, "system" | "developer") {
        return Ok(Turn::SystemPrompt);
    }
    let name = message.get("name").and_then(Value::as_str).filter(|name| !name.trim().is_empty());
    let actor = match role {
        "tool" | "function" => "tool",
        _ => name.unwrap_or(role),
    };
    let text = content(message.get("content").unwrap_or(&Value::Null), path)?;
    let at = TIMES.iter().find_map(|name| time::from_json(message.get(*name)?));
    Ok(Turn::Said { actor: actor.to_owned(), text, at })
}

/// The text of a message: a string, or the text parts of a list; empty where there is none.
fn content(content: &Value, path: &str) -> Result<String, String> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let text = |part: &Value| match part {
                Value::String(text) => Some(text.clone()),
                Value::Object(part) => {
                    part.get("text").or_else(|| part.get("refusal")).and_then(Value::as_str).map(str::to_owned)
                }
                _ => None,
            };
            Ok(parts.iter().filter_map(text).collect::<Vec<_>>().join("\n"))
        }
        other => Err(format!("{path}.content: given {}; expected a text, a list of parts, or null", what(other))),
    }
}

/// The members of the chat that have no place elsewhere; those of `metadata` stand on their own.
fn metadata(chat: &Map<String, Value>) -> Metadata {
    let mut metadata = Metadata::new();
    for (name, value) in chat {
        match value {
            Value::Object(inner) if name == "metadata" => metadata.extend(inner.clone()),
            _ if NOT_METADATA.contains(&name.as_str()) || matches!(name.as_str(), "user" | "agent") => {}
            _ if IDS.contains(&name.as_str()) && identity(value).is_some() => {}
            _ if TIMES.contains(&name.as_str()) && time::from_json(value).is_some() => {}
            _ => {
                metadata.insert(name.clone(), value.clone());
            }
        }
    }
    metadata
}

fn identity(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A name for a chat that has none: it follows from what was said, not from where in which file it stands.
fn fingerprint(messages: &[Value]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("orchestra-memory 2025 chat fingerprint v1");
    for message in messages {
        hasher.update(message.to_string().as_bytes());
        hasher.update(b"\n");
    }
    format!("chat-{}", &hasher.finalize().to_hex()[..16])
}

/// What a value is, for a message.
pub(super) fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn prefix(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}
