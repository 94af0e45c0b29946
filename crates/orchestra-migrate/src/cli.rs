//! The command line.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use migrate::diff::DiffOptions;
use migrate::engine::{Engine, Order, Parts, Side};
use migrate::plan::{Gates, Plan};
use migrate::record::file::FileRecords;
use migrate::record::postgres::PostgresRecords;
use migrate::record::{Colour, Phase, Records};
use orchestra_api::config::Settings;
use orchestra_api::side;

use crate::window::Window;
use crate::{report, run, show};

/// What the caller has to mend.
#[derive(Debug)]
pub struct Mistake(pub String);

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}

pub fn mistake(message: impl Into<String>) -> anyhow::Error {
    Mistake(message.into()).into()
}

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
    place: Place,
    /// Say what would be done, and do nothing
    #[arg(long, global = true)]
    dry_run: bool,
    /// Ask nothing
    #[arg(long, global = true)]
    yes: bool,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// Levels and modules of the log, on standard error
    #[arg(long, env = "ORCHESTRA_MIGRATE_LOG", default_value = "warn", global = true)]
    pub log: String,
}

/// Which move.
#[derive(Debug, Args)]
struct Place {
    /// The configuration of blue, as `orchestra serve --config` takes it; variables of the environment do not change it
    #[arg(long, global = true, default_value = "blue.yaml", value_name = "FILE")]
    blue: PathBuf,
    /// The configuration of green
    #[arg(long, global = true, default_value = "green.yaml", value_name = "FILE")]
    green: PathBuf,
    /// The file of the record
    #[arg(long, global = true, default_value = "orchestra-migrate.json", value_name = "FILE")]
    record: PathBuf,
    /// The database of the record, in place of a file
    #[arg(long, global = true, env = "ORCHESTRA_MIGRATE_RECORD_URL", hide_env_values = true, value_name = "URL")]
    record_url: Option<String>,
    /// The name of the move
    #[arg(long, global = true, default_value = "move")]
    name: String,
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
        /// Show it again every so many seconds
        #[arg(long, value_name = "SECONDS")]
        watch: Option<u64>,
    },
    /// Compare both stores item by item, send the same queries to both, and decide the gates
    #[command(after_help = "Example:\n  orchestra-migrate verify --repair")]
    Verify {
        /// Make what differs on the store that follows the same
        #[arg(long)]
        repair: bool,
    },
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
    /// End the move: blue follows no more, and stays closed as it is
    Finalize,
    /// Give the move up, before green is in use
    Cancel,
    /// All of it: preparation, testing, cutover, validation, finalization; it stops where one of them fails
    #[command(
        after_help = "Examples:\n  orchestra-migrate run --dry-run\n  orchestra-migrate run --maintenance-window '2025-06-01 01:00 +02:00' --yes"
    )]
    Run {
        #[command(flatten)]
        plan: PlanArgs,
        /// When writes may wait for the switch, in UTC unless an offset is given: "2025-06-01 01:00", "2025-06-01 01:00 +02:00"
        #[arg(long, value_name = "TIME")]
        maintenance_window: Option<String>,
        /// How long the window is, in minutes
        #[arg(long, default_value_t = 120, value_name = "MINUTES")]
        window_minutes: u32,
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

#[derive(Debug, Args)]
struct Follow {
    /// Go on following until it is interrupted
    #[arg(long)]
    follow: bool,
}

#[derive(Debug, Args)]
struct PlanArgs {
    /// How many items are read and written at once
    #[arg(long, default_value_t = 500)]
    batch: usize,
    /// The most items that are copied in a second
    #[arg(long, value_name = "N")]
    items_per_second: Option<u32>,
    /// The most changes that may be left when a switch begins
    #[arg(long, default_value_t = 1000, value_name = "N")]
    lag_gate: u64,
    /// How long writes may wait for a switch before it is undone
    #[arg(long, default_value_t = 5000, value_name = "MS")]
    switch_deadline_ms: u64,
    /// How many queries are sent to both stores
    #[arg(long, default_value_t = 100, value_name = "N")]
    queries: usize,
    /// The least share of the exact answers that green's search has to find
    #[arg(long, default_value_t = 0.95, value_name = "SHARE")]
    recall: f64,
    /// How much less time green has to take than blue at p95: 0.4 is 40 % less
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    improvement: Option<f64>,
}

impl PlanArgs {
    fn plan(&self, name: &str) -> Plan {
        Plan {
            name: name.to_owned(),
            batch: self.batch,
            items_per_second: self.items_per_second,
            lag_gate: self.lag_gate,
            switch_deadline_ms: self.switch_deadline_ms,
            gates: Gates { queries: self.queries, recall: Some(self.recall), improvement: self.improvement },
            ..Plan::default()
        }
    }
}

impl Cli {
    pub async fn run(&self) -> Result<()> {
        if let Command::Status { watch } = &self.command {
            return self.status(*watch).await;
        }
        if let Command::Report { folder } = &self.command {
            return report::write(&self.record().await?, folder);
        }
        let sides = Sides::open(&self.place).await?;
        let parts = Parts {
            blue: sides.blue.0.clone(),
            green: sides.green.0.clone(),
            records: self.place.records().await?,
            clock: Arc::new(chrono::Utc::now),
            timer: Arc::new(tokio::time::sleep),
        };
        let done = tokio::select! {
            done = self.act(parts) => done,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("no signals")?;
                eprintln!("interrupted: run the command again to go on");
                Ok(())
            }
        };
        sides.close().await;
        done
    }

    async fn act(&self, parts: Parts) -> Result<()> {
        match &self.command {
            Command::Plan(plan) => self.plan(parts, plan).await,
            Command::Start(follow) => self.start(&mut Engine::open(parts).await?, follow.follow).await,
            Command::Verify { repair } => self.verify(&mut Engine::open(parts).await?, *repair).await,
            Command::Switch { reads: Some(percent), .. } => {
                let mut engine = Engine::open(parts).await?;
                self.order(&mut engine, Order::SwitchReads(*percent), "let reads go to green").await?;
                self.show(&engine)
            }
            Command::Switch { unchecked, follow, .. } => {
                let mut engine = Engine::open(parts).await?;
                if !unchecked && !self.dry_run {
                    self.check(&mut engine).await?;
                }
                self.switch(&mut engine, Order::SwitchWrites, follow.follow).await
            }
            Command::Rollback(follow) => {
                self.switch(&mut Engine::open(parts).await?, Order::Rollback, follow.follow).await
            }
            Command::Finalize => self.end(parts, Order::Finalize, "end the move: no rollback after this").await,
            Command::Cancel => self.end(parts, Order::Cancel, "give the move up").await,
            Command::Run { plan, maintenance_window, window_minutes, rollback, report } => {
                let window =
                    maintenance_window.as_deref().map(|text| Window::parse(text, *window_minutes)).transpose()?;
                if *rollback {
                    return self.switch(&mut Engine::open(parts).await?, Order::Rollback, false).await;
                }
                run::run(self, parts, plan.plan(&self.place.name), window, report).await
            }
            Command::Status { .. } | Command::Report { .. } => Ok(()),
        }
    }

    async fn plan(&self, parts: Parts, plan: &PlanArgs) -> Result<()> {
        let plan = plan.plan(&self.place.name);
        if self.dry_run {
            plan.check()?;
            println!("{}", serde_json::to_string_pretty(&plan)?);
            for (colour, side) in [(Colour::Blue, &parts.blue), (Colour::Green, &parts.green)] {
                let (size, gate) = (side.replica.size().await?, side.replica.gate().await?);
                println!("{colour}: {} memories, {} others, gate {gate:?}", size.memories, size.others);
            }
            return Ok(());
        }
        self.show(&Engine::plan(parts, plan).await?)
    }

    pub async fn start(&self, engine: &mut Engine, follow: bool) -> Result<()> {
        if engine.record().phase == Phase::Planned {
            self.order(engine, Order::Start, "copy everything to green").await?;
        }
        if self.dry_run {
            return Ok(());
        }
        let progress = show::Progress::default();
        let is_done = |record: &migrate::record::Record, lag: u64| {
            progress.tell(record, lag);
            record.phase == Phase::Following && record.releasing.is_none() && lag == 0 && !follow
        };
        engine.run_until(is_done).await?;
        self.show(engine)
    }

    async fn verify(&self, engine: &mut Engine, repair: bool) -> Result<()> {
        if self.dry_run {
            let of = engine.record().copied.of;
            println!(
                "would compare about {of} items of both stores, and send {} queries",
                engine.record().plan.gates.queries
            );
            return Ok(());
        }
        if repair {
            let options = DiffOptions { repair, ..DiffOptions::default() };
            let diff = engine.diff(options, |_| {}).await?;
            eprintln!("{} items were made the same", diff.repaired);
        }
        self.check(engine).await
    }

    /// Asks the gates, and shows what they say.
    pub async fn check(&self, engine: &mut Engine) -> Result<()> {
        let checked =
            engine.check(|diff| eprintln!("comparing with {}: {} items", diff.scanning.other(), diff.compared)).await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&(&checked, &engine.record().diff))?);
        } else {
            print!("{}", show::gates(&checked));
            print!("{}", show::differences(engine.record()));
        }
        if checked.holds() { Ok(()) } else { Err(mistake("a gate does not hold: no traffic was moved")) }
    }

    pub async fn switch(&self, engine: &mut Engine, order: Order, follow: bool) -> Result<()> {
        let to = if order == Order::Rollback { Colour::Blue } else { Colour::Green };
        self.order(engine, order, &format!("let {to} be the store in use")).await?;
        if self.dry_run {
            return Ok(());
        }
        engine.run_until(|record, _| record.phase == Phase::Following && record.releasing.is_none()).await?;
        if engine.record().active != to {
            return Err(mistake(format!(
                "the switch took longer than {} ms and was undone: nothing is lost; try again when less is written, or \
                 plan with a longer switch_deadline_ms",
                engine.record().plan.switch_deadline_ms
            )));
        }
        if follow { self.start(engine, true).await } else { self.show(engine) }
    }

    async fn end(&self, parts: Parts, order: Order, what: &str) -> Result<()> {
        let mut engine = Engine::open(parts).await?;
        self.finish(&mut engine, order, what).await
    }

    pub async fn finish(&self, engine: &mut Engine, order: Order, what: &str) -> Result<()> {
        self.order(engine, order, what).await?;
        if !self.dry_run {
            engine.run_until(|_, _| false).await?;
        }
        self.show(engine)
    }

    /// Gives an order, once the caller agrees; in a dry run says what it would do.
    async fn order(&self, engine: &mut Engine, order: Order, what: &str) -> Result<()> {
        let next = engine.answer(order).await?;
        if self.dry_run {
            println!("would {what}: {} -> {}", engine.record().phase, next.phase);
            return Ok(());
        }
        if !self.yes && order != Order::Start {
            confirm(what)?;
        }
        Ok(engine.order(order).await?)
    }

    pub fn show(&self, engine: &Engine) -> Result<()> {
        self.show_record(engine.record(), None)
    }

    fn show_record(&self, record: &migrate::record::Record, lag: Option<u64>) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(record)?);
        } else {
            print!("{}", show::status(record, lag, chrono::Utc::now()));
        }
        Ok(())
    }

    async fn record(&self) -> Result<migrate::record::Record> {
        let record = self.place.records().await?.load().await?;
        record.ok_or_else(|| mistake("no move is planned there; `plan` one first"))
    }

    /// The record tells it; the stores are not opened, since a file is one process's.
    async fn status(&self, watch: Option<u64>) -> Result<()> {
        loop {
            let record = self.record().await?;
            let lag = record.samples.last().filter(|_| record.phase == Phase::Copying).map(|sample| sample.lag);
            self.show_record(&record, lag)?;
            let Some(seconds) = watch.filter(|_| !record.is_over()) else { return Ok(()) };
            tokio::time::sleep(Duration::from_secs(seconds.max(1))).await;
        }
    }

    pub fn is_dry(&self) -> bool {
        self.dry_run
    }

    pub fn agrees(&self, what: &str) -> Result<()> {
        if self.yes { Ok(()) } else { confirm(what) }
    }
}

impl Place {
    async fn records(&self) -> Result<Arc<dyn Records>> {
        Ok(match &self.record_url {
            None => Arc::new(FileRecords::new(&self.record)),
            Some(url) => {
                // What it cannot parse it would show, with the password.
                let options = url.parse().map_err(|_| mistake("--record-url is not a URL of a Postgres"))?;
                Arc::new(PostgresRecords::connect(options, &self.name).await?)
            }
        })
    }
}

/// Both stores, open.
struct Sides {
    blue: (Side, side::Opened),
    green: (Side, side::Opened),
}

impl Sides {
    async fn open(place: &Place) -> Result<Self> {
        let [blue, green] = [&place.blue, &place.green].map(|file| {
            let settings = Settings::of_file(file).map_err(|error| mistake(format!("{}: {error}", file.display())));
            settings.map(|settings| (file, settings))
        });
        let (blue, green) = (blue?, green?);
        if side::place(&blue.1).await? == side::place(&green.1).await? {
            return Err(mistake("blue and green are the same store"));
        }
        let open = async |(file, settings): (&PathBuf, Settings)| {
            let opened = side::open(&settings).await.with_context(|| format!("{} cannot be opened", file.display()))?;
            let side = Side {
                replica: opened.replica.clone(),
                store: opened.store.clone(),
                embedder: Some(opened.embedder.clone()),
            };
            anyhow::Ok((side, opened))
        };
        Ok(Self { blue: open(blue).await?, green: open(green).await? })
    }

    async fn close(self) {
        for opened in [self.blue.1, self.green.1] {
            if let Err(error) = opened.close().await {
                eprintln!("orchestra-migrate: a store was not closed: {error:#}");
            }
        }
    }
}

fn confirm(what: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(mistake(format!("this would {what}; say --yes")));
    }
    eprint!("This will {what}. Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(mistake("nothing was done")),
    }
}

fn percent(text: &str) -> Result<u8, String> {
    let number = text.trim_end_matches('%').trim();
    number.parse().ok().filter(|percent| *percent <= 100).ok_or_else(|| "0% to 100%".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        assert_eq!(percent("10%"), Ok(10));
        assert_eq!(percent("100"), Ok(100));
        assert!(percent("101%").is_err() && percent("-1").is_err() && percent("").is_err());
    }
}
