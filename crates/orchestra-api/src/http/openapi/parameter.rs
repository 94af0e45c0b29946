//! What stands in a URL or in a header: parameters, and the headers of answers.

use memory_core::MemoryKind;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::operation::SchemaOf;
use crate::http::wire::{Id, Limit};

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In a header.
    Header,
}

/// A parameter.
#[derive(Clone)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Where it stands.
    pub place: Place,
    about: &'static str,
    schema: SchemaOf,
    example: Option<Value>,
}

impl Parameter {
    const fn new<T: JsonSchema>(place: Place, name: &'static str, about: &'static str) -> Self {
        Self { name, place, about, schema: SchemaGenerator::subschema_for::<T>, example: None }
    }

    /// A parameter of the query.
    pub const fn query<T: JsonSchema>(name: &'static str, about: &'static str) -> Self {
        Self::new::<T>(Place::Query, name, about)
    }

    /// The same parameter with an example.
    pub fn such_as(mut self, example: impl Into<Value>) -> Self {
        self.example = Some(example.into());
        self
    }

    /// The parameter as the document has it.
    pub fn document(&self, generator: &mut SchemaGenerator) -> Value {
        let place = match self.place {
            Place::Path => "path",
            Place::Query => "query",
            Place::Header => "header",
        };
        let mut parameter = json!({
            "name": self.name,
            "in": place,
            "required": self.place == Place::Path,
            "description": self.about,
            "schema": (self.schema)(generator),
        });
        if let Some(example) = &self.example {
            parameter["example"] = example.clone();
        }
        parameter
    }
}

/// The order of a list.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "for its schema")]
enum Order {
    Oldest,
    Newest,
}

/// The memory that a path names.
pub fn memory_id() -> Parameter {
    Parameter::new::<Id>(Place::Path, "id", "The memory.").such_as(super::EXAMPLE_ID)
}

/// The session that a path names.
pub fn session_id() -> Parameter {
    Parameter::new::<String>(Place::Path, "id", "The session, percent-encoded.").such_as("monday")
}

/// The stream that a path names.
pub fn stream_name() -> Parameter {
    Parameter::new::<String>(Place::Path, "id", "The stream, percent-encoded.").such_as("to-green")
}

/// The value that a path names.
pub fn rejection_key(example: &str) -> Parameter {
    Parameter::new::<String>(Place::Path, "id", "The `key` of the rejection.").such_as(example)
}

/// `reject`: for good.
pub fn reject() -> Parameter {
    Parameter::query::<bool>("reject", "Let what goes not be written again, however it is written.")
}

/// `user` and `agent`: whose memory.
pub fn user_and_agent() -> [Parameter; 2] {
    [
        Parameter::query::<String>("user", "Only what belongs to this person.").such_as("ann"),
        Parameter::query::<String>("agent", "Only what belongs to this agent."),
    ]
}

/// `user`, `agent` and `session`: whose memory.
pub fn scope() -> [Parameter; 3] {
    let [user, agent] = user_and_agent();
    [user, agent, Parameter::query::<String>("session", "Only what belongs to this conversation.")]
}

/// `kind` and `filter`: what a memory has to be.
pub fn kind_and_filter() -> [Parameter; 2] {
    [
        Parameter::query::<MemoryKind>("kind", "Only memories of this kind."),
        Parameter::query::<String>("filter", "Conditions that must hold, as the JSON that a search takes.")
            .such_as(r#"{"metadata.trip": "lisbon"}"#),
    ]
}

/// `limit`, `cursor` and `order`: which page.
pub fn page() -> [Parameter; 3] {
    [
        Parameter::query::<Limit>("limit", "At most so many; 100 where it is left out.").such_as(20),
        Parameter::query::<String>("cursor", "The `next` of the page before. It is opaque, and belongs to this list."),
        Parameter::query::<Order>("order", "The oldest first, or the newest; `oldest` where it is left out."),
    ]
}

/// `with_embeddings`: vectors too.
pub fn with_embeddings() -> Parameter {
    Parameter::query::<bool>("with_embeddings", "Give the vectors too.")
}

/// `dry_run`: what would be.
pub fn dry_run() -> Parameter {
    Parameter::query::<bool>("dry_run", "Say what would go, and change nothing.")
}

/// What makes a write safe to send twice, and who writes.
pub fn writing() -> [Parameter; 2] {
    [
        Parameter::new::<String>(
            Place::Header,
            "Idempotency-Key",
            "Makes it safe to send the same request again: the second has no second effect and gets the first answer. \
             1 to 255 visible ASCII characters, used once.",
        ),
        Parameter::new::<String>(
            Place::Header,
            "X-Orchestra-Writer",
            "Who writes: `agent` (the default), `tool`, `import`, or `mcp`.",
        ),
    ]
}

/// The version that a change is a change of.
pub fn if_match() -> Parameter {
    Parameter::new::<String>(
        Place::Header,
        "If-Match",
        "The `ETag` of the version to change, such as `\"1\"`: with another version nothing is changed. `*` is any.",
    )
}

/// The headers of answers, by name.
pub fn headers() -> Value {
    let header = |about: &str, kind: &str| json!({"description": about, "schema": {"type": kind}});
    Value::Object(Map::from_iter([
        ("ETag".into(), header("The memory's version in quotes, for `If-Match`.", "string")),
        ("Location".into(), header("The path of what was made.", "string")),
        (
            "RateLimit".into(),
            header("Where the server limits requests: how many are left (`r`), and when all are back (`t`).", "string"),
        ),
        ("Retry-After".into(), header("After how many seconds the same request may succeed.", "integer")),
        ("WWW-Authenticate".into(), header("Which key is asked for.", "string")),
        (
            "X-Request-Id".into(),
            header("Names the request in the server's log. One that the request brings is kept.", "string"),
        ),
    ]))
}
