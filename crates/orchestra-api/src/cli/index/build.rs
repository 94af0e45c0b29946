//! `orchestra index build`.

use memory_core::Error;
use provider_alloydb::index::{BuildOutcome, BuildProgress, SpaceStatus};
use provider_alloydb::{AlloyDbConfig, IndexKeeper};
use serde_json::{Value, json};

use super::super::database::{Database, failure};
use super::super::failure::{Failure, Outcome};
use super::super::screen::Screen;
use super::super::words;
use super::{Policy, Spaces};

/// Build, rebuild or drop the index of each space, as `orchestra index status` says.
///
/// Load first, then build: an index that is made from few rows finds little, and every row costs more to write once it is
/// there. Searches and writes go on; the former index serves until the new one does, so make room for both. One builder
/// works at a time. A build that is interrupted ends within seconds, and the next one clears up after it.
///
/// Run again it finds nothing to do. With other options it rebuilds: the database does not keep them, so give the same each
/// time. After a build run `orchestra index tune`: until that, how much of a new index a search looks at is a guess.
///
/// Exits with 1 when another builder is at work, and with 2 when an index could not be built.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra index build
  orchestra index build --space 1 --kind hnsw --m 24 --ef-construction 128")]
pub struct Args {
    #[command(flatten)]
    database: Database,
    /// The number of a space, or all.
    #[arg(long, value_name = "NUMBER", default_value = "all")]
    space: Spaces,
    #[command(flatten)]
    policy: Policy,
}

impl Args {
    pub fn config(&self) -> Outcome<AlloyDbConfig> {
        let mut config = self.database.config()?;
        self.policy.apply(&mut config);
        Ok(config)
    }
}

pub async fn run(args: &Args, keeper: &IndexKeeper, screen: &Screen) -> Outcome {
    let spaces = args.space.of(keeper).await?;
    if spaces.is_empty() {
        screen.note("There is no space yet: the first memory with a vector makes one.");
    }
    let (mut done, mut failed, mut is_built) = (Vec::new(), None, false);
    for space in &spaces {
        let built = build(keeper, space).await;
        is_built |= matches!(built, Ok(BuildOutcome::Built { .. }));
        if screen.is_json() {
            done.push(body(space, &built));
        } else if let Ok(outcome) = &built {
            screen.line(&format!("{}: {}", super::name(space), in_words(space, outcome)))?;
        }
        match built {
            Err(error) => {
                // What one space lacks, another may have.
                let is_last = !matches!(error, Error::Unusable { .. });
                failed = failed.or(Some(failure(error)));
                if is_last {
                    break;
                }
            }
            Ok(BuildOutcome::Busy) => {
                let busy = Failure::mistake("another builder is at work", "run it again when that one is done");
                failed = failed.or(Some(busy));
                break;
            }
            Ok(_) => {}
        }
    }
    if screen.is_json() {
        screen.json(&json!({"spaces": done}))?;
    } else if is_built {
        screen.note("`orchestra index tune` measures what it finds, and sets how much of it a search looks at");
    }
    failed.map_or(Ok(()), Err)
}

async fn build(keeper: &IndexKeeper, space: &SpaceStatus) -> memory_core::Result<BuildOutcome> {
    let line = super::progress_line("{bar:30.cyan/black.bright} {percent:>3} % {msg}, {elapsed}");
    line.set_message(format!("space {}: starting", space.number));
    let progress = |now: BuildProgress| {
        line.set_length(now.total.max(1));
        line.set_position(now.done);
        line.set_message(format!("space {}: {}", space.number, now.phase));
    };
    let outcome = keeper.build(space.number, progress).await;
    line.finish_and_clear();
    outcome
}

fn in_words(space: &SpaceStatus, outcome: &BuildOutcome) -> String {
    match outcome {
        BuildOutcome::Nothing { reason } => format!("nothing to do: {reason}"),
        BuildOutcome::Busy => "left as it is".into(),
        BuildOutcome::Built { name, spec, took } => {
            let rows = words::count(space.rows);
            format!("built {spec} over {rows} rows in {:.1} s, as {name}", took.as_secs_f64())
        }
        BuildOutcome::Dropped { reason } => format!("dropped: {reason}"),
    }
}

fn body(space: &SpaceStatus, built: &memory_core::Result<BuildOutcome>) -> Value {
    let mut body = match built {
        Ok(outcome) => json!(outcome),
        Err(error) => json!({"outcome": "failed", "reason": error.to_string()}),
    };
    if let Ok(BuildOutcome::Built { took, .. }) = built {
        body.as_object_mut().and_then(|body| body.remove("took"));
        body["took_ms"] = super::milliseconds(*took).into();
    }
    body["space"] = space.number.into();
    body
}
