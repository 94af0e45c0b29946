//! `orchestra get`.

use serde_json::Value;

use super::arguments::ScopeArgs;
use super::failure::Outcome;
use super::screen::Screen;
use super::words;
use crate::client::{Client, encode};

/// Show one memory with all its fields.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra get 0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d --user maya")]
pub struct Args {
    /// Its id.
    id: String,
    #[command(flatten)]
    scope: ScopeArgs,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    let query = args.scope.query(format!("/v1/memories/{}", encode(&args.id)));
    let memory = client.get(query.as_str()).await?;
    if screen.is_json() {
        return Ok(screen.json(&memory)?);
    }
    print(&memory, screen)
}

/// Prints the fields of a memory, one a line, those that it has.
pub fn print(memory: &Value, screen: &Screen) -> Outcome {
    let origin = &memory["origin"];
    let ids =
        |list: &Value| list.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let metadata = memory["metadata"].as_object().filter(|metadata| !metadata.is_empty());
    let fields = [
        ("id", words::text(memory, "id").to_owned()),
        ("version", memory["version"].to_string()),
        ("scope", words::scope(memory)),
        ("kind", format!("{} ({})", words::text(memory, "kind"), words::tier(memory))),
        ("actor", words::text(memory, "actor").to_owned()),
        ("importance", memory["importance"].to_string()),
        ("valid from", words::moment(&memory["valid_from"])),
        ("valid to", words::moment(&memory["valid_to"])),
        ("recorded", words::moment(&memory["recorded_at"])),
        ("expires", words::moment(&memory["expires_at"])),
        ("written by", format!("{}, over {}", words::text(origin, "writer"), words::text(origin, "path"))),
        ("derived from", ids(&memory["evidence"])),
        (
            "metadata",
            metadata.map(|metadata| serde_json::Value::from(metadata.clone()).to_string()).unwrap_or_default(),
        ),
    ];
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        screen.line(&format!("{} {value}", screen.dim(&format!("{name:<13}"))))?;
    }
    screen.line("")?;
    Ok(screen.line(words::text(memory, "text"))?)
}
