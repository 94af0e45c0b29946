//! What a database has of the schema.

use std::time::Duration;

use chrono::{DateTime, Utc};
use memory_core::Result;
use sqlx::PgConnection;
use sqlx::migrate::Migration;

use super::examination::Examination;
use super::{MIGRATOR, changed};
use crate::error::{failed, unusable};

/// How a database stands to this program's schema.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct SchemaStatus {
    /// The database's name.
    pub database: String,
    /// The server's version: `18.6`.
    pub postgres: String,
    /// The version of pgvector in the database, if it is there: `0.8.6`.
    pub pgvector: Option<String>,
    /// This program's migrations in order, then those of a later program.
    pub migrations: Vec<MigrationStatus>,
    /// What keeps the schema from being brought up to date, each with what to do.
    pub problems: Vec<String>,
    /// What works and should be changed all the same.
    pub warnings: Vec<String>,
}

/// A migration, and whether a database has it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct MigrationStatus {
    /// Its number.
    pub version: i64,
    /// What it does, in words: `create memories`.
    pub description: String,
    /// Whether the database has it.
    pub state: MigrationState,
    /// When it was applied.
    pub applied_at: Option<DateTime<Utc>>,
    /// How long that took, in milliseconds, if it is known.
    pub took_ms: Option<f64>,
}

/// Whether a database has a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MigrationState {
    /// It has.
    Applied,
    /// Not yet.
    Pending,
    /// It has one of another text: the file was changed afterwards.
    Changed,
    /// It has, and this program knows nothing of it: a later program has been here, whose schema serves this one too.
    Unknown,
}

impl MigrationState {
    /// Its name, as JSON spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Changed => "changed",
            Self::Unknown => "unknown",
        }
    }
}

impl SchemaStatus {
    /// Whether the database has every migration of this program, as it is, and nothing is in the way.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.problems.is_empty() && self.count(MigrationState::Pending) == 0
    }

    /// How many migrations are in that state.
    #[must_use]
    pub fn count(&self, state: MigrationState) -> usize {
        self.migrations.iter().filter(|migration| migration.state == state).count()
    }

    pub(super) async fn read(connection: &mut PgConnection, examination: &Examination) -> Result<Self> {
        let rows = if examination.has_migrations { rows(connection, examination).await? } else { Vec::new() };
        let mut problems = examination.problems();
        let mut migrations = Vec::new();
        for migration in MIGRATOR.iter() {
            let row = rows.iter().find(|row| row.version == migration.version);
            let state = match row {
                None => MigrationState::Pending,
                Some(row) if row.checksum == *migration.checksum => MigrationState::Applied,
                Some(_) => {
                    problems.push(changed(migration));
                    MigrationState::Changed
                }
            };
            migrations.push(MigrationStatus {
                version: migration.version,
                description: migration.description.clone().into_owned(),
                state,
                applied_at: row.map(|row| row.installed_on),
                took_ms: row.and_then(Row::took_ms),
            });
        }
        migrations.extend(rows.into_iter().filter(|row| !MIGRATOR.version_exists(row.version)).map(|row| {
            MigrationStatus {
                version: row.version,
                state: MigrationState::Unknown,
                applied_at: Some(row.installed_on),
                took_ms: row.took_ms(),
                description: row.description,
            }
        }));
        Ok(Self {
            database: examination.database.clone(),
            postgres: examination.postgres.clone(),
            pgvector: examination.pgvector.clone(),
            migrations,
            problems,
            warnings: examination.warnings(),
        })
    }
}

impl MigrationStatus {
    pub(super) fn applied_now(migration: &Migration, took: Duration) -> Self {
        Self {
            version: migration.version,
            description: migration.description.clone().into_owned(),
            state: MigrationState::Applied,
            applied_at: Some(Utc::now()),
            took_ms: Some(took.as_secs_f64() * 1e3),
        }
    }
}

/// A row of the table of migrations, which is sqlx's.
#[derive(sqlx::FromRow)]
struct Row {
    version: i64,
    description: String,
    installed_on: DateTime<Utc>,
    checksum: Vec<u8>,
    /// In nanoseconds, or -1.
    execution_time: i64,
}

impl Row {
    fn took_ms(&self) -> Option<f64> {
        (self.execution_time >= 0).then(|| self.execution_time as f64 / 1e6)
    }
}

async fn rows(connection: &mut PgConnection, examination: &Examination) -> Result<Vec<Row>> {
    let rows = sqlx::query_as(
        "SELECT version, description, installed_on, checksum, execution_time FROM orchestra.migrations ORDER BY version",
    );
    rows.fetch_all(connection).await.map_err(|error| {
        // insufficient_privilege
        match error.as_database_error().and_then(|error| error.code()).as_deref() {
            Some("42501") => unusable(examination.not_the_owner(), Some(Box::new(error))),
            _ => failed("read the schema's state", error),
        }
    })
}
