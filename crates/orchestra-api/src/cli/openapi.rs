//! `orchestra openapi`.

use std::io::Write as _;

use super::failure::{Failure, Outcome};
use crate::http::document;

/// Print the OpenAPI document of the HTTP interface.
///
/// It is what a server answers at /openapi.json, for programs that make clients or check requests. No server is needed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra openapi > openapi.json
  openapi-python-client generate --path openapi.json")]
pub struct Args {}

pub fn run() -> Outcome {
    let text =
        serde_json::to_string_pretty(document()).map_err(|error| Failure::ours(error.to_string(), "report it"))?;
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}
