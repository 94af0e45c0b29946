//! `orchestra consolidate`.

use std::collections::{BTreeMap, HashSet};
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::arguments::ScopeArgs;
use super::failure::Outcome;
use super::screen::{Column, Screen};
use super::words;
use crate::client::Client;

/// How many memories one call looks at: enough to be quick, few enough for the bar to move.
const CALL: u64 = 200;
/// How many steps are shown; a long plan is for programs.
const SHOWN: usize = 100;

/// Put together what the long-term memory says many times, and close what is not true any more.
///
/// What says the same becomes one memory, a fact that a later one contradicts is closed, and what a turn states that lasts
/// is kept before the turn expires. Nothing is deleted: what was closed stays in the history and is found with --as-of.
/// Interrupted, it goes on when the same command is run again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra consolidate --user maya --dry-run
  orchestra consolidate --user maya
  orchestra consolidate --json")]
pub struct Args {
    /// Show the plan only, change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    scope: ScopeArgs,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    let stats = client.get(args.scope.query("/v1/stats").as_str()).await?;
    let bar = progress_bar(stats["store"]["memories"].as_u64().unwrap_or_default());
    let mut body = json!({"scope": args.scope.body(), "dry_run": args.dry_run, "limit": CALL});
    let mut steps = Vec::new();
    let mut planned = HashSet::new();
    let mut visited = 0;
    loop {
        let report = match client.post("/v1/consolidate", &body).await {
            Ok(report) => report,
            Err(problem) => {
                bar.finish_and_clear();
                return Err(problem.into());
            }
        };
        for step in report["steps"].as_array().into_iter().flatten() {
            // Nothing is closed in a dry run, so the next call may plan for it again.
            if !args.dry_run || closed(step).all(|id| planned.insert(id.to_owned())) {
                steps.push(step.clone());
            }
        }
        visited += report["visited"].as_u64().unwrap_or_default();
        bar.set_position(visited);
        if report["next"].is_null() {
            break;
        }
        body["cursor"] = report["next"].clone();
    }
    bar.finish_and_clear();
    if screen.is_json() {
        return Ok(screen.json(&json!({"steps": steps, "visited": visited, "dry_run": args.dry_run}))?);
    }
    print(&steps, visited, &args, screen)
}

/// The ids that a step closes.
fn closed(step: &Value) -> impl Iterator<Item = &str> {
    step["closes"].as_array().into_iter().flatten().map(|memory| words::text(memory, "id"))
}

fn progress_bar(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() || total == 0 {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:30.cyan/black.bright} {human_pos} of {human_len} memories, {eta} left")
            .expect("the template is well formed")
            .progress_chars("━╸━");
    ProgressBar::new(total).with_style(style)
}

fn print(steps: &[Value], visited: u64, args: &Args, screen: &Screen) -> Outcome {
    if !steps.is_empty() {
        let columns = [
            Column::new("Step").cyan(),
            Column::new("Closed").wraps(),
            Column::new("Holds").wraps(),
            Column::new("Why").wraps().grey(),
        ];
        screen.table(&columns, steps.iter().take(SHOWN).map(row).collect())?;
    }
    if steps.len() > SHOWN {
        screen.note(&format!("and {} more; --json has them all", words::count((steps.len() - SHOWN) as u64)));
    }
    let verb = if args.dry_run { screen.yellow("planned") } else { screen.green("done") };
    screen.line(&format!(
        "{verb}: {}; looked at {} of {}",
        summary(steps),
        words::memories(visited),
        args.scope.in_words()
    ))?;
    if args.dry_run {
        screen.note("Nothing was changed: that was a dry run.");
    } else if steps.iter().any(|step| step["outcome"] == "not_yet_visible" || step["outcome"] == "overtaken") {
        screen.note("Some of it was changed in the meantime, or cannot be read yet; run the same command again.");
    }
    Ok(())
}

fn row(step: &Value) -> Vec<String> {
    let mut closed: Vec<&str> =
        step["closes"].as_array().into_iter().flatten().map(|memory| words::text(memory, "text")).collect();
    let many = closed.len();
    closed.dedup();
    let repeated = if closed.len() == 1 && many > 1 { format!(" ({many} times)") } else { String::new() };
    let what = match words::text(step, "outcome") {
        "planned" | "done" => words::text(step, "action").to_owned(),
        other => format!("{}: {}", words::text(step, "action"), other.replace('_', " ")),
    };
    vec![
        what,
        format!("{}{repeated}", closed.join(";\n")),
        words::text(&step["result"], "text").to_owned(),
        words::text(step, "reason").to_owned(),
    ]
}

/// How much of what: `5 merged into 2, 1 superseded`.
fn summary(steps: &[Value]) -> String {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for step in steps.iter().filter(|step| matches!(words::text(step, "outcome"), "planned" | "done")) {
        let count = counts.entry(words::text(step, "action")).or_default();
        count.0 += 1;
        count.1 += closed(step).count() as u64;
    }
    let part = |(action, (steps, closed)): (&str, (u64, u64))| match action {
        "merge" => format!("{} merged into {}", words::count(closed), words::count(steps)),
        "finish" => format!("{} closed for an earlier run", words::count(closed)),
        "supersede" => format!("{} superseded", words::count(steps)),
        "promote" => format!("{} promoted", words::count(steps)),
        _ => format!("{} reopened", words::count(steps)),
    };
    let parts: Vec<String> = counts.into_iter().map(part).collect();
    if parts.is_empty() { "nothing to do".into() } else { parts.join(", ") }
}
