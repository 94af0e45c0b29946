//! The move of a whole memory under live writes: how fast it is beside `COPY`, how long writers wait, and whether all that was
//! acknowledged is there at the end, by an account that the mover knows nothing of.

mod account;
mod clients;
mod memories;
mod moving;
mod stores;
mod tiers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use embedders::StaticEmbedder;
use indicatif::{ProgressBar, ProgressStyle};
use memory_core::{InsertBatch, MemoryStore};
use migrate::probe::Probes;
use tokio::task::JoinSet;

use self::account::{Account, Found};
use self::clients::{Clients, Done};
use self::memories::{Memories, TENANTS, Vectors};
use self::moving::{Moved, Mover};
use self::stores::{Blue, Postgres, space};
use crate::models;
use crate::report::{Report, Table, Times, micros};

/// What to move.
#[derive(clap::Args)]
pub struct Args {
    /// Memories to move from Postgres to Postgres; a tenth of them from a file, 1 in 200 to another embedding model
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    #[command(flatten)]
    models: models::Args,
    /// Moves to make: postgres, from one server to another; embedded, from a file to Redis and Postgres; space, from static-256 to
    /// minilm-int8, where that was placed
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = From::ALL)]
    only: Vec<From>,
    /// Writes, changes and deletions in a second meanwhile, by four clients; a twentieth of them where the embedding model changes,
    /// as each is embedded twice
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// How many items are read and written at once
    #[arg(long, default_value_t = 1000)]
    batch: usize,
    /// Seconds for which each side is in use before the next switch
    #[arg(long, default_value_t = 5.0)]
    dwell: f64,
}

/// What is moved from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    Postgres,
    Embedded,
    Space,
}

impl From {
    const ALL: [Self; 3] = [Self::Postgres, Self::Embedded, Self::Space];

    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "Postgres to Postgres, two servers",
            Self::Embedded => "embedded file to Redis + Postgres",
            Self::Space => "static-256 to minilm-int8, Postgres to Postgres",
        }
    }

    /// How many of these memories are moved.
    fn rows(self, of: usize) -> usize {
        match self {
            Self::Postgres => of,
            Self::Embedded => of.div_ceil(10),
            Self::Space => of.div_ceil(200),
        }
    }

    /// How many of so many writes a second its clients do.
    fn rate(self, of: f64) -> f64 {
        match self {
            Self::Postgres | Self::Embedded => of,
            Self::Space => of / 20.0,
        }
    }
}

/// Makes the moves in turn. It fails when something is lost, resurrected or different.
pub async fn run(args: &Args) -> Result<Report> {
    let mut report = Report::default();
    for &from in &args.only {
        let space = space();
        let vectors = match (from, args.models.minilm()?) {
            (From::Space, None) => {
                report.note(models::ABSENT);
                continue;
            }
            (From::Space, Some(minilm)) => {
                [Vectors::Static(Arc::new(StaticEmbedder::built_in())), Vectors::MiniLm(Arc::new(minilm))]
            }
            _ => [Vectors::Drawn(space.clone()), Vectors::Drawn(space)],
        };
        Bench { args, from, rows: from.rows(args.rows), vectors }.run(&mut report).await?;
    }
    Ok(report)
}

/// What was seen at the end.
struct Outcome {
    done: Done,
    moved: Moved,
    found: [Found; 2],
    copy: (u64, Duration),
    answered: Option<usize>,
    probes: Option<Probes>,
}

struct Bench<'a> {
    args: &'a Args,
    from: From,
    rows: usize,
    vectors: [Vectors; 2],
}

impl Bench<'_> {
    async fn run(&self, report: &mut Report) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let memories = Memories::of_sides(self.vectors.clone());
        let spaces = self.vectors.each_ref().map(Vectors::space);
        let blue = match self.from {
            From::Embedded => Blue::embedded(folder.path()).await?,
            From::Postgres | From::Space => Blue::Postgres(Postgres::start(&spaces[0]).await?),
        };
        let green = Postgres::start(&spaces[1]).await?;
        let loading = self.load(&blue.store(), &memories[0]).await?;
        if let Blue::Postgres(postgres) = &blue {
            postgres.analyse().await?;
        }
        let outcome = self.move_all(&blue, &green, &memories).await?;
        self.tell(report, &outcome, loading);
        let mut of_others = green.of_other_spaces(&spaces[1]).await?;
        if let Blue::Postgres(postgres) = &blue {
            of_others += postgres.of_other_spaces(&spaces[0]).await?;
        }
        ensure!(of_others == 0, "{of_others} vectors are of another space than their side's");
        blue.close().await?;
        green.close().await;
        for found in &outcome.found {
            ensure!(found.is_clean(), "{}: {found}", self.from.name());
        }
        ensure!(outcome.moved.diff.is_clean(), "{}: VDiff found {:?}", self.from.name(), outcome.moved.diff.counts);
        ensure!(outcome.done.stale == 0, "{} reads did not give what was acknowledged", outcome.done.stale);
        Ok(())
    }

    fn rate(&self) -> f64 {
        self.from.rate(self.args.rate)
    }

    async fn move_all(&self, blue: &Blue, green: &Postgres, memories: &[Arc<Memories>; 2]) -> Result<Outcome> {
        let mut sides = [blue.side(), green.side()];
        let stores = [blue.store(), green.store()];
        for (side, vectors) in sides.iter_mut().zip(&self.vectors) {
            side.embedder = match vectors {
                Vectors::Drawn(_) => None,
                Vectors::Static(embedder) => Some(embedder.clone()),
                Vectors::MiniLm(embedder) => Some(embedder.clone()),
            };
        }
        let clients = Clients::start(&stores, memories, self.rows, self.rate());
        let mut copy = None;
        if let Blue::Postgres(postgres) = blue {
            copy = Some(green.copy_from(postgres).await?);
        }
        let mut mover = Mover::plan(sides, self.args.batch).await?;
        mover.copy(&|| [blue.cpu(), green.cpu()]).await?;
        // The same rows, from where they are by now.
        let copy = match copy {
            Some(copy) => copy,
            None => green.copy_from(green).await?,
        };
        green.analyse().await?;
        let is_searched = self.from == From::Space;
        let probes = mover.there_and_back(is_searched, Duration::from_secs_f64(self.args.dwell)).await?;
        let done = clients.end().await?;
        let moved = mover.finish().await?;
        let mut account = Account::of_loaded(self.rows);
        account.add(done.acknowledged.clone());
        tell("looking at everything on both sides");
        let found = [
            account.check(&*stores[0], &memories[0], false).await?,
            account.check(&*stores[1], &memories[1], true).await?,
        ];
        for found in &found {
            ensure!(
                found.lost > 0 || found.compared >= account.there(),
                "the account is wrong: {found}, and {} are to be there",
                account.there()
            );
        }
        let answered = match self.from {
            From::Postgres | From::Space => None,
            From::Embedded => {
                let untouched = (0..self.rows).filter(|number| !done.acknowledged.contains_key(number));
                let numbers: Vec<usize> = untouched.step_by(self.rows.div_ceil(20).max(1)).collect();
                Some(tiers::answer(green, &memories[1], &numbers).await?)
            }
        };
        Ok(Outcome { done, moved, found, copy, answered, probes })
    }

    /// Writes the memories through the store, two batches at a time, each of one tenant.
    async fn load(&self, store: &Arc<dyn MemoryStore>, memories: &Arc<Memories>) -> Result<Duration> {
        const BATCH: usize = 1000;
        const WRITERS: usize = 2;
        let progress = ProgressBar::new(self.rows as u64)
            .with_style(ProgressStyle::with_template("loading {len} memories {wide_bar} {percent} %, {eta} left")?);
        let began = Instant::now();
        let mut writing = JoinSet::new();
        for writer in 0..WRITERS {
            let (store, memories, progress, rows) = (store.clone(), memories.clone(), progress.clone(), self.rows);
            writing.spawn(async move {
                for tenant in (writer..TENANTS).step_by(WRITERS) {
                    let numbers: Vec<usize> = (tenant..rows).step_by(TENANTS).collect();
                    for numbers in numbers.chunks(BATCH) {
                        let batch = numbers.iter().map(|&number| memories.first(number));
                        let batch =
                            InsertBatch { memories: batch.collect::<memory_core::Result<_>>()?, idempotency: None };
                        store.insert(batch).await?;
                        progress.inc(numbers.len() as u64);
                    }
                }
                anyhow::Ok(())
            });
        }
        while let Some(written) = writing.join_next().await {
            written??;
        }
        progress.finish_and_clear();
        Ok(began.elapsed())
    }

    fn tell(&self, report: &mut Report, outcome: &Outcome, loading: Duration) {
        let Outcome { done, moved, found, copy, answered, probes } = outcome;
        let rate = |rows: u64, took: Duration| rows as f64 / took.as_secs_f64();
        let (ours, floor) = (rate(moved.copied, moved.copying), rate(copy.0, copy.1));
        let title = format!("{}: {} memories of {} dimensions", self.from.name(), self.rows, space().dimensions);
        let mut table =
            Table::new(format!("{title}, moved under live writes"), &["", "rows", "s", "rows/s", "of COPY"]);
        let mut row = |name: &str, rows: u64, took: Duration, ratio: String| {
            let seconds = format!("{:.1}", took.as_secs_f64());
            table.row([name.to_owned(), rows.to_string(), seconds, format!("{:.0}", rate(rows, took)), ratio]);
        };
        row("load through the store, two writers", self.rows as u64, loading, String::new());
        row("COPY BINARY into the same columns and indexes", copy.0, copy.1, String::new());
        row("copy by the mover, changes followed", moved.copied, moved.copying, format!("{:.2}", ours / floor));
        row("VDiff of both sides", moved.diff.compared, moved.comparing, String::new());
        report.table(table);

        let mut table = Table::new("the move", &["", ""]);
        let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
        row("from start to finalized", format!("{:.1} s", moved.took.as_secs_f64()));
        row("changes behind, at most", moved.lag.to_string());
        row("switches: writes waited, by the record", moved.waits.join(", "));
        let times = Times::from_times(done.times.clone());
        row(
            &format!("a write of a client, p50, p99, longest of {}", done.times.len()),
            format!("{}, {}, {}", micros(times.p50()), micros(times.percentile(0.99)), micros(times.percentile(1.0))),
        );
        row("refused for a switch and sent again", done.fenced.to_string());
        row("failures that passed and were sent again", done.failures.to_string());
        row("reads, of them not what was acknowledged", format!("{}, {}", done.reads, done.stale));
        row(
            "peak memory of the process, mover, clients and account in it; before",
            format!("{} MB; {} MB", moved.peak.1 >> 20, moved.peak.0 >> 20),
        );
        let [process, blue, green] = moved.cpu;
        row(
            "processor time of the copy: this process, blue, green",
            format!("{process:.0} s, {blue:.0} s, {green:.0} s"),
        );
        report.table(table);

        let counts = moved.diff.counts;
        report.note(format!(
            "{title}: {} writes were acknowledged meanwhile, {:.0} a second asked for; VDiff: {} compared, {} missing, {} extra, \
             {} different, {} tombstones, {} unsettled",
            done.writes, self.rate(), moved.diff.compared, counts.missing, counts.extra, counts.different,
            counts.tombstones, moved.diff.unsettled
        ));
        report.note(format!("by the account of the clients: blue {}; green {}", found[0], found[1]));
        if let Some(probes) = probes {
            report.note(format!(
                "searched on both sides: recall {:.3} on green and {:.3} on blue, each of its own exact answers, in {} queries; no \
                 vector of another space on either side",
                probes.green_recall, probes.blue_recall, probes.queries
            ));
        }
        if let Some(answered) = answered {
            report.note(format!(
                "green answers through Redis + Postgres: {answered} memories recalled, answers about them filed, served, and gone \
                 once the memory was forgotten"
            ));
        }
    }
}

fn tell(what: &str) {
    eprintln!("{what}");
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use memory_testkit::services::{self, Service};

    use super::*;

    /// The whole benchmark, short: it fails by itself when something is not as acknowledged.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_memory_is_moved_there_and_back_under_writes_and_nothing_is_lost() {
        if [Service::Postgres, Service::Redis].into_iter().any(|service| services::url(service).is_none()) {
            return;
        }
        for (from, rows) in [("postgres", "3000"), ("embedded", "30000"), ("space", "30000")] {
            let arguments = ["bench", "--json", "migrate", "--only", from, "--rows", rows, "--rate", "100"];
            let shorter = ["--dwell", "0.5", "--models", concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/assets")];
            let cli = crate::Cli::parse_from(arguments.into_iter().chain(shorter));
            let crate::Command::Migrate(args) = cli.command else { panic!("another command") };
            let report = run(&args).await.expect("nothing is lost");
            report.print(cli.json).expect("it prints");
            let required = std::env::var("MEMORY_TEST_REQUIRE").unwrap_or_default();
            let is_required = required.split(',').any(|name| name.trim() == "minilm");
            assert!(from != "space" || !is_required || args.models.minilm().is_ok_and(|model| model.is_some()));
        }
    }
}
