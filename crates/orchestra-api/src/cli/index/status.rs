//! `orchestra index status`.

use chrono::Utc;
use provider_alloydb::index::{Decision, IndexSpec, Measured, SpaceStatus, StandingIndex};
use provider_alloydb::{AlloyDbConfig, IndexKeeper};
use serde_json::json;

use super::super::database::{Database, failure};
use super::super::failure::{Failure, Outcome};
use super::super::screen::{Column, Screen};
use super::super::words;
use super::Policy;

/// Show the index of each space, and what is to be done about it.
///
/// An index is due when a space has rows enough for it, when another one is configured than the one that stands, or when
/// ivfflat or scann has four times the rows that it was made for: their lists follow the rows they were made from. What is
/// configured is what these options say; the database does not keep them, so give those of the build here too.
///
/// "Model" is shown with its revision and dimensions. "Rows" is how many memories have a vector of it, "At build" how many
/// did then, "Looks at" how much of the index a search looks at (`tune` sets it), "Recall" the share of the true nearest
/// that this found when it was last measured.
///
/// Exits with 0 when nothing is to be done, with 1 when something is, and with 2 when that could not be found out.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra index status
  orchestra index status --kind hnsw --m 24 --json")]
pub struct Args {
    #[command(flatten)]
    database: Database,
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

pub async fn run(keeper: &IndexKeeper, screen: &Screen) -> Outcome {
    let spaces = keeper.status().await.map_err(failure)?;
    if screen.is_json() {
        screen.json(&json!({"spaces": spaces}))?;
    } else if spaces.is_empty() {
        screen.note("There is no space yet: the first memory with a vector makes one.");
    } else {
        let columns = [
            Column::new("Space").right(),
            Column::new("Model"),
            Column::new("Rows").right(),
            Column::new("At build").right(),
            Column::new("Index").wraps(),
            Column::new("Size").right(),
            Column::new("Looks at"),
            Column::new("Recall").wraps(),
            Column::new("To do").wraps(),
        ];
        screen.table(&columns, spaces.iter().map(row).collect())?;
    }
    verdict(&spaces)
}

fn row(status: &SpaceStatus) -> Vec<String> {
    let of_index = |text: fn(&StandingIndex) -> String| status.index.as_ref().map_or_else(String::new, text);
    vec![
        status.number.to_string(),
        status.space.to_string(),
        words::count(status.rows),
        of_index(|index| words::count(index.rows_at_build)),
        status.index.as_ref().map_or_else(
            || "none: exact".into(),
            |index| index.spec.as_ref().map_or_else(|| index.kind.clone(), IndexSpec::to_string),
        ),
        of_index(|index| words::bytes(index.size_bytes)),
        of_index(|index| super::effort(&index.kind, index.effort)),
        of_index(|index| index.measured.as_ref().map_or_else(|| "not measured".into(), recall)),
        to_do(&status.decision),
    ]
}

/// `0.962 at 10 (3 days ago)`.
fn recall(measured: &Measured) -> String {
    format!("{:.3} at {} ({})", measured.recall, measured.k, words::relative(measured.at, Utc::now()))
}

fn to_do(decision: &Decision) -> String {
    match decision {
        Decision::Nothing { reason } => format!("nothing: {reason}"),
        Decision::Build { spec, reason } => format!("build {spec}: {reason}"),
        Decision::Rebuild { reason, .. } => format!("rebuild: {reason}"),
        Decision::Drop { reason } => format!("drop: {reason}"),
        Decision::Impossible { reason } => format!("impossible: {reason}"),
    }
}

fn verdict(spaces: &[SpaceStatus]) -> Outcome {
    let impossible = spaces.iter().find(|space| matches!(space.decision, Decision::Impossible { .. }));
    if let Some(space) = impossible {
        let message = format!("{}: {}", super::name(space), space.decision.reason());
        return Err(Failure::mistake(message, "change that, or choose another --kind"));
    }
    let due = spaces.iter().filter(|space| !matches!(space.decision, Decision::Nothing { .. })).count();
    let message = match due {
        0 => return Ok(()),
        1 => "one space is to have another index than it has".into(),
        due => format!("{due} spaces are to have another index than they have"),
    };
    Err(Failure::mistake(message, "`orchestra index build` with the same options does it, beside traffic"))
}

#[cfg(test)]
mod tests {
    use memory_core::EmbeddingSpace;

    use super::*;

    fn space(decision: Decision) -> SpaceStatus {
        let space = EmbeddingSpace::new("static-256", "1", 256).unwrap();
        SpaceStatus { number: 1, space, rows: 12_345, index: None, decision }
    }

    #[test]
    fn what_cannot_be_done_is_told_before_what_is_due() {
        let nothing = space(Decision::Nothing { reason: "few".into() });
        let due = space(Decision::Drop { reason: "exact search is configured".into() });
        let impossible = space(Decision::Impossible { reason: "scann is missing".into() });
        assert!(verdict(std::slice::from_ref(&nothing)).is_ok());
        let told = |spaces: &[SpaceStatus]| format!("{:?}", verdict(spaces).unwrap_err());
        assert!(told(&[nothing, due.clone()]).contains("one space is to have"));
        assert!(told(&[due.clone(), due.clone()]).contains("2 spaces are to have"));
        assert!(told(&[due, impossible]).contains("space 1 (static-256@1/256): scann is missing"));
    }

    #[test]
    fn a_space_without_an_index_leaves_its_cells_empty() {
        let row = row(&space(Decision::Nothing { reason: "few rows".into() }));
        assert_eq!(row, ["1", "static-256@1/256", "12,345", "", "none: exact", "", "", "", "nothing: few rows"]);
    }
}
