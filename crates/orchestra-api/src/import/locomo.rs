//! Conversations in the shape of the `LoCoMo` data set: a sample, or a list of samples, whose `conversation` has
//! `session_1`, `session_1_date_time`, `session_2`, … as members.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use memory_core::{MemoryKind, Metadata};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::record::{Collector, Found, Names};
use super::stream::{self, Shape};
use super::time::When;
use super::{Flow, detect};

#[derive(Debug, Deserialize)]
struct Sample {
    sample_id: Option<String>,
    conversation: Sessions,
}

/// The sessions of a conversation by their number.
#[derive(Debug, Default)]
struct Sessions(BTreeMap<u32, Session>);

#[derive(Debug, Default)]
struct Session {
    date: Option<When>,
    turns: Vec<Turn>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    speaker: Option<String>,
    dia_id: Option<String>,
    text: Option<String>,
    blip_caption: Option<String>,
}

impl<'de> Deserialize<'de> for Sessions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Sessions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with session_1, session_1_date_time, …")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Sessions, A::Error> {
                let mut sessions = Sessions::default();
                while let Some(key) = members.next_key::<String>()? {
                    let rest = key.strip_prefix("session_").unwrap_or_default();
                    if let Ok(number) = rest.parse() {
                        sessions.0.entry(number).or_default().turns = members.next_value()?;
                    } else if let Some(Ok(number)) = rest.strip_suffix("_date_time").map(str::parse) {
                        sessions.0.entry(number).or_default().date = Some(members.next_value()?);
                    } else {
                        members.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(sessions)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

pub(super) fn read(text: &str, found: &mut Collector<'_, '_>) -> Flow {
    let list = text.trim_start().starts_with('[');
    let bare = detect::first_keys(text).iter().any(|key| key == "session_1");
    let shape = if list { Shape::List } else { Shape::One };
    let read = if bare {
        stream::elements(text, shape, &mut |at, conversation| {
            sample(at, Sample { sample_id: None, conversation }, found)
        })
    } else {
        stream::elements(text, shape, &mut |at, read| sample(at, read, found))
    };
    match read {
        Ok(flow) => flow,
        Err(broken) => found.fatal(broken),
    }
}

fn sample(at: usize, sample: Sample, found: &mut Collector<'_, '_>) -> Flow {
    let user = sample.sample_id;
    for (number, session) in sample.conversation.0 {
        let name = match &user {
            Some(user) => format!("{user}-session_{number}"),
            None => format!("session_{number}"),
        };
        let scope = Names { user: user.clone(), agent: None, session: Some(name) };
        for (ordinal, turn) in session.turns.into_iter().enumerate() {
            let mut text = turn.text.unwrap_or_default();
            if let Some(caption) = turn.blip_caption.filter(|caption| !caption.trim().is_empty()) {
                text.push_str(&format!("{}[image: {caption}]", if text.trim().is_empty() { "" } else { " " }));
            }
            let mut metadata = Metadata::new();
            if let Some(id) = turn.dia_id {
                metadata.insert("dia_id".into(), id.into());
            }
            found.memory(Found {
                path: format!("[{at}].conversation.session_{number}[{ordinal}]"),
                scope: scope.clone(),
                fallback_kind: MemoryKind::Message,
                actor: turn.speaker.filter(|speaker| !speaker.trim().is_empty()),
                metadata,
                valid_from: session.date.map(|When(time)| time),
                ordinal: ordinal as u64,
                ..Found::new(None, text)
            })?;
        }
    }
    ControlFlow::Continue(())
}
