//! What is measured, by the names that a dashboard knows. Everything goes to the recorder that the process has when a
//! provider is opened; without one it costs next to nothing. No label has more values than are listed here: tenants are
//! none.

use std::time::Duration;

use memory_core::{CacheLookup, HitKind, Refused};
use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// Calls to Redis, by `operation` and `outcome`.
pub const CALLS: &str = "memory_redis_calls_total";
/// How long calls that were sent took, in seconds, by `operation`; one that timed out counts with its limit.
pub const CALL_SECONDS: &str = "memory_redis_call_seconds";
/// Breakers that are open now: 0 or 1 for one server, up to the number of shards for a cluster.
pub const BREAKERS_OPEN: &str = "memory_redis_breakers_open";
/// How often a breaker opened.
pub const BREAKER_OPENINGS: &str = "memory_redis_breaker_openings_total";
/// How often a connection was made again, after the first. A shard of a cluster counts for itself.
pub const RECONNECTS: &str = "memory_redis_reconnects_total";
/// Lookups, by `result`. A look for the exact prompt alone that finds nothing is none: the one by meaning is to come.
pub const LOOKUPS: &str = "memory_cache_lookups_total";

/// The values of `operation`; what is none of these is the last.
pub const OPERATIONS: [&str; 12] = [
    "lookup",
    "store",
    "prolong",
    "begin_fill",
    "end_fill",
    "invalidate",
    "stats",
    "drop_index",
    "append",
    "window",
    "clear",
    "other",
];

/// The values of `outcome`.
pub const OUTCOMES: [&str; 6] = ["ok", "timeout", "breaker_open", "not_connected", "lost", "server_error"];

/// The values of `result`.
pub const RESULTS: [&str; 5] = ["exact_hit", "semantic_hit", "miss", "refused_by_guard", "unavailable"];

/// How a call went, in the order of [`OUTCOMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Timeout,
    BreakerOpen,
    NotConnected,
    Lost,
    ServerError,
}

/// The handles, looked up once.
#[derive(Debug)]
pub(crate) struct Metrics {
    calls: [Calls; OPERATIONS.len()],
    lookups: [Counter; RESULTS.len()],
    pub breakers_open: Gauge,
    pub breaker_openings: Counter,
    pub reconnects: Counter,
}

#[derive(Debug)]
struct Calls {
    outcomes: [Counter; OUTCOMES.len()],
    seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        describe_counter!(CALLS, Unit::Count, "Calls to Redis, by operation and outcome");
        describe_histogram!(CALL_SECONDS, Unit::Seconds, "How long calls to Redis took, by operation");
        describe_gauge!(BREAKERS_OPEN, Unit::Count, "Breakers that are open now");
        describe_counter!(BREAKER_OPENINGS, Unit::Count, "How often a breaker opened");
        describe_counter!(RECONNECTS, Unit::Count, "How often a connection to Redis was made again");
        describe_counter!(LOOKUPS, Unit::Count, "Lookups in the semantic cache, by result");
        Self {
            calls: OPERATIONS.map(|operation| Calls {
                outcomes: OUTCOMES.map(|outcome| counter!(CALLS, "operation" => operation, "outcome" => outcome)),
                seconds: histogram!(CALL_SECONDS, "operation" => operation),
            }),
            lookups: RESULTS.map(|result| counter!(LOOKUPS, "result" => result)),
            breakers_open: gauge!(BREAKERS_OPEN),
            breaker_openings: counter!(BREAKER_OPENINGS),
            reconnects: counter!(RECONNECTS),
        }
    }

    /// Counts a call; `took` is given for one that was sent.
    pub(crate) fn call(&self, operation: &str, outcome: Outcome, took: Option<Duration>) {
        let known = OPERATIONS.iter().position(|known| *known == operation);
        let calls = &self.calls[known.unwrap_or(OPERATIONS.len() - 1)];
        calls.outcomes[outcome as usize].increment(1);
        if let Some(took) = took {
            calls.seconds.record(took);
        }
    }

    /// Counts a lookup; `None` is one that Redis did not answer.
    pub(crate) fn lookup(&self, found: Option<&CacheLookup>, by_meaning: bool) {
        let [exact, semantic, miss, refused, unavailable] = &self.lookups;
        let counter = match found {
            None => unavailable,
            Some(CacheLookup::Hit(hit)) => match hit.kind {
                HitKind::Exact => exact,
                HitKind::Semantic => semantic,
            },
            Some(CacheLookup::Miss(_)) if !by_meaning => return,
            Some(CacheLookup::Miss(Some(near))) if matches!(near.refused, Refused::Guard(_)) => refused,
            Some(CacheLookup::Miss(_)) => miss,
        };
        counter.increment(1);
    }
}
