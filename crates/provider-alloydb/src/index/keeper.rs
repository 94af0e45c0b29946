//! Builds, rebuilds and drops indexes beside traffic.

use std::fmt;
use std::time::{Duration, Instant};

use memory_core::Result;
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Row as _};
use tracing::{info, warn};

use super::policy::Decision;
use super::spec::IndexSpec;
use super::status::SpaceStatus;
use crate::config::AlloyDbConfig;
use crate::error::{failed, unusable};
use crate::provider::AlloyDbMemoryProvider;

const OPERATION: &str = "index build";
/// One builder at a time, held by its session: a build that is cut off gives it back by itself.
const LOCK: &str = "hashtextextended('orchestra:index', 0)";
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// disk_full, which the server also says when shared memory has no room for the workers of a build.
const NO_SPACE: &str = "53100";

/// Looks after the vector indexes, as the owner of the schema: builds, measures and tells how it stands.
///
/// Clones share the same connections.
#[derive(Clone)]
pub struct IndexKeeper {
    pub(super) provider: AlloyDbMemoryProvider,
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuildProgress {
    /// What the server does, in its words: `building index: loading tuples`.
    pub phase: String,
    /// How much of the phase is done, in rows or blocks.
    pub done: u64,
    /// How much it is in all; 0 where the server does not say.
    pub total: u64,
}

/// What became of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum BuildOutcome {
    /// There was nothing to do.
    Nothing {
        /// Why.
        reason: String,
    },
    /// Another builder is at work in this database; nothing was done.
    Busy,
    /// An index was built, and is used from now on; by processes that run, within 10 s.
    Built {
        /// Its name in the schema `orchestra`.
        name: String,
        /// What was built.
        spec: IndexSpec,
        /// How long that took.
        took: Duration,
    },
    /// The index that stood was dropped.
    Dropped {
        /// Why.
        reason: String,
    },
}

impl IndexKeeper {
    /// Connects as the role of `config`, which owns the schema. A superuser may do this too.
    ///
    /// # Errors
    /// [`Invalid`](memory_core::Error::Invalid) for a setting, [`Unusable`](memory_core::Error::Unusable) when the role does
    /// not own the tables or the connection goes by a pooler, [`Backend`](memory_core::Error::Backend) while the server
    /// cannot be reached.
    pub async fn connect(mut config: AlloyDbConfig) -> Result<Self> {
        if config.pooler {
            let reason = "index work needs connections of its own: connect to the server, not to the pooler";
            return Err(unusable(reason, None));
        }
        config.high_availability = false;
        let provider = AlloyDbMemoryProvider::open(config).await?;
        let (user, is_owner, may_count): (String, bool, Option<bool>) = sqlx::query_as(
            "SELECT current_user::text, pg_has_role(relowner, 'USAGE'), \
             (SELECT pg_has_role(oid, CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END) \
              FROM pg_roles WHERE rolname = 'orchestra_maintenance') \
             FROM pg_class WHERE oid = 'orchestra.memories'::regclass",
        )
        .fetch_one(provider.inner.primary.pool())
        .await
        .map_err(|error| failed("connect", error))?;
        if !is_owner {
            let reason = format!("the role {user} does not own orchestra.memories: index work connects as the owner");
            return Err(unusable(reason, None));
        }
        match may_count {
            Some(true) => {}
            Some(false) => {
                let reason = format!(
                    "the role {user} may not count vectors over all tenants; let an administrator run GRANT \
                     orchestra_maintenance TO {user} WITH INHERIT FALSE, SET TRUE (before Postgres 16 without the options)"
                );
                return Err(unusable(reason, None));
            }
            None => {
                return Err(unusable("the role orchestra_maintenance is missing; run `orchestra db migrate`", None));
            }
        }
        Ok(Self { provider })
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.provider.close().await;
    }

    /// Does what the policy says about a space's index, beside traffic; `progress` is told now and then how far it is.
    ///
    /// Searches and writes go on. What a build that was cut off left behind is dropped first. A rebuild drops the former
    /// index once the new one serves. A call that is cut off cancels its build within seconds.
    ///
    /// # Errors
    /// [`Invalid`](memory_core::Error::Invalid) when there is no such space, [`Unusable`](memory_core::Error::Unusable) when
    /// what is configured cannot be built here, [`StorageFull`](memory_core::Error::StorageFull),
    /// [`Backend`](memory_core::Error::Backend) when Postgres fails.
    pub async fn build(&self, space: i16, progress: impl FnMut(BuildProgress) + Send) -> Result<BuildOutcome> {
        let mut connection = self.connection().await.map_err(|error| failed(OPERATION, error))?;
        let is_ours: bool = sqlx::query_scalar(AssertSqlSafe(format!("SELECT pg_try_advisory_lock({LOCK})")))
            .fetch_one(&mut connection)
            .await
            .map_err(|error| failed(OPERATION, error))?;
        if !is_ours {
            return Ok(BuildOutcome::Busy);
        }
        let outcome = self.build_alone(&mut connection, space, progress).await;
        // The lock would end with the session, but the server ends that a moment after it is closed.
        let unlocked = connection.execute(AssertSqlSafe(format!("SELECT pg_advisory_unlock({LOCK})"))).await;
        if let Err(error) = unlocked.and(connection.close().await) {
            warn!(%error, "the connection of a build was not closed in good order");
        }
        outcome
    }

    async fn build_alone(
        &self,
        connection: &mut PgConnection,
        space: i16,
        progress: impl FnMut(BuildProgress) + Send,
    ) -> Result<BuildOutcome> {
        let status = self.status_of(space).await?;
        let failed = |error| failed(OPERATION, error);
        let standing = status.index.as_ref().map(|index| index.name.clone());
        drop_others(connection, space, standing.as_deref()).await.map_err(failed)?;
        let spec = match &status.decision {
            Decision::Nothing { reason } => return Ok(BuildOutcome::Nothing { reason: reason.clone() }),
            Decision::Impossible { reason } => return Err(unusable(reason.clone(), None)),
            Decision::Drop { reason } => {
                // Searches stop to ask for it first.
                forget(connection, space).await.map_err(failed)?;
                drop_others(connection, space, None).await.map_err(failed)?;
                return Ok(BuildOutcome::Dropped { reason: reason.clone() });
            }
            Decision::Build { spec, .. } | Decision::Rebuild { spec, .. } => spec,
        };
        let slots = slots(space);
        let name = slots.iter().find(|slot| standing.as_deref() != Some(&***slot)).unwrap_or(&slots[0]);
        let begun = Instant::now();
        if let Err(error) = self.create(connection, name, &status, spec, progress).await {
            // What is left of it would cost every write.
            if let Err(error) = drop_others(connection, space, standing.as_deref()).await {
                warn!(%error, name, "what is left of a build was not dropped; the next one does");
            }
            return Err(failed(error));
        }
        self.take_over(connection, name, &status, spec).await.map_err(failed)?;
        drop_others(connection, space, Some(name)).await.map_err(failed)?;
        let took = begun.elapsed();
        info!(name, %spec, rows = status.rows, took_ms = took.as_millis() as u64, "a vector index was built");
        Ok(BuildOutcome::Built { name: name.clone(), spec: spec.clone(), took })
    }

    async fn create(
        &self,
        connection: &mut PgConnection,
        name: &str,
        status: &SpaceStatus,
        spec: &IndexSpec,
        mut progress: impl FnMut(BuildProgress) + Send,
    ) -> sqlx::Result<()> {
        let policy = &self.provider.inner.config.index;
        let expression: String =
            sqlx::query_scalar(AssertSqlSafe(spec.expression())).fetch_one(&mut *connection).await?;
        let statement = spec.create(name, status.number, &expression);
        let memory = spec.build_memory_mib(status.rows, policy.build_memory_mib);
        let process: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *connection).await?;
        set(connection, "maintenance_work_mem", &format!("{memory}MB")).await?;
        for workers in [policy.build_workers, 0] {
            set(connection, "max_parallel_maintenance_workers", &workers.to_string()).await?;
            let built = self.watch(connection, &statement, process, &mut progress).await;
            match &built {
                Err(sqlx::Error::Database(error)) if workers > 0 && error.code().as_deref() == Some(NO_SPACE) => {
                    warn!(%error, "no room for the workers of a build; it is tried without");
                    connection.execute(AssertSqlSafe(drop_statement(name))).await?;
                }
                _ => return built,
            }
        }
        Ok(())
    }

    /// Runs the statement, and tells meanwhile how far it is.
    async fn watch(
        &self,
        connection: &mut PgConnection,
        statement: &str,
        process: i32,
        progress: &mut (impl FnMut(BuildProgress) + Send),
    ) -> sqlx::Result<()> {
        let mut build = std::pin::pin!(connection.execute(AssertSqlSafe(statement)));
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        loop {
            tokio::select! {
                built = &mut build => return built.map(drop),
                _ = ticks.tick() => {
                    if let Ok(Some(now)) = read_progress(self.pool(), process).await {
                        progress(now);
                    }
                }
            }
        }
    }

    /// From here on searches use the new index.
    async fn take_over(
        &self,
        connection: &mut PgConnection,
        name: &str,
        status: &SpaceStatus,
        spec: &IndexSpec,
    ) -> sqlx::Result<()> {
        let valid: Option<bool> = sqlx::query_scalar(
            "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             WHERE c.relname = $1 AND c.relnamespace = 'orchestra'::regnamespace",
        )
        .bind(name)
        .fetch_optional(&mut *connection)
        .await?;
        if valid != Some(true) {
            return Err(sqlx::Error::Protocol(format!("the index {name} was built, and is not valid")));
        }
        // How large the scopes are decides between the index and reading a scope: a bulk load is not yet counted.
        connection
            .execute("ANALYZE orchestra.memories (tenant, user_id, agent_id, session_id, space, expires_at)")
            .await?;
        sqlx::query(
            "INSERT INTO orchestra.index_state (space, kind, name, parameters, rows_at_build, built_at, effort) \
             VALUES ($1, $2, $3, $4, $5, now(), $6) \
             ON CONFLICT (space) DO UPDATE SET kind = excluded.kind, name = excluded.name, \
                 parameters = excluded.parameters, rows_at_build = excluded.rows_at_build, \
                 built_at = excluded.built_at, effort = excluded.effort, measured_recall = NULL, measured_k = NULL, \
                 measured_queries = NULL, measured_at = NULL",
        )
        .bind(status.number)
        .bind(spec.kind().name())
        .bind(name)
        .bind(Json(spec))
        .bind(status.rows.cast_signed())
        .bind(spec.first_effort().cast_signed())
        .execute(connection)
        .await?;
        Ok(())
    }

    /// A connection of its own, without limits of time, that notices when nobody waits for it any more.
    async fn connection(&self) -> sqlx::Result<PgConnection> {
        let mut connection = self.pool().acquire().await?.detach();
        for (name, value) in
            [("statement_timeout", "0"), ("idle_session_timeout", "0"), ("client_connection_check_interval", "2s")]
        {
            set(&mut connection, name, value).await?;
        }
        Ok(connection)
    }

    pub(super) fn pool(&self) -> &PgPool {
        self.provider.inner.primary.pool()
    }
}

/// The two names of a space's index: a new one is built beside the one that stands. The search counts scans by these names.
fn slots(space: i16) -> [String; 2] {
    ["a", "b"].map(|slot| format!("memories_by_vector_{space}_{slot}"))
}

fn drop_statement(name: &str) -> String {
    format!("DROP INDEX CONCURRENTLY IF EXISTS orchestra.{name}")
}

async fn set(connection: &mut PgConnection, name: &str, value: &str) -> sqlx::Result<()> {
    sqlx::query("SELECT set_config($1, $2, false)").bind(name).bind(value).execute(connection).await?;
    Ok(())
}

/// Drops each index of the space but the one that stands: what a build left that was cut off, or the former one.
async fn drop_others(connection: &mut PgConnection, space: i16, standing: Option<&str>) -> sqlx::Result<()> {
    for name in slots(space) {
        if standing != Some(&*name) {
            connection.execute(AssertSqlSafe(drop_statement(&name))).await?;
        }
    }
    Ok(())
}

/// From here on searches of the space are exact.
async fn forget(connection: &mut PgConnection, space: i16) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE orchestra.index_state SET kind = 'exact', name = NULL, parameters = '{}', rows_at_build = NULL, \
         built_at = NULL, effort = NULL, measured_recall = NULL, measured_k = NULL, measured_queries = NULL, \
         measured_at = NULL WHERE space = $1",
    )
    .bind(space)
    .execute(connection)
    .await?;
    Ok(())
}

async fn read_progress(pool: &PgPool, process: i32) -> sqlx::Result<Option<BuildProgress>> {
    let row = sqlx::query(
        "SELECT phase, CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END AS done, \
         CASE WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END AS total \
         FROM pg_stat_progress_create_index WHERE pid = $1",
    )
    .bind(process)
    .fetch_optional(pool)
    .await?;
    let count = |row: &sqlx::postgres::PgRow, name: &str| {
        row.try_get::<Option<i64>, _>(name).map(|count| count.unwrap_or_default().unsigned_abs())
    };
    row.map(|row| {
        let phase = row.try_get::<Option<String>, _>("phase")?.unwrap_or_default();
        Ok(BuildProgress { phase, done: count(&row, "done")?, total: count(&row, "total")? })
    })
    .transpose()
}

impl fmt::Debug for IndexKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexKeeper").field("provider", &self.provider).finish()
    }
}
