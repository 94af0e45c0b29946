//! The vector index: built when everything is loaded, and tuned.

use std::time::{Duration, Instant};

use anyhow::Result;
use memory_core::{InsertBatch, MemoryStore as _};
use provider_alloydb::index::{BuildOutcome, TuneOptions};
use provider_alloydb::{AlloyDbMemoryProvider, IndexKeeper, IndexKind};

use super::database::Database;
use super::goals::Goals;
use super::load::BATCH;
use crate::report::{Report, Table, micros};

/// The space of all vectors here.
const SPACE: i16 = 1;
/// The number of the first memory that is written into the index.
const INTO_THE_INDEX: usize = 1 << 41;

/// Builds what the policy says, finds the least effort that reaches the recall, and lets the provider know.
pub async fn run(database: &mut Database, report: &mut Report, goals: &mut Goals) -> Result<()> {
    let mut config = database.config.clone();
    config.role = None;
    config.statement_timeout = Duration::from_secs(3600);
    let keeper = IndexKeeper::connect(config).await?;
    match keeper.build(SPACE, |_| {}).await? {
        BuildOutcome::Built { name, took, .. } => {
            report.note(format!("{name} was built in {:.0} s, beside traffic", took.as_secs_f64()));
            into_the_index(database, took, report, goals).await?;
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

/// Writes more into the index, as many at once as when loading.
async fn into_the_index(database: &Database, building: Duration, report: &mut Report, goals: &mut Goals) -> Result<()> {
    const BATCHES: usize = 5;
    let mut took = Duration::ZERO;
    for batch in 0..BATCHES {
        let first = INTO_THE_INDEX + batch * BATCH;
        let memories = (first..first + BATCH).map(|number| database.memory_elsewhere(number)).collect();
        let begun = Instant::now();
        database.provider.insert(InsertBatch { memories, idempotency: None }).await?;
        took += begun.elapsed();
    }
    let rows = database.size.rows as f64;
    let rate = |rows: f64, took: Duration| rows / took.as_secs_f64();
    let (after, into) = (rate(rows, database.loading + building), rate((BATCHES * BATCH) as f64, took));
    // What is written into lists costs little; it is the lists that are made for what is there. A graph is the better for being
    // made at once.
    if database.config.index.kind == IndexKind::Hnsw {
        goals.build_after.note(after / into);
    }
    let mut table = Table::new(
        format!("loading {} dimensions where a vector index is wanted", database.size.dimensions),
        &["", "memories/s"],
    );
    table.row(["load, then build the index".to_owned(), format!("{after:.0}")]);
    table.row(["insert into the index".to_owned(), format!("{into:.0}")]);
    report.table(table);
    Ok(())
}
