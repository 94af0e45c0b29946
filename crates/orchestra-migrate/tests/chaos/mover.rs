//! The program that moves the memory, ordered through a whole move and killed on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::world::RECORD;
use memory_testkit::random::Random;

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the record is looked at to find the moment.
const LOOK: Duration = Duration::from_millis(1);
/// How long a killed process may take to be gone.
const ATTEMPTS: usize = 40;

/// When a process is killed.
#[derive(Debug, Clone)]
enum Kill {
    /// So long after it began.
    After(Duration),
    /// So long after the record came to be at this.
    At(&'static str, Duration),
}

/// The program on the record of a run.
pub struct Mover {
    folder: PathBuf,
    random: Random,
    /// What the move was at when the program was killed, and how often.
    pub kills: BTreeMap<String, usize>,
    /// Every command, and how it ended.
    pub told: Vec<String>,
}

impl Mover {
    pub fn new(folder: &Path, seed: u64) -> Self {
        let random = Random::of_part(seed, 1);
        Self { folder: folder.to_owned(), random, kills: BTreeMap::new(), told: Vec::new() }
    }

    /// Plans the move.
    pub async fn plan(&mut self) -> Result<(), String> {
        let batch = (5 + self.random.below(40)).to_string();
        let pace = (60 + self.random.below(100)).to_string();
        // So short that a killed switch is undone, and not so short that a busy machine makes none.
        let deadline = if self.random.percent(25) { "1500" } else { "5000" };
        let plan = [
            "plan",
            "--batch",
            &batch,
            "--items-per-second",
            &pace,
            "--switch-deadline-ms",
            deadline,
            "--queries",
            "5",
        ];
        self.run(&plan, None).await?.map_err(|why| format!("plan: {why}"))
    }

    /// Copies and catches up, killed once or twice.
    pub async fn start(&mut self) -> Result<(), String> {
        for _ in 0..=self.random.below(2) {
            let kill = self.kill(&["preparing", "copying", "copying"], 2500);
            let _ = self.run(&["start"], Some(kill)).await?;
        }
        self.done(&["start"]).await
    }

    /// Compares while writes go on; the gates hold.
    pub async fn verify(&mut self) -> Result<(), String> {
        if self.random.percent(70) {
            let kill = Kill::After(self.random.between(Duration::ZERO, Duration::from_secs(2)));
            let _ = self.run(&["verify"], Some(kill)).await?;
        }
        self.done(&["verify"]).await
    }

    /// Lets a side be in use, killed once or twice on the way.
    pub async fn switch(&mut self, to: &str) -> Result<(), String> {
        let command: &[&str] =
            if to == "blue" { &["rollback", "--yes"] } else { &["switch", "--writes", "--unchecked", "--yes"] };
        let mut kills = 1 + self.random.below(2);
        for _ in 0..ATTEMPTS {
            let record = self.record();
            if record["active"] == to && record["phase"]["at"] == "following" && record["releasing"].is_null() {
                return Ok(());
            }
            let kill = (kills > 0).then(|| self.kill(&["switching", "switching", "opening", "following"], 1000));
            kills = kills.saturating_sub(1);
            // What was under way when it was killed is finished first.
            let is_idle = record["phase"]["at"] == "following" && record["active"] != to;
            if let Err(why) = self.run(if is_idle { command } else { &["start"] }, kill).await?
                && !why.contains("was undone")
                && !why.contains("changes are left")
                && !why.contains("the program was killed")
            {
                return Err(format!("{command:?}: {why}"));
            }
        }
        Err(format!("{to} did not come to be in use: {}", self.record()["history"]))
    }

    /// Follows for a while, and is killed.
    pub async fn follow(&mut self) -> Result<(), String> {
        let kill =
            Kill::After(Duration::from_millis(300) + self.random.between(Duration::ZERO, Duration::from_millis(1500)));
        self.run(&["start", "--follow"], Some(kill)).await.map(drop)
    }

    /// Catches up, while nobody writes, and compares.
    pub async fn settle(&mut self) -> Result<(), String> {
        self.done(&["start"]).await?;
        self.done(&["verify"]).await
    }

    /// Ends the move, killed on the way.
    pub async fn finalize(&mut self) -> Result<(), String> {
        let kill = self.kill(&["finalizing"], 400);
        let _ = self.run(&["finalize", "--yes"], Some(kill)).await?;
        for _ in 0..ATTEMPTS {
            match self.record()["phase"]["at"].as_str() {
                Some("finalized") => return Ok(()),
                Some("finalizing") => self.done(&["start"]).await?,
                _ => self.done(&["finalize", "--yes"]).await?,
            }
        }
        Err(format!("it was not finalized: {}", self.record()["phase"]))
    }

    /// A moment: at one of these phases, or any time.
    fn kill(&mut self, phases: &[&'static str], most_ms: u64) -> Kill {
        if self.random.percent(40) {
            return Kill::After(self.random.between(Duration::ZERO, Duration::from_millis(most_ms)));
        }
        let phase = phases[self.random.below(phases.len())];
        // A copy takes seconds, anything else some ten milliseconds.
        Kill::At(
            phase,
            self.random.between(Duration::ZERO, Duration::from_millis(if phase == "copying" { 1500 } else { 20 })),
        )
    }

    /// Runs a command that has to end well.
    async fn done(&mut self, arguments: &[&str]) -> Result<(), String> {
        self.run(arguments, None).await?.map_err(|why| format!("{arguments:?}: {why}"))
    }

    /// Runs a command, and says why it ended if not well. The outer error is for a command that hangs.
    async fn run(&mut self, arguments: &[&str], kill: Option<Kill>) -> Result<Result<(), String>, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestra-migrate"));
        command.args(arguments).current_dir(&self.folder).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let before = self.record();
        let mut child = command.spawn().map_err(|error| format!("it does not start: {error}"))?;
        let killed = match kill {
            Some(kill) => self.kill_at(&mut child, kill, &before).await,
            None => false,
        };
        let Ok(output) = tokio::time::timeout(PATIENCE, child.wait_with_output()).await else {
            return Err(format!("{arguments:?} did not end for {PATIENCE:?}"));
        };
        let output = output.map_err(|error| error.to_string())?;
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let record = self.record();
        let phase = record["phase"]["at"].as_str().unwrap_or("nothing").to_owned();
        let in_use = record["active"].as_str().unwrap_or("-").to_owned();
        let ended = if killed { "killed".to_owned() } else { output.status.to_string() };
        self.told.push(format!("{} -> {ended}, {phase}, {in_use} in use: {}", arguments.join(" "), last_line(&why)));
        if killed {
            *self.kills.entry(phase).or_default() += 1;
            return Ok(Err("the program was killed".into()));
        }
        Ok(if output.status.success() { Ok(()) } else { Err(why) })
    }

    /// Kills it at its moment, unless it ends before; says whether it did.
    async fn kill_at(&self, child: &mut Child, kill: Kill, before: &Value) -> bool {
        let delay = match kill {
            Kill::After(delay) => delay,
            Kill::At(phase, delay) => {
                let deadline = Instant::now() + PATIENCE;
                // Of this command: what the record was at before does not count until it has changed.
                while !(self.record()["phase"]["at"] == phase && self.record()["revision"] != before["revision"]) {
                    if !matches!(child.try_wait(), Ok(None)) || Instant::now() > deadline {
                        return false;
                    }
                    tokio::time::sleep(LOOK).await;
                }
                delay
            }
        };
        if tokio::time::timeout(delay, child.wait()).await.is_ok() {
            return false;
        }
        child.start_kill().is_ok()
    }

    /// The record as it is; nothing before the move was planned.
    pub fn record(&self) -> Value {
        let text = std::fs::read(self.folder.join(RECORD)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}
