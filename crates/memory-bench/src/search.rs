//! How long an exact search takes, and what it could take at best.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use memory_core::arena::{Bm25Query, Bm25Statistics, LexicalArena, VectorArena, dot};
use memory_core::{
    EmbeddedMemory, Embedding, EmbeddingSpace, FusionStrategy, InsertBatch, MemoryStore, Scope, SearchRequest, fusion,
};
use memory_testkit::make;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::corpus;
use crate::report::{Report, Table, Times, micros};

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// Memories in one scope
    #[arg(long, default_value_t = 100_000)]
    memories: usize,
    /// Dimensions of their vectors; several with commas
    #[arg(long, value_delimiter = ',', default_values_t = [256, 384])]
    dimensions: Vec<usize>,
    /// Queries
    #[arg(long, default_value_t = 100)]
    queries: usize,
}

const TOP: usize = 10;

/// Measures vectors at each dimension, words, and a whole search through the provider.
pub async fn run(args: &Args) -> Result<Report> {
    let mut report = Report::default();
    for &dimensions in &args.dimensions {
        vectors(args, dimensions, &mut report)?;
    }
    let texts = corpus::sentences(args.memories, 3);
    let questions = corpus::sentences(args.queries, 4);
    words(&texts, &questions, &mut report).await?;
    provider(args, &texts, &questions, &mut report).await?;
    Ok(report)
}

/// The exact search beside a plain read of the bytes it has to read, and a 32-bit scan.
fn vectors(args: &Args, dimensions: usize, report: &mut Report) -> Result<()> {
    let mut stored = corpus::vectors(args.memories + args.queries, dimensions, 300, 1);
    let queries = stored.split_off(args.memories);
    let mut arena = VectorArena::new(dimensions);
    for (row, vector) in stored.iter().enumerate() {
        arena.set(row, vector)?;
    }
    // The first pass reads one byte a dimension; the read below touches as many bytes and does nothing with them but add.
    let bytes = vec![1_u64; args.memories * dimensions / 8];
    let flat: Vec<f32> = stored.concat();
    let (mut exact, mut read, mut scan) = (Vec::new(), Vec::new(), Vec::new());
    let mut agreed = 0;
    // Interleaved, so that a busy moment of the machine falls on all of them.
    for query in &queries {
        read.push(timed(|| std::hint::black_box(bytes.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word)))).0);
        let (time, nearest) = timed(|| arena.nearest(query, TOP, |_| true));
        exact.push(time);
        let (time, oracle) = timed(|| {
            let mut all: Vec<(usize, f32)> = flat
                .chunks_exact(dimensions)
                .enumerate()
                .map(|(row, vector)| (row, dot(query, vector).clamp(-1.0, 1.0)))
                .collect();
            all.select_nth_unstable_by(TOP - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            all.truncate(TOP);
            all
        });
        scan.push(time);
        agreed += nearest.iter().filter(|(row, _)| oracle.iter().any(|(other, _)| other == row)).count();
    }
    let read = Times::from_times(read);
    let title = format!("top {TOP} of {} vectors of {dimensions} dimensions, one thread", args.memories);
    let mut table = Table::new(title, &["", "min", "p50", "p99", "p50 / plain read", "recall@10"]);
    let ratio = |times: &Times| format!("{:.2}", times.p50().as_secs_f64() / read.p50().as_secs_f64());
    let recall = agreed as f64 / (TOP * queries.len()) as f64;
    for (name, times, found) in [
        ("plain read of the 8-bit codes' bytes", &read, "-".to_owned()),
        ("exact search: 8 bits, then 32", &Times::from_times(exact), format!("{recall:.3}")),
        ("exact search: 32 bits throughout", &Times::from_times(scan), "1.000".to_owned()),
    ] {
        table.row([name.to_owned()].into_iter().chain(times.cells()).chain([ratio(times), found]));
    }
    report.table(table);
    ensure!(recall == 1.0, "the exact search missed a nearest vector: recall@10 {recall}");
    Ok(())
}

/// BM25 in memory beside SQLite's FTS5 on the same texts and questions.
async fn words(texts: &[String], questions: &[String], report: &mut Report) -> Result<()> {
    let started = Instant::now();
    let mut arena = LexicalArena::default();
    texts.iter().enumerate().for_each(|(row, text)| arena.set(row, text));
    let built = started.elapsed();

    let folder = tempfile::tempdir()?;
    let options = SqliteConnectOptions::new().filename(folder.path().join("fts.db")).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    let started = Instant::now();
    let mut transaction = pool.begin().await?;
    sqlx::query("CREATE VIRTUAL TABLE words USING fts5(text, tokenize = 'porter unicode61')")
        .execute(&mut *transaction)
        .await?;
    for (row, text) in texts.iter().enumerate() {
        let insert = sqlx::query("INSERT INTO words (rowid, text) VALUES (?, ?)").bind(row as i64).bind(text);
        insert.execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    let fts_built = started.elapsed();

    let (mut in_memory, mut fts5) = (Vec::new(), Vec::new());
    for question in questions {
        let (time, _) = timed(|| {
            let query = Bm25Query::new(question);
            let mut statistics = Bm25Statistics::default();
            arena.add_statistics(&query, &mut statistics, true, |_| true);
            let mut scores: Vec<(usize, f32)> = arena.scores(&query, &statistics, |_| true).iter().collect();
            if scores.len() > TOP {
                scores.select_nth_unstable_by(TOP - 1, |a, b| b.1.total_cmp(&a.1));
                scores.truncate(TOP);
            }
            scores
        });
        in_memory.push(time);
        // The same words to both: each stem's shortest form matches what the Porter tokenizer makes of it.
        let stems = Bm25Query::new(question);
        let expression = stems.stems().iter().map(|stem| format!("\"{stem}\"")).collect::<Vec<_>>().join(" OR ");
        let start = Instant::now();
        let rows = sqlx::query("SELECT rowid, bm25(words) FROM words WHERE words MATCH ? ORDER BY rank LIMIT 10")
            .bind(expression);
        let rows = rows.fetch_all(&pool).await?;
        fts5.push(start.elapsed());
        ensure!(rows.iter().all(|row| row.try_get::<i64, _>(0).is_ok()), "FTS5 gave a row without an id");
    }
    let (in_memory, fts5) = (Times::from_times(in_memory), Times::from_times(fts5));
    let title = format!("BM25, top {TOP} of {} texts, questions of 8 to 24 words", texts.len());
    let mut table = Table::new(title, &["", "min", "p50", "p99", "p50 / in memory", "index built in"]);
    for (name, times, built) in [
        ("in memory, statistics of the scope", &in_memory, built),
        ("FTS5, statistics of the whole table", &fts5, fts_built),
    ] {
        let ratio = format!("{:.1}", times.p50().as_secs_f64() / in_memory.p50().as_secs_f64());
        table.row(
            [name.to_owned()].into_iter().chain(times.cells()).chain([ratio, format!("{:.1} s", built.as_secs_f64())]),
        );
    }
    report.table(table);
    Ok(())
}

/// A whole search through the embedded provider: one arm, both arms, and both arms fused.
async fn provider(args: &Args, texts: &[String], questions: &[String], report: &mut Report) -> Result<()> {
    let dimensions = args.dimensions.first().copied().unwrap_or(256);
    let space = Arc::new(EmbeddingSpace::new("bench", "1", dimensions)?);
    let mut stored = corpus::vectors(texts.len() + questions.len(), dimensions, 300, 1);
    let queries = stored.split_off(texts.len());
    let folder = tempfile::tempdir()?;
    let store = EmbeddedProvider::open(EmbeddedConfig::new(folder.path().join("memory.db"))).await?;
    let scope = Scope::tenant("bench")?.with_user("one")?;
    let started = Instant::now();
    for (texts, vectors) in texts.chunks(1000).zip(stored.chunks(1000)) {
        let mut memories = Vec::with_capacity(texts.len());
        for (text, vector) in texts.iter().zip(vectors) {
            let embedding = Some(Embedding::new(space.clone(), vector.clone())?);
            memories.push(EmbeddedMemory { memory: make::memory(&scope, text, chrono::Utc::now()), embedding });
        }
        store.insert(InsertBatch { memories, idempotency: None }).await?;
    }
    let written = started.elapsed();
    let request = |at: usize, dense: bool, lexical: bool, candidates| -> Result<SearchRequest> {
        Ok(SearchRequest {
            scope: scope.clone(),
            also: Vec::new(),
            embedding: dense.then(|| Embedding::new(space.clone(), queries[at].clone())).transpose()?,
            text: lexical.then(|| questions[at].clone()),
            filter: None,
            candidates,
            neighbours: true,
            at_least: None,
            as_of: None,
            best: None,
        })
    };
    // What is searched is read into memory on first touch; the note below tells how long that takes.
    store.search(&request(0, true, true, TOP)?).await?;
    let candidates = memory_core::manager::DEFAULT_CANDIDATES;
    let mut table = Table::new(
        format!(
            "a search of {} memories of {dimensions} dimensions in one scope, through the embedded provider",
            texts.len()
        ),
        &["", "min", "p50", "p99"],
    );
    for (name, dense, lexical, candidates, fused) in [
        ("nearest 10 by vector", true, false, TOP, false),
        ("best 10 by words", false, true, TOP, false),
        ("recall: both arms, 400 candidates each, fused", true, true, candidates, true),
    ] {
        let mut times = Vec::new();
        for (at, question) in questions.iter().enumerate() {
            let request = request(at, dense, lexical, candidates)?;
            let start = Instant::now();
            let found = store.search(&request).await?;
            if fused {
                let ranked = fusion::fuse(
                    question,
                    &found.candidates,
                    None,
                    &FusionStrategy::default(),
                    chrono::Utc::now(),
                    TOP,
                );
                ensure!(ranked.len() == TOP, "a recall gave {} of {TOP}", ranked.len());
            }
            times.push(start.elapsed());
        }
        table.row([name.to_owned()].into_iter().chain(Times::from_times(times).cells()));
    }
    report.table(table);
    let started = Instant::now();
    store.close().await?;
    drop(store);
    let store = EmbeddedProvider::open(EmbeddedConfig::new(folder.path().join("memory.db"))).await?;
    store.search(&request(0, true, true, TOP)?).await?;
    report.note(format!(
        "written durably in batches of 1,000: {:.0} memories/s; closed, opened and first searched: {}",
        texts.len() as f64 / written.as_secs_f64(),
        micros(started.elapsed())
    ));
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}
