//! Opening the file: what it is, whether it is whole, and its tables.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memory_core::{Error, Gate, Result};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use uuid::Uuid;

use crate::config::EmbeddedConfig;
use crate::error::{backend, damaged, is_damage, unusable};
use crate::rows::read_gate;
use crate::sql;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// "OMEM"; the first migration writes it.
const APPLICATION_ID: u32 = 0x4F4D_454D;
/// The number of the newest migration, which the migrations keep in `user_version`.
const SCHEMA_VERSION: u32 = 8;
/// Files up to this size are checked whole when they are opened, which takes some tens of milliseconds. Damage in larger
/// ones shows when it is read.
const CHECKED_WHOLE_BYTES: u64 = 32 << 20;
const PAGE_BYTES: u64 = 4096;

/// An opened file.
#[derive(Debug)]
pub(crate) struct Opened {
    pub writer: SqliteConnection,
    pub readers: SqlitePool,
    /// Tells this store's write tokens from another store's.
    pub instance: String,
    pub sequence: u64,
    pub next_position: u64,
    pub cache_entries: u64,
    pub gate: Gate,
    /// Whether a move has the changes noted.
    pub is_captured: bool,
}

/// Opens the file at `config.path`, and makes it if it is not there. The caller holds its lock.
pub(crate) async fn open(config: &EmbeddedConfig) -> Result<Opened> {
    let path = &config.path;
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(unusable(path, "is a folder; give the path of a file in it, such as memory.db", None));
        }
        Ok(metadata) => check_header(path, metadata.len())?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(path).await?,
        Err(error) => {
            return Err(unusable(path, "cannot be read; check the permissions of its folder", Some(error.into())));
        }
    }
    let mut writer = writer_options(path).connect().await.map_err(|error| opening(path, error))?;
    check_contents(path, &mut writer).await?;
    if let Some(bytes) = config.max_size_bytes {
        limit_size(&mut writer, bytes).await?;
    }
    let row = sqlx::query(sql::READ_STORE).fetch_one(&mut writer).await.map_err(|error| opening(path, error))?;
    let readers = SqlitePoolOptions::new()
        .max_connections(config.read_connections.max(1))
        .acquire_timeout(Duration::from_secs(30))
        .connect_lazy_with(reader_options(path));
    let read = |error| backend("open", error);
    Ok(Opened {
        writer,
        readers,
        instance: row.try_get(0).map_err(read)?,
        sequence: row.try_get::<i64, _>(1).map_err(read)?.cast_unsigned(),
        next_position: row.try_get::<i64, _>(2).map_err(read)?.cast_unsigned(),
        cache_entries: row.try_get::<i64, _>(3).map_err(read)?.cast_unsigned(),
        gate: read_gate(&row, 4).map_err(|error| damaged("open", error))?,
        is_captured: row.try_get(6).map_err(read)?,
    })
}

/// Sets how large the file may grow. It is never less than it is.
pub(crate) async fn limit_size(writer: &mut SqliteConnection, bytes: u64) -> Result<()> {
    let limit = format!("PRAGMA max_page_count = {}", (bytes / PAGE_BYTES).max(1));
    let set = sqlx::query(AssertSqlSafe(limit)).fetch_one(writer).await;
    set.map(drop).map_err(|error| backend("limit the size", error))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(Duration::from_secs(5))
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

fn writer_options(path: &Path) -> SqliteConnectOptions {
    options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("secure_delete", "ON")
        .pragma("journal_size_limit", "67108864")
}

fn reader_options(path: &Path) -> SqliteConnectOptions {
    options(path).pragma("query_only", "ON")
}

/// Makes the file under another name and moves it into place, so that a process killed half way leaves no half file.
async fn create(path: &Path) -> Result<()> {
    let log = beside(path, "-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        let reason = format!(
            "is missing, but its write-ahead log {} is there; restore the file that belongs to it, or move the log away to \
             start anew",
            log.display()
        );
        return Err(unusable(path, reason, None));
    }
    let new = beside(path, ".new");
    for leftover in [new.clone(), beside(&new, "-journal")] {
        if let Err(error) = fs::remove_file(&leftover)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(unusable(
                &leftover,
                "cannot be removed; check the permissions of its folder",
                Some(error.into()),
            ));
        }
    }
    let creating = |error: sqlx::Error| match backend("create", error) {
        full @ Error::StorageFull { .. } => full,
        other => unusable(path, "cannot be created; give a folder this process may write to", Some(other.into())),
    };
    let mut connection = options(&new)
        .create_if_missing(true)
        .page_size(PAGE_BYTES as u32)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await
        .map_err(creating)?;
    migrate(path, &mut connection).await?;
    let instance = format!("{:08x}", Uuid::now_v7().as_u128() as u32);
    sqlx::query(sql::CREATE_STORE).bind(instance).execute(&mut connection).await.map_err(creating)?;
    connection.close().await.map_err(creating)?;
    fs::rename(&new, path)
        .and_then(|()| match path.parent() {
            Some(folder) if cfg!(unix) && !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => Ok(()),
        })
        .map_err(|error| {
            unusable(path, "cannot be created; give a folder this process may write to", Some(error.into()))
        })
}

async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<()> {
    MIGRATOR.run_direct(None, connection, false).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => {
            match backend("migrate", error) {
                full @ Error::StorageFull { .. } => full,
                other => {
                    unusable(path, "cannot be brought to this version's schema; restore a backup", Some(other.into()))
                }
            }
        }
        other => unusable(path, "cannot be brought to this version's schema; restore a backup", Some(other.into())),
    })
}

/// Tells what the file is by its first bytes, without SQLite and without touching it.
fn check_header(path: &Path, length: u64) -> Result<()> {
    if length == 0 {
        return Err(unusable(
            path,
            "is empty and so not a memory store; remove it to start anew, or restore a backup",
            None,
        ));
    }
    let mut header = [0_u8; 100];
    let mut file = File::options().read(true).write(true).open(path).map_err(|error| {
        let reason = "cannot be opened for writing; check its permissions, or give another --data folder";
        unusable(path, reason, Some(error.into()))
    })?;
    if file.read_exact(&mut header).is_err() || &header[..16] != b"SQLite format 3\0" {
        let reason = "is not a SQLite database; it was left as it is, give another path";
        return Err(unusable(path, reason, None));
    }
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if word(68) != APPLICATION_ID {
        let reason = "is a SQLite database of another program; it was left as it is, give another path";
        return Err(unusable(path, reason, None));
    }
    check_version(path, word(60))?;
    // With a write-ahead log beside it the file may be shorter than it says, until the log is written into it.
    let has_log = fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    let expected = u64::from(word(28)) * PAGE_BYTES;
    if !has_log && length < expected {
        let reason =
            format!("is truncated: it has {length} of {expected} bytes; it was left as it is, restore a backup");
        return Err(unusable(path, reason, None));
    }
    Ok(())
}

fn check_version(path: &Path, version: u32) -> Result<()> {
    if version > SCHEMA_VERSION {
        let reason = format!(
            "was written by a newer version (schema {version}, this one knows {SCHEMA_VERSION}); it was left as it is, use \
             that version"
        );
        return Err(unusable(path, reason, None));
    }
    Ok(())
}

/// Checks what SQLite sees, the write-ahead log included, and brings an older schema up to date.
async fn check_contents(path: &Path, writer: &mut SqliteConnection) -> Result<()> {
    let opened = |error| opening(path, error);
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *writer).await.map_err(opened)?;
    let version = u32::try_from(version).unwrap_or(u32::MAX);
    check_version(path, version)?;
    if fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_WHOLE_BYTES) {
        let found: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *writer).await.map_err(opened)?;
        if found != "ok" {
            return Err(unusable(
                path,
                "is damaged; restore a backup, or recover it with `sqlite3 FILE .recover`",
                Some(found.into()),
            ));
        }
    }
    if version < SCHEMA_VERSION {
        migrate(path, writer).await?;
    }
    Ok(())
}

fn opening(path: &Path, error: sqlx::Error) -> Error {
    if is_damage(&error) {
        return unusable(
            path,
            "is damaged; restore a backup, or recover it with `sqlite3 FILE .recover`",
            Some(error.into()),
        );
    }
    match backend("open", error) {
        full @ Error::StorageFull { .. } => full,
        other => unusable(path, "cannot be opened; check its permissions and those of its folder", Some(other.into())),
    }
}

/// The bytes that the database takes on disk, its log included.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")]
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|file| file.len())
        .sum()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_version_is_the_newest_migration() {
        assert_eq!(MIGRATOR.iter().map(|migration| migration.version).max(), Some(i64::from(SCHEMA_VERSION)));
    }
}
