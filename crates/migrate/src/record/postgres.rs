//! A record in a Postgres table, where servers on other machines read it too.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::{Record, Records};
use crate::{Error, Result};

/// The table, one row for each move. Made where it is not there.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS orchestra_moves (
    name text PRIMARY KEY,
    revision bigint NOT NULL,
    record text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
)";

/// How long whoever only reads waits for a connection.
const READERS_PATIENCE: Duration = Duration::from_secs(2);
/// SQLSTATE `undefined_table`.
const NO_TABLE: &str = "42P01";

/// A record in a Postgres table.
#[derive(Debug, Clone)]
pub struct PostgresRecords {
    pool: PgPool,
    name: String,
}

impl PostgresRecords {
    /// The record of the move of this name. Makes the table if need be.
    ///
    /// # Errors
    /// [`Error::Record`] when the database cannot be reached or does not let the role make the table.
    pub async fn connect(options: PgConnectOptions, name: impl Into<String>) -> Result<Self> {
        let pool = PgPoolOptions::new().max_connections(2).connect_with(options).await.map_err(read)?;
        let is_there: bool = sqlx::query_scalar("SELECT to_regclass('orchestra_moves') IS NOT NULL")
            .fetch_one(&pool)
            .await
            .map_err(read)?;
        if !is_there {
            sqlx::query(TABLE).execute(&pool).await.map_err(written)?;
        }
        Ok(Self { pool, name: name.into() })
    }

    /// The record of the move of this name, for who only reads it. Connects when it is read, and makes no table: without one
    /// there is no record.
    ///
    /// # Errors
    /// [`Error::Refused`] when the URL is none, without showing it.
    pub fn reader(url: &SecretString, name: impl Into<String>) -> Result<Self> {
        let options: PgConnectOptions = url.expose_secret().parse().map_err(|_| {
            Error::refused("the URL is none of a Postgres", "give postgres://user:password@host/database")
        })?;
        let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(READERS_PATIENCE);
        Ok(Self { pool: pool.connect_lazy_with(options), name: name.into() })
    }

    async fn read(&self, but: Option<u64>) -> Result<Option<Record>> {
        let sql = "SELECT record FROM orchestra_moves WHERE name = $1 AND revision IS DISTINCT FROM $2";
        let query = sqlx::query_scalar(sql).bind(&self.name).bind(but.map(u64::cast_signed));
        let json: Option<String> = match query.fetch_optional(&self.pool).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(NO_TABLE) => None,
            answered => answered.map_err(read)?,
        };
        let parse = |json: String| serde_json::from_str(&json);
        json.map(parse).transpose().map_err(|error| Error::Record { operation: "read", source: error.into() })
    }
}

#[async_trait]
impl Records for PostgresRecords {
    async fn load(&self) -> Result<Option<Record>> {
        self.read(None).await
    }

    async fn other_than(&self, revision: u64) -> Result<Option<Record>> {
        self.read(Some(revision)).await
    }

    async fn store(&self, record: &Record) -> Result<()> {
        let json = serde_json::to_string(record)
            .map_err(|error| Error::Record { operation: "written", source: error.into() })?;
        let sql = match record.revision {
            1 => {
                "INSERT INTO orchestra_moves (name, revision, record) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING"
            }
            _ => {
                "UPDATE orchestra_moves SET revision = $2, record = $3, changed_at = now() \
                 WHERE name = $1 AND revision = $2 - 1"
            }
        };
        let query = sqlx::query(sql).bind(&self.name).bind(record.revision.cast_signed()).bind(json);
        let done = query.execute(&self.pool).await.map_err(written)?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(Error::Superseded) }
    }
}

fn read(error: sqlx::Error) -> Error {
    Error::Record { operation: "read", source: error.into() }
}

fn written(error: sqlx::Error) -> Error {
    Error::Record { operation: "written", source: error.into() }
}
