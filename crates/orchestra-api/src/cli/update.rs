//! `orchestra update`.

use axum::http::Method;
use memory_core::Timestamp;
use serde_json::{Map, Value, json};

use super::arguments::{self, ScopeArgs};
use super::failure::{Failure, Outcome};
use super::screen::Screen;
use super::{get, remember};
use crate::client::{Client, encode};

/// Correct a memory. Its former version stays in its history; cached answers that used it are gone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra update 0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d --text 'Maya takes the aisle seat now.' --user maya
  orchestra update 0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d --valid-to 2025-06-01 --if-version 2")]
pub struct Args {
    /// Its id.
    id: String,
    /// Another text; - reads it from the standard input.
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// How much it matters, 0.0 to 1.0.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    importance: Option<f64>,
    /// Other metadata, in place of all there is; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = arguments::pair)]
    metadata: Vec<(String, Value)>,
    /// When it ceased to be true.
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    valid_to: Option<Timestamp>,
    /// When it stops being recalled.
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    expires_at: Option<Timestamp>,
    /// Only when this is the version there is.
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,
    #[command(flatten)]
    scope: ScopeArgs,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    let mut body = Map::new();
    if let Some(text) = args.text {
        body.insert("text".into(), remember::text_or_stdin(text)?.into());
    }
    let options = [
        ("importance", args.importance.map(Value::from)),
        ("valid_to", args.valid_to.map(|time| json!(time))),
        ("expires_at", args.expires_at.map(|time| json!(time))),
        ("metadata", (!args.metadata.is_empty()).then(|| Value::Object(args.metadata.into_iter().collect()))),
    ];
    body.extend(options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    if body.is_empty() {
        return Err(Failure::mistake(
            "nothing to change",
            "give at least one of --text, --importance, --metadata, --valid-to, --expires-at",
        ));
    }
    let query = args.scope.query(format!("/v1/memories/{}", encode(&args.id)));
    let version = args.if_version.map(|version| format!("\"{version}\""));
    let headers: Vec<(&str, &str)> = version.iter().map(|version| ("If-Match", version.as_str())).collect();
    let memory = client.call(Method::PATCH, query.as_str(), Some(&body.into()), &headers).await?;
    if screen.is_json() {
        return Ok(screen.json(&memory)?);
    }
    screen.note(&format!("{} to version {}", screen.green("corrected"), memory["version"]));
    get::print(&memory, screen)
}
