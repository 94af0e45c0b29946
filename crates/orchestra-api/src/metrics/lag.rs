//! How far behind things are: the cache behind the store, vectors behind their memories, replicas behind the primary.
//!
//! What has to be asked for is asked for now and then and not when somebody reads the metrics: a scrape waits for no
//! database, and a database that is away keeps nobody from seeing the rest.

use std::sync::Arc;
use std::time::Duration;

use memory_core::{CacheFollower, MemoryStore, Result};
use metrics::{Unit, describe_gauge, gauge};
use provider_alloydb::AlloyDbMemoryProvider;

const FOLLOWER_EVENTS: &str = "orchestra_follower_lag_events";
const FOLLOWER_SECONDS: &str = "orchestra_follower_lag_seconds";
const VECTOR_BACKLOG: &str = "orchestra_vector_backlog_memories";
const REPLICA_BYTES: &str = "orchestra_replica_lag_bytes";
const REPLICA_SECONDS: &str = "orchestra_replica_lag_seconds";
const CONNECTIONS: &str = "orchestra_database_connections";
const CONNECTIONS_MOST: &str = "orchestra_database_connections_max";
const WAITING: &str = "orchestra_database_waiting";

/// Up to how many memories without a vector are counted: more is as bad.
const MOST_COUNTED: usize = 1000;
/// How often it is measured.
pub const EVERY: Duration = Duration::from_secs(10);

pub(super) fn describe() {
    describe_gauge!(FOLLOWER_EVENTS, Unit::Count, "Changes that have not reached the cache");
    describe_gauge!(FOLLOWER_SECONDS, Unit::Seconds, "How long ago the oldest of them occurred");
    describe_gauge!(VECTOR_BACKLOG, Unit::Count, "Memories without a vector; 1000 is 1000 or more");
    describe_gauge!(REPLICA_BYTES, Unit::Bytes, "What the primary has written and a replica has not replayed");
    describe_gauge!(REPLICA_SECONDS, Unit::Seconds, "The age of what a replica that is behind has replayed last");
    describe_gauge!(CONNECTIONS, Unit::Count, "Connections to an endpoint of the database, by state");
    describe_gauge!(CONNECTIONS_MOST, Unit::Count, "How many connections to an endpoint there may be");
    describe_gauge!(WAITING, Unit::Count, "Calls that wait for a connection");
}

/// What is measured.
#[derive(Debug)]
pub struct Lag {
    /// Whose backlog.
    pub store: Arc<dyn MemoryStore>,
    /// The cache's follower, where there is one.
    pub follower: Option<CacheFollower>,
    /// Whose replicas, where there are any.
    pub database: Option<AlloyDbMemoryProvider>,
}

impl Lag {
    /// Measures all of it. What cannot be measured keeps its last value, and nothing else waits for it.
    ///
    /// # Errors
    /// The first failure.
    pub async fn measure(&self) -> Result<()> {
        let (follower, backlog, replicas) =
            (self.measure_follower().await, self.measure_backlog().await, self.measure_replicas().await);
        follower.and(backlog).and(replicas)
    }

    async fn measure_follower(&self) -> Result<()> {
        let Some(follower) = &self.follower else { return Ok(()) };
        let lag = follower.lag().await?;
        gauge!(FOLLOWER_EVENTS).set(lag.changes as f64);
        gauge!(FOLLOWER_SECONDS).set(lag.age.as_secs_f64());
        Ok(())
    }

    async fn measure_backlog(&self) -> Result<()> {
        let Some(backlog) = self.store.backlog() else { return Ok(()) };
        let waiting = backlog.without_vector(None, MOST_COUNTED).await?;
        gauge!(VECTOR_BACKLOG).set(waiting.len() as f64);
        Ok(())
    }

    async fn measure_replicas(&self) -> Result<()> {
        let Some(database) = &self.database else { return Ok(()) };
        for (at, lag) in database.replica_lags().await?.into_iter().enumerate() {
            let (bytes, seconds) = match lag {
                Some(lag) => (lag.bytes as f64, lag.age.as_secs_f64()),
                // Nobody knows, and a number that was true once would say that all is well.
                None => (f64::NAN, f64::NAN),
            };
            gauge!(REPLICA_BYTES, "endpoint" => endpoint(at + 1)).set(bytes);
            gauge!(REPLICA_SECONDS, "endpoint" => endpoint(at + 1)).set(seconds);
        }
        Ok(())
    }
}

/// Looks at the pools, which asks nobody.
pub(super) fn observe_connections(database: &AlloyDbMemoryProvider) {
    for (at, pool) in database.pools().into_iter().enumerate() {
        gauge!(CONNECTIONS, "endpoint" => endpoint(at), "state" => "idle").set(f64::from(pool.idle));
        gauge!(CONNECTIONS, "endpoint" => endpoint(at), "state" => "busy").set(f64::from(pool.busy));
        gauge!(CONNECTIONS_MOST, "endpoint" => endpoint(at)).set(f64::from(pool.most));
        gauge!(WAITING, "endpoint" => endpoint(at)).set(f64::from(pool.waiting));
    }
}

/// The primary, and the endpoints of the read pool in the order of the settings.
fn endpoint(at: usize) -> String {
    if at == 0 { "primary".into() } else { format!("replica_{at}") }
}
