//! `orchestra forget`.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::{Value, json};

use super::arguments::{self, ScopeArgs};
use super::failure::{Failure, Outcome};
use super::screen::Screen;
use super::words;
use crate::client::Client;

/// Forget memories for good, with what was derived from them and the cached answers that used them.
///
/// What was forgotten stays forgotten: importing the same file again does not bring it back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra forget 0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d --user maya
  orchestra forget --filter '{\"metadata.topic\": \"health\"}' --user maya --dry-run
  orchestra forget --filter '{\"text\": \"Maya has a sister\"}' --user maya --reject --yes
  orchestra forget --all --session maya-2025-09-17 --yes")]
#[command(group = clap::ArgGroup::new("selection").required(true))]
pub struct Args {
    /// The ids.
    #[arg(value_name = "ID", group = "selection")]
    ids: Vec<String>,
    /// All memories of the scope.
    #[arg(long, group = "selection")]
    all: bool,
    /// The memories of the scope that match this JSON object.
    #[arg(long, value_name = "JSON", value_parser = arguments::object, group = "selection")]
    filter: Option<Value>,
    /// Also reject what they say: no write of this user and agent brings it back, in whichever spelling and session.
    #[arg(long)]
    reject: bool,
    /// Count only, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    scope: ScopeArgs,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    let mut body = json!({"scope": args.scope.body(), "dry_run": args.dry_run});
    if args.reject {
        body["reject"] = true.into();
    }
    let selects_many = args.ids.is_empty();
    if !selects_many {
        body["ids"] = args.ids.into();
    } else if let Some(filter) = args.filter {
        body["filter"] = filter;
    } else {
        body["all"] = true.into();
    }
    if selects_many && !args.dry_run && !args.yes {
        confirm(client, &body, &args.scope, screen).await?;
    }
    let receipt = client.post("/v1/memories/forget", &body).await?;
    if screen.is_json() {
        return Ok(screen.json(&receipt)?);
    }
    let many = |name: &str| receipt[name].as_array().map_or(0, |ids| ids.len() as u64);
    let verb = if args.dry_run { screen.yellow("would forget") } else { screen.green("forgot") };
    let mut line = format!("{verb} {}", words::memories(many("forgotten")));
    if many("derived") > 0 {
        line.push_str(&format!(", {} derived from them", words::count(many("derived"))));
    }
    match receipt["cache_entries"].as_u64() {
        Some(entries) if entries > 0 => {
            line.push_str(&format!(", {} cached answers that used them", words::count(entries)))
        }
        _ => {}
    }
    let working = receipt["working_messages"].as_u64().unwrap_or_default();
    if working > 0 {
        line.push_str(&format!(", {} of sessions that went on", words::messages(working)));
    }
    if let Some(values) = receipt["rejected"].as_u64() {
        line.push_str(&format!(
            ", {} rejected",
            if values == 1 { "one value".into() } else { format!("{} values", words::count(values)) }
        ));
    }
    screen.line(&line)?;
    if receipt["degraded"].as_array().is_some_and(|lacks| lacks.contains(&"working_memory_pending".into())) {
        screen.note("The working memory is away: its sessions are there until they end. Forget again to end them.");
    }
    if many("forgotten") == 0 && working == 0 {
        screen.note("Nothing of that is remembered in this scope.");
    }
    Ok(())
}

/// Asks whether many memories shall go. Without a person to ask, `--yes` has to say so.
async fn confirm(client: &Client, body: &Value, scope: &ScopeArgs, screen: &Screen) -> Outcome {
    if !io::stdin().is_terminal() {
        let message = "this forgets many memories for good, and there is no terminal to ask on";
        return Err(Failure::mistake(message, "look with --dry-run, then add --yes"));
    }
    let mut trial = body.clone();
    trial["dry_run"] = true.into();
    let receipt = client.post("/v1/memories/forget", &trial).await?;
    let number = receipt["forgotten"].as_array().map_or(0, |ids| ids.len() as u64);
    let question = format!("Forget {} of {} for good? [y/N] ", screen.bold(&words::memories(number)), scope.in_words());
    let mut out = io::stderr().lock();
    let _ = write!(out, "{question}").and_then(|()| out.flush());
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::io("standard input", &error))?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::mistake("nothing was forgotten", "answer y to go on, or look with --dry-run"))
}
