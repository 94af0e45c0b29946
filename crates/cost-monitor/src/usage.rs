//! The usage file of the memory's server, line by line into the table `usage`.
//!
//! A line has no id of its own, and two processes that share a file can write two equal lines. Its id is made of its text
//! and of how many equal ones came before it in the file, so that loading a file again, or a longer one, adds what is new.

use std::collections::HashMap;
use std::io::BufRead;

use memory_core::usage::UsageEvent;
use serde::Serialize;

use crate::tables::USAGE;
use crate::warehouse::{Result, Warehouse};

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// When the window began.
    pub window_start: memory_core::Timestamp,
    /// When it ended.
    pub window_end: memory_core::Timestamp,
    /// The same whenever the same line is loaded.
    pub event_id: String,
    /// Who used it.
    pub tenant: String,
    /// As the audit log names it.
    pub operation: String,
    /// How much.
    #[serde(flatten)]
    pub usage: memory_core::usage::Usage,
}

/// The rows of a file, and the numbers of the lines that are none: a process that died may have left half of one.
///
/// # Errors
/// When the file cannot be read.
pub fn read(file: impl BufRead) -> std::io::Result<(Vec<UsageRow>, Vec<usize>)> {
    let mut seen: HashMap<blake3::Hash, u64> = HashMap::new();
    let (mut rows, mut damaged) = (Vec::new(), Vec::new());
    for (number, line) in file.split(b'\n').enumerate() {
        let line = line?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let Ok(event) = serde_json::from_slice::<UsageEvent>(&line) else {
            damaged.push(number + 1);
            continue;
        };
        let hash = blake3::hash(line.trim_ascii());
        let before = seen.entry(hash).or_default();
        let event_id = format!("{}-{before}", &hash.to_hex()[..32]);
        *before += 1;
        rows.push(UsageRow {
            window_start: event.from,
            window_end: event.to,
            event_id,
            tenant: event.tenant,
            operation: event.operation,
            usage: event.usage,
        });
    }
    Ok((rows, damaged))
}

/// Adds the rows that the table does not have yet.
///
/// # Errors
/// When BigQuery refuses; then none was added.
pub async fn store(warehouse: &Warehouse, rows: &[UsageRow]) -> Result<()> {
    // A table of its own for each load: two at once do not meet.
    let now = chrono::Utc::now().format("%Y%m%d%H%M%S%f");
    let staging = format!("usage_staging_{now}_{}", std::process::id());
    warehouse.ensure_table(&staging, &USAGE).await?;
    let merged = merge(warehouse, &staging, rows).await;
    let place = warehouse.place();
    warehouse.execute(&format!("DROP TABLE IF EXISTS {}", place.table(&staging)?), &[]).await?;
    merged
}

async fn merge(warehouse: &Warehouse, staging: &str, rows: &[UsageRow]) -> Result<()> {
    warehouse.load(staging, &USAGE, rows, true).await?;
    let place = warehouse.place();
    let (usage, staging) = (place.table(USAGE.name)?, place.table(staging)?);
    // `INSERT ROW` would do, and is beyond the emulator.
    let columns = USAGE.columns();
    let values: Vec<String> = columns.iter().map(|column| format!("s.{column}")).collect();
    let sql = format!(
        "MERGE {usage} AS t USING {staging} AS s ON t.event_id = s.event_id AND t.window_start = s.window_start \
         WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
        columns.join(", "),
        values.join(", ")
    );
    warehouse.execute(&sql, &[]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"version":1,"from":"2025-06-01T01:00:00Z","to":"2025-06-01T01:01:00Z","tenant":"acme","operation":"cache.lookup","operations":412,"exact_hits":341,"saved_tokens":91230}"#;

    #[test]
    fn a_line_keeps_its_id_in_a_longer_file_and_damage_is_told() {
        let (rows, damaged) = read(format!("{LINE}\n{LINE}\n").as_bytes()).unwrap();
        assert_eq!((rows.len(), damaged.len()), (2, 0));
        assert_ne!(rows[0].event_id, rows[1].event_id);
        assert_eq!((rows[0].usage.operations, rows[0].usage.false_hits), (412, 0));
        let marked = LINE.replace("\"exact_hits\"", "\"false_hits\":2,\"exact_hits\"");
        let (longer, damaged) = read(format!("{LINE}\n{{\"version\":1,\"fr\n\n{LINE}\r\n{marked}").as_bytes()).unwrap();
        assert_eq!(damaged, [2]);
        assert_eq!(longer[..2], rows);
        assert_eq!((longer[2].usage.false_hits, longer[2].usage.exact_hits), (2, 341));
    }
}
