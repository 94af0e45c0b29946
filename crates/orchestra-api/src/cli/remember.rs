//! `orchestra remember`.

use std::io::Read;
use std::time::Duration;

use memory_core::{MemoryKind, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::arguments::{self, ScopeArgs};
use super::failure::{Failure, Outcome};
use super::screen::Screen;
use super::words;
use crate::client::Client;

/// Remember something.
///
/// It is durable when the command returns, and found by the next recall.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra remember 'Maya always takes the window seat.' --user maya --kind semantic
  git log -1 --format=%B | orchestra remember - --agent release-bot --metadata repo=shop --ttl 90d")]
pub struct Args {
    /// What to remember; - reads it from the standard input.
    text: String,

    /// What kind of thing it is: a turn of a conversation (message), something that happened (episodic), a fact
    /// (semantic) or how something is done (procedural).
    #[arg(long, value_parser = arguments::kind(), default_value = "episodic")]
    kind: MemoryKind,
    /// Who said or did it.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// How much it matters, 0.0 to 1.0. Default: 0.5.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    importance: Option<f64>,
    /// Something else about it; may be given more than once. A value that is JSON is taken as such.
    #[arg(long, value_name = "KEY=VALUE", value_parser = arguments::pair)]
    metadata: Vec<(String, Value)>,
    /// When it began to be true, or was said.
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    valid_from: Option<Timestamp>,
    /// How long it is recalled, such as 90s, 15m, 2h or 7d. Default: for ever.
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    ttl: Option<Duration>,
    /// An id of your own: a UUID. Writing it twice has one effect.
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    #[command(flatten)]
    scope: ScopeArgs,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    let text = text_or_stdin(args.text)?;
    let mut body = Map::new();
    body.insert("text".into(), text.into());
    body.insert("scope".into(), args.scope.body());
    body.insert("kind".into(), args.kind.name().into());
    let options = [
        ("actor", args.actor.map(Value::from)),
        ("importance", args.importance.map(Value::from)),
        ("valid_from", args.valid_from.map(|time| json!(time))),
        ("ttl_seconds", args.ttl.map(|ttl| ttl.as_secs_f64().into())),
        ("id", args.id.map(|id| json!(id))),
    ];
    body.extend(options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    if !args.metadata.is_empty() {
        body.insert("metadata".into(), Value::Object(args.metadata.into_iter().collect()));
    }
    let answer = client.post("/v1/memories", &body.into()).await?;
    if screen.is_json() {
        return Ok(screen.json(&answer)?);
    }
    let done = match words::text(&answer, "status") {
        "unchanged" => "was there already",
        _ => "remembered",
    };
    let tier = words::tier(&json!({"kind": args.kind.name()}));
    Ok(screen.line(&format!(
        "{} {} ({tier}, {})",
        screen.green(done),
        words::text(&answer, "id"),
        args.scope.in_words()
    ))?)
}

/// The text, or the standard input for `-`.
pub fn text_or_stdin(text: String) -> Outcome<String> {
    if text != "-" {
        return Ok(text);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| Failure::io("standard input", &error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::mistake(format!("standard input is not UTF-8 at byte {at}"), "convert it with iconv, or pass text")
    })?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
