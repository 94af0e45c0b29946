//! The tiers and the embedders as they are seen from outside: each call is a span, counted, and timed.
//!
//! Every provider is looked at in the same way, so a dashboard reads alike whatever the tiers are made of. A call costs
//! two looks at the clock and two atomic counters; its span costs nothing while nobody takes spans. Nothing that a caller
//! said is in a span or a label: no text, no key, no tenant.

mod cache;
mod embedder;
mod store;
mod working;

use std::future::Future;
use std::time::Instant;

use memory_core::{Error, Result};
use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};
use tracing::field::Empty;
use tracing::{Instrument, Span};

pub use cache::ObservedCache;
pub use embedder::ObservedEmbedder;
pub use store::ObservedStore;
pub use working::ObservedWorkingMemory;

const TIER_CALLS: &str = "orchestra_tier_calls_total";
const TIER_SECONDS: &str = "orchestra_tier_call_seconds";
const EMBEDDER_CALLS: &str = "orchestra_embedder_calls_total";
const EMBEDDER_SECONDS: &str = "orchestra_embedder_call_seconds";
const EMBEDDED_TEXTS: &str = "orchestra_embedded_texts_total";
const CACHE_LOOKUPS: &str = "orchestra_cache_lookups_total";
const CACHE_REFUSALS: &str = "orchestra_cache_refusals_total";
const CHANGE_DELAY: &str = "orchestra_follower_change_seconds";

/// Says what the numbers are, for whoever reads them without the documentation.
pub(crate) fn describe() {
    describe_counter!(TIER_CALLS, Unit::Count, "Calls of a tier, by operation and outcome");
    describe_histogram!(TIER_SECONDS, Unit::Seconds, "How long calls of a tier took, by operation");
    describe_counter!(EMBEDDER_CALLS, Unit::Count, "Calls of an embedder, by outcome");
    describe_histogram!(EMBEDDER_SECONDS, Unit::Seconds, "How long calls of an embedder took");
    describe_counter!(EMBEDDED_TEXTS, Unit::Count, "Texts that were embedded");
    describe_counter!(CACHE_LOOKUPS, Unit::Count, "Lookups in the semantic cache, by result");
    describe_counter!(CACHE_REFUSALS, Unit::Count, "Cached answers that the guard refused, by its first check");
    describe_histogram!(CHANGE_DELAY, Unit::Seconds, "How long after it occurred a change had reached the cache");
}

/// The values of `outcome`, in the order of [`Outcome`].
const OUTCOMES: [&str; 4] = ["ok", "refused", "unavailable", "failed"];

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ok,
    /// The caller asked for what cannot be done.
    Refused,
    /// The same call may succeed later.
    Unavailable,
    Failed,
}

impl Outcome {
    fn of<T>(result: &Result<T>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(Error::NotYetVisible(_) | Error::Busy(_)) => Self::Refused,
            Err(error) if error.is_retryable() => Self::Unavailable,
            Err(Error::Unusable { .. } | Error::Embedder { .. } | Error::Backend { .. }) => Self::Failed,
            Err(_) => Self::Refused,
        }
    }
}

/// The calls of one operation. The handles are looked up once.
#[derive(Debug)]
struct Calls {
    operation: &'static str,
    outcomes: [Counter; OUTCOMES.len()],
    seconds: Histogram,
}

impl Calls {
    fn of_tier(tier: &'static str, operation: &'static str) -> Self {
        let outcomes = OUTCOMES
            .map(|outcome| counter!(TIER_CALLS, "tier" => tier, "operation" => operation, "outcome" => outcome));
        Self { operation, outcomes, seconds: histogram!(TIER_SECONDS, "tier" => tier, "operation" => operation) }
    }

    fn of_embedder(embedder: &'static str) -> Self {
        let outcomes = OUTCOMES.map(|outcome| counter!(EMBEDDER_CALLS, "embedder" => embedder, "outcome" => outcome));
        Self { operation: "embed", outcomes, seconds: histogram!(EMBEDDER_SECONDS, "embedder" => embedder) }
    }

    /// Runs a call of a database, as its `db.system.name` is in OpenTelemetry.
    async fn of_database<T>(&self, system: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let operation = self.operation;
        let span = tracing::debug_span!(
            "tier",
            otel.name = %format_args!("{system} {operation}"),
            otel.kind = "client",
            otel.status_code = Empty,
            db.system.name = system,
            db.operation.name = operation,
            error.type = Empty,
        );
        self.within(span, work).await
    }

    /// Runs a call inside its span.
    async fn within<T>(&self, span: Span, work: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = Instant::now();
        let result = work.instrument(span.clone()).await;
        let outcome = Outcome::of(&result);
        self.seconds.record(begun.elapsed());
        self.outcomes[outcome as usize].increment(1);
        if outcome != Outcome::Ok {
            span.record("error.type", OUTCOMES[outcome as usize]);
        }
        if matches!(outcome, Outcome::Unavailable | Outcome::Failed) {
            span.record("otel.status_code", "ERROR");
        }
        result
    }
}

/// A counter of each of these values of a label.
fn counters<const N: usize>(name: &'static str, label: &'static str, values: [&'static str; N]) -> [Counter; N] {
    values.map(|value| counter!(name, label => value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_tells_the_callers_mistake_from_an_outage_and_from_a_failure() {
        let backend = |retryable| Error::Backend { provider: "p", operation: "o", retryable, source: "s".into() };
        for (error, outcome) in [
            (Error::invalid("text", "", "a text"), Outcome::Refused),
            (Error::IdempotencyConflict { key: "k".into() }, Outcome::Refused),
            // To be tried again, and nothing is wrong here.
            (Error::NotYetVisible(memory_core::WriteToken("1".into())), Outcome::Refused),
            (Error::Busy("it runs"), Outcome::Refused),
            (backend(true), Outcome::Unavailable),
            (Error::StorageFull { provider: "p", operation: "o" }, Outcome::Unavailable),
            (backend(false), Outcome::Failed),
        ] {
            assert_eq!(Outcome::of::<()>(&Err(error)), outcome);
        }
        assert_eq!((Outcome::of(&Ok(())), OUTCOMES[Outcome::Failed as usize]), (Outcome::Ok, "failed"));
    }
}
