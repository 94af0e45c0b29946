//! Measures writes and searches of the embedded provider.
//!
//! ```text
//! cargo run --release -p provider-embedded --example measure
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use memory_core::{
    EmbeddedMemory, Embedding, EmbeddingSpace, Filter, InsertBatch, Memory, MemoryId, MemoryKind, MemoryStore,
    Metadata, Origin, Scope, SearchRequest, Timestamp, Writer,
};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use serde_json::json;

const DIMENSIONS: usize = 384;

#[tokio::main]
async fn main() -> memory_core::Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = EmbeddedConfig::new(folder.path().join("memory.db"));
    let mut store = EmbeddedProvider::open(config.clone()).await?;
    let space = Arc::new(EmbeddingSpace::new("measure", "1", DIMENSIONS)?);
    let mut seed = 1_u64;

    for (name, tasks) in [("1 writer", 1), ("32 writers", 32)] {
        let begin = Instant::now();
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..tasks {
            seed += 1;
            let (store, space, mut state) = (store.clone(), space.clone(), seed * 7919);
            writers.spawn(async move {
                let scope = Scope::tenant("writers")?.with_user("one")?;
                let begin = Instant::now();
                let mut written = 0_u64;
                while begin.elapsed() < Duration::from_secs(3) {
                    let memories = vec![memory(&scope, &space, &mut state)?];
                    store.insert(InsertBatch { memories, idempotency: None }).await?;
                    written += 1;
                }
                Ok::<u64, memory_core::Error>(written)
            });
        }
        let written: u64 = writers.join_all().await.into_iter().flatten().sum();
        println!("{name}, one memory each: {:.0} inserts/s", written as f64 / begin.elapsed().as_secs_f64());
    }

    for rows in [10_000, 100_000] {
        let scope = Scope::tenant("readers")?.with_user(format!("user of {rows}"))?;
        let begin = Instant::now();
        for _ in 0..rows / 500 {
            let memories = (0..500).map(|_| memory(&scope, &space, &mut seed)).collect::<memory_core::Result<_>>()?;
            store.insert(InsertBatch { memories, idempotency: None }).await?;
        }
        println!("{rows} rows, 500 a batch: {:.0} rows/s", f64::from(rows) / begin.elapsed().as_secs_f64());
        store.close().await?;
        store = EmbeddedProvider::open(config.clone()).await?;
        let filter = Some(Filter::from_json(&json!({"metadata.tenth": 3}))?);
        let text = Some("harbour garden visit in May".to_owned());
        let request = |seed: &mut u64| -> memory_core::Result<SearchRequest> {
            Ok(SearchRequest {
                scope: scope.clone(),
                embedding: Some(embedding(&space, seed)?),
                text: text.clone(),
                filter: None,
                candidates: 50,
                neighbours: true,
                at_least: None,
            })
        };
        let begin = Instant::now();
        store.search(&request(&mut seed)?).await?;
        println!("{rows} rows: first search, which reads them: {:?}", begin.elapsed());
        for (name, part) in [("both arms", 0), ("dense", 1), ("lexical", 2), ("both arms, filter of a tenth", 3)] {
            let mut times = Vec::new();
            for _ in 0..300 {
                let mut request = request(&mut seed)?;
                match part {
                    1 => request.text = None,
                    2 => request.embedding = None,
                    3 => request.filter.clone_from(&filter),
                    _ => {}
                }
                let begin = Instant::now();
                store.search(&request).await?;
                times.push(begin.elapsed());
            }
            times.sort_unstable();
            println!("{rows} rows, {name}: p50 {:?}, p99 {:?}", times[150], times[297]);
        }
    }
    store.close().await
}

fn memory(scope: &Scope, space: &Arc<EmbeddingSpace>, state: &mut u64) -> memory_core::Result<EmbeddedMemory> {
    // A vocabulary whose words are as unevenly common as those of a language.
    let text: Vec<String> = (0..20)
        .map(|_| match random(state) * random(state) {
            rare if rare < 0.002 => "harbour".into(),
            rare if rare < 0.01 => "garden".into(),
            common => format!("word{}", (common * 5000.0) as u32),
        })
        .collect();
    let tenth = (random(state) * 10.0) as u32;
    let memory = Memory {
        id: MemoryId::from(uuid::Uuid::now_v7()),
        version: 1,
        scope: scope.clone().with_session(format!("session {}", (random(state) * 50.0) as u32))?,
        kind: MemoryKind::Message,
        text: text.join(" "),
        actor: Some("Ann".into()),
        metadata: Metadata::from_iter([("tenth".to_owned(), json!(tenth))]),
        importance: 0.5,
        origin: Origin::new(Writer::User, "measure"),
        evidence: Vec::new(),
        valid_from: None,
        valid_to: None,
        recorded_at: Timestamp::UNIX_EPOCH,
        superseded_at: None,
        expires_at: None,
    };
    Ok(EmbeddedMemory { memory, embedding: Some(embedding(space, state)?) })
}

fn embedding(space: &Arc<EmbeddingSpace>, state: &mut u64) -> memory_core::Result<Embedding> {
    Embedding::new(space.clone(), (0..DIMENSIONS).map(|_| (random(state) - 0.5) as f32).collect())
}

/// Uniform in `0.0..1.0`, by xorshift.
fn random(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}
