//! ChatGPT's data export, `conversations.json`: a list of conversations, each a tree of messages of which the branch
//! that ends at `current_node` is what one saw.

use std::collections::HashMap;
use std::ops::ControlFlow;

use memory_core::{MemoryKind, Metadata};
use serde::Deserialize;
use serde_json::Value;

use super::record::{Collector, Found, Names};
use super::stream::{self, Shape};
use super::{Flow, Skip, time};

#[derive(Debug, Deserialize)]
struct Conversation {
    title: Option<String>,
    create_time: Option<f64>,
    mapping: HashMap<String, Node>,
    current_node: Option<String>,
    conversation_id: Option<String>,
    id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Node {
    message: Option<Message>,
    parent: Option<String>,
    #[serde(default)]
    children: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    author: Author,
    create_time: Option<f64>,
    content: Option<Content>,
    #[serde(default)]
    metadata: Option<MessageMetadata>,
}

#[derive(Debug, Deserialize)]
struct Author {
    role: String,
}

#[derive(Debug, Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<Value>,
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
struct MessageMetadata {
    is_visually_hidden_from_conversation: Option<bool>,
}

pub(super) fn read(text: &str, found: &mut Collector<'_, '_>) -> Flow {
    let shape = if text.trim_start().starts_with('[') { Shape::List } else { Shape::One };
    match stream::elements(text, shape, &mut |at, conversation| branch(at, conversation, found)) {
        Ok(flow) => flow,
        Err(broken) => found.fatal(broken),
    }
}

fn branch(at: usize, mut conversation: Conversation, found: &mut Collector<'_, '_>) -> Flow {
    let session = conversation.conversation_id.take().or(conversation.id.take());
    let session = session.unwrap_or_else(|| format!("chatgpt-{}", conversation.create_time.unwrap_or(at as f64)));
    let mut metadata = Metadata::new();
    if let Some(title) = conversation.title.take().filter(|title| !title.is_empty()) {
        metadata.insert("title".into(), title.into());
    }
    let date = conversation.create_time.and_then(time::from_unix);
    for (ordinal, message) in path(&mut conversation).into_iter().enumerate() {
        let hidden =
            message.metadata.is_some_and(|metadata| metadata.is_visually_hidden_from_conversation == Some(true));
        if hidden || message.author.role == "system" {
            found.skip(Skip::SystemPrompt)?;
            continue;
        }
        found.memory(Found {
            path: format!("[{at}] {session}"),
            scope: Names { session: Some(session.clone()), ..Names::default() },
            fallback_kind: MemoryKind::Message,
            actor: Some(message.author.role),
            metadata: metadata.clone(),
            valid_from: message.create_time.and_then(time::from_unix).or(date),
            ordinal: ordinal as u64,
            ..Found::new(None, message.content.map(said).unwrap_or_default())
        })?;
    }
    ControlFlow::Continue(())
}

fn said(content: Content) -> String {
    if let Some(text) = content.text {
        return text;
    }
    content.parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// The messages from the root to the current node. Takes each node out, so a tree that bites its tail comes to an end.
fn path(conversation: &mut Conversation) -> Vec<Message> {
    let mut next = conversation.current_node.take().or_else(|| newest_leaf(conversation));
    let mut messages = Vec::new();
    while let Some(node) = next.and_then(|id| conversation.mapping.remove(&id)) {
        messages.extend(node.message);
        next = node.parent;
    }
    messages.reverse();
    messages
}

fn newest_leaf(conversation: &Conversation) -> Option<String> {
    let time = |node: &Node| node.message.as_ref().and_then(|message| message.create_time).unwrap_or(f64::MIN);
    let leaves = conversation.mapping.iter().filter(|(_, node)| node.children.is_empty());
    leaves.max_by(|(a_id, a), (b_id, b)| time(a).total_cmp(&time(b)).then(a_id.cmp(b_id))).map(|(id, _)| id.clone())
}
