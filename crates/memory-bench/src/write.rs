//! How fast memories are written durably, beside what the disk itself takes for as many bytes.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use memory_core::{EmbeddedMemory, Embedding, EmbeddingSpace, InsertBatch, MemoryStore, Scope};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use tokio::task::JoinSet;

use crate::corpus;
use crate::report::{Report, Table, Times, micros};

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// Seconds for each row of the table
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Writers at once; several with commas
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32])]
    writers: Vec<usize>,
}

const DIMENSIONS: usize = 256;

/// Writes one memory at a time from several writers, then in batches, each acknowledged when it is on disk.
pub async fn run(args: &Args) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let store = EmbeddedProvider::open(EmbeddedConfig::new(folder.path().join("memory.db"))).await?;
    let texts = Arc::new(corpus::sentences(10_000, 5));
    let vectors = Arc::new(corpus::vectors(1_000, DIMENSIONS, 50, 6));
    let space = Arc::new(EmbeddingSpace::new("bench", "1", DIMENSIONS)?);
    let time = Duration::from_secs(args.seconds.max(1));
    let columns = ["", "min", "p50", "p99", "memories/s"];
    let mut table = Table::new(format!("durable writes of memories with {DIMENSIONS} dimensions"), &columns);
    let mut add = |name: String, times: Vec<Duration>, memories: usize, took: Duration| {
        let rate = format!("{:.0}", memories as f64 / took.as_secs_f64());
        table.row([name].into_iter().chain(Times::from_times(times).cells()).chain([rate]));
    };

    let (times, took) = append_and_sync(&folder.path().join("plain"), time)?;
    add("plain file: append 2 KB and fdatasync".to_owned(), times.clone(), times.len(), took);
    for (writers, batch) in args.writers.iter().map(|&writers| (writers, 1)).chain([(1, 500)]) {
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let (store, texts, vectors, space) = (store.clone(), texts.clone(), vectors.clone(), space.clone());
            tasks.spawn(async move {
                let scope = Scope::tenant("bench")?.with_user(format!("{writer} of {writers}"))?;
                let mut times = Vec::new();
                while started.elapsed() < time {
                    let memories = (0..batch).map(|at| {
                        let at = times.len() * batch + at;
                        let memory = memory_testkit::make::memory(&scope, &texts[at % texts.len()], chrono::Utc::now());
                        let embedding = Embedding::new(space.clone(), vectors[at % vectors.len()].clone())?;
                        Ok(EmbeddedMemory { memory, embedding: Some(embedding) })
                    });
                    let batch = InsertBatch { memories: memories.collect::<Result<_>>()?, idempotency: None };
                    let begun = Instant::now();
                    store.insert(batch).await?;
                    times.push(begun.elapsed());
                }
                anyhow::Ok(times)
            });
        }
        let mut times = Vec::new();
        while let Some(done) = tasks.join_next().await {
            times.extend(done??);
        }
        let (written, took) = (times.len() * batch, started.elapsed());
        let name = if batch == 1 {
            format!("{writers} writer{}, one memory each", if writers == 1 { "" } else { "s" })
        } else {
            format!("{writers} writer, {batch} memories each")
        };
        add(name, times, written, took);
    }
    store.close().await?;
    let mut report = Report::default();
    report.table(table);
    report.note(format!("each row ran for {}; a write is acknowledged when its transaction is on disk", micros(time)));
    Ok(report)
}

fn append_and_sync(path: &std::path::Path, time: Duration) -> Result<(Vec<Duration>, Duration)> {
    let mut file = std::fs::File::create(path)?;
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < time {
        let begun = Instant::now();
        file.write_all(&[7; 2048])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    Ok((times, started.elapsed()))
}
