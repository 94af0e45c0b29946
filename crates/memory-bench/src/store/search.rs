//! Searches in scopes of several sizes: how many of the true nearest they find, and how long they take beside the same
//! statement in a loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use memory_core::{Arm, Candidates, MemoryId, MemoryStore as _, Scope, SearchRequest};
use pgvector::Vector;
use provider_alloydb::AlloyDbMemoryProvider;
use sqlx::PgPool;
use sqlx::types::Json;

use super::database::{Database, Searched, id_of};
use super::goals::Goals;
use super::{Rounds, Taken};
use crate::report::{Report, Table, Times, median_ratio, micros};

/// How many nearest are compared.
const K: usize = 10;
/// How many queries recall is measured with.
const QUERIES: usize = 100;
/// The most executions on one connection.
const EXECUTIONS: usize = 1000;

/// Measures recall on one connection from its first search to its thousandth, then times.
pub async fn run(
    database: &Database,
    concurrency: &[usize],
    rounds: Rounds,
    report: &mut Report,
    goals: &mut Goals,
) -> Result<()> {
    recall(database, report, goals).await?;
    times(database, concurrency, rounds, report, goals).await
}

fn request(scope: &Scope, database: &Database, number: usize) -> SearchRequest {
    SearchRequest {
        scope: scope.clone(),
        also: Vec::new(),
        embedding: Some(database.query(number % QUERIES)),
        text: None,
        filter: None,
        candidates: K,
        neighbours: false,
        at_least: None,
        as_of: None,
        best: None,
    }
}

/// The true nearest of each query in a scope.
fn truth(database: &Database, holds: fn(usize) -> bool) -> Vec<Vec<MemoryId>> {
    let queries: Vec<_> = (0..QUERIES).map(|number| database.query(number)).collect();
    let mut best: Vec<Vec<(f32, usize)>> = vec![Vec::new(); QUERIES];
    for number in (0..database.size.rows).filter(|&number| holds(number)) {
        let vector = database.topics.draw(number as u64);
        for (query, best) in queries.iter().zip(&mut best) {
            let similarity: f32 = query.values().iter().zip(vector.values()).map(|(a, b)| a * b).sum();
            if best.len() < K || best.last().is_some_and(|last| similarity > last.0) {
                let at = best.partition_point(|(other, _)| *other >= similarity);
                best.insert(at, (similarity, number));
                best.truncate(K);
            }
        }
    }
    best.into_iter().map(|best| best.into_iter().map(|(_, number)| id_of(number)).collect()).collect()
}

async fn recall(database: &Database, report: &mut Report, goals: &mut Goals) -> Result<()> {
    let title = format!(
        "recall@{K} of {} memories of {} dimensions on one connection, by which execution it is",
        database.size.rows, database.size.dimensions
    );
    let columns = ["scope", "executions", "recall@10", "p50", "p99", "exact by its report", "short of what there is"];
    let mut table = Table::new(title, &columns);
    for searched in database.searched()? {
        let truth = truth(database, searched.holds);
        let mut config = database.config.clone();
        (config.max_connections, config.min_connections) = (1, 1);
        let provider = AlloyDbMemoryProvider::connect(config).await?;
        for (name, executions) in [
            ("1st to 5th", 0..5),
            ("6th to 12th", 5..12),
            ("13th to 100th", 12..100),
            ("101st to 1000th", 100..EXECUTIONS),
        ] {
            let (mut found, mut wanted, mut exact, mut short, mut times) = (0, 0, 0, 0, Vec::new());
            let count = executions.len();
            for number in executions {
                let request = request(&searched.scope, database, number);
                let begun = Instant::now();
                let answer = provider.search(&request).await?;
                times.push(begun.elapsed());
                let truth = &truth[number % QUERIES];
                wanted += truth.len();
                found += truth.iter().filter(|id| answer.candidates.iter().any(|c| c.memory.id == **id)).count();
                let report = dense(&answer);
                exact += usize::from(report.is_some_and(|report| report.exact));
                short += usize::from(answer.candidates.len() < truth.len());
            }
            let share = found as f64 / wanted.max(1) as f64;
            goals.recall.note(share);
            if searched.name == "one user" {
                goals.recall_of_user.note(share);
            }
            let times = Times::from_times(times);
            table.row([
                searched.name.to_owned(),
                name.to_owned(),
                format!("{share:.3}"),
                micros(times.p50()),
                micros(times.percentile(0.99)),
                format!("{exact} of {count}"),
                short.to_string(),
            ]);
        }
        provider.close().await;
    }
    report.table(table);
    Ok(())
}

fn dense(answer: &Candidates) -> Option<&memory_core::ArmReport> {
    answer.arms.iter().find(|report| report.arm == Arm::Dense)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Floor,
    Vector,
    Both,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor: the statement of a vector search in a loop",
            Self::Vector => "search by vector",
            Self::Both => "search by vector and words, with neighbours",
        }
    }
}

async fn times(
    database: &Database,
    concurrency: &[usize],
    rounds: Rounds,
    report: &mut Report,
    goals: &mut Goals,
) -> Result<()> {
    let searched = Arc::new(database.searched()?);
    let sizes: Vec<i64> = searched.iter().map(|searched| rows_of(searched, database)).collect();
    let mut rows: BTreeMap<(usize, usize, Kind), Taken> = BTreeMap::new();
    for round in 0..rounds.count {
        for (place, searched) in searched.iter().enumerate() {
            let of_scope = sizes[place];
            for &tasks in concurrency {
                let time = if tasks == 1 { rounds.time * 4 } else { rounds.time };
                let mut kinds = [Kind::Floor, Kind::Vector, Kind::Both];
                kinds.rotate_left(round % 3);
                for kind in kinds {
                    let searches = (0..tasks).map(|task| {
                        let requests: Vec<_> = (0..32)
                            .map(|at| {
                                let number = round * 31 + task * 7 + at;
                                let mut request = request(&searched.scope, database, number);
                                if kind == Kind::Both {
                                    request.text = Some(database.text(number).to_owned());
                                    request.neighbours = true;
                                }
                                request
                            })
                            .collect();
                        let (provider, raw) = (database.provider.clone(), database.raw.clone());
                        move |started| searches(provider, raw, kind, requests, started, time, of_scope)
                    });
                    let searches = searches.collect();
                    rows.entry((place, tasks, kind)).or_default().add(database, searches).await?;
                }
            }
        }
    }
    let title = format!("searches of {} memories of {} dimensions", database.size.rows, database.size.dimensions);
    let mut table = Table::new(title, &[&["", "scope", "at once"][..], &Taken::COLUMNS].concat());
    for (&(place, tasks, kind), taken) in &rows {
        let floor = &rows[&(place, tasks, Kind::Floor)].rates;
        let ratio = (kind == Kind::Vector).then(|| median_ratio(&taken.rates, floor));
        if let Some(ratio) = ratio {
            goals.search.note(ratio);
            if tasks == 1 {
                let p99 = Times::from_times(taken.times.clone()).percentile(0.99);
                goals.p99 = goals.p99.max(Some(p99));
            }
        }
        let first = [kind.name().to_owned(), searched[place].name.to_owned(), tasks.to_string()];
        table.row(first.into_iter().chain(taken.columns(ratio)));
    }
    report.table(table);
    Ok(())
}

/// One task's searches.
async fn searches(
    provider: AlloyDbMemoryProvider,
    raw: PgPool,
    kind: Kind,
    requests: Vec<SearchRequest>,
    started: Instant,
    time: Duration,
    rows: i64,
) -> Result<Vec<Duration>> {
    let index = provider.index_parameters(1);
    let mut times = Vec::new();
    while started.elapsed() < time {
        let request = &requests[times.len() % requests.len()];
        let begun = Instant::now();
        if kind == Kind::Floor {
            floor(&raw, request, rows, index.as_ref()).await?;
        } else {
            provider.search(request).await?;
        }
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn rows_of(searched: &Searched, database: &Database) -> i64 {
    (0..database.size.rows).filter(|&number| (searched.holds)(number)).count() as i64
}

/// What the provider sends, sent by hand, and its answer read to the end.
async fn floor(raw: &PgPool, request: &SearchRequest, rows: i64, index: Option<&serde_json::Value>) -> Result<()> {
    let vector = request.embedding.as_ref().map(|embedding| Vector::from(embedding.values().to_vec()));
    sqlx::query(
        "SELECT * FROM orchestra.search_memories($1, $2, $3, $4, now(), NULL, $5, 1::smallint, NULL, NULL, NULL, $6, \
         false, 5000, $7, $8)",
    )
    .bind(request.scope.tenant_name())
    .bind([request.scope.user()])
    .bind([request.scope.agent()])
    .bind([request.scope.session()])
    .bind(vector)
    .bind(request.candidates as i32)
    .bind(Json(serde_json::json!({"rows": rows, "compared": rows})))
    .bind(index.map(Json))
    .fetch_all(raw)
    .await?;
    Ok(())
}
