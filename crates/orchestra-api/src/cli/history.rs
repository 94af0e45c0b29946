//! `orchestra history`.

use super::arguments::ScopeArgs;
use super::failure::Outcome;
use super::screen::{Column, Screen};
use super::words;
use crate::client::{Client, encode};

/// Show every version of a memory, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra history 0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d --user maya")]
pub struct Args {
    /// Its id.
    id: String,
    #[command(flatten)]
    scope: ScopeArgs,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    let query = args.scope.query(format!("/v1/memories/{}/history", encode(&args.id)));
    let history = client.get(query.as_str()).await?;
    if screen.is_json() {
        return Ok(screen.json(&history)?);
    }
    let columns = [
        Column::new("Version").right(),
        Column::new("Recorded").grey(),
        Column::new("Until").grey(),
        Column::new("Memory").wraps(),
    ];
    let rows = history["versions"].as_array().into_iter().flatten().map(|version| {
        let until = match words::moment(&version["superseded_at"]) {
            until if until.is_empty() => "now".into(),
            until => until,
        };
        let lines = |moment: String| moment.replace(" (", "\n(");
        vec![
            version["version"].to_string(),
            lines(words::moment(&version["recorded_at"])),
            lines(until),
            words::text(version, "text").into(),
        ]
    });
    Ok(screen.table(&columns, rows.collect())?)
}
