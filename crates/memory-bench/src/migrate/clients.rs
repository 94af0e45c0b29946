//! Clients that go on writing, changing, forgetting and reading while the memory is moved, and keep account of what was
//! acknowledged. Each has memories of its own, so that it knows what they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use memory_core::{Error, ForgetRequest, InsertBatch, MemoryPatch, MemoryStore, Selection};
use tokio::task::JoinSet;

use super::account::Acknowledged;
use super::memories::{Memories, id_of};
use crate::corpus::Random;

/// How many there are.
const CLIENTS: usize = 4;
/// The pause before a write that was refused for the switch is sent to the other store.
const AGAIN: Duration = Duration::from_millis(5);
/// How long a write may be refused.
const PATIENCE: Duration = Duration::from_secs(120);

/// Clients that run until they are told to end.
pub struct Clients {
    running: JoinSet<Result<Done>>,
    is_over: Arc<AtomicBool>,
}

/// What clients did.
#[derive(Debug, Default)]
pub struct Done {
    /// What was acknowledged last of each memory that they touched.
    pub acknowledged: BTreeMap<usize, Acknowledged>,
    /// Writes, changes and deletions that were acknowledged.
    pub writes: usize,
    /// Refusals for a switch.
    pub fenced: usize,
    /// Failures that passed, and after which the request was sent again.
    pub failures: usize,
    /// Reads, and those of them that did not give what was acknowledged last.
    pub reads: usize,
    pub stale: usize,
    /// From the first attempt to the acknowledgement, of each write.
    pub times: Vec<Duration>,
}

/// What is done to a memory.
#[derive(Debug, Clone, Copy)]
enum Write {
    Insert(usize),
    /// To the version after this one.
    Update(usize, u32),
    Forget(usize),
}

struct Client {
    stores: [Arc<dyn MemoryStore>; 2],
    /// What is written to each of them.
    memories: [Arc<Memories>; 2],
    random: Random,
    /// The store that took the last write.
    active: usize,
    loaded: usize,
    /// The number of this client, and of the next memory that it writes.
    own: usize,
    next: usize,
    done: Done,
}

impl Clients {
    /// Starts clients that do so many writes in a second, all together: half of them new memories, three in ten changes, two in ten
    /// deletions; and a read for every four of them.
    pub fn start(stores: &[Arc<dyn MemoryStore>; 2], memories: &[Arc<Memories>; 2], loaded: usize, rate: f64) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut running = JoinSet::new();
        for own in 0..CLIENTS {
            let client = Client {
                stores: stores.clone(),
                memories: memories.clone(),
                random: Random(own as u64),
                active: 0,
                loaded,
                own,
                next: loaded.next_multiple_of(CLIENTS) + own,
                done: Done::default(),
            };
            let is_over = is_over.clone();
            running.spawn(client.run(Duration::from_secs_f64(CLIENTS as f64 / rate), is_over));
        }
        Self { running, is_over }
    }

    /// Has them end, each after what it is at.
    pub async fn end(mut self) -> Result<Done> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Done::default();
        while let Some(done) = self.running.join_next().await {
            let done = done.context("a client stopped")??;
            all.acknowledged.extend(done.acknowledged);
            all.writes += done.writes;
            all.fenced += done.fenced;
            all.failures += done.failures;
            all.reads += done.reads;
            all.stale += done.stale;
            all.times.extend(done.times);
        }
        Ok(all)
    }
}

impl Client {
    async fn run(mut self, interval: Duration, is_over: Arc<AtomicBool>) -> Result<Done> {
        let mut due = Instant::now();
        while !is_over.load(Ordering::Relaxed) {
            tokio::time::sleep_until(due.into()).await;
            // Who was held up does not make up for it: that would be another load.
            due = (due + interval).max(Instant::now());
            let write = self.choose();
            self.carry_out(write).await?;
            if self.random.below(4) == 0 {
                self.read(write).await?;
            }
        }
        Ok(self.done)
    }

    fn choose(&mut self) -> Write {
        let roll = self.random.below(10);
        if roll < 5 {
            let number = self.next;
            self.next += CLIENTS;
            return Write::Insert(number);
        }
        // One of its own, loaded or written since.
        let number = self.random.below(self.next / CLIENTS) * CLIENTS + self.own;
        let untouched = (number < self.loaded).then_some(Acknowledged::There(1));
        match self.done.acknowledged.get(&number).copied().or(untouched) {
            Some(Acknowledged::There(version)) if roll < 8 => Write::Update(number, version),
            Some(Acknowledged::There(_)) => Write::Forget(number),
            Some(Acknowledged::Forgotten) | None => {
                let number = self.next;
                self.next += CLIENTS;
                Write::Insert(number)
            }
        }
    }

    /// Sends a write until it is acknowledged.
    async fn carry_out(&mut self, write: Write) -> Result<()> {
        let began = Instant::now();
        loop {
            match self.send(write).await {
                Ok((number, acknowledged)) => {
                    self.done.acknowledged.insert(number, acknowledged);
                    self.done.writes += 1;
                    self.done.times.push(began.elapsed());
                    return Ok(());
                }
                Err(Error::Fenced { .. }) => {
                    self.done.fenced += 1;
                    self.active = 1 - self.active;
                }
                Err(error) if error.is_retryable() => self.done.failures += 1,
                Err(error) => return Err(error).with_context(|| format!("{write:?}")),
            }
            if began.elapsed() > PATIENCE {
                bail!("{write:?} was not taken for {PATIENCE:?}");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn send(&self, write: Write) -> memory_core::Result<(usize, Acknowledged)> {
        let (store, memories) = (&self.stores[self.active], &self.memories[self.active]);
        match write {
            Write::Insert(number) => {
                let batch = InsertBatch { memories: vec![memories.first(number)?], idempotency: None };
                store.insert(batch).await?;
                Ok((number, Acknowledged::There(1)))
            }
            Write::Update(number, version) => {
                let next = version + 1;
                let patch = MemoryPatch {
                    text: Some(memories.text(number, next)),
                    embedding: Some(memories.embedding(number, next)),
                    expected_version: Some(version.into()),
                    ..MemoryPatch::default()
                };
                match store.update(&memories.scope(number)?, id_of(number), patch).await {
                    // An attempt before was done, and its answer lost.
                    Err(Error::VersionConflict { actual, .. }) if actual == u64::from(next) => {}
                    done => drop(done?),
                }
                Ok((number, Acknowledged::There(next)))
            }
            Write::Forget(number) => {
                let selection = Selection::Ids(vec![id_of(number)]);
                store.forget(&ForgetRequest { scope: memories.scope(number)?, selection, dry_run: false }).await?;
                Ok((number, Acknowledged::Forgotten))
            }
        }
    }

    /// Reads what was written last, from where it was acknowledged.
    async fn read(&mut self, write: Write) -> Result<()> {
        let (Write::Insert(number) | Write::Update(number, _) | Write::Forget(number)) = write;
        let memories = &self.memories[self.active];
        let there = self.stores[self.active].get(&memories.scope(number)?, id_of(number)).await?;
        let text = match self.done.acknowledged.get(&number) {
            Some(Acknowledged::There(version)) => Some(memories.text(number, *version)),
            _ => None,
        };
        self.done.reads += 1;
        if there.map(|memory| memory.text.clone()) != text {
            self.done.stale += 1;
        }
        Ok(())
    }
}
