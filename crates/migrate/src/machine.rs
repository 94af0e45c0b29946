//! What may follow on what: from a record to the next step, and from a step to the next record. Pure.

mod behind;

use chrono::TimeDelta;
use memory_core::{ScanPosition, Timestamp};

use crate::diff::Diff;
use crate::dump::Kept;
use crate::gates::Checked;
use crate::plan::Plan;
use crate::record::{Colour, Copied, Event, Phase, Record, Sample, Switch};
use crate::stress::Stress;
use crate::{Error, Result};

pub(crate) use behind::EVERY as NOTE_EVERY;

/// The most points that are kept of how it went.
const SAMPLES: usize = 400;
/// The most events, and the most switches, that are kept.
const EVENTS: usize = 1000;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until somebody orders something.
    Rest,
    /// Have the store in use note its changes, then [`Record::prepared`].
    Prepare,
    /// Copy a page, then [`Record::copied`].
    Copy,
    /// End the stream that is not needed any more, then [`Record::released`].
    Release,
    /// Write what changed to the store that follows.
    Follow,
    /// Close the store in use and write what changed to the other; once nothing is left, [`Record::drained`].
    Drain,
    /// The switch took too long: [`Record::given_up`].
    GiveUp,
    /// Have the other store note its changes and open it, then [`Record::opened`].
    Open,
    /// Open the store in use again, then [`Record::undone`].
    Reopen,
    /// End every stream, then [`Record::ended`].
    End,
}

impl Step {
    /// Whether it writes to the store that follows, which needs an epoch of the mover's own.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Prepare | Self::Copy | Self::Follow | Self::Drain)
    }
}

impl Record {
    /// The record of a move that was planned, `one_way` where blue can only be read. `epoch` is the highest that a gate of the
    /// stores has.
    #[must_use]
    pub fn planned(plan: Plan, one_way: bool, epoch: u64, now: Timestamp) -> Self {
        Self {
            revision: 1,
            plan,
            planned_at: now,
            one_way,
            phase: Phase::Planned,
            active: Colour::Blue,
            reads_on_green: 0,
            epoch,
            follower_epoch: 0,
            stream: None,
            releasing: None,
            streams: Vec::new(),
            copied: Copied::default(),
            samples: Vec::new(),
            behind: Vec::new(),
            switches: Vec::new(),
            diff: None,
            checked: None,
            stress: None,
            dump: None,
            history: vec![Event { at: now, what: "planned".into() }],
        }
    }

    /// What is to be done next.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Step {
        match &self.phase {
            Phase::Planned | Phase::Cancelled | Phase::Finalized => Step::Rest,
            Phase::Preparing => Step::Prepare,
            Phase::Copying => Step::Copy,
            Phase::Following if self.releasing.is_some() => Step::Release,
            Phase::Following if self.one_way => Step::Rest,
            Phase::Following => Step::Follow,
            Phase::Switching { deadline, .. } if now > *deadline => Step::GiveUp,
            Phase::Switching { .. } => Step::Drain,
            Phase::Opening { .. } => Step::Open,
            Phase::Undoing { .. } => Step::Reopen,
            Phase::Cancelling | Phase::Finalizing => Step::End,
        }
    }

    /// Takes the move over: the store that follows is to be closed to whoever moved before.
    #[must_use]
    pub fn taken_over(&self) -> Self {
        let mut next = self.changed();
        next.follower_epoch = next.new_epoch();
        next
    }

    /// Begins the move. `size` is about how much there is to copy. What cannot be followed may be copied again, as it is by then.
    ///
    /// # Errors
    /// [`Error::Refused`] when it has begun.
    pub fn started(&self, size: u64, now: Timestamp) -> Result<Self> {
        if self.phase != Phase::Planned && !self.may_copy_again() {
            return Err(self.refused("start", "`status` shows what is going on"));
        }
        let mut next = self.at(Phase::Preparing, now, "started");
        if !self.one_way {
            let stream = next.stream_name(Colour::Green);
            next.streams.push((Colour::Blue, stream.clone()));
            next.stream = Some(stream);
        }
        next.copied = Copied { of: size, ..Copied::default() };
        Ok(next)
    }

    /// Whether everything may be copied once more: blue cannot be followed, and green is not in use yet.
    #[must_use]
    pub fn may_copy_again(&self) -> bool {
        self.one_way && self.phase == Phase::Following && self.active == Colour::Blue
    }

    /// The streams stand and the store that follows is closed: the copy begins.
    #[must_use]
    pub fn prepared(&self, now: Timestamp) -> Self {
        let mut next = self.at(Phase::Copying, now, "copy began");
        next.copied.began_at = Some(now);
        next
    }

    /// A page of `items` items was copied, and another one comes after `after`.
    #[must_use]
    pub fn copied(&self, items: u64, after: Option<ScanPosition>, lag: u64, now: Timestamp) -> Self {
        let is_last = after.is_none();
        let mut next = if is_last { self.at(Phase::Following, now, "copy ended") } else { self.changed() };
        next.copied.items += items;
        next.copied.after = after;
        next.copied.ended_at = is_last.then_some(now);
        next.samples.push(Sample { at: now, items: next.copied.items, lag });
        if next.samples.len() > SAMPLES {
            behind::thin(&mut next.samples);
        }
        next
    }

    /// The stores were compared so far.
    #[must_use]
    pub fn compared(&self, diff: Diff) -> Self {
        Self { diff: Some(diff), ..self.changed() }
    }

    /// The gates were asked.
    #[must_use]
    pub fn gated(&self, checked: Checked) -> Self {
        Self { checked: Some(checked), ..self.changed() }
    }

    /// The stores were loaded.
    #[must_use]
    pub fn stressed(&self, stress: Stress) -> Self {
        Self { stress: Some(stress), ..self.changed() }
    }

    /// A dump of blue was kept.
    #[must_use]
    pub fn dumped(&self, kept: Kept, now: Timestamp) -> Self {
        let mut next = self.at(self.phase.clone(), now, &format!("dump of {} items of blue kept", kept.items));
        next.dump = Some(kept);
        next
    }

    /// The stream that was not needed any more has ended.
    #[must_use]
    pub fn released(&self) -> Self {
        Self { releasing: None, ..self.changed() }
    }

    /// Lets this percentage of reads go to green.
    ///
    /// # Errors
    /// [`Error::Refused`] unless green follows, or for more than 100.
    pub fn reads_moved(&self, percent: u8, now: Timestamp) -> Result<Self> {
        if self.phase != Phase::Following || self.active != Colour::Blue {
            return Err(self.refused("switch reads", "wait until green follows blue"));
        }
        if percent > 100 {
            return Err(Error::refused(format!("{percent} % is more than all"), "give 0 to 100"));
        }
        let mut next = self.at(Phase::Following, now, &format!("{percent} % of reads on green"));
        next.reads_on_green = percent;
        Ok(next)
    }

    /// Begins to switch the writes to the other store. `lag` is how many changes are left.
    ///
    /// # Errors
    /// [`Error::Refused`] when the copy is not done, a switch is under way, or too much is left.
    pub fn switched(&self, lag: u64, now: Timestamp) -> Result<Self> {
        if self.phase != Phase::Following {
            return Err(self.refused("switch", "wait until the copy is done and no switch is under way"));
        }
        if self.releasing.is_some() {
            return Err(self.refused("switch", "wait until the former switch is cleared up"));
        }
        if self.one_way && self.active == Colour::Green {
            let reason =
                "cannot switch to blue: it can only be read, so nothing that was written on green since could go back";
            return Err(Error::refused(reason, "go on with green"));
        }
        if lag > self.plan.lag_gate {
            let reason = format!("{lag} changes are left, and a switch begins with at most {}", self.plan.lag_gate);
            return Err(Error::refused(reason, "wait until it has caught up, or plan with a larger lag_gate"));
        }
        let what = format!("switch to {} began", self.follower());
        let mut next = self.at(Phase::Following, now, &what);
        if self.one_way {
            // There is nothing to close, and nothing that could be left.
            let epoch = next.new_epoch();
            next.phase = Phase::Opening { epoch, stream: None, closed_at: self.follower_epoch, began_at: now };
            return Ok(next);
        }
        let deadline = now + TimeDelta::from_std(self.plan.switch_deadline()).unwrap_or(TimeDelta::MAX);
        next.phase = Phase::Switching { epoch: next.new_epoch(), began_at: now, deadline };
        Ok(next)
    }

    /// The store in use is closed and nothing is left: the other one may be opened. Nothing when no switch is under way.
    #[must_use]
    pub fn drained(&self, now: Timestamp) -> Option<Self> {
        let Phase::Switching { epoch: closed_at, began_at, .. } = self.phase else { return None };
        let mut next = self.at(Phase::Following, now, "all writes are on both sides");
        let epoch = next.new_epoch();
        let stream = next.stream_name(self.active);
        next.streams.push((self.follower(), stream.clone()));
        next.phase = Phase::Opening { epoch, stream: Some(stream), closed_at, began_at };
        Some(next)
    }

    /// The switch took too long. Nothing when none is under way.
    #[must_use]
    pub fn given_up(&self, now: Timestamp) -> Option<Self> {
        let Phase::Switching { .. } = self.phase else { return None };
        let mut next = self.at(Phase::Following, now, "switch took too long");
        next.phase = Phase::Undoing { epoch: next.new_epoch() };
        Some(next)
    }

    /// The store in use is open again. Nothing when no switch is being undone.
    #[must_use]
    pub fn undone(&self, now: Timestamp) -> Option<Self> {
        let Phase::Undoing { .. } = self.phase else { return None };
        Some(self.at(Phase::Following, now, &format!("switch undone: {} is in use", self.active)))
    }

    /// The other store is open: it is the one in use, and the former one follows it. Nothing when none is being opened.
    #[must_use]
    pub fn opened(&self, now: Timestamp) -> Option<Self> {
        let Phase::Opening { stream, closed_at, began_at, .. } = &self.phase else { return None };
        let waited_ms = u64::try_from((now - *began_at).num_milliseconds()).unwrap_or(0);
        let what = format!("switched: {} is in use, writes waited at most {waited_ms} ms", self.follower());
        let mut next = self.at(Phase::Following, now, &what);
        next.switches.push(Switch { at: now, to: self.follower(), waited_ms });
        if next.switches.len() > EVENTS {
            next.switches.remove(0);
        }
        next.active = self.follower();
        next.follower_epoch = *closed_at;
        next.releasing = self.stream.clone().map(|former| (self.active, former));
        next.stream.clone_from(stream);
        // It was of a blue that is in use again, or was.
        next.dump = None;
        next.reads_on_green = if next.active == Colour::Green { 100 } else { 0 };
        Some(next)
    }

    /// Gives the move up.
    ///
    /// # Errors
    /// [`Error::Refused`] when green is in use, or about to be.
    pub fn cancelled(&self, now: Timestamp) -> Result<Self> {
        match (&self.phase, self.active) {
            (Phase::Planned | Phase::Preparing | Phase::Copying | Phase::Following, Colour::Blue) => {
                let mut next = self.at(Phase::Cancelling, now, "cancelled");
                next.reads_on_green = 0;
                Ok(next)
            }
            (Phase::Following, Colour::Green) => Err(self.refused("cancel", "green is in use: `rollback` first")),
            _ => Err(self.refused("cancel", "wait until it is over: `status` shows it")),
        }
    }

    /// Ends the move: blue follows no more.
    ///
    /// # Errors
    /// [`Error::Refused`] unless green is in use.
    pub fn finalized(&self, now: Timestamp) -> Result<Self> {
        if self.phase != Phase::Following || self.active != Colour::Green {
            return Err(self.refused("finalize", "switch the writes to green first"));
        }
        Ok(self.at(Phase::Finalizing, now, "finalized"))
    }

    /// No stream is left.
    #[must_use]
    pub fn ended(&self, now: Timestamp) -> Self {
        let (phase, what) = match self.phase {
            Phase::Finalizing if self.one_way => (Phase::Finalized, "ended: blue is as it was"),
            Phase::Finalizing => (Phase::Finalized, "ended: blue stays closed, as it is"),
            _ => (Phase::Cancelled, "ended: blue is in use as before"),
        };
        let mut next = self.at(phase, now, what);
        (next.stream, next.releasing, next.streams) = (None, None, Vec::new());
        next
    }

    /// The next revision, with nothing changed yet.
    fn changed(&self) -> Self {
        Self { revision: self.revision + 1, ..self.clone() }
    }

    fn at(&self, phase: Phase, now: Timestamp, what: &str) -> Self {
        let mut next = Self { phase, ..self.changed() };
        next.history.push(Event { at: now, what: what.to_owned() });
        if next.history.len() > EVENTS {
            next.history.remove(0);
        }
        next
    }

    fn new_epoch(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch
    }

    /// A name that no stream had before, of this move or of another one from the same store, so that nobody ends or acknowledges a
    /// stream that is not theirs.
    fn stream_name(&self, follower: Colour) -> String {
        format!("{}-{}-to-{follower}-{}", self.plan.name, self.planned_at.timestamp_micros(), self.revision)
    }

    fn refused(&self, what: &str, advice: &str) -> Error {
        Error::refused(format!("cannot {what}: the move is {}, {} in use", self.phase, self.active), advice)
    }
}

#[cfg(test)]
mod tests;
