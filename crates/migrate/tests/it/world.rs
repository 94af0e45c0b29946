//! Two stores in memory, clients that use them, and what befalls the mover.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use futures_util::FutureExt as _;
use memory_core::{
    Clock as _, ContentHash, EmbeddedMemory, Embedder, Embedding, EmbeddingSpace, Error, ForgetRequest, IdempotencyKey,
    InsertBatch, Item, Memory, MemoryPatch, MemoryStore as _, Purpose, Rejection, Rejections as _, Replica as _, Scope,
    Selection, ValueKeys, VectorBacklog as _, Writers,
};
use memory_testkit::replica::model::Model;
use memory_testkit::{TestClock, make};
use migrate::record::memory::MemoryRecords;
use migrate::record::{Colour, Phase, Records as _};

use crate::oracle::Oracle;
use memory_testkit::random::Random;

/// A call that goes on although whoever made it is gone.
pub type Late = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What befalls a call of the mover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Goes,
    /// The mover is killed before it.
    KilledBefore,
    /// The mover is killed after it, before it hears of it.
    KilledAfter,
    /// It fails.
    FailsBefore,
    /// It has its effect, and the answer is lost.
    FailsAfter,
    /// The answer is lost, and the call has its effect some time later.
    FailsLate,
    /// The mover is killed, and the call has its effect some time later.
    Late,
}

/// Everything of a simulation.
pub struct World {
    pub clock: TestClock,
    pub blue: Model,
    pub green: Model,
    pub records: Arc<MemoryRecords>,
    pub random: Random,
    pub oracle: Oracle,
    /// How many of a hundred calls of the mover clients write between.
    pub traffic: usize,
    /// How often clients do something before they are through with this part: a mover that copies two at a time never catches up
    /// with clients that write all the time.
    pub left: usize,
    /// How many of a thousand calls something befalls.
    pub trouble: usize,
    /// Whether the store that follows takes nothing while a switch is under way.
    pub is_slow: bool,
    /// Whether blue can only be read, so that nothing closes it.
    pub one_way: bool,
    pub calls: usize,
    pub kills: usize,
    late: VecDeque<(usize, Late)>,
    spaces: [Arc<EmbeddingSpace>; 2],
    written: usize,
}

pub type Shared = Arc<Mutex<World>>;

impl World {
    pub fn new(seed: u64, changes_space: bool) -> Self {
        let clock = TestClock::new();
        let arc = Arc::new(clock.clone());
        let green_space = if changes_space { "other" } else { "testkit" };
        Self {
            blue: Model::new(arc.clone()),
            green: Model::new(arc),
            clock,
            records: Arc::new(MemoryRecords::default()),
            random: Random::new(seed),
            oracle: Oracle::default(),
            traffic: 0,
            left: 0,
            trouble: 0,
            is_slow: false,
            one_way: false,
            calls: 0,
            kills: 0,
            late: VecDeque::new(),
            spaces: [make::space("testkit"), make::space(green_space)],
            written: 0,
        }
    }

    pub fn model(&self, colour: Colour) -> Model {
        match colour {
            Colour::Blue => self.blue.clone(),
            Colour::Green => self.green.clone(),
        }
    }

    pub fn space(&self, colour: Colour) -> &Arc<EmbeddingSpace> {
        &self.spaces[usize::from(colour == Colour::Green)]
    }

    pub fn record(&self) -> Option<migrate::record::Record> {
        now(self.records.load()).expect("a record in memory")
    }

    /// The store that clients believe to be in use.
    pub fn active(&self) -> Colour {
        self.record().map_or(Colour::Blue, |record| record.active)
    }

    /// Everything of a store.
    pub fn items(&self, colour: Colour) -> Vec<Item> {
        now(self.model(colour).scan(None, usize::MAX / 2)).expect("scan").items
    }

    /// Lets time pass and clients write, and says what befalls the call that the mover makes now.
    pub fn before_call(&mut self, writes_in_switch: bool) -> Fate {
        self.calls += 1;
        self.clock.advance(Duration::from_millis(self.random.below(4) as u64));
        while self.late.front().is_some_and(|(due, _)| *due <= self.calls) {
            if let Some((_, call)) = self.late.pop_front() {
                call.now_or_never().expect("a store in memory answers at once");
            }
        }
        self.check_gates();
        while self.left > 0 && self.random.percent(self.traffic) {
            self.left -= 1;
            self.client();
        }
        if self.is_slow && writes_in_switch {
            self.clock.advance(Duration::from_secs(1));
            return Fate::FailsBefore;
        }
        if self.random.below(1000) >= self.trouble {
            return Fate::Goes;
        }
        let fates =
            [Fate::KilledBefore, Fate::KilledAfter, Fate::FailsBefore, Fate::FailsAfter, Fate::FailsLate, Fate::Late];
        let fate = fates[self.random.below(fates.len())];
        self.kills += usize::from(matches!(fate, Fate::KilledBefore | Fate::KilledAfter | Fate::Late));
        fate
    }

    /// Lets clients do something again.
    pub fn refresh(&mut self) {
        self.left = 20 + self.random.below(60);
    }

    pub fn postpone(&mut self, call: Late) {
        let due = self.calls + 1 + self.random.below(40);
        let at = self.late.iter().position(|(other, _)| *other > due).unwrap_or(self.late.len());
        self.late.insert(at, (due, call));
    }

    /// Lets everything that is late happen.
    pub fn settle(&mut self) {
        for (_, call) in std::mem::take(&mut self.late) {
            call.now_or_never().expect("a store in memory answers at once");
        }
    }

    /// Never are both stores open to clients once a move has begun.
    fn check_gates(&self) {
        let Some(record) = self.record() else { return };
        if self.one_way
            || matches!(record.phase, Phase::Planned | Phase::Preparing | Phase::Cancelling | Phase::Cancelled)
        {
            return;
        }
        let [blue, green] = [&self.blue, &self.green].map(|model| now(model.gate()).expect("a gate").writers);
        assert!((blue, green) != (Writers::Clients, Writers::Clients), "both are open: {record:?}");
    }

    /// A client does something, on the store that it believes to be in use.
    pub fn client(&mut self) {
        let stale = self.random.percent(10);
        let colour = if stale { self.active().other() } else { self.active() };
        // Before the move green is nobody's.
        let is_closed = |phase: &Phase| !matches!(phase, Phase::Planned | Phase::Preparing);
        if stale && !self.record().is_some_and(|record| is_closed(&record.phase)) {
            return;
        }
        let done = match self.random.below(100) {
            0..40 => self.insert(colour),
            40..65 => self.update(colour),
            65..78 => self.forget(colour),
            78..84 => self.reject(colour),
            84..88 => self.lift(colour),
            88..94 => self.add_vector(colour),
            94..97 => self.send_again(colour),
            _ => {
                self.model(colour).sweep();
                Ok(())
            }
        };
        match done {
            Ok(()) | Err(Error::Fenced { .. } | Error::ValueRejected { .. } | Error::NotFound(_)) => {}
            Err(error) => panic!("a client was answered: {error}"),
        }
    }

    fn scope(&mut self) -> Scope {
        let scope = make::user(["acme", "globex"][self.random.below(2)], ["ann", "bob"][self.random.below(2)]);
        if self.random.percent(30) { scope.with_session("monday").expect("a name") } else { scope }
    }

    fn text(&mut self) -> String {
        self.written += 1;
        format!("text {} of {}", self.written, self.random.below(1000))
    }

    fn some_memory(&mut self) -> Option<Memory> {
        let at = self.random.below(self.oracle.there.len());
        self.oracle.there.values().nth(at).cloned()
    }

    fn embedding(&mut self, colour: Colour, text: &str) -> Option<Embedding> {
        let is_there = self.random.percent(80);
        is_there.then(|| embedding(self.space(colour), text))
    }

    fn insert(&mut self, colour: Colour) -> memory_core::Result<()> {
        let at = self.clock.now();
        let scope = self.scope();
        let mut memories = Vec::new();
        for _ in 0..=self.random.below(3) {
            let text = self.text();
            let mut memory = make::memory(&scope, &text, at);
            // Ids that are the same for the same seed.
            memory.id = id(&mut self.random);
            if self.random.percent(10) {
                memory.expires_at = Some(at + TimeDelta::milliseconds(self.random.below(400) as i64 + 1));
            }
            let embedding = self.embedding(colour, &text);
            memories.push(EmbeddedMemory { memory, embedding });
        }
        if let Some(source) = self.some_memory().filter(|source| source.scope.tenant_name() == scope.tenant_name())
            && self.random.percent(15)
        {
            memories[0].memory.evidence = vec![source.id];
        }
        let key = self
            .random
            .percent(20)
            .then(|| IdempotencyKey { key: format!("key {}", self.written), body_hash: [1; 32] });
        let batch = InsertBatch { memories, idempotency: key };
        let receipt = now(self.model(colour).insert(batch.clone()))?;
        self.oracle.inserted(batch, receipt);
        Ok(())
    }

    fn update(&mut self, colour: Colour) -> memory_core::Result<()> {
        let Some(memory) = self.some_memory() else { return Ok(()) };
        let text = self.random.percent(60).then(|| self.text());
        let embedding = text.clone().and_then(|text| self.embedding(colour, &text));
        let is_embedded = match &text {
            Some(_) => embedding.is_some(),
            None => self.oracle.embedded.contains(&memory.id),
        };
        let patch = MemoryPatch { text, embedding, importance: Some(0.25), ..MemoryPatch::default() };
        let receipt = now(self.model(colour).update(&memory.scope, memory.id, patch))?;
        self.oracle.updated(Memory::clone(&receipt.memory), is_embedded);
        Ok(())
    }

    fn forget(&mut self, colour: Colour) -> memory_core::Result<()> {
        let Some(memory) = self.some_memory() else { return Ok(()) };
        let request =
            ForgetRequest { scope: memory.scope.clone(), selection: Selection::Ids(vec![memory.id]), dry_run: false };
        let receipt = now(self.model(colour).forget(&request))?;
        self.oracle.went(&receipt);
        Ok(())
    }

    fn reject(&mut self, colour: Colour) -> memory_core::Result<()> {
        let scope = self.scope().without_session();
        let text = format!("never {}", self.random.below(20));
        let keys = ValueKeys::of(&scope, &text);
        let rejection = Rejection { scope, keys, rejected_at: self.clock.now(), rejected_by: "somebody".into() };
        now(self.model(colour).reject(std::slice::from_ref(&rejection)))?;
        self.oracle.rejected.insert(keys.reads);
        Ok(())
    }

    fn lift(&mut self, colour: Colour) -> memory_core::Result<()> {
        let scope = self.scope().without_session();
        let keys = ValueKeys::of(&scope, &format!("never {}", self.random.below(20)));
        let was_there = now(self.model(colour).lift(&scope, &keys.reads))?;
        assert_eq!(was_there, self.oracle.rejected.remove(&keys.reads), "a rejection was lost, or came back");
        Ok(())
    }

    fn add_vector(&mut self, colour: Colour) -> memory_core::Result<()> {
        let waiting = now(self.model(colour).without_vector(None, 1000))?;
        if waiting.is_empty() {
            return Ok(());
        }
        let one = &waiting[self.random.below(waiting.len())];
        if now(self.model(colour).add_vector(one, embedding(self.space(colour), "late")))? {
            self.oracle.embedded.insert(one.id);
        }
        Ok(())
    }

    /// A client that lost the answer sends the same again, and gets the same items, whichever store answers.
    fn send_again(&mut self, colour: Colour) -> memory_core::Result<()> {
        let at = self.random.below(self.oracle.keyed.len());
        let Some((batch, receipt)) = self.oracle.keyed.get(at).cloned() else { return Ok(()) };
        let again = now(self.model(colour).insert(batch))?;
        assert!(again.replayed && again.items == receipt.items, "{again:?} for {receipt:?}");
        Ok(())
    }
}

/// A vector that depends on the space and the text alone.
pub fn embedding(space: &Arc<EmbeddingSpace>, text: &str) -> Embedding {
    let hash = ContentHash::of(&format!("{space} {text}"));
    let seed = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes"));
    make::embedding(space, seed)
}

fn id(random: &mut Random) -> memory_core::MemoryId {
    let mut digits = format!("{:016x}{:016x}", random.number(), random.number());
    digits.replace_range(12..13, "4");
    digits.parse().expect("a UUID")
}

/// What a store in memory answers, which it does at once.
pub fn now<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("a store in memory answers at once")
}

/// Makes the vectors of a side.
#[derive(Debug)]
pub struct Hashing(pub Arc<EmbeddingSpace>);

#[async_trait]
impl Embedder for Hashing {
    fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.0
    }

    async fn embed(&self, texts: &[&str], _: Purpose) -> memory_core::Result<Vec<Embedding>> {
        Ok(texts.iter().map(|text| embedding(&self.0, text)).collect())
    }
}
