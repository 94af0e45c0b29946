//! One memory a line: `{"text": …}` with any of our fields, or a JSON string. Members we do not know become metadata.

use std::collections::HashMap;
use std::ops::ControlFlow;

use memory_core::{MemoryKind, Metadata, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::chat::what;
use super::record::{Collector, Found, Names};
use super::stream::{self, Shape};
use super::{Flow, Place, time};

pub(super) fn read(text: &str, found: &mut Collector<'_, '_>) -> Flow {
    let mut ordinals = Ordinals::default();
    if text.trim_start().starts_with('[') {
        let read = stream::elements(text, Shape::List, &mut |at, value: Value| {
            one(value, None, &mut ordinals, found, |mistake| format!("[{at}].{}", mistake.message))
        });
        return match read {
            Ok(flow) => flow,
            Err(broken) => found.fatal(broken),
        };
    }
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(value) => one(value, Some((at + 1, line)), &mut ordinals, found, |mistake| mistake.message)?,
            Err(error) => {
                let place = Place { line: at + 1, column: error.column().max(1) };
                let message = format!(
                    "{}; expected {{\"text\": …}} or a JSON string on a line of its own",
                    stream::without_place(&error)
                );
                found.broken(place, message)?;
            }
        }
    }
    ControlFlow::Continue(())
}

struct Mistake {
    key: &'static str,
    message: String,
}

impl Mistake {
    fn new(key: &'static str, given: &Value, expected: &str) -> Self {
        let shown = match given {
            Value::String(text) if text.chars().count() <= 40 => format!("{text:?}"),
            Value::Number(number) => number.to_string(),
            other => what(other).to_owned(),
        };
        Self { key, message: format!("{key}: given {shown}; expected {expected}") }
    }
}

fn one(
    value: Value,
    line: Option<(usize, &str)>,
    ordinals: &mut Ordinals,
    found: &mut Collector<'_, '_>,
    say: impl Fn(Mistake) -> String,
) -> Flow {
    let place = |key: &str| {
        line.map(|(number, text)| {
            let column = if key.is_empty() { None } else { text.find(&format!("\"{key}\"")) };
            Place { line: number, column: column.unwrap_or(0) + 1 }
        })
    };
    match memory(value) {
        Ok(mut memory) => {
            memory.place = place("");
            memory.ordinal = ordinals.next(&memory);
            found.memory(memory)
        }
        Err(mistake) => found.broken(place(mistake.key), say(mistake)),
    }
}

fn memory(value: Value) -> Result<Found, Mistake> {
    let mut members = match value {
        Value::String(text) => return Ok(Found::new(None, text)),
        Value::Object(members) => members,
        other => {
            let message = format!("given {}; expected {{\"text\": …}} or a JSON string", what(&other));
            return Err(Mistake { key: "", message });
        }
    };
    let text = match members.remove("text").or_else(|| members.remove("content")) {
        Some(Value::String(text)) => text,
        Some(Value::Null) => String::new(),
        Some(other) => return Err(Mistake::new("text", &other, "a text")),
        None => {
            return Err(Mistake { key: "", message: "no \"text\"; expected {\"text\": …} or a JSON string".into() });
        }
    };
    let mut found = Found::new(None, text);
    if let Some(id) = members.remove("id") {
        match id.as_str().and_then(|id| Uuid::parse_str(id).ok()) {
            Some(uuid) => found.id = Some(uuid),
            // Another system's id: it tells the memory apart and is kept.
            None => {
                found.distinction = id.to_string();
                members.insert("source_id".into(), id);
            }
        }
    }
    found.scope = scope(&mut members)?;
    found.kind = kind(&mut members)?;
    found.actor = name(&mut members, "actor")?;
    found.importance = match members.remove("importance") {
        None | Some(Value::Null) => None,
        Some(value) => {
            Some(value.as_f64().ok_or_else(|| Mistake::new("importance", &value, "a number, 0.0 to 1.0"))? as f32)
        }
    };
    found.evidence = evidence(&mut members)?;
    found.valid_from = moment(&mut members, "valid_from")?;
    found.valid_to = moment(&mut members, "valid_to")?;
    found.expires_at = moment(&mut members, "expires_at")?;
    let own = match members.remove("metadata") {
        None | Some(Value::Null) => Metadata::new(),
        Some(Value::Object(metadata)) => metadata,
        Some(other) => return Err(Mistake::new("metadata", &other, "an object")),
    };
    members.extend(own);
    found.metadata = members;
    if found.distinction.is_empty() {
        found.distinction = found.valid_from.map(|time| time.to_rfc3339()).unwrap_or_default();
    }
    Ok(found)
}

fn scope(members: &mut Map<String, Value>) -> Result<Names, Mistake> {
    let mut inner = match members.remove("scope") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(scope)) => scope,
        Some(other) => return Err(Mistake::new("scope", &other, "an object such as {\"user\": \"maya\"}")),
    };
    let mut part = |key: &'static str| Ok(name(&mut inner, key)?.or(name(members, key)?));
    Ok(Names { user: part("user")?, agent: part("agent")?, session: part("session")? })
}

fn name(members: &mut Map<String, Value>, key: &'static str) -> Result<Option<String>, Mistake> {
    match members.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => Ok(Some(name)),
        Some(other) => Err(Mistake::new(key, &other, "a text")),
    }
}

fn kind(members: &mut Map<String, Value>) -> Result<Option<MemoryKind>, Mistake> {
    match members.remove("kind") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_str().and_then(|kind| kind.parse().ok()) {
            Some(kind) => Ok(Some(kind)),
            None => Err(Mistake::new("kind", &value, "message, episodic, semantic or procedural")),
        },
    }
}

fn moment(members: &mut Map<String, Value>, key: &'static str) -> Result<Option<Timestamp>, Mistake> {
    match members.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => time::from_json(&value).map(Some).ok_or_else(|| Mistake::new(key, &value, time::FORMS)),
    }
}

fn evidence(members: &mut Map<String, Value>) -> Result<Vec<Uuid>, Mistake> {
    match members.remove("evidence") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(ids)) => ids
            .iter()
            .map(|id| {
                id.as_str()
                    .and_then(|id| Uuid::parse_str(id).ok())
                    .ok_or_else(|| Mistake::new("evidence", id, "a list of UUIDs"))
            })
            .collect(),
        Some(other) => Err(Mistake::new("evidence", &other, "a list of UUIDs")),
    }
}

/// Tells equal turns of a session apart: the first "yes" from the second. Outside a session an equal line is the same
/// memory again.
#[derive(Debug, Default)]
struct Ordinals(HashMap<blake3::Hash, u64>);

impl Ordinals {
    fn next(&mut self, found: &Found) -> u64 {
        if found.scope.session.is_none() {
            return 0;
        }
        let key = format!("{:?}", (&found.scope, &found.actor, &found.text, &found.distinction));
        let next = self.0.entry(blake3::hash(key.as_bytes())).or_default();
        *next += 1;
        *next - 1
    }
}
