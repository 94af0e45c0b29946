//! How fast the copy goes: no faster than allowed, and slower where the store in use has enough to do.

use std::time::Duration;

use chrono::TimeDelta;

use crate::plan::Plan;

/// How many pages tell how fast the store answers when little is asked of it.
const FIRST: usize = 5;
/// The longest pause after a page.
const LONGEST: Duration = Duration::from_secs(10);

/// How fast the copy goes.
#[derive(Debug)]
pub(super) struct Pace {
    items_per_second: Option<u32>,
    slowdown: f64,
    /// Seconds an item of the first pages, then their median.
    first: Vec<f64>,
}

impl Pace {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { items_per_second: plan.items_per_second, slowdown: plan.slowdown, first: Vec::new() }
    }

    /// How long to wait after a page of so many items, which the store answered in `answered`, and which took `all` to copy.
    pub(super) fn pause(&mut self, items: usize, answered: TimeDelta, all: TimeDelta) -> Duration {
        if items == 0 {
            return Duration::ZERO;
        }
        let [answered, all] = [answered, all].map(|spent| spent.to_std().unwrap_or_default());
        let allowed = self.items_per_second.map(|most| Duration::from_secs_f64(items as f64 / f64::from(most)));
        let allowed = allowed.unwrap_or_default().saturating_sub(all);
        allowed.max(self.back_off(items, answered)).min(LONGEST)
    }

    /// As long as the store took longer than it may.
    fn back_off(&mut self, items: usize, answered: Duration) -> Duration {
        let each = answered.as_secs_f64() / items as f64;
        if self.first.len() < FIRST {
            self.first.push(each);
            self.first.sort_by(f64::total_cmp);
            return Duration::ZERO;
        }
        let usual = self.first[FIRST / 2].max(1e-6);
        if each <= usual * self.slowdown {
            return Duration::ZERO;
        }
        Duration::from_secs_f64((answered.as_secs_f64() * each / usual).min(LONGEST.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_no_faster_than_allowed_and_gives_way_to_a_busy_store() {
        let plan = Plan { items_per_second: Some(1000), slowdown: 2.0, ..Plan::default() };
        let mut pace = Pace::new(&plan);
        let ms = TimeDelta::milliseconds;
        assert_eq!(pace.pause(500, ms(10), ms(100)), Duration::from_millis(400), "the rest of half a second");
        assert_eq!(pace.pause(500, ms(10), ms(700)), Duration::ZERO, "it was slow enough");
        let mut pace = Pace::new(&Plan { items_per_second: None, ..plan });
        for _ in 0..FIRST {
            assert_eq!(pace.pause(500, ms(10), ms(20)), Duration::ZERO);
        }
        assert_eq!(pace.pause(500, ms(19), ms(30)), Duration::ZERO, "not yet twice as slow");
        assert_eq!(pace.pause(500, ms(40), ms(50)), Duration::from_millis(160), "four times as slow");
        assert_eq!(pace.pause(500, ms(9000), ms(9000)), LONGEST);
        assert_eq!(pace.pause(0, ms(0), ms(0)), Duration::ZERO);
        assert_eq!(pace.pause(500, ms(-5), ms(-5)), Duration::ZERO, "a clock that was set back");
    }
}
