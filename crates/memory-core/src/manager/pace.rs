//! How long a loop in the background waits between its steps.

use std::time::Duration;

/// At once while there is more to do, a while when there is not, longer and longer while it fails.
#[derive(Debug)]
pub(super) struct Pace {
    idle: Duration,
    longest: Duration,
    failures: u32,
    has_more: bool,
}

impl Pace {
    pub(super) fn new(idle: Duration, longest: Duration) -> Self {
        Self { idle, longest, failures: 0, has_more: true }
    }

    pub(super) fn went_well(&mut self, has_more: bool) {
        (self.failures, self.has_more) = (0, has_more);
    }

    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    pub(super) fn pause(&self) -> Duration {
        match self.failures {
            0 if self.has_more => Duration::ZERO,
            0 => self.idle,
            failures => (self.idle * 2_u32.saturating_pow(failures.min(16))).min(self.longest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_loop_waits_longer_and_longer_up_to_a_limit() {
        let mut pace = Pace::new(Duration::from_millis(100), Duration::from_secs(1));
        assert_eq!(pace.pause(), Duration::ZERO, "it begins at once");
        pace.went_well(false);
        assert_eq!(pace.pause(), Duration::from_millis(100));
        let mut pauses = Vec::new();
        for _ in 0..100 {
            pace.failed();
            pauses.push(pace.pause().as_millis());
        }
        assert_eq!((&pauses[..4], pauses[99]), (&[200, 400, 800, 1000][..], 1000));
        pace.went_well(true);
        assert_eq!(pace.pause(), Duration::ZERO);
    }
}
