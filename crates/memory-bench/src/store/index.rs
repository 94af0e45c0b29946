//! The vector index: built when everything is loaded, and tuned.

use anyhow::Result;
use provider_alloydb::index::{BuildOutcome, TuneOptions};
use provider_alloydb::{AlloyDbMemoryProvider, IndexKeeper};

use super::database::Database;
use crate::report::{Report, Table, micros};

/// The space of all vectors here.
const SPACE: i16 = 1;

/// Builds what the policy says, finds the least effort that reaches the recall, and lets the provider know.
pub async fn run(database: &mut Database, report: &mut Report) -> Result<()> {
    let mut config = database.config.clone();
    config.role = None;
    config.statement_timeout = std::time::Duration::from_secs(3600);
    let keeper = IndexKeeper::connect(config).await?;
    match keeper.build(SPACE, |_| {}).await? {
        BuildOutcome::Built { name, took, .. } => {
            report.note(format!("{name} was built in {:.0} s, beside traffic", took.as_secs_f64()));
        }
        BuildOutcome::Nothing { reason } => report.note(format!("no index was built: {reason}")),
        other => report.note(format!("{other:?}")),
    }
    if let Some(tuning) = keeper.tune(SPACE, &TuneOptions::default()).await? {
        let mut table = Table::new(
            format!("recall@{} by effort, over {} queries; {} is used", tuning.k, tuning.queries, tuning.effort),
            &["effort", "recall", "p50", "p95"],
        );
        for point in &tuning.points {
            table.row([point.effort.to_string(), format!("{:.3}", point.recall), micros(point.p50), micros(point.p95)]);
        }
        report.table(table);
    }
    keeper.close().await;
    // Known from its first search on, as to a program that begins now.
    database.provider.close().await;
    database.provider = AlloyDbMemoryProvider::connect(database.config.clone()).await?;
    Ok(())
}
