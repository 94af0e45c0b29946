//! `orchestra list`.

use memory_core::MemoryKind;
use serde_json::Value;

use super::arguments::{self, ScopeArgs};
use super::failure::Outcome;
use super::screen::{Column, Screen};
use super::words;
use crate::client::Client;

/// List the memories of a scope, newest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra list --user maya --limit 20
  orchestra list --session maya-2025-09-17 --oldest
  orchestra list --filter '{\"metadata.topic\": \"travel\"}' --json")]
pub struct Args {
    /// Only memories of this kind.
    #[arg(long, value_parser = arguments::kind())]
    kind: Option<MemoryKind>,
    /// Only memories that match this JSON object; `orchestra recall --help` shows some.
    #[arg(long, value_name = "JSON", value_parser = arguments::object)]
    filter: Option<Value>,
    /// At most this many, 1 to 1000.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: u64,
    /// Go on where the page before ended: the cursor that it gave.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Oldest first.
    #[arg(long)]
    oldest: bool,
    #[command(flatten)]
    scope: ScopeArgs,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    let query = args
        .scope
        .query("/v1/memories")
        .with("kind", args.kind.map(MemoryKind::name))
        .with("filter", args.filter.map(|filter| filter.to_string()))
        .with("limit", Some(args.limit.to_string()))
        .with("cursor", args.cursor)
        .with("order", Some(if args.oldest { "oldest" } else { "newest" }));
    let page = client.get(query.as_str()).await?;
    if screen.is_json() {
        return Ok(screen.json(&page)?);
    }
    let memories = page["memories"].as_array().map(Vec::as_slice).unwrap_or_default();
    if memories.is_empty() {
        screen.note(&format!("Nothing is remembered in {}.", args.scope.in_words()));
        return Ok(());
    }
    let (columns, rows) = table(memories, screen.is_terminal());
    screen.table(&columns, rows)?;
    if let Some(next) = page["next"].as_str() {
        screen.note(
            &screen.dim(&format!("There are more: add --cursor {next}, or take them all with `orchestra export`.")),
        );
    }
    Ok(())
}

fn table(memories: &[Value], terminal: bool) -> (Vec<Column>, Vec<Vec<String>>) {
    if terminal {
        let columns = vec![Column::new("Whose").cyan(), Column::new("From").grey(), Column::new("Memory").wraps()];
        let lines =
            |lines: [String; 3]| lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        let rows = memories.iter().map(|memory| {
            let from =
                lines([words::text(memory, "actor").into(), words::when(memory), words::text(memory, "kind").into()]);
            let text = format!("{}\n{}", words::text(memory, "text"), words::text(memory, "id"));
            vec![words::scope(memory).replace(" / ", "\n"), from, text]
        });
        return (columns, rows.collect());
    }
    let columns = ["When", "Whose", "Kind", "Who", "Memory", "Id"].map(Column::new).to_vec();
    let rows = memories.iter().map(|memory| {
        let field = |name| words::text(memory, name).to_owned();
        vec![words::when(memory), words::scope(memory), field("kind"), field("actor"), field("text"), field("id")]
    });
    (columns, rows.collect())
}
