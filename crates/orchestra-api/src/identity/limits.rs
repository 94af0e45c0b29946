//! How much a tenant may do: requests in a second, and memories.
//!
//! The crate governor does the first with a table of its own, a clock crate and a dozen more to compile; a bucket is four
//! numbers and ten lines, and here the table is bounded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use memory_core::{Error, Result, Scope, TieredMemoryManager};

use crate::error::{Problem, chain};

/// How many tenants are known at once. A tenant comes from a key that the operator made, so this is plenty.
const MAX_TENANTS: usize = 10_000;
/// For how long a count of a tenant's memories is gone on from before the store is asked again.
const COUNT_HOLDS: Duration = Duration::from_secs(60);
/// How often the store is asked on behalf of a tenant that is at its quota.
const RECOUNT_AFTER: Duration = Duration::from_secs(1);

/// How many requests a tenant may make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    rate: f64,
    burst: u32,
}

impl RateLimit {
    /// `rate` requests in a second in the long run, and `burst` at once after a quiet time; those of a second where it is
    /// `None`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the rate is not in 0.001 to 1,000,000 or the burst is 0.
    pub fn new(rate: f64, burst: Option<u32>) -> Result<Self> {
        if !(0.001..=1e6).contains(&rate) {
            return Err(Error::invalid("limits-rate", rate, "0.001 to 1000000"));
        }
        let burst = burst.unwrap_or(rate.ceil() as u32);
        if burst == 0 {
            return Err(Error::invalid("limits-burst", burst, "1 or more"));
        }
        Ok(Self { rate, burst })
    }

    /// How many requests a tenant that was quiet may make at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// How long an empty bucket takes to fill.
    #[must_use]
    pub fn window(self) -> Duration {
        Duration::from_secs_f64(f64::from(self.burst) / self.rate)
    }
}

/// A bucket of tokens for each tenant. A request takes one; they come back at the limit's rate.
#[derive(Debug)]
pub struct Buckets {
    limit: RateLimit,
    tenants: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// What a request got.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// The limit.
    pub limit: RateLimit,
    /// How many requests may follow at once.
    pub remaining: u32,
    /// When the bucket is full again, if nothing follows.
    pub full_in: Duration,
    /// When to try again; zero where the request may go on.
    pub retry_after: Duration,
}

impl Buckets {
    /// Full buckets.
    #[must_use]
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, tenants: Mutex::default() }
    }

    /// Takes a token of the tenant's bucket at the moment `now`.
    pub fn take(&self, tenant: &str, now: Instant) -> Taken {
        let RateLimit { rate, burst } = self.limit;
        let burst = f64::from(burst);
        let filled = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.tokens + since * rate).min(burst)
        };
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = tenants.get(tenant).map_or(burst, filled);
        let taken = if tokens >= 1.0 { tokens - 1.0 } else { tokens };
        if !tenants.contains_key(tenant) && tenants.len() >= MAX_TENANTS {
            // A full bucket is as good as none. Where all are in use, one begins anew.
            tenants.retain(|_, bucket| filled(bucket) < burst);
            let longest = tenants.iter().min_by_key(|(_, bucket)| bucket.at).map(|(name, _)| name.clone());
            if let Some(name) = longest.filter(|_| tenants.len() >= MAX_TENANTS) {
                tenants.remove(&name);
            }
        }
        tenants.insert(tenant.to_owned(), Bucket { tokens: taken, at: now });
        Taken {
            limit: self.limit,
            remaining: taken as u32,
            full_in: Duration::from_secs_f64((burst - taken) / rate),
            retry_after: if tokens >= 1.0 { Duration::ZERO } else { Duration::from_secs_f64((1.0 - tokens) / rate) },
        }
    }
}

/// How many memories a tenant may have.
///
/// The store is asked once a minute for each tenant that writes; in between the writes of this process are added and what
/// is forgotten is not taken off. A tenant that seems to be over is counted anew, at most once a second. So a quota is never
/// told too early by more than a second, and can be exceeded by what other processes write within a minute.
#[derive(Debug)]
pub struct Quota {
    memories: u64,
    tenants: Mutex<HashMap<String, Count>>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    memories: u64,
    at: Instant,
}

impl Quota {
    /// A quota of so many memories.
    #[must_use]
    pub fn new(memories: u64) -> Self {
        Self { memories, tenants: Mutex::default() }
    }

    /// Makes room for `more` memories of `tenant`. While a tier is away and nothing can be counted there is room: an
    /// outage is no reason to refuse.
    ///
    /// # Errors
    /// A 403 when they would go over the quota.
    pub async fn reserve(&self, manager: &TieredMemoryManager, tenant: &Scope, more: usize) -> Result<(), Problem> {
        let more = more as u64;
        if self.add(tenant.tenant_name(), more) {
            return Ok(());
        }
        if self.is_due(tenant.tenant_name()) {
            let begun = Instant::now();
            let memories = match manager.stats(tenant).await {
                Ok((store, _)) => store.memories,
                Err(error) => {
                    tracing::warn!(causes = chain(&error), "memories not counted, so the quota is not kept");
                    return Ok(());
                }
            };
            self.counted(tenant.tenant_name(), Count { memories, at: begun });
            if self.add(tenant.tenant_name(), more) {
                return Ok(());
            }
        }
        let given = if more == 1 { "one memory more".into() } else { format!("{more} memories more") };
        let allowed = format!("{} memories in all; forget some, or ask the operator for a larger quota", self.memories);
        Err(Problem::bad_argument("quota_exceeded", "memories", given, allowed).with_status(StatusCode::FORBIDDEN))
    }

    /// Adds to a count that still holds, if there is room.
    fn add(&self, tenant: &str, more: u64) -> bool {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = tenants.get_mut(tenant).filter(|count| count.at.elapsed() < COUNT_HOLDS) else {
            return false;
        };
        let fits = count.memories.saturating_add(more) <= self.memories;
        if fits {
            count.memories += more;
        }
        fits
    }

    fn is_due(&self, tenant: &str) -> bool {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.get(tenant).is_none_or(|count| count.at.elapsed() >= RECOUNT_AFTER)
    }

    fn counted(&self, tenant: &str, count: Count) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= MAX_TENANTS {
            tenants.clear();
        }
        tenants.insert(tenant.to_owned(), count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let buckets = Buckets::new(RateLimit::new(2.0, Some(3)).unwrap());
        let start = Instant::now();
        let left: Vec<u32> = (0..3).map(|_| buckets.take("a", start).remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = buckets.take("a", start);
        assert_eq!((refused.retry_after, refused.full_in), (Duration::from_millis(500), Duration::from_millis(1500)));
        assert_eq!(buckets.take("b", start).retry_after, Duration::ZERO, "another tenant has a bucket of its own");
        // A refused request takes nothing, so waiting as told is enough.
        let later = start + refused.retry_after;
        assert_eq!(buckets.take("a", later).retry_after, Duration::ZERO);
        assert_ne!(buckets.take("a", later).retry_after, Duration::ZERO);
        assert_eq!(buckets.take("a", start + Duration::from_secs(3600)).remaining, 2, "no more than the burst");
    }

    #[test]
    fn the_table_of_buckets_is_bounded() {
        let buckets = Buckets::new(RateLimit::new(1.0, Some(1)).unwrap());
        let start = Instant::now();
        for tenant in 0..=MAX_TENANTS {
            buckets.take(&tenant.to_string(), start + Duration::from_nanos(tenant as u64));
        }
        let count = |buckets: &Buckets| buckets.tenants.lock().unwrap().len();
        assert_eq!(count(&buckets), MAX_TENANTS);
        assert_ne!(buckets.take(&MAX_TENANTS.to_string(), start).retry_after, Duration::ZERO, "the newest is kept");
        buckets.take("later", start + Duration::from_secs(5));
        assert_eq!(count(&buckets), 1, "those that are full again are let go");
    }
}
