//! What is noted while changes are followed: how many are left. Such a note changes nothing that a mover goes by.

use chrono::TimeDelta;
use memory_core::Timestamp;

use super::Step;
use crate::record::{Behind, Record};

/// How often it is noted, at most.
pub(crate) const EVERY: TimeDelta = TimeDelta::seconds(5);
/// The most notes that are kept.
const MOST: usize = 500;

impl Record {
    /// Notes how many changes are left, at most every few seconds. Nothing when that is not due, or nothing is followed.
    #[must_use]
    pub fn noted(&self, changes: u64, now: Timestamp) -> Option<Self> {
        if !self.is_note_due(now) {
            return None;
        }
        let mut next = self.changed();
        let note = Behind { at: now, changes };
        match next.behind.as_mut_slice() {
            // As it was all the while: the end of the line is moved on.
            [.., before, last] if before.changes == changes && last.changes == changes => *last = note,
            _ => next.behind.push(note),
        }
        if next.behind.len() > MOST {
            thin(&mut next.behind);
        }
        Some(next)
    }

    /// Whether it is to be noted how many changes are left.
    #[must_use]
    pub fn is_note_due(&self, now: Timestamp) -> bool {
        let copied = self.samples.last().map(|sample| sample.at);
        let last = self.behind.last().map(|behind| behind.at).max(copied);
        // A clock that was set back may not keep anything from being noted.
        self.next(now) == Step::Follow && last.is_none_or(|last| (now - last).abs() >= EVERY)
    }

    /// What this record, which follows on `before`, is where `there` was stored since. Nothing where more was done than noting.
    #[must_use]
    pub fn after_notes(&self, before: &Self, there: &Self) -> Option<Self> {
        there.is_noted(before).then(|| Self {
            revision: there.revision + 1,
            behind: there.behind.clone(),
            ..self.clone()
        })
    }

    /// Whether this is `before`, with nothing done but noted.
    #[must_use]
    pub fn is_noted(&self, before: &Self) -> bool {
        let Self { revision, behind, .. } = before;
        Self { revision: *revision, behind: behind.clone(), ..self.clone() } == *before
    }
}

/// Every second one tells as much.
pub(super) fn thin<T>(points: &mut Vec<T>) {
    let mut is_kept = false;
    points.retain(|_| {
        is_kept = !is_kept;
        is_kept
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn at(seconds: i64) -> Timestamp {
        NOW + TimeDelta::seconds(seconds)
    }

    fn following() -> Record {
        Record::planned(Plan::default(), false, 7, NOW).started(5, NOW).unwrap().prepared(NOW).copied(5, None, 0, NOW)
    }

    #[test]
    fn the_lag_is_noted_every_few_seconds_while_something_is_followed() {
        let record = following();
        assert_eq!(record.noted(3, at(4)), None, "the copy has told it");
        let noted = record.noted(3, at(5)).unwrap();
        assert_eq!((&noted.behind[..], noted.revision), (&[Behind { at: at(5), changes: 3 }][..], record.revision + 1));
        assert_eq!(noted.noted(4, at(9)), None);
        assert!(noted.noted(4, at(10)).is_some() && noted.noted(4, at(-60)).is_some(), "a clock that was set back");
        let planned = Record::planned(Plan::default(), false, 7, NOW);
        assert_eq!(planned.noted(3, at(60)), None, "nothing is followed");
        assert_eq!(record.switched(0, NOW).unwrap().noted(3, at(60)), None, "a switch is under way");
    }

    #[test]
    fn notes_stay_few_and_what_stays_the_same_is_noted_once_and_at_its_end() {
        let (mut still, mut busy) = (following(), following());
        for round in 1..5000 {
            still = still.noted(0, at(round * 5)).unwrap();
            busy = busy.noted(round as u64, at(round * 5)).unwrap();
        }
        assert_eq!(still.behind.iter().map(|behind| behind.at).collect::<Vec<_>>(), [at(5), at(4999 * 5)]);
        assert!(busy.behind.len() <= MOST && busy.behind.len() > MOST / 3, "{}", busy.behind.len());
        assert_eq!((busy.behind[0].changes, busy.behind.last().map(|last| last.changes > 4900)), (1, Some(true)));
    }

    #[test]
    fn what_was_only_noted_supersedes_nothing() {
        let before = following();
        let there = before.noted(3, at(5)).unwrap().noted(4, at(10)).unwrap();
        let next = before.reads_moved(10, at(11)).unwrap();
        let after = next.after_notes(&before, &there).unwrap();
        assert_eq!((after.reads_on_green, after.revision, &after.behind), (10, there.revision + 1, &there.behind));
        let other = there.taken_over();
        assert_eq!((next.after_notes(&before, &other), other.is_noted(&before)), (None, false));
        let mut former = serde_json::to_value(&there).unwrap();
        former.as_object_mut().unwrap().remove("behind");
        assert!(serde_json::from_value::<Record>(former).unwrap().behind.is_empty(), "a record from before is read");
    }
}
