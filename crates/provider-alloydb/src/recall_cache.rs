//! The memories of users who are searched again and again, at hand in this process. Postgres is still asked with each search
//! whether they are what it has, in its own snapshot and under its own row-level security; that costs it a third of the search.

mod user;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memory_core::Scope;
use metrics::counter;

pub(crate) use user::{Question, User};

/// Searches of few memories, by what the cache did for them: `hit`, `changed` where it had what is no longer so, `miss`.
pub(crate) const OUTCOMES: &str = "memory_alloydb_recall_cache_total";
/// A user who is searched again within this time is one who is searched again and again.
const AGAIN: Duration = Duration::from_secs(60);
/// What nobody searched for so long goes.
const IDLE: Duration = Duration::from_secs(300);
/// A user with more memories is not kept.
pub(crate) const MOST_ROWS: usize = 1_000;
/// How many users are read at the same time, beside the searches.
const MOST_READ: usize = 4;
/// How many users are remembered that are not kept.
const MOST_ASKED: usize = 10_000;

/// How much is at hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecallCacheStatus {
    /// Users whose memories are at hand.
    pub users: usize,
    /// About how many bytes they take.
    pub bytes: usize,
}

#[derive(Debug)]
pub(crate) struct RecallCache {
    most_bytes: usize,
    inner: Mutex<Inner>,
}

/// Tenant and user.
type Key = (String, String);

#[derive(Debug, Default)]
struct Inner {
    kept: HashMap<Key, Kept>,
    bytes: usize,
    asked: HashMap<Key, Asked>,
    read_now: usize,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Kept {
    user: Arc<User>,
    bytes: usize,
    used: Instant,
}

/// A user who is not kept.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Once(Instant),
    Read,
    TooMany(Instant),
}

impl RecallCache {
    /// `most_bytes`: how much is kept; 0 keeps nothing.
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self { most_bytes, inner: Mutex::default() }
    }

    /// What is at hand of the scope's user, if connections were not lost since it was read: after a failover a transaction's
    /// number may be another's.
    pub(crate) fn get(&self, scope: &Scope, losses: u64) -> Option<Arc<User>> {
        if self.most_bytes == 0 {
            return None;
        }
        let key = key(scope)?;
        let mut inner = self.lock();
        let kept = inner.kept.get_mut(&key)?;
        if kept.user.losses != losses {
            inner.remove(&key);
            return None;
        }
        kept.used = Instant::now();
        Some(kept.user.clone())
    }

    /// Whether the scope's user is to be read now. Whoever is told so says what came of it, by [`Self::put`].
    pub(crate) fn is_wanted(&self, scope: &Scope) -> bool {
        let Some(key) = key(scope).filter(|_| self.most_bytes > 0) else { return false };
        let now = Instant::now();
        let mut inner = self.lock();
        inner.sweep(now);
        let is_again = match inner.asked.get(&key) {
            Some(Asked::Read) => return false,
            Some(Asked::TooMany(at)) if now - *at < IDLE => return false,
            Some(Asked::Once(at)) => now - *at < AGAIN,
            _ => false,
        };
        let is_wanted = is_again && inner.read_now < MOST_READ;
        if inner.asked.len() >= MOST_ASKED {
            inner.asked.retain(|_, asked| matches!(asked, Asked::Read));
        }
        inner.read_now += usize::from(is_wanted);
        inner.asked.insert(key, if is_wanted { Asked::Read } else { Asked::Once(now) });
        is_wanted
    }

    /// What was read of the scope's user; `None` where it could not be, or is too much.
    pub(crate) fn put(&self, scope: &Scope, user: Option<User>) {
        let Some(key) = key(scope) else { return };
        let mut inner = self.lock();
        inner.read_now -= 1;
        let bytes = user.as_ref().map_or(usize::MAX, User::bytes);
        let Some(user) = user.filter(|_| bytes <= self.most_bytes) else {
            inner.asked.insert(key, Asked::TooMany(Instant::now()));
            return;
        };
        // It was written to meanwhile, by this process itself.
        if !matches!(inner.asked.remove(&key), Some(Asked::Read)) {
            return;
        }
        inner.remove(&key);
        while inner.bytes + bytes > self.most_bytes {
            let Some(oldest) = inner.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone()) else {
                break;
            };
            inner.remove(&oldest);
        }
        inner.bytes += bytes;
        inner.kept.insert(key, Kept { user: Arc::new(user), bytes, used: Instant::now() });
    }

    /// Lets go of what is at hand of the scope's user, and of what is being read; of the whole tenant where it names none.
    pub(crate) fn forget(&self, scope: &Scope) {
        let mut inner = self.lock();
        match key(scope) {
            Some(key) => {
                inner.asked.remove(&key);
                inner.remove(&key);
            }
            None => {
                inner.asked.retain(|(tenant, _), _| tenant != scope.tenant_name());
                inner.retain(|(tenant, _), _| tenant != scope.tenant_name());
            }
        }
    }

    pub(crate) fn status(&self) -> RecallCacheStatus {
        let inner = self.lock();
        RecallCacheStatus { users: inner.kept.len(), bytes: inner.bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.kept.remove(key) {
            self.bytes -= kept.bytes;
        }
    }

    fn retain(&mut self, is_kept: impl Fn(&Key, Instant) -> bool) {
        self.kept.retain(|key, kept| is_kept(key, kept.used));
        self.bytes = self.kept.values().map(|kept| kept.bytes).sum();
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| now - swept >= IDLE / 10) {
            self.swept = Some(now);
            self.retain(|_, used| now - used < IDLE);
        }
    }
}

fn key(scope: &Scope) -> Option<Key> {
    Some((scope.tenant_name().to_owned(), scope.user()?.to_owned()))
}

pub(crate) fn count(outcome: &'static str) {
    counter!(OUTCOMES, "outcome" => outcome).increment(1);
}
