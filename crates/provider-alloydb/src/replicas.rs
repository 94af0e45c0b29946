//! The read pool: which replica is asked, and which are away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::connections::Connections;
use crate::error::is_away;
use crate::provider::AlloyDbMemoryProvider;
use crate::statements::Repeat;

/// How long a replica may take to give a connection at most: there are others, and the primary.
pub(crate) const CONNECT: Duration = Duration::from_secs(1);
/// How long one that was away is left alone before it is asked again.
const AWAY_FOR: Duration = Duration::from_secs(1);

/// The replicas, each asked first in its turn.
#[derive(Debug)]
pub(crate) struct Replicas {
    all: Vec<Replica>,
    next: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Replica {
    pub connections: Connections,
    /// When one that is away is asked again.
    again: Mutex<Option<Instant>>,
}

impl Replicas {
    pub(crate) fn new(replicas: impl Iterator<Item = Connections>) -> Self {
        let all = replicas.map(|connections| Replica { connections, again: Mutex::default() }).collect();
        Self { all, next: AtomicUsize::new(0) }
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = &Connections> {
        self.all.iter().map(|replica| &replica.connections)
    }
}

impl Replica {
    pub(crate) fn is_away(&self) -> bool {
        self.again().is_some()
    }

    /// Takes note of how a statement went here.
    pub(crate) fn note<T>(&self, answer: &sqlx::Result<T>) {
        let away = answer.as_ref().err().filter(|error| is_away(error));
        let former = std::mem::replace(&mut *self.again(), away.map(|_| Instant::now() + AWAY_FOR));
        let options = self.connections.pool().connect_options();
        let (host, port) = (options.get_host(), options.get_port());
        match (former, away) {
            (None, Some(error)) => warn!(host, port, error = error as &dyn std::error::Error, "a replica is away"),
            (Some(_), None) => info!(host, port, "a replica is back"),
            _ => {}
        }
    }

    /// Whether it is time to ask one that is away. True for one caller alone until its answer is noted, or is not to be
    /// expected any more.
    fn is_due(&self, now: Instant, patience: Duration) -> bool {
        let mut again = self.again();
        let is_due = again.is_some_and(|again| again <= now);
        if is_due {
            *again = Some(now + patience);
        }
        is_due
    }

    fn again(&self) -> MutexGuard<'_, Option<Instant>> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AlloyDbMemoryProvider {
    /// The replicas that are not away, the one whose turn it is first. Those that were away for long enough are asked
    /// beside this whether they are back: no call waits for one.
    pub(crate) fn replicas(&self) -> Vec<&Replica> {
        let replicas = &self.inner.replicas;
        let first = replicas.next.fetch_add(1, Ordering::Relaxed);
        let count = replicas.all.len();
        let in_turn = (0..count).map(|at| (first % count + at) % count);
        let there = in_turn.filter(|&at| {
            if replicas.all[at].is_due(Instant::now(), 2 * CONNECT + self.replica_patience()) {
                tokio::spawn(self.clone().ask_again(at));
            }
            !replicas.all[at].is_away()
        });
        there.map(|at| &replicas.all[at]).collect()
    }

    /// How long a replica's answer is waited for.
    pub(crate) fn replica_patience(&self) -> Duration {
        self.inner.config.acquire_timeout
    }

    async fn ask_again(self, at: usize) {
        let replica = &self.inner.replicas.all[at];
        let (statements, patience) = (&self.inner.statements, self.replica_patience());
        let query = || sqlx::query("SELECT 1");
        replica.note(&statements.rows_within(&replica.connections, patience, Repeat::Harmless, query).await);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_replica_that_is_away_is_asked_again_by_one_alone() {
        let pool = sqlx::PgPool::connect_lazy("postgres://nobody@localhost:1/").unwrap();
        let connections = Connections::new(pool, Arc::default());
        let replica = Replica { connections, again: Mutex::default() };
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        assert!(!replica.is_away() && !replica.is_due(now + second, second));
        replica.note::<()>(&Err(sqlx::Error::PoolTimedOut));
        assert!(replica.is_away() && !replica.is_due(now, second));
        let later = Instant::now() + AWAY_FOR;
        assert!(replica.is_due(later, second), "it is time");
        assert!(!replica.is_due(later, second), "another asks it");
        assert!(replica.is_due(later + second, second), "the other was not heard of again");
        assert!(replica.is_away());
        replica.note(&Ok(()));
        assert!(!replica.is_away());
        replica.note::<()>(&Err(sqlx::Error::RowNotFound));
        assert!(!replica.is_away(), "it answered");
    }
}
