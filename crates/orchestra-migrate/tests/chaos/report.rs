//! What a campaign found, for people and programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// A run and what came of it.
#[derive(Debug, Serialize)]
pub struct Run {
    pub seed: u64,
    pub seconds: f64,
    /// Whether the servers followed the move; else clients went from the server of one side to that of the other.
    pub followed: bool,
    /// Whether it was rolled back and switched again.
    pub rolled_back: bool,
    /// What the move was at when the program was killed, and how often.
    pub mover_kills: BTreeMap<String, usize>,
    pub server_kills: usize,
    /// Writes, changes and deletions that were acknowledged, and reads.
    pub writes: usize,
    pub reads: usize,
    pub fenced: usize,
    pub in_doubt: usize,
    /// Memories that are there at the end, and that were forgotten.
    pub there: usize,
    pub forgotten: usize,
    /// The longest that a request went unacknowledged.
    pub longest_ms: u128,
    /// How often a switch was undone because it took too long.
    pub undone: usize,
    /// What is not as it has to be; empty when all is.
    pub violations: Vec<String>,
    /// The folder with the record and the logs, of a run that failed.
    pub kept: Option<String>,
}

/// All runs of a campaign.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub runs: Vec<Run>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        !self.runs.is_empty() && self.runs.iter().all(|run| run.violations.is_empty())
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kills: Vec<String> = self.mover_kills.iter().map(|(phase, times)| format!("{phase} {times}")).collect();
        write!(
            f,
            "seed {}: {}, {:.0} s; mover killed at {}; servers killed {}; {} writes, {} reads, {} fenced, {} in doubt; {} there, {} \
             forgotten; longest {} ms",
            self.seed,
            if self.violations.is_empty() { "converged" } else { "FAILED" },
            self.seconds,
            if kills.is_empty() { "nothing".to_owned() } else { kills.join(", ") },
            self.server_kills,
            self.writes,
            self.reads,
            self.fenced,
            self.in_doubt,
            self.there,
            self.forgotten,
            self.longest_ms
        )?;
        f.write_str(if self.followed { "; servers followed" } else { "; a server on each side" })?;
        if self.rolled_back {
            f.write_str("; rolled back")?;
        }
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        if let Some(kept) = &self.kept {
            write!(f, "\n  the record and the logs are in {kept}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&Run) -> usize| self.runs.iter().map(of).sum::<usize>();
        let mut kills = BTreeMap::<&str, usize>::new();
        for (phase, times) in self.runs.iter().flat_map(|run| &run.mover_kills) {
            *kills.entry(phase).or_default() += times;
        }
        let converged = self.runs.iter().filter(|run| run.violations.is_empty()).count();
        let mut row = |name: &str, value: String| writeln!(f, "{name:<44} {value:>8}");
        row("moves that converged", format!("{converged} of {}", self.runs.len()))?;
        row("with servers that followed the move", sum(|run| run.followed.into()).to_string())?;
        row("rolled back and switched again", sum(|run| run.rolled_back.into()).to_string())?;
        row("switches undone for their deadline", sum(|run| run.undone).to_string())?;
        for (phase, times) in kills {
            row(&format!("mover killed while the move was {phase}"), times.to_string())?;
        }
        row("servers killed", sum(|run| run.server_kills).to_string())?;
        row("writes acknowledged", sum(|run| run.writes).to_string())?;
        row("reads", sum(|run| run.reads).to_string())?;
        row("refused for a switch, sent to the other", sum(|run| run.fenced).to_string())?;
        row("in doubt, sent again", sum(|run| run.in_doubt).to_string())?;
        row("memories compared on both sides", sum(|run| run.there).to_string())?;
        row("forgotten", sum(|run| run.forgotten).to_string())?;
        row("violations", sum(|run| run.violations.len()).to_string())
    }
}
