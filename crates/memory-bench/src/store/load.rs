//! Loading: batches through the provider beside `COPY` in binary of the same memories into a table of the same columns and
//! indexes, block by block in turn.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use memory_core::{EmbeddedMemory, InsertBatch, MemoryStore as _, text};
use sqlx::Executor as _;
use sqlx::postgres::PgPoolCopyExt as _;

use super::database::Database;
use super::goals::Goals;
use crate::report::{Report, Table};

/// How many memories are written in one statement.
pub const BATCH: usize = 1_000;
/// How many blocks of a batch are compared; the rest is loaded without comparison.
const COMPARED: usize = 20;

/// Loads the database. The comparison is left out where it is not asked for.
pub async fn run(database: &mut Database, compare: bool, report: &mut Report, goals: &mut Goals) -> Result<()> {
    let (mut ours, mut copy) = (Duration::ZERO, Duration::ZERO);
    let mut loading = Duration::ZERO;
    let (mut compared, mut ratios) = (0, Vec::new());
    if compare {
        database.owner.execute("CREATE TABLE orchestra.copied (LIKE orchestra.memories INCLUDING ALL)").await?;
    }
    let progress = ProgressBar::new(database.size.rows as u64)
        .with_style(ProgressStyle::with_template("loading {len} memories {wide_bar} {percent} %, {eta} left")?);
    let started = Instant::now();
    for (block, first) in (0..database.size.rows).step_by(BATCH).enumerate() {
        let numbers = first..(first + BATCH).min(database.size.rows);
        let memories: Vec<EmbeddedMemory> = numbers.clone().map(|number| database.memory(number)).collect();
        let rows = compare && block < COMPARED;
        let copied = rows.then(|| encoded(&memories));
        let begun = Instant::now();
        database.provider.insert(InsertBatch { memories, idempotency: None }).await?;
        let took = begun.elapsed();
        loading += took;
        if let Some(copied) = copied {
            let begun = Instant::now();
            let mut target = database.owner.copy_in_raw(COPY).await?;
            target.send(copied).await?;
            target.finish().await?;
            let floor = begun.elapsed();
            ours += took;
            copy += floor;
            compared += numbers.len();
            ratios.push(floor.as_secs_f64() / took.as_secs_f64());
        }
        progress.inc(numbers.len() as u64);
    }
    progress.finish_and_clear();
    // As autovacuum does a little later: searches are planned with what is known of the rows.
    database.owner.execute("VACUUM (ANALYZE) orchestra.memories").await?;
    let took = started.elapsed();
    database.loading = loading;
    let (rows, dimensions) = (database.size.rows, database.size.dimensions);
    report.note(format!(
        "{rows} memories of {dimensions} dimensions were loaded and analysed in {:.0} s",
        took.as_secs_f64()
    ));
    if compare {
        database.owner.execute("DROP TABLE orchestra.copied").await?;
        ratios.sort_unstable_by(f64::total_cmp);
        let ratio = ratios[ratios.len() / 2];
        goals.load.note(ratio);
        let rate = |took: Duration| format!("{:.0}", compared as f64 / took.as_secs_f64());
        let mut table = Table::new(
            format!("loading {dimensions} dimensions, {BATCH} memories at once, one writer"),
            &["", "memories/s", "of COPY"],
        );
        table.row(["COPY BINARY into the same columns and indexes".into(), rate(copy), String::new()]);
        table.row(["insert".into(), rate(ours), format!("{ratio:.2}")]);
        report.table(table);
    }
    Ok(())
}

const COPY: &str = "COPY orchestra.copied (id, tenant, user_id, agent_id, version, kind, text, metadata, importance, \
                    writer, path, evidence, recorded_at, content_hash, words, length, space, embedding) \
                    FROM STDIN WITH (FORMAT binary)";

/// The memories as `COPY` takes them in binary (PostgreSQL documentation, "COPY", "Binary Format").
fn encoded(memories: &[EmbeddedMemory]) -> Vec<u8> {
    const COLUMNS: i16 = 18;
    /// From Postgres' epoch, 2000-01-01, back to Unix' one.
    const EPOCH_MICROS: i64 = 946_684_800_000_000;
    let mut out = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for item in memories {
        let memory = &item.memory;
        out.extend(COLUMNS.to_be_bytes());
        let mut field = |bytes: &[u8]| {
            out.extend((bytes.len() as i32).to_be_bytes());
            out.extend(bytes);
        };
        field(memory.id.as_uuid().as_bytes());
        field(memory.scope.tenant_name().as_bytes());
        field(memory.scope.user().unwrap_or_default().as_bytes());
        field(memory.scope.agent().unwrap_or_default().as_bytes());
        field(&1_i64.to_be_bytes());
        field(memory.kind.name().as_bytes());
        field(memory.text.as_bytes());
        field(b"\x01{}");
        field(&memory.importance.to_be_bytes());
        field(b"agent");
        field(memory.origin.path.as_bytes());
        // No dimensions, no NULLs, elements of type uuid.
        field(&[0_i32, 0, 2950].map(i32::to_be_bytes).concat());
        field(&(memory.recorded_at.timestamp_micros() - EPOCH_MICROS).to_be_bytes());
        field(memory.content_hash().as_bytes());
        let (words, length) = words(&memory.lexical_text());
        field(&words);
        field(&length.to_be_bytes());
        field(&1_i16.to_be_bytes());
        let values = item.embedding.as_ref().map_or(&[][..], |embedding| embedding.values());
        let mut vector = [(values.len() as i16).to_be_bytes(), [0; 2]].concat();
        vector.extend(values.iter().flat_map(|value| value.to_be_bytes()));
        field(&vector);
    }
    out.extend((-1_i16).to_be_bytes());
    out
}

/// A `tsvector` in binary, and its number of words.
fn words(lexical_text: &str) -> (Vec<u8>, i32) {
    let stems = text::stems(lexical_text);
    let mut places = std::collections::BTreeMap::<&str, Vec<u16>>::new();
    for (at, stem) in stems.iter().enumerate() {
        places.entry(stem).or_default().push(at as u16 + 1);
    }
    // Postgres orders words by length first.
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by_key(|(stem, _)| (stem.len(), *stem));
    let mut out = (places.len() as i32).to_be_bytes().to_vec();
    for (stem, places) in places {
        out.extend(stem.as_bytes());
        out.push(0);
        out.extend((places.len() as u16).to_be_bytes());
        places.into_iter().for_each(|place| out.extend(place.to_be_bytes()));
    }
    (out, stems.len() as i32)
}
