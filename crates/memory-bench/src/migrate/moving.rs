//! The mover: the engine, ordered through a whole move and watched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use migrate::diff::{Diff, DiffOptions};
use migrate::engine::{Engine, Order, Parts, Side};
use migrate::plan::Plan;
use migrate::probe::Probes;
use migrate::record::file::FileRecords;
use migrate::record::{Colour, Phase, Record};
use tempfile::TempDir;

use crate::cpu;

/// With so few changes left a switch is ordered.
const FEW: u64 = 100;

/// A move under way.
pub struct Mover {
    engine: Engine,
    /// The most changes that were left at a time.
    lag: AtomicU64,
    began: Instant,
    copying: Duration,
    cpu: [f64; 3],
    /// Of this process when it began.
    memory: u64,
    _folder: TempDir,
}

/// How a move went.
pub struct Moved {
    /// From the order to start until it was finalized.
    pub took: Duration,
    /// How many items were copied, and how long that took.
    pub copied: u64,
    pub copying: Duration,
    /// The last comparison, with nothing else going on, and how long that took.
    pub diff: Diff,
    pub comparing: Duration,
    pub lag: u64,
    /// How long writes waited for each switch, in words of the record.
    pub waits: Vec<String>,
    /// Bytes of memory of this process, before and at most.
    pub peak: (u64, u64),
    /// Seconds of processor time of the copy, of this process, of blue and of green.
    pub cpu: [f64; 3],
}

impl Mover {
    /// Plans a move of these sides, with a record in a file.
    pub async fn plan([blue, green]: [Side; 2], batch: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let parts = Parts {
            blue,
            green,
            records: Arc::new(FileRecords::new(folder.path().join("move.json"))),
            clock: Arc::new(chrono::Utc::now),
            timer: Arc::new(tokio::time::sleep),
        };
        let engine = Engine::plan(parts, Plan { batch, switch_deadline_ms: 30_000, ..Plan::default() }).await?;
        reset_peak();
        Ok(Self {
            engine,
            lag: AtomicU64::new(0),
            began: Instant::now(),
            copying: Duration::ZERO,
            cpu: [0.0; 3],
            memory: memory("VmRSS"),
            _folder: folder,
        })
    }

    /// Copies everything and catches up. `servers` gives the processor time of blue and green.
    pub async fn copy(&mut self, servers: &(dyn Fn() -> [f64; 2] + Sync)) -> Result<()> {
        self.engine.order(Order::Start).await?;
        let progress = ProgressBar::new(self.engine.record().copied.of)
            .with_style(ProgressStyle::with_template("copying {len} items {wide_bar} {percent} %, {eta} left {msg}")?);
        let spent = || {
            let [blue, green] = servers();
            [cpu::client(), blue, green]
        };
        let (before, began) = (spent(), Instant::now());
        self.until(|record, lag| {
            progress.set_position(record.copied.items);
            progress.set_message(format!("{lag} behind"));
            record.phase == Phase::Following
        })
        .await?;
        self.copying = began.elapsed();
        let after = spent();
        self.cpu = std::array::from_fn(|at| after[at] - before[at]);
        progress.finish_and_clear();
        self.until(|_, lag| lag < FEW).await
    }

    /// Switches to green, back to blue and to green again, and follows for a while after each. Before the first switch the sides are
    /// compared while writes go on; where it is asked for, both are searched too, and what they find is compared with what they
    /// would find exactly.
    pub async fn there_and_back(&mut self, searched: bool, dwell: Duration) -> Result<Option<Probes>> {
        eprintln!("comparing while writes go on");
        let mut probes = None;
        if searched {
            let checked = self.engine.check(|_| {}).await?;
            ensure!(checked.holds(), "a gate does not hold: {:?}", checked.gates);
            probes = Some(checked.probes);
        } else {
            let diff = self.engine.diff(DiffOptions::default(), |_| {}).await?;
            ensure!(diff.is_clean(), "before the switch: {:?}, {:?}", diff.counts, diff.samples);
        }
        for (order, to) in [
            (Order::SwitchWrites, Colour::Green),
            (Order::Rollback, Colour::Blue),
            (Order::SwitchWrites, Colour::Green),
        ] {
            self.until(|_, lag| lag < FEW).await?;
            self.engine.order(order).await?;
            self.until(|record, _| record.phase == Phase::Following && record.releasing.is_none()).await?;
            ensure!(self.engine.record().active == to, "the switch to {to} was undone");
            let until = Instant::now() + dwell;
            self.until(|_, _| Instant::now() >= until).await?;
        }
        Ok(probes)
    }

    /// Once nobody writes: catches up, compares and finalizes.
    pub async fn finish(mut self) -> Result<Moved> {
        self.until(|_, lag| lag == 0).await?;
        eprintln!("comparing");
        let began = Instant::now();
        let diff = self.engine.diff(DiffOptions::default(), |_| {}).await?;
        let comparing = began.elapsed();
        self.engine.order(Order::Finalize).await?;
        self.engine.run_until(|_, _| false).await?;
        let record = self.engine.record();
        ensure!(record.phase == Phase::Finalized, "the move is {}", record.phase);
        let waits = record.history.iter().filter_map(|event| event.what.split_once("waited at most "));
        Ok(Moved {
            took: self.began.elapsed(),
            copied: record.copied.items,
            copying: self.copying,
            diff,
            comparing,
            lag: self.lag.load(Ordering::Relaxed),
            waits: waits.map(|(_, waited)| waited.to_owned()).collect(),
            peak: (self.memory, memory("VmHWM")),
            cpu: self.cpu,
        })
    }

    async fn until(&mut self, is_wanted: impl Fn(&Record, u64) -> bool) -> Result<()> {
        let most = &self.lag;
        let is_wanted = |record: &Record, lag: u64| {
            most.fetch_max(lag, Ordering::Relaxed);
            is_wanted(record, lag)
        };
        self.engine.run_until(is_wanted).await.context("the mover stopped")
    }
}

/// Bytes of memory of this process, as Linux tells them; 0 where it does not.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or_default() << 10
}

/// Has Linux count the most memory from now on.
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
