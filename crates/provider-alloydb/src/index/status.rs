//! How it stands with the index of each space.

use std::collections::HashMap;

use memory_core::{EmbeddingSpace, Error, Result, Timestamp};
use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgPool, Row as _};

use super::keeper::IndexKeeper;
use super::policy::{Decision, Extension, Situation, Standing, wanted};
use super::spec::IndexSpec;
use crate::error::failed;

/// Up to so many blocks of the table, 80 MB, are read to count the rows of the spaces; of a larger table a sample of as many.
const COUNTED_BLOCKS: f64 = 10_000.0;

/// How it stands with the index of a space.
#[derive(Debug, Clone, Serialize)]
pub struct SpaceStatus {
    /// The space's number in this database.
    pub number: i16,
    /// The space.
    pub space: EmbeddingSpace,
    /// How many memories have a vector in it, of all tenants. Estimated from a sample where the table is over 80 MB.
    pub rows: u64,
    /// The index that stands, if one does.
    pub index: Option<StandingIndex>,
    /// What the policy says is to be done.
    pub decision: Decision,
}

/// An index that stands.
#[derive(Debug, Clone, Serialize)]
pub struct StandingIndex {
    /// Its name in the schema `orchestra`.
    pub name: String,
    /// `ivfflat`, `hnsw` or `scann`.
    pub kind: String,
    /// As it was built; `None` for one that another version of the program made and this one does not know.
    pub spec: Option<IndexSpec>,
    /// Its size.
    pub size_bytes: u64,
    /// How many rows there were.
    pub rows_at_build: u64,
    /// When it was built.
    pub built_at: Option<Timestamp>,
    /// The lists that are probed, or the length of the list of candidates.
    pub effort: u32,
    /// What was last measured with this effort.
    pub measured: Option<Measured>,
}

/// What a measurement found.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The share of the true `k` nearest that was found, 0 to 1.
    pub recall: f32,
    /// How many nearest were asked for.
    pub k: u32,
    /// Over how many queries.
    pub queries: u32,
    /// When.
    pub at: Timestamp,
}

impl IndexKeeper {
    /// Each space with its rows, its index and what is to be done about it, by number.
    ///
    /// # Errors
    /// [`Error::Backend`] when Postgres fails, [`Error::Unusable`] when the schema is older than this program.
    pub async fn status(&self) -> Result<Vec<SpaceStatus>> {
        self.read_status().await.map_err(|error| failed("index status", error))
    }

    /// The status of one space.
    pub(super) async fn status_of(&self, space: i16) -> Result<SpaceStatus> {
        let status = self.status().await?.into_iter().find(|status| status.number == space);
        status.ok_or_else(|| Error::invalid("space", space, "the number of a space that the status shows"))
    }

    async fn read_status(&self) -> sqlx::Result<Vec<SpaceStatus>> {
        let pool = self.pool();
        let config = &self.provider.inner.config;
        let rows = rows_of_spaces(pool).await?;
        let scann = scann(pool).await?;
        let spaces = sqlx::query(
            "SELECT p.space, p.model, p.revision, p.dimensions, p.normalized, s.kind, s.name, s.parameters, \
                 s.rows_at_build, s.built_at, s.effort, s.measured_recall, s.measured_k, s.measured_queries, \
                 s.measured_at, i.indisvalid, pg_relation_size(c.oid) AS size_bytes \
             FROM orchestra.spaces p \
             LEFT JOIN orchestra.index_state s ON s.space = p.space \
             LEFT JOIN pg_class c ON c.relname = s.name AND c.relnamespace = 'orchestra'::regnamespace \
             LEFT JOIN pg_index i ON i.indexrelid = c.oid \
             ORDER BY p.space",
        )
        .fetch_all(pool)
        .await?;
        let read = |row: &PgRow| {
            let number: i16 = row.try_get("space")?;
            let dimensions = row.try_get::<i32, _>("dimensions")?.unsigned_abs();
            let space = EmbeddingSpace {
                model: row.try_get("model")?,
                revision: row.try_get("revision")?,
                dimensions: dimensions as usize,
                normalized: row.try_get("normalized")?,
            };
            let index = read_standing(row)?;
            let rows = rows.get(&number).copied().unwrap_or(0);
            let standing =
                index.as_ref().map(|index| Standing { spec: index.spec.clone(), rows_at_build: index.rows_at_build });
            let situation = Situation { rows, dimensions, storage: config.storage, scann, standing };
            let decision = wanted(&situation, &config.index);
            Ok(SpaceStatus { number, space, rows, index, decision })
        };
        spaces.iter().map(read).collect()
    }
}

/// None where there is none, or one whose build did not end.
fn read_standing(row: &PgRow) -> sqlx::Result<Option<StandingIndex>> {
    if row.try_get::<Option<bool>, _>("indisvalid")? != Some(true) {
        return Ok(None);
    }
    let count = |name: &str| row.try_get::<Option<i64>, _>(name).map(|count| count.unwrap_or_default().unsigned_abs());
    let small = |name: &str| row.try_get::<Option<i32>, _>(name).map(|count| count.map(i32::unsigned_abs));
    let Json(parameters): Json<Value> = row.try_get("parameters")?;
    let spec: Option<IndexSpec> = serde_json::from_value(parameters).ok();
    let measured = match (row.try_get("measured_recall")?, row.try_get("measured_at")?) {
        (Some(recall), Some(at)) => Some(Measured {
            recall,
            k: small("measured_k")?.unwrap_or_default(),
            queries: small("measured_queries")?.unwrap_or_default(),
            at,
        }),
        _ => None,
    };
    Ok(Some(StandingIndex {
        name: row.try_get("name")?,
        kind: row.try_get("kind")?,
        size_bytes: count("size_bytes")?,
        rows_at_build: count("rows_at_build")?,
        built_at: row.try_get("built_at")?,
        effort: small("effort")?.or_else(|| spec.as_ref().map(IndexSpec::first_effort)).unwrap_or_default(),
        spec,
        measured,
    }))
}

/// How many vectors each space has, over all tenants.
async fn rows_of_spaces(pool: &PgPool) -> sqlx::Result<HashMap<i16, u64>> {
    let mut transaction = pool.begin().await?;
    let blocks: i64 =
        sqlx::query_scalar("SELECT pg_relation_size('orchestra.memories') / current_setting('block_size')::bigint")
            .fetch_one(&mut *transaction)
            .await?;
    let share = (COUNTED_BLOCKS / blocks.max(1) as f64).min(1.0);
    sqlx::query("SET LOCAL ROLE orchestra_maintenance").execute(&mut *transaction).await?;
    let counts: Vec<(i16, i64)> = sqlx::query_as(
        "SELECT space, count(*) FROM orchestra.memories TABLESAMPLE SYSTEM ($1) WHERE space IS NOT NULL GROUP BY space",
    )
    .bind((share * 100.0) as f32)
    .fetch_all(&mut *transaction)
    .await?;
    transaction.rollback().await?;
    Ok(counts.into_iter().map(|(space, count)| (space, (count as f64 / share) as u64)).collect())
}

async fn scann(pool: &PgPool) -> sqlx::Result<Extension> {
    let installed: Option<bool> = sqlx::query_scalar(
        "SELECT installed_version IS NOT NULL FROM pg_available_extensions WHERE name = 'alloydb_scann'",
    )
    .fetch_optional(pool)
    .await?;
    Ok(match installed {
        None => Extension::Missing,
        Some(false) => Extension::Available,
        Some(true) => Extension::Installed,
    })
}
