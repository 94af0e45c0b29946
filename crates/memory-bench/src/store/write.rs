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
    Ours,
    OursWithKey,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Insert => "floor: INSERT and commit",
            Self::Ours => "insert: memory and outbox",
            Self::OursWithKey => "insert: memory, idempotency key and outbox",
        }
    }
}

/// Of the statement that the floor runs: the columns that every memory has.
const INSERT: &str = "INSERT INTO orchestra.memories (id, tenant, user_id, version, kind, text, metadata, \
                      importance, writer, path, evidence, recorded_at, content_hash, words, length, space, embedding) \
                      VALUES ($1, $2, $3, 1, 'semantic', $4, '{}', 0.5, 'agent', 'bench', '{}', $5, $6, \
                      $7::text::tsvector, $8, 1, $9)";

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
            let mut kinds = [Kind::Insert, Kind::Ours, Kind::OursWithKey];
            kinds.rotate_left(round % 3);
            for kind in kinds {
                let writes = (0..tasks).map(|_| writes(database, kind, next.clone(), time)).collect();
                rows.entry((tasks, kind)).or_default().add(database, writes).await?;
            }
        }
    }
    let title = format!("durable writes, one memory of {} dimensions each", database.size.dimensions);
    let mut table = Table::new(title, &[&["", "at once"][..], &Taken::COLUMNS].concat());
    for (&(tasks, kind), taken) in &rows {
        let ratio = (kind != Kind::Insert).then(|| median_ratio(&taken.rates, &rows[&(tasks, Kind::Insert)].rates));
        match kind {
            Kind::Insert => {}
            Kind::Ours => goals.write.note(ratio.unwrap_or_default()),
            Kind::OursWithKey => goals.write_with_key.note(ratio.unwrap_or_default()),
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
            while started.elapsed() < time {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let mut item = memories[number % memories.len()].clone();
                item.memory.id = super::database::id_of(number);
                let begun;
                if kind == Kind::Insert {
                    let memory = &item.memory;
                    let (words, length) = words(&memory.lexical_text());
                    let vector = item.embedding.as_ref().map(|embedding| Vector::from(embedding.values().to_vec()));
                    begun = Instant::now();
                    sqlx::query(INSERT)
                        .bind(memory.id.as_uuid())
                        .bind(memory.scope.tenant_name())
                        .bind(memory.scope.user())
                        .bind(&memory.text)
                        .bind(memory.recorded_at)
                        .bind(&memory.content_hash().as_bytes()[..])
                        .bind(words)
                        .bind(length)
                        .bind(vector)
                        .execute(&raw)
                        .await?;
                } else {
                    let key = IdempotencyKey { key: number.to_string(), body_hash: [7; 32] };
                    let idempotency = (kind == Kind::OursWithKey).then_some(key);
                    begun = Instant::now();
                    provider.insert(InsertBatch { memories: vec![item], idempotency }).await?;
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
