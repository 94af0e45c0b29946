//! The embedders as their users see them: the built-in model against independent reference values, the OpenAI-compatible
//! one against a server in this process.
#![expect(clippy::unwrap_used, reason = "test helpers are tests too")]

mod minilm;
mod openai;
mod server;
mod static_model;
