//! The command line.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use chrono::{DateTime, SubsecRound as _, Utc};
use clap::{Parser, Subcommand};
use migrate::engine::{Engine, Order, Parts};

use crate::arguments::{Follow, Place, PlanArgs, percent};
use crate::finalize::Keep;
use crate::sides::Sides;
use crate::window::Window;
use crate::{report, run, stress};

/// Moves a whole Orchestra Memory from one store to another while it is in use
///
/// Blue is the store in use, green the one to move to. What was done is kept in a record: a command that was interrupted is run again
/// and goes on.
#[derive(Debug, Parser)]
#[command(name = "orchestra-migrate", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub place: Place,
    /// Say what would be done, and do nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Ask nothing
    #[arg(long, global = true)]
    pub yes: bool,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Levels and modules of the log, on standard error
    #[arg(long, env = "ORCHESTRA_MIGRATE_LOG", default_value = "warn", global = true)]
    pub log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plan a move; neither of the stores is changed
    #[command(
        after_help = "Example:\n  orchestra-migrate --blue blue.yaml --green green.yaml plan --items-per-second 8000"
    )]
    Plan(PlanArgs),
    /// Copy everything to green, and catch up; after a switch, catch up in reverse
    #[command(
        after_help = "Examples:\n  orchestra-migrate start             ends when green has caught up\n  orchestra-migrate start --follow    goes on until Ctrl-C"
    )]
    Start(Follow),
    /// Show how far it is
    #[command(after_help = "Examples:\n  orchestra-migrate status --watch 2\n  orchestra-migrate --json status")]
    Status {
        /// Show it again every so many seconds, until the move is over; in a terminal in place of what was shown before
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2")]
        watch: Option<u64>,
    },
    /// Compare both stores item by item, send the same queries to both, and decide the gates
    #[command(after_help = "Example:\n  orchestra-migrate verify --repair")]
    Verify {
        /// Make what differs on the store that follows the same
        #[arg(long)]
        repair: bool,
    },
    /// Load green, and blue beside, faster and faster until each does not keep up, and compare what they find with exact answers
    #[command(
        after_help = "Examples:\n  orchestra-migrate stress --green-only\n  orchestra-migrate stress --stress-rate 500 --p99-ms 100\n  orchestra-migrate stress --gpu-soak 60"
    )]
    Stress(stress::Args),
    /// Let green be the store in use, or write down how many reads it may answer
    #[command(after_help = "Example:\n  orchestra-migrate switch --writes --follow --yes")]
    Switch {
        /// This percentage of reads, such as 10%; it is written into the record, which no server follows yet
        #[arg(long, value_name = "N%", value_parser = percent, conflicts_with = "writes", required_unless_present = "writes")]
        reads: Option<u8>,
        /// All writes; the gates are asked first
        #[arg(long)]
        writes: bool,
        /// Do not ask the gates
        #[arg(long, requires = "writes")]
        unchecked: bool,
        #[command(flatten)]
        follow: Follow,
    },
    /// Let blue be the store in use again; nothing that was written since is lost
    #[command(after_help = "Example:\n  orchestra-migrate rollback --yes")]
    Rollback(Follow),
    /// Keep a dump of blue and end the move: blue follows no more, and stays closed as it is
    ///
    /// Asks first, and a dump that fails leaves the move as it was. What goes is the streams of changes, and with them the way
    /// back. An empty store can be filled from the dump: name it as blue, dump:FILE.
    #[command(
        after_help = "Examples:\n  orchestra-migrate finalize\n  orchestra-migrate finalize --dump /backup/blue.jsonl.gz --yes\n  orchestra-migrate --record refill.json --blue dump:orchestra-migrate-blue.jsonl.gz --green other.yaml plan"
    )]
    Finalize(Keep),
    /// Give the move up, before green is in use
    Cancel,
    /// All of it: preparation, testing, cutover, validation, finalization; it stops where one of them fails
    #[command(
        after_help = "Examples:\n  orchestra-migrate run --dry-run\n  orchestra-migrate run --maintenance-window '2025-06-01 01:00 +02:00' --yes"
    )]
    Run {
        #[command(flatten)]
        plan: PlanArgs,
        /// When writes may wait for the switch, in UTC unless an offset or a zone is given: "2025-06-01 01:00", "2025-06-01 01:00 +02:00", "2025-06-01 01:00 Europe/Berlin"
        #[arg(long, value_name = "TIME")]
        maintenance_window: Option<String>,
        /// How long the window is, in minutes
        #[arg(long, default_value_t = 120, value_name = "MINUTES")]
        window_minutes: u32,
        /// Load the stores before the gates are asked, as `stress` does
        #[arg(long)]
        stress_test: bool,
        #[command(flatten)]
        load: stress::Load,
        #[command(flatten)]
        keep: Keep,
        /// Roll a switch back in place of making one
        #[arg(long)]
        rollback: bool,
        /// Where report.json and report.html are written
        #[arg(long, default_value = ".", value_name = "FOLDER")]
        report: PathBuf,
    },
    /// Write report.json and report.html
    Report {
        /// Where to
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
}

impl Cli {
    pub async fn run(&self) -> Result<()> {
        if let Command::Status { watch } = &self.command {
            return self.status(*watch).await;
        }
        if let Command::Report { folder } = &self.command {
            let record = self.record().await?;
            if self.dry_run {
                println!("would write report.json and report.html into {}", folder.display());
                return Ok(());
            }
            return report::write(&record, folder);
        }
        if let Command::Stress(stress::Args { gpu_soak: Some(seconds), .. }) = &self.command {
            return stress::keep_busy(self, *seconds);
        }
        let records = if self.dry_run { self.place.records_to_read()? } else { self.place.records().await? };
        let recorded_at = records.load().await?.and_then(|record| record.plan.recorded_at);
        // Stores keep microseconds.
        let recorded_at = recorded_at.unwrap_or_else(|| chrono::Utc::now().trunc_subsecs(6));
        let sides = Sides::open(&self.place, recorded_at).await?;
        if self.copies() {
            sides.tell_left_out();
        }
        let parts = Parts {
            blue: sides.blue.clone(),
            green: sides.green.clone(),
            records,
            clock: Arc::new(chrono::Utc::now),
            timer: Arc::new(tokio::time::sleep),
        };
        let done = tokio::select! {
            done = self.act(parts, recorded_at) => done,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("no signals")?;
                eprintln!("interrupted: run the command again to go on");
                Ok(())
            }
        };
        sides.close().await;
        done
    }

    /// Whether what of blue is left out is of interest.
    fn copies(&self) -> bool {
        matches!(&self.command, Command::Plan(_) | Command::Start(_) | Command::Run { rollback: false, .. })
    }

    async fn act(&self, parts: Parts, recorded_at: DateTime<Utc>) -> Result<()> {
        match &self.command {
            Command::Plan(plan) => self.plan(parts, plan.plan(&self.place.name, recorded_at)).await,
            Command::Start(follow) => {
                let mut engine = Engine::open(parts).await?;
                if engine.record().may_copy_again() {
                    self.order(&mut engine, Order::Start, "copy everything to green once more").await?;
                }
                self.start(&mut engine, follow.follow).await
            }
            Command::Verify { repair } => self.verify(&mut Engine::open(parts).await?, *repair).await,
            Command::Switch { reads: Some(percent), .. } => {
                let mut engine = Engine::open(parts).await?;
                self.order(&mut engine, Order::SwitchReads(*percent), "let reads go to green").await?;
                self.show(&engine)
            }
            Command::Switch { unchecked, follow, .. } => {
                let mut engine = Engine::open(parts).await?;
                if !unchecked && !self.dry_run && !Order::SwitchWrites.is_under_way(engine.record()) {
                    self.check(&mut engine).await?;
                }
                self.switch(&mut engine, Order::SwitchWrites, follow.follow).await
            }
            Command::Rollback(follow) => {
                self.switch(&mut Engine::open(parts).await?, Order::Rollback, follow.follow).await
            }
            Command::Finalize(keep) => self.finalize(&mut Engine::open(parts).await?, keep).await,
            Command::Cancel => self.cancel(&mut Engine::open(parts).await?).await,
            Command::Stress(arguments) => {
                stress::run(self, &mut Engine::open(parts).await?, &arguments.options()).await
            }
            Command::Run { plan, maintenance_window, window_minutes, stress_test, load, keep, rollback, report } => {
                let window =
                    maintenance_window.as_deref().map(|text| Window::parse(text, *window_minutes)).transpose()?;
                if *rollback {
                    return self.switch(&mut Engine::open(parts).await?, Order::Rollback, false).await;
                }
                let stress = stress_test.then(|| load.options(plan.queries));
                let plan = plan.plan(&self.place.name, recorded_at);
                run::run(self, parts, plan, window, stress.as_ref(), keep, report).await
            }
            Command::Status { .. } | Command::Report { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
