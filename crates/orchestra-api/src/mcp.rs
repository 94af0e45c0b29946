//! The Model Context Protocol: the memory as tools of a model, over the standard streams and over HTTP.
//!
//! A tool is a call of the HTTP interface ([`crate::client`]): in this process, or of a running server. What is read,
//! checked, refused and answered is therefore the same on both surfaces, and whose memory it is is decided where it is
//! decided for HTTP. What is added here: the schemas that a model reads, and the fence around what is recalled.
//!
//! - [`server`] answers the protocol, whatever carries it.
//! - [`endpoint`] is the route `/mcp`; [`server::over_stdio`] the standard streams.
//! - `tool` is the table of the tools, `schema` the shapes in it, `call` makes an HTTP call of a tool's arguments.
//! - `answer` writes an answer as text, `fence` marks recalled text as data.

mod answer;
mod call;
pub mod endpoint;
mod fence;
mod schema;
pub mod server;
mod tool;

/// The answer to a recall as text for a model: fenced, as data.
pub(crate) fn context(answer: &serde_json::Value) -> String {
    answer::Shown::Recalled(answer::recalled).apply(answer.clone()).0
}
