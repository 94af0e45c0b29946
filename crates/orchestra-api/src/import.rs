//! Memories from files: what people already have, read as it is.
//!
//! A [`Source`] is a file in memory, [`Format`] says how to read it (and [`Format::detect`] finds out), and
//! [`read`] turns it into [`Entry`] values: a memory to write, something that was left out and why, or a place that is
//! broken. Reading is pure and streams: one line or one conversation is held at a time, so a file can be read once to
//! check it whole and once more to send it ([`send`]).
//!
//! Ids come from what a turn is, not from where the file lies ([`identity`]), so importing twice adds nothing.

pub mod chat;
pub mod chatgpt;
pub mod conversation;
pub mod detect;
pub mod identity;
pub mod jsonl;
pub mod locomo;
pub mod markdown;
pub mod orchestra;
pub mod record;
pub mod send;
pub mod source;
mod stream;
pub mod time;

use std::fmt;

use memory_core::MemoryKind;

pub use record::{Names, Record};
pub use source::Source;

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Our own export: one memory a line, with all its fields; ids are kept.
    Orchestra,
    /// OpenAI chats: JSONL with {"messages": […]} a line, or ChatGPT's conversations.json.
    OpenaiChat,
    /// Conversations with sessions, speakers and dates as JSON, also in the shape of `LoCoMo`.
    Conversation,
    /// Notes, split at headings and paragraphs.
    Markdown,
    /// One {"text": …} or one JSON string a line; members we do not know become metadata.
    Jsonl,
}

impl Format {
    /// The name, as `--format` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Orchestra => "orchestra",
            Self::OpenaiChat => "openai-chat",
            Self::Conversation => "conversation",
            Self::Markdown => "markdown",
            Self::Jsonl => "jsonl",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the person who imports adds to the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The tenant that the memories are written for. It is part of derived ids, never of what is sent.
    pub tenant: String,
    /// Takes the place of the names in the file, part by part.
    pub scope: Names,
    /// The kind of memories of which the file does not say it.
    pub kind: Option<MemoryKind>,
}

/// A place in a file. Both count from 1; `column` counts bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, 1 where only the line is known.
    pub column: usize,
}

impl Place {
    /// The start of a line.
    #[must_use]
    pub fn line(line: usize) -> Self {
        Self { line, column: 1 }
    }
}

/// Something found in a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A memory to write.
    Memory(Box<Record>),
    /// Something that is no memory, and that is no mistake either.
    Skipped(Skip),
    /// A place that is not what the format says.
    Broken(Broken),
}

/// Why something in a file was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// It has no text: a turn that is only a picture, a call of a tool, a blank note.
    NoText,
    /// It is a system prompt: an instruction to a model, not something that was said.
    SystemPrompt,
    /// It stands in the file more than once.
    Repeated,
    /// It is broken, and `--skip-invalid` was given.
    Invalid,
    /// It was imported before and changed since; the change stands.
    ChangedSince,
    /// What it says was rejected in its scope.
    Rejected,
}

impl Skip {
    /// The reason, as JSON names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoText => "no_text",
            Self::SystemPrompt => "system_prompt",
            Self::Repeated => "repeated",
            Self::Invalid => "invalid",
            Self::ChangedSince => "changed_since",
            Self::Rejected => "rejected",
        }
    }

    /// The reason in words, after a number.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoText => "without text",
            Self::SystemPrompt => "from system prompts",
            Self::Repeated => "repeated in the file",
            Self::Invalid => "invalid",
            Self::ChangedSince => "changed since an earlier import",
            Self::Rejected => "rejected",
        }
    }
}

/// A place in a file that is not what the format says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Broken {
    /// Where; `None` inside a JSON document, where the message names the path instead.
    pub place: Option<Place>,
    /// What was found and what was expected.
    pub message: String,
    /// Whether what comes after it cannot be read.
    pub fatal: bool,
}

impl Broken {
    /// A broken place.
    pub fn new(place: impl Into<Option<Place>>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into(), fatal: false }
    }

    /// The same place, with nothing to be read after it.
    #[must_use]
    pub fn fatal(self) -> Self {
        Self { fatal: true, ..self }
    }
}

/// Whether the reader should go on.
pub type Flow = std::ops::ControlFlow<()>;

/// Takes what a reader finds, in the order of the file.
pub type Sink<'a> = dyn FnMut(Entry) -> Flow + 'a;

/// Reads `source` as `format` and gives every entry to `sink`, until it breaks off.
///
/// Every memory that is given out is valid: its text, metadata, names and times are within the limits of the API.
/// A memory that stands in the file twice is given once.
pub fn read(source: &Source, format: Format, options: &Options, sink: &mut Sink<'_>) -> Flow {
    let text = match source.text() {
        Ok(text) => text,
        Err(broken) => return sink(Entry::Broken(broken)),
    };
    let mut found = record::Collector::new(options, sink);
    match format {
        Format::Orchestra => orchestra::read(text, &mut found),
        Format::OpenaiChat if detect::is_chatgpt_export(text) => chatgpt::read(text, &mut found),
        Format::OpenaiChat => chat::read(text, &mut found),
        Format::Conversation if detect::is_locomo(text) => locomo::read(text, &mut found),
        Format::Conversation => conversation::read(text, &mut found),
        Format::Markdown => markdown::read(text, source.file_name(), &mut found),
        Format::Jsonl => jsonl::read(text, &mut found),
    }
}
