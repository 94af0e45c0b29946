//! What has expired leaves the disk.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use memory_core::{ChangeFeed as _, Error, Result};
use metrics::counter;
use sqlx::{FromRow, Row as _};
use tracing::{debug, warn};

use crate::error::failed;
use crate::provider::{AlloyDbMemoryProvider, Inner};
use crate::rows::whole_micros;
use crate::statements::Repeat;
use crate::write::KEY_LIFETIME;

/// Rows that a sweep has removed, by `what`: memories, former_versions, sessions, idempotency_keys, and changes that every
/// follower has passed.
pub(crate) const REMOVED: &str = "orchestra_expired_removed_total";
/// Steps in the background that failed, by `task`, which is `sweep` here.
pub(crate) const FAILURES: &str = "orchestra_background_failures_total";
const OPERATION: &str = "remove expired";
/// How many rows of a kind go in one transaction.
const AT_ONCE: i32 = 1000;

/// What [`remove_expired`](AlloyDbMemoryProvider::remove_expired) took off the disk, in rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Expired memories.
    pub memories: u64,
    /// Their former versions.
    pub former_versions: u64,
    /// Sessions of which the last turn has expired.
    pub sessions: u64,
    /// Idempotency keys that no longer hold.
    pub idempotency_keys: u64,
}

impl AlloyDbMemoryProvider {
    /// Removes what has expired, of all tenants, and gives how much. This is done in the background too, as
    /// [`sweep_every`](crate::AlloyDbConfig::sweep_every) says.
    ///
    /// Memories go with their former versions, and leave no tombstones; what was derived from them stays. Something has
    /// expired once it has by this program's clock and by the database's own. At most 1,000 memories go in one transaction;
    /// what another transaction has a hand on is left for the next time.
    ///
    /// # Errors
    /// [`Error::Fenced`] in a store that follows another one, [`Error::Backend`]: what was counted until then is removed all
    /// the same.
    pub async fn remove_expired(&self) -> Result<Removed> {
        let mut removed = Removed::default();
        let swept = self.sweep(&mut removed).await;
        let Removed { memories, former_versions, sessions, idempotency_keys } = removed;
        if removed != Removed::default() {
            debug!(memories, former_versions, sessions, idempotency_keys, "what had expired was removed");
        }
        for (what, rows) in [
            ("memories", memories),
            ("former_versions", former_versions),
            ("sessions", sessions),
            ("idempotency_keys", idempotency_keys),
        ] {
            counter!(REMOVED, "what" => what).increment(rows);
        }
        swept.map_err(|error| failed(OPERATION, error)).map(|()| removed)
    }

    async fn sweep(&self, removed: &mut Removed) -> sqlx::Result<()> {
        let Inner { statements, primary, .. } = &*self.inner;
        loop {
            let now = whole_micros(self.now());
            let query = || {
                sqlx::query("SELECT * FROM orchestra.remove_expired($1, $2, $3)")
                    .bind(now)
                    .bind(now - KEY_LIFETIME)
                    .bind(AT_ONCE)
            };
            let row = statements.row(primary, Repeat::Harmless, query).await?;
            let (memories, former_versions, keys) = <(i64, i64, i64)>::from_row(&row)?;
            removed.memories += memories.cast_unsigned();
            removed.former_versions += former_versions.cast_unsigned();
            removed.idempotency_keys += keys.cast_unsigned();
            if memories == 0 && keys == 0 {
                break;
            }
        }
        loop {
            let query = || sqlx::query("SELECT * FROM orchestra.remove_empty_sessions($1)").bind(AT_ONCE);
            let row = statements.row(primary, Repeat::Harmless, query).await?;
            removed.sessions += row.try_get::<i64, _>("removed")?.cast_unsigned();
            if row.try_get::<i64, _>("examined")? == 0 {
                return Ok(());
            }
        }
    }

    /// Sweeps now and then, as long as there is a handle that is not closed.
    pub(crate) fn sweep_in_background(&self) {
        if let Some(every) = self.inner.config.sweep_every {
            tokio::spawn(sweep_every(every, Arc::downgrade(&self.inner)));
        }
    }
}

async fn sweep_every(every: Duration, inner: Weak<Inner>) {
    loop {
        // No handle is held meanwhile: a provider that is dropped closes its connections at once.
        let Some(mut closed) = inner.upgrade().map(|inner| inner.primary.pool().close_event()) else { return };
        tokio::select! {
            () = tokio::time::sleep(somewhat_less(every)) => {}
            () = &mut closed => return,
        }
        let Some(inner) = inner.upgrade() else { return };
        let provider = AlloyDbMemoryProvider { inner };
        if let Err(error) = provider.remove_expired().await
            // What expires there comes from the store that is in use.
            && !matches!(error, Error::Fenced { .. })
            && !provider.inner.primary.pool().is_closed()
        {
            counter!(FAILURES, "task" => "sweep").increment(1);
            warn!(error = &error as &dyn std::error::Error, "what had expired was not removed; it stays hidden");
        }
        match provider.remove_passed().await {
            Ok(changes) => counter!(REMOVED, "what" => "changes").increment(changes),
            Err(_) if provider.inner.primary.pool().is_closed() => return,
            Err(error) => {
                counter!(FAILURES, "task" => "sweep").increment(1);
                warn!(error = &error as &dyn std::error::Error, "changes that all have passed were not removed");
            }
        }
    }
}

/// Three quarters to the whole of it, so that processes which were started together do not stay together.
fn somewhat_less(every: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 250;
    every / 1000 * (750 + random as u32)
}
