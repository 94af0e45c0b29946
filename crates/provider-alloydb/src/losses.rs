//! What was found out by one connection about the others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A connection that was not used for longer is asked whether it is still there.
pub(crate) const TRUSTED_FOR: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Losses {
    count: AtomicU64,
    /// When one was last found lost: then the others are doubted that were not used since.
    lost: Mutex<Option<Instant>>,
    /// When one was last found to lead to a server that takes no writes: the others may, that are older.
    read_only: Mutex<Option<Instant>>,
}

impl Losses {
    pub(crate) fn note(&self) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn note_read_only(&self) {
        *self.read_only.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// How many there were, of both kinds.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether a connection of that age may lead to a server that takes no writes any more.
    pub(crate) fn is_outdated(&self, age: Duration) -> bool {
        let last = *self.read_only.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() <= age)
    }

    /// Whether a connection that was not used for so long has to be asked whether it is still there.
    pub(crate) fn doubt(&self, idle_for: Duration) -> bool {
        let last = *self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        idle_for > TRUSTED_FOR || last.is_some_and(|last| last.elapsed() <= idle_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_doubted_when_it_was_idle_for_long_or_since_before_a_loss() {
        let losses = Losses::default();
        assert!(!losses.doubt(Duration::ZERO) && losses.doubt(TRUSTED_FOR + Duration::from_millis(1)));
        losses.note();
        assert!(losses.doubt(TRUSTED_FOR), "it was idle when another was lost");
        *losses.lost.lock().unwrap() = Instant::now().checked_sub(Duration::from_millis(500));
        assert!(!losses.doubt(Duration::from_millis(100)), "it was used since");
    }

    #[test]
    fn a_connection_is_outdated_when_it_is_older_than_one_that_took_no_writes_was_found() {
        let losses = Losses::default();
        assert!(!losses.is_outdated(Duration::from_secs(60)));
        losses.note_read_only();
        *losses.read_only.lock().unwrap() = Instant::now().checked_sub(Duration::from_secs(10));
        assert!(losses.is_outdated(Duration::from_secs(60)) && !losses.is_outdated(Duration::from_secs(5)));
    }
}
