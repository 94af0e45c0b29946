//! Conversations with sessions, speakers and dates:
//! `{"conversations": [{"user", "sessions": [{"id", "date", "turns": [{"id", "speaker", "text"}]}]}]}`, a list of such
//! conversations, or one of them.

use std::ops::ControlFlow;

use memory_core::{MemoryKind, Metadata, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::record::{Collector, Found, Names};
use super::stream::{self, Shape};
use super::time::When;
use super::{Flow, detect, time};

// What one file calls `id`, another calls `session_id`, and some have both, so each name is a member of its own.

#[derive(Debug, Deserialize)]
struct Conversation {
    user: Option<String>,
    agent: Option<String>,
    id: Option<String>,
    sample_id: Option<String>,
    conversation_id: Option<String>,
    sessions: Vec<Session>,
}

#[derive(Debug, Deserialize)]
struct Session {
    id: Option<String>,
    session_id: Option<String>,
    date: Option<When>,
    date_time: Option<When>,
    timestamp: Option<When>,
    turns: Option<Vec<Turn>>,
    messages: Option<Vec<Turn>>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    id: Option<Value>,
    speaker: Option<String>,
    text: Option<String>,
    date: Option<When>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Turn {
    /// The text, under one of the names that files have for it.
    fn text(&mut self) -> String {
        self.text.take().or_else(|| take(&mut self.rest, &["content"])).unwrap_or_default()
    }

    fn speaker(&mut self) -> Option<String> {
        let speaker = self.speaker.take().or_else(|| take(&mut self.rest, &["name", "actor", "role"]));
        speaker.filter(|speaker| !speaker.trim().is_empty())
    }

    fn date(&mut self) -> Option<Timestamp> {
        let named = ["timestamp", "at", "time"]
            .into_iter()
            .find(|name| self.rest.get(*name).is_some_and(|value| time::from_json(value).is_some()));
        let from_rest = |rest: &mut Map<String, Value>| time::from_json(&rest.remove(named?)?);
        self.date.take().map(|When(time)| time).or_else(|| from_rest(&mut self.rest))
    }
}

fn take(rest: &mut Map<String, Value>, names: &[&str]) -> Option<String> {
    let name = names.iter().find(|name| rest.get(**name).is_some_and(Value::is_string))?;
    match rest.remove(*name)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

pub(super) fn read(text: &str, found: &mut Collector<'_, '_>) -> Flow {
    let keys = detect::first_keys(text);
    let shape = match text.trim_start().chars().next() {
        Some('[') => Shape::List,
        _ if keys.last().is_some_and(|key| key == "sessions") => Shape::One,
        _ => Shape::Member("conversations"),
    };
    match stream::elements(text, shape, &mut |at, conversation| sessions(at, shape, conversation, found)) {
        Ok(flow) => flow,
        Err(broken) => found.fatal(broken),
    }
}

fn sessions(at: usize, shape: Shape<'_>, conversation: Conversation, found: &mut Collector<'_, '_>) -> Flow {
    let user = conversation.user.or(conversation.sample_id).or(conversation.conversation_id).or(conversation.id);
    for (nth, session) in conversation.sessions.into_iter().enumerate() {
        let name = session.id.or(session.session_id).unwrap_or_else(|| match &user {
            Some(user) => format!("{user}-session-{}", nth + 1),
            None => format!("session-{}", nth + 1),
        });
        let scope = Names { user: user.clone(), agent: conversation.agent.clone(), session: Some(name) };
        let date = session.date.or(session.date_time).or(session.timestamp).map(|When(time)| time);
        for (ordinal, mut turn) in session.turns.or(session.messages).unwrap_or_default().into_iter().enumerate() {
            let path = match shape {
                Shape::One => format!("sessions[{nth}].turns[{ordinal}]"),
                Shape::List => format!("[{at}].sessions[{nth}].turns[{ordinal}]"),
                Shape::Member(name) => format!("{name}[{at}].sessions[{nth}].turns[{ordinal}]"),
            };
            let (text, actor, date) = (turn.text(), turn.speaker(), turn.date().or(date));
            let mut metadata: Metadata = turn.rest;
            if let Some(id) = turn.id {
                metadata.insert("turn_id".into(), id);
            }
            found.memory(Found {
                path,
                scope: scope.clone(),
                fallback_kind: MemoryKind::Message,
                actor,
                metadata,
                valid_from: date,
                ordinal: ordinal as u64,
                ..Found::new(None, text)
            })?;
        }
    }
    ControlFlow::Continue(())
}
