//! What an operator wants to see: how the pools are, and how far behind the replicas are.

use std::time::Duration;

use memory_core::Result;
use metrics::counter;
use sqlx::{FromRow as _, Row as _};

use crate::error::{damaged, failed};
use crate::provider::AlloyDbMemoryProvider;
use crate::recall_cache::{OUTCOMES, RecallCacheStatus};
use crate::search::{FALLBACKS, SEARCHES};
use crate::statements::Repeat;
use crate::sweep::{FAILURES, REMOVED};

const OPERATION: &str = "replica lag";
const WRITTEN: &str = "SELECT pg_current_wal_lsn()::text";
/// An endpoint that is no replica has replayed nothing, and lacks nothing.
const REPLAYED: &str = "\
    SELECT COALESCE(pg_wal_lsn_diff($1::text::pg_lsn, pg_last_wal_replay_lsn()), 0)::float8, \
    COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0)::float8";

/// The connections to one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    /// How many are lent.
    pub busy: u32,
    /// How many are not.
    pub idle: u32,
    /// How many there may be.
    pub most: u32,
    /// How many calls wait for one.
    pub waiting: u32,
}

/// How far behind the primary a replica is. Both are 0 for one that has replayed all that the primary had written.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReplicaLag {
    /// Of the write-ahead log.
    pub bytes: u64,
    /// How long ago the last transaction that it has replayed was committed, by the clocks of the two.
    pub age: Duration,
}

/// Makes the counters known with a 0: who reads them can tell nothing happened from nobody looked.
pub(crate) fn begin_counting() {
    for endpoint in ["primary", "replica"] {
        counter!(SEARCHES, "endpoint" => endpoint).increment(0);
    }
    for reason in ["away", "behind"] {
        counter!(FALLBACKS, "reason" => reason).increment(0);
    }
    for what in ["memories", "former_versions", "sessions", "idempotency_keys", "changes"] {
        counter!(REMOVED, "what" => what).increment(0);
    }
    for outcome in ["hit", "changed", "miss"] {
        counter!(OUTCOMES, "outcome" => outcome).increment(0);
    }
    counter!(FAILURES, "task" => "sweep").increment(0);
}

impl AlloyDbMemoryProvider {
    /// How the pools are: the primary's, then those of the read pool in the order of the configuration. Asks nobody.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolStatus> {
        let all = std::iter::once(&self.inner.primary).chain(self.inner.replicas.connections());
        all.map(crate::connections::Connections::status).collect()
    }

    /// What is at hand of users who are searched again and again.
    #[must_use]
    pub fn recall_cache(&self) -> RecallCacheStatus {
        self.inner.recall_cache.status()
    }

    /// How far behind each endpoint of the read pool is, in the order of the configuration; `None` for one that does not
    /// answer. It takes a round trip to the primary, and then one to each endpoint.
    ///
    /// # Errors
    /// [`Error::Backend`](memory_core::Error::Backend) when the primary cannot say how far it is.
    pub async fn replica_lags(&self) -> Result<Vec<Option<ReplicaLag>>> {
        let mut endpoints = self.inner.replicas.connections().peekable();
        if endpoints.peek().is_none() {
            return Ok(Vec::new());
        }
        let statements = &self.inner.statements;
        let row = statements.row(&self.inner.primary, Repeat::Harmless, || sqlx::query(WRITTEN)).await;
        let row = row.map_err(|error| failed(OPERATION, error))?;
        let written: String = row.try_get(0).map_err(|error| damaged(OPERATION, error))?;
        let mut lags = Vec::new();
        for connections in endpoints {
            let query = || sqlx::query(REPLAYED).bind(&written);
            let rows = statements.rows_within(connections, self.replica_patience(), Repeat::Harmless, query).await;
            lags.push(rows.ok().and_then(|rows| <(f64, f64)>::from_row(rows.first()?).ok()).map(|(bytes, age)| {
                if bytes <= 0.0 {
                    return ReplicaLag::default();
                }
                ReplicaLag { bytes: bytes as u64, age: Duration::try_from_secs_f64(age).unwrap_or_default() }
            }));
        }
        Ok(lags)
    }
}
