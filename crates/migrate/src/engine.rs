//! Carries a move out, step by step. Every step may be done twice, and is recorded before or after it so that whoever comes next
//! does it again or goes on behind it.

mod behind;
mod copy;
mod embed;
mod keep;
mod orders;
mod pace;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use memory_core::{Clock, Embedder, Gate, MemoryStore, Replica, Timer, Timestamp, Writers};

use crate::diff::Diff;
use crate::gates::Checked;
use crate::machine::Step;
use crate::plan::Plan;
use crate::probe::{AnswerCache, Direct, Search};
use crate::record::{Colour, Phase, Record, Records};
use crate::stress::Stress;
use crate::{Error, Result};

pub use orders::Order;
use pace::Pace;

/// How long a mover waits when nothing has changed.
const IDLE: Duration = Duration::from_millis(100);
/// How often it waits for changes that cannot be read yet.
const WAITS: usize = 50;
/// The first and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// One of the two stores, as those see it who use the memory, and as whoever moves it does.
#[derive(Debug, Clone)]
pub struct Side {
    /// For whoever moves it.
    pub replica: Arc<dyn Replica>,
    /// Answers the probes' queries; a side without it is not asked.
    pub search: Option<Arc<dyn Search>>,
    /// What makes the vectors of the side: those of another space are made anew by it on the way here. Without it vectors stay as
    /// they are.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// Its cache of answers, which is not moved.
    pub answers: AnswerCache,
    /// Whether it can only be read, such as a source that something else writes to: it may be blue alone, is copied and not
    /// followed, and nothing goes back to it.
    pub is_read_only: bool,
}

impl Side {
    /// A side whose vectors stay as they are.
    #[must_use]
    pub fn of<T: MemoryStore + Replica + Clone + 'static>(both: T) -> Self {
        let replica = Arc::new(both.clone());
        Self {
            replica,
            search: Some(Arc::new(Direct(Arc::new(both)))),
            embedder: None,
            answers: AnswerCache::None,
            is_read_only: false,
        }
    }

    /// A side that can only be read, and not be searched.
    #[must_use]
    pub fn read_only(replica: impl Replica + 'static) -> Self {
        Self {
            replica: Arc::new(replica),
            search: None,
            embedder: None,
            answers: AnswerCache::None,
            is_read_only: true,
        }
    }

    /// This side, its vectors made by `embedder`.
    #[must_use]
    pub fn embedding_with(self, embedder: Arc<dyn Embedder>) -> Self {
        Self { embedder: Some(embedder), ..self }
    }
}

/// What a move works with.
#[derive(Clone)]
pub struct Parts {
    /// The store that the memory is moved from.
    pub blue: Side,
    /// The store that it is moved to.
    pub green: Side,
    /// Where it is kept how far the move has come.
    pub records: Arc<dyn Records>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Waits.
    pub timer: Arc<dyn Timer>,
}

impl Parts {
    /// The side of that colour.
    #[must_use]
    pub fn side(&self, colour: Colour) -> &Side {
        match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("blue", &self.blue).field("green", &self.green).finish_non_exhaustive()
    }
}

/// Carries a move out.
#[derive(Debug)]
pub struct Engine {
    parts: Parts,
    record: Record,
    pace: Pace,
    /// Whether the store that follows is open to this mover alone.
    is_mover: bool,
    /// The record that was to be written last: it may have been, although that failed.
    tried: Option<Record>,
    /// How many changes this mover has moved.
    followed: u64,
    /// When this mover last tried to note how far behind the store is that follows.
    note_tried_at: Option<Timestamp>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// Nothing: somebody has to order something.
    Rested,
    /// Nothing, since nothing had changed.
    Idle,
    /// Something, and there may be more.
    Worked,
}

impl Engine {
    /// Plans a move, and changes neither of the stores.
    ///
    /// # Errors
    /// [`Error::Refused`] when a move is planned there already, or the plan makes no sense; or as the stores and the record.
    pub async fn plan(parts: Parts, plan: Plan) -> Result<Self> {
        plan.check()?;
        if parts.records.load().await?.is_some() {
            return Err(Error::refused("a move is planned already", "go on with it, or give another record"));
        }
        if parts.green.is_read_only {
            return Err(Error::refused("green can only be read", "name a store to move to as green"));
        }
        let mut epoch = 0;
        for colour in [Colour::Blue, Colour::Green] {
            let gate = parts.side(colour).replica.gate().await;
            epoch = epoch.max(gate.map_err(of(colour, "read the gate"))?.epoch);
        }
        let record = Record::planned(plan, parts.blue.is_read_only, epoch, parts.clock.now());
        parts.records.store(&record).await?;
        Ok(Self::with(parts, record))
    }

    /// Goes on with a move.
    ///
    /// # Errors
    /// [`Error::Refused`] when none was planned; or as the record.
    pub async fn open(parts: Parts) -> Result<Self> {
        let record = parts.records.load().await?;
        let record = record.ok_or_else(|| Error::refused("no move is planned", "`plan` one first"))?;
        if record.one_way != parts.blue.is_read_only || parts.green.is_read_only {
            let advice = "name the same sides as when it was planned";
            return Err(Error::refused(
                "a side can only be read, or can be followed, and was planned otherwise",
                advice,
            ));
        }
        Ok(Self::with(parts, record))
    }

    fn with(parts: Parts, record: Record) -> Self {
        let pace = Pace::new(&record.plan);
        Self { parts, record, pace, is_mover: false, tried: None, followed: 0, note_tried_at: None }
    }

    /// The record as this mover knows it.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What the move works with.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// How many changes the store that follows is behind; 0 where none follows.
    ///
    /// # Errors
    /// As the store in use.
    pub async fn lag(&self) -> Result<u64> {
        let Some(stream) = &self.record.stream else { return Ok(0) };
        // It is not captured yet, or may have ended already.
        if matches!(self.record.phase, Phase::Preparing | Phase::Cancelling | Phase::Finalizing) {
            return Ok(0);
        }
        let lag = self.active().lag(stream).await.map_err(of(self.record.active, "read the lag"))?;
        Ok(lag.changes)
    }

    /// Does what comes next.
    ///
    /// # Errors
    /// [`Error::Superseded`] when another mover has come, or as the stores and the record. The same step is done again next time.
    pub async fn step(&mut self) -> Result<Stepped> {
        let step = self.record.next(self.now());
        if step.writes() && !self.is_mover {
            self.take_over().await?;
        }
        let stepped = self.carry_out(step).await;
        if stepped.is_err() {
            // A write whose answer was lost may still come: at an epoch that is over by then it changes nothing.
            self.is_mover = false;
        }
        stepped
    }

    /// Goes on until the record and the lag are as wanted, or nothing is left to be done. What fails and may go well later is
    /// done again, with longer and longer pauses.
    ///
    /// # Errors
    /// [`Error::Superseded`], or a failure that stays.
    pub async fn run_until(&mut self, is_wanted: impl Fn(&Record, u64) -> bool) -> Result<()> {
        let mut failures = 0_u32;
        loop {
            match self.round(&is_wanted).await {
                Ok(None) => return Ok(()),
                Ok(Some(Stepped::Worked)) => failures = 0,
                Ok(Some(_)) => {
                    failures = 0;
                    self.parts.timer.sleep(IDLE).await;
                }
                Err(error) => {
                    self.stand_by_the_record().await?;
                    if !error.is_retryable() {
                        return Err(error);
                    }
                    tracing::warn!(%error, source = ?std::error::Error::source(&error), failures, "step failed");
                    let pause = PAUSES.0 * 2_u32.saturating_pow(failures.min(10));
                    failures += 1;
                    self.parts.timer.sleep(pause.min(PAUSES.1)).await;
                }
            }
        }
    }

    /// A step, unless it is as wanted.
    async fn round(&mut self, is_wanted: &impl Fn(&Record, u64) -> bool) -> Result<Option<Stepped>> {
        if is_wanted(&self.record, self.lag().await?) || self.record.is_over() {
            return Ok(None);
        }
        match self.step().await? {
            Stepped::Rested => Ok(None),
            stepped => Ok(Some(stepped)),
        }
    }

    /// After a failure: the record is this mover's own, or another one has come, and this one ends. Where it cannot be read, that is
    /// found out the next time.
    async fn stand_by_the_record(&mut self) -> Result<()> {
        self.is_mover = false;
        let Ok(Some(there)) = self.parts.records.load().await else { return Ok(()) };
        if !self.is_own(&there) {
            return Err(Error::Superseded);
        }
        self.record = there;
        Ok(())
    }

    /// Reads the record again, as after a failure: it may have been written all the same, or by somebody else.
    ///
    /// # Errors
    /// As the record.
    pub async fn reload(&mut self) -> Result<()> {
        let there = self.parts.records.load().await?;
        let there = there.ok_or_else(|| Error::refused("the record of the move is gone", "restore it"))?;
        if there != self.record {
            self.is_mover = false;
        }
        self.record = there;
        Ok(())
    }

    /// Follows until everything that had changed when it was called is on the other side: not longer, however much is written
    /// meanwhile. What a transaction that is under way keeps from being read is waited for. Whether it is all there.
    pub(crate) async fn follow_through(&mut self) -> Result<bool> {
        let behind = self.followed + self.lag().await?;
        let mut waits = 0;
        while self.followed < behind && waits < WAITS {
            match self.step().await? {
                Stepped::Worked => {}
                Stepped::Idle => {
                    waits += 1;
                    self.parts.timer.sleep(IDLE).await;
                }
                Stepped::Rested => break,
            }
        }
        Ok(self.followed >= behind)
    }

    pub(crate) async fn put_diff(&mut self, diff: Diff) -> Result<()> {
        self.put(self.record.compared(diff)).await
    }

    pub(crate) async fn put_checked(&mut self, checked: Checked) -> Result<()> {
        self.put(self.record.gated(checked)).await
    }

    pub(crate) async fn put_stress(&mut self, stress: Stress) -> Result<&Stress> {
        self.put(self.record.stressed(stress)).await?;
        self.record.stress.as_ref().ok_or(Error::Superseded)
    }

    /// Closes the store that follows to whoever moved before.
    async fn take_over(&mut self) -> Result<()> {
        self.reload().await?;
        if !self.record.next(self.now()).writes() {
            return Ok(());
        }
        self.put(self.record.taken_over()).await?;
        let gate = Gate { epoch: self.record.follower_epoch, writers: Writers::Mover };
        let follower = self.record.follower();
        self.follower().set_gate(gate).await.map_err(of(follower, "close"))?;
        self.is_mover = true;
        Ok(())
    }

    async fn carry_out(&mut self, step: Step) -> Result<Stepped> {
        // Somebody took it over in between, and there is something else to do.
        if step != self.record.next(self.now()) {
            return Ok(Stepped::Worked);
        }
        let (active, now) = (self.record.active, self.now());
        match step {
            Step::Rest => return Ok(Stepped::Rested),
            Step::Prepare => {
                if let Some(stream) = self.record.stream.clone() {
                    self.active().capture(&stream).await.map_err(of(active, "capture"))?;
                }
                self.put(self.record.prepared(now)).await?;
            }
            Step::Copy => self.copy().await?,
            Step::Release => {
                if let Some((colour, stream)) = self.record.releasing.clone() {
                    self.release(colour, &stream).await?;
                }
                self.put(self.record.released()).await?;
            }
            Step::Follow => {
                let followed = self.follow().await?;
                self.note().await;
                return Ok(if followed == 0 { Stepped::Idle } else { Stepped::Worked });
            }
            Step::Drain => self.drain().await?,
            Step::GiveUp => self.put_some(self.record.given_up(now)).await?,
            Step::Open => self.open_follower().await?,
            Step::Reopen => {
                if let Phase::Undoing { epoch } = self.record.phase {
                    let gate = Gate { epoch, writers: Writers::Clients };
                    self.active().set_gate(gate).await.map_err(of(active, "open"))?;
                }
                self.put_some(self.record.undone(now)).await?;
            }
            Step::End => {
                for (colour, stream) in &self.record.streams {
                    self.release(*colour, stream).await?;
                }
                self.put(self.record.ended(now)).await?;
            }
        }
        Ok(Stepped::Worked)
    }

    /// Writes what changed to the store that follows, at most a batch, and gives how many changes that was.
    async fn follow(&mut self) -> Result<usize> {
        let active = self.record.active;
        let Some(stream) = self.record.stream.clone() else { return Ok(0) };
        let changes =
            self.active().changed(&stream, self.record.plan.batch).await.map_err(of(active, "read changes"))?;
        let Some(last) = changes.last() else { return Ok(0) };
        let mut seen = HashSet::new();
        let keys: Vec<_> =
            changes.iter().filter(|change| seen.insert(&change.key)).map(|change| change.key.clone()).collect();
        let items = self.active().read(&keys).await.map_err(of(active, "read"))?;
        self.write(items).await?;
        self.active().acknowledge(&stream, &last.position).await.map_err(of(active, "acknowledge"))?;
        self.followed += changes.len() as u64;
        Ok(changes.len())
    }

    pub(crate) async fn write(&self, items: Vec<memory_core::Item>) -> Result<()> {
        let follower = self.record.follower();
        let (from, to) = (self.parts.side(self.record.active), self.parts.side(follower));
        let items = embed::adapt(from, to, items).await.map_err(of(follower, "embed"))?;
        to.replica.write(self.record.follower_epoch, items).await.map_err(of(follower, "write"))
    }

    /// Closes the store in use, and copies what is left.
    async fn drain(&mut self) -> Result<()> {
        let active = self.record.active;
        if let Phase::Switching { epoch, .. } = self.record.phase {
            let gate = Gate { epoch, writers: Writers::Mover };
            self.active().set_gate(gate).await.map_err(of(active, "close"))?;
        }
        // What is counted now is all: no write is acknowledged that came after the gate.
        if self.follow().await? == 0 && self.lag().await? == 0 {
            self.put_some(self.record.drained(self.now())).await?;
        }
        Ok(())
    }

    async fn open_follower(&mut self) -> Result<()> {
        let Phase::Opening { epoch, stream, .. } = self.record.phase.clone() else { return Ok(()) };
        let colour = self.record.follower();
        if let Some(stream) = &stream {
            self.follower().capture(stream).await.map_err(of(colour, "capture"))?;
        }
        let gate = Gate { epoch, writers: Writers::Clients };
        self.follower().set_gate(gate).await.map_err(of(colour, "open"))?;
        self.put_some(self.record.opened(self.now())).await?;
        // The other store is the one that follows now; its gate is at an epoch that may be another mover's too.
        self.is_mover = false;
        Ok(())
    }

    async fn release(&self, colour: Colour, stream: &str) -> Result<()> {
        self.parts.side(colour).replica.release(stream).await.map_err(of(colour, "release"))
    }

    async fn put_some(&mut self, next: Option<Record>) -> Result<()> {
        match next {
            Some(next) => self.put(next).await,
            None => Ok(()),
        }
    }

    fn active(&self) -> &dyn Replica {
        &*self.parts.side(self.record.active).replica
    }

    fn follower(&self) -> &dyn Replica {
        &*self.parts.side(self.record.follower()).replica
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }
}

/// What a store's failure is as one of the move.
pub(crate) fn of(colour: Colour, operation: &'static str) -> impl Fn(memory_core::Error) -> Error {
    move |source| Error::Store { colour, operation, source }
}
