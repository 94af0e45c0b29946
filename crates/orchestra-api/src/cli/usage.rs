//! `orchestra usage`.

use memory_core::Timestamp;
use serde_json::Value;

use super::arguments;
use super::failure::Outcome;
use super::screen::{Column, Screen};
use super::words;
use crate::client::{Client, Query};

/// Show what the tenant used of a running server, by operation.
///
/// A server counts since it began. With usage.file it keeps a line for each window, tenant and operation; add those up for
/// a longer time, or for all tenants.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra usage
  orchestra usage --from 2025-06-01 --to 2025-06-02T12:00:00Z --json")]
pub struct Args {
    /// Count windows that began at this time or later, as 2025-06-01 or 2025-06-01T01:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    from: Option<Timestamp>,
    /// Count windows that began before this time.
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    to: Option<Timestamp>,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    let text = |time: Option<Timestamp>| time.map(|time| time.to_rfc3339());
    let query = Query::new("/v1/usage").with("from", text(args.from)).with("to", text(args.to));
    let used = client.get(query.as_str()).await?;
    if screen.is_json() {
        return Ok(screen.json(&used)?);
    }
    let columns = [
        Column::new("Operation"),
        Column::new("Requests").right(),
        Column::new("Failed").right(),
        Column::new("In").right(),
        Column::new("Out").right(),
        Column::new("Embedded tokens").right(),
        Column::new("Hits").right(),
        Column::new("Saved tokens").right(),
    ];
    let row = |name: &str, usage: &Value| {
        let number = |field: &str| usage[field].as_u64().unwrap_or_default();
        vec![
            name.to_owned(),
            words::count(number("operations")),
            words::count(number("failures")),
            words::bytes(number("bytes_in")),
            words::bytes(number("bytes_out")),
            words::count(number("embedded_tokens")),
            words::count(number("exact_hits") + number("semantic_hits")),
            words::count(number("saved_tokens")),
        ]
    };
    let operations = used["operations"].as_array().into_iter().flatten();
    let mut rows: Vec<_> = operations.map(|usage| row(words::text(usage, "operation"), usage)).collect();
    rows.push(row("all", &used["total"]));
    screen.table(&columns, rows)?;
    Ok(screen.line(&screen.dim(&format!("known since {}", words::moment(&used["known_since"]))))?)
}
