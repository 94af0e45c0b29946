//! When to stop asking a Redis that does not answer.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Opens after failures in a row and lets one call through in each pause, until one succeeds. It has no clock: the
/// time is an argument.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures_to_open: u32,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    pub(crate) fn new(failures_to_open: u32, pause: Duration) -> Self {
        Self { failures_to_open, pause, state: Mutex::default() }
    }

    /// Whether a call may go now.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let mut state = self.state();
        match state.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                // This one is the probe. Should it never report back, the next pause brings another.
                state.open_until = Some(now + self.pause);
                true
            }
        }
    }

    /// A call was answered. Gives whether that closed the breaker.
    pub(crate) fn succeeded(&self) -> bool {
        let mut state = self.state();
        state.failures = 0;
        state.open_until.take().is_some()
    }

    /// A call was not answered. Gives whether that opened the breaker.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures < self.failures_to_open {
            return false;
        }
        state.open_until.replace(now + self.pause).is_none()
    }

    /// Whether calls are refused now, but for one in each pause.
    pub(crate) fn is_open(&self) -> bool {
        self.state().open_until.is_some()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Every change is a single assignment: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(250);

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_one_success() {
        let breaker = Breaker::new(3, PAUSE);
        let start = Instant::now();
        assert!(!breaker.failed(start) && !breaker.failed(start));
        assert!(!breaker.succeeded(), "it was closed");
        assert!(!breaker.failed(start) && !breaker.failed(start));
        assert!(breaker.admits(start));
        assert!(!breaker.is_open() && breaker.failed(start) && breaker.is_open());
        assert!(!breaker.admits(start) && !breaker.admits(start + PAUSE - Duration::from_nanos(1)));
        assert!(breaker.admits(start + PAUSE), "one probe");
        assert!(!breaker.admits(start + PAUSE), "and no other");
        assert!(!breaker.failed(start + PAUSE), "it was open");
        assert!(!breaker.admits(start + 2 * PAUSE - Duration::from_nanos(1)));
        assert!(breaker.admits(start + 2 * PAUSE));
        assert!(breaker.succeeded() && !breaker.is_open());
        assert!(breaker.admits(start + 2 * PAUSE));
    }

    #[test]
    fn a_probe_that_is_lost_is_followed_by_another() {
        let breaker = Breaker::new(1, PAUSE);
        let start = Instant::now();
        breaker.failed(start);
        assert!(breaker.admits(start + PAUSE));
        assert!(breaker.admits(start + 2 * PAUSE));
    }
}
