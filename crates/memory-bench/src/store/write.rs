//! Single durable writes through the provider beside a loop of plain `INSERT`s of the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use memory_core::{IdempotencyKey, InsertBatch, MemoryStore as _, text};
use pgvector::Vector;

use super::database::Database;
use super::goals::Goals;
use super::{Rounds, Taken};
use crate::report::{Report, Table, median_ratio};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Insert,
    InsertOnOne,
    Ours,
    InsertWithKey,
    OursWithKey,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Insert => "floor: INSERT and commit, over a pool",
            Self::InsertOnOne => "the same, each on a connection of its own",
            Self::Ours => "insert",
            Self::InsertWithKey => "floor: INSERT of memory and key, over a pool",
            Self::OursWithKey => "insert with an idempotency key",
        }
    }

    fn floor(self) -> Option<Self> {
        match self {
            Self::Insert | Self::InsertOnOne | Self::InsertWithKey => None,
            Self::Ours => Some(Self::Insert),
            Self::OursWithKey => Some(Self::InsertWithKey),
        }
    }

    fn has_key(self) -> bool {
        matches!(self, Self::InsertWithKey | Self::OursWithKey)
    }
}

/// The statement that the floor runs: the columns that every memory has.
macro_rules! insert {
    () => {
        "INSERT INTO orchestra.memories (id, tenant, user_id, version, kind, text, metadata, importance, writer, path, \
         evidence, recorded_at, content_hash, words, length, space, embedding) VALUES ($1, $2, $3, 1, 'semantic', $4, \
         '{}', 0.5, 'agent', 'bench', '{}', $5, $6, $7::text::tsvector, $8, 1, $9)"
    };
}
const INSERT: &str = insert!();
/// The same and a key with its receipt, which is of a constant's size here.
const INSERT_WITH_KEY: &str = concat!(
    "WITH key AS (INSERT INTO orchestra.idempotency_keys (tenant, key, body_hash, receipt, created_at) VALUES ($2, $10, \
     $11, '{\"ids\": [\"018f3a5c-0000-7000-8000-000000000000\"], \"statuses\": [0], \"token\": \"123456\"}', $5)) ",
    insert!()
);

/// Writes one memory at a time for as long, each acknowledged when it is on disk.
pub async fn run(
    database: &Database,
    concurrency: &[usize],
    rounds: Rounds,
    report: &mut Report,
    goals: &mut Goals,
) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(1 << 40));
    let mut rows: BTreeMap<(usize, Kind), Taken> = BTreeMap::new();
    for round in 0..rounds.count {
        for &tasks in concurrency {
            let time = if tasks == 1 { rounds.time * 4 } else { rounds.time };
            let mut kinds = [Kind::Insert, Kind::InsertOnOne, Kind::Ours, Kind::InsertWithKey, Kind::OursWithKey];
            kinds.rotate_left(round % 5);
            for kind in kinds {
                let writes = (0..tasks).map(|_| writes(database, kind, next.clone(), time)).collect();
                rows.entry((tasks, kind)).or_default().add(database, writes).await?;
            }
        }
    }
    let title = format!("durable writes, one memory of {} dimensions each", database.size.dimensions);
    let mut table = Table::new(title, &[&["", "at once"][..], &Taken::COLUMNS].concat());
    for (&(tasks, kind), taken) in &rows {
        let ratio = kind.floor().map(|floor| median_ratio(&taken.rates, &rows[&(tasks, floor)].rates));
        match (kind, ratio) {
            (Kind::Ours, Some(ratio)) => goals.write.note(ratio),
            (Kind::OursWithKey, Some(ratio)) => goals.write_with_key.note(ratio),
            _ => {}
        }
        table.row([kind.name().to_owned(), tasks.to_string()].into_iter().chain(taken.columns(ratio)));
    }
    report.table(table);
    Ok(())
}

type BoxFuture = std::pin::Pin<Box<dyn Future<Output = Result<Vec<Duration>>> + Send>>;

/// One task's writes.
fn writes(
    database: &Database,
    kind: Kind,
    next: Arc<AtomicUsize>,
    time: Duration,
) -> impl FnOnce(Instant) -> BoxFuture + use<> {
    let (provider, raw) = (database.provider.clone(), database.owner.clone());
    // What is written is made before, so that only writing is measured.
    let memories: Vec<_> = (0..64).map(|at| database.memory_elsewhere(at)).collect();
    move |started| {
        Box::pin(async move {
            let mut times = Vec::new();
            // A pool asks the server about each connection that it gets back.
            let mut held = if kind == Kind::InsertOnOne { Some(raw.acquire().await?) } else { None };
            while started.elapsed() < time {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let mut item = memories[number % memories.len()].clone();
                item.memory.id = super::database::id_of(number);
                let begun;
                let key = kind.has_key().then(|| IdempotencyKey { key: number.to_string(), body_hash: [7; 32] });
                if kind.floor().is_none() {
                    let memory = &item.memory;
                    let (words, length) = words(&memory.lexical_text());
                    let vector = item.embedding.as_ref().map(|embedding| Vector::from(embedding.values().to_vec()));
                    begun = Instant::now();
                    let statement = sqlx::query(if kind.has_key() { INSERT_WITH_KEY } else { INSERT })
                        .bind(memory.id.as_uuid())
                        .bind(memory.scope.tenant_name())
                        .bind(memory.scope.user())
                        .bind(&memory.text)
                        .bind(memory.recorded_at)
                        .bind(&memory.content_hash().as_bytes()[..])
                        .bind(words)
                        .bind(length)
                        .bind(vector);
                    let statement = match key {
                        Some(key) => statement.bind(key.key).bind(key.body_hash),
                        None => statement,
                    };
                    match &mut held {
                        Some(held) => statement.execute(&mut **held).await?,
                        None => statement.execute(&raw).await?,
                    };
                } else {
                    begun = Instant::now();
                    provider.insert(InsertBatch { memories: vec![item], idempotency: key }).await?;
                }
                times.push(begun.elapsed());
            }
            Ok(times)
        })
    }
}

/// A text's stems as a `tsvector`, and how many there are.
fn words(lexical_text: &str) -> (String, i32) {
    let stems = text::stems(lexical_text);
    let places = stems.iter().enumerate().map(|(at, stem)| format!("{stem}:{}", at + 1));
    (places.collect::<Vec<_>>().join(" "), stems.len() as i32)
}
