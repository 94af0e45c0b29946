//! A store and a record whose every call something may befall, and between whose calls clients write.

use std::fmt;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use memory_core::{
    ChangeLag, ChangePosition, EmbeddingSpace, Error, Gate, Item, ItemChange, ItemKey, Replica, ReplicaSize, Result,
    ScanPage, ScanPosition,
};
use memory_testkit::replica::model::Model;
use migrate::record::memory::MemoryRecords;
use migrate::record::{Colour, Phase, Record, Records};

use crate::world::{Fate, Shared};

/// A store of the world.
pub struct Watched {
    pub world: Shared,
    pub colour: Colour,
    pub model: Model,
    pub space: Arc<EmbeddingSpace>,
}

/// The record of the world.
pub struct WatchedRecords {
    pub world: Shared,
    pub records: Arc<MemoryRecords>,
}

/// Makes a call, or not, as the world wills.
async fn call<T, E>(
    world: &Shared,
    writes_in_switch: bool,
    lost: fn() -> E,
    call: impl Future<Output = std::result::Result<T, E>> + Send + 'static,
) -> std::result::Result<T, E> {
    let fate = world.lock().unwrap_or_else(PoisonError::into_inner).before_call(writes_in_switch);
    match fate {
        Fate::Goes => call.await,
        Fate::KilledBefore => std::future::pending().await,
        Fate::KilledAfter => {
            drop(call.await);
            std::future::pending().await
        }
        Fate::FailsBefore => Err(lost()),
        Fate::FailsAfter => {
            drop(call.await);
            Err(lost())
        }
        Fate::FailsLate | Fate::Late => {
            let call = Box::pin(async move { drop(call.await) });
            world.lock().unwrap_or_else(PoisonError::into_inner).postpone(call);
            if fate == Fate::FailsLate { Err(lost()) } else { std::future::pending().await }
        }
    }
}

fn lost() -> Error {
    Error::Backend { provider: "model", operation: "call", retryable: true, source: "the connection was lost".into() }
}

impl Watched {
    async fn call<T>(&self, made: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        call(&self.world, false, lost, made).await
    }
}

#[async_trait]
impl Replica for Watched {
    async fn capture(&self, stream: &str) -> Result<()> {
        let (model, stream) = (self.model.clone(), stream.to_owned());
        self.call(async move { model.capture(&stream).await }).await
    }

    async fn release(&self, stream: &str) -> Result<()> {
        let (model, stream) = (self.model.clone(), stream.to_owned());
        self.call(async move { model.release(&stream).await }).await
    }

    async fn scan(&self, after: Option<&ScanPosition>, limit: usize) -> Result<ScanPage> {
        let (model, after) = (self.model.clone(), after.cloned());
        self.call(async move { model.scan(after.as_ref(), limit).await }).await
    }

    async fn read(&self, keys: &[ItemKey]) -> Result<Vec<Item>> {
        let (model, keys) = (self.model.clone(), keys.to_vec());
        self.call(async move { model.read(&keys).await }).await
    }

    async fn changed(&self, stream: &str, limit: usize) -> Result<Vec<ItemChange>> {
        let (model, stream) = (self.model.clone(), stream.to_owned());
        self.call(async move { model.changed(&stream, limit).await }).await
    }

    async fn acknowledge(&self, stream: &str, position: &ChangePosition) -> Result<()> {
        let (model, stream, position) = (self.model.clone(), stream.to_owned(), position.clone());
        self.call(async move { model.acknowledge(&stream, &position).await }).await
    }

    async fn lag(&self, stream: &str) -> Result<ChangeLag> {
        let (model, stream) = (self.model.clone(), stream.to_owned());
        self.call(async move { model.lag(&stream).await }).await
    }

    async fn write(&self, epoch: u64, items: Vec<Item>) -> Result<()> {
        for item in &items {
            let Item::Memory(whole) = item else { continue };
            let versions = whole.former.iter().map(|former| &former.version).chain([&whole.current]);
            for embedding in versions.filter_map(|version| version.embedding.as_ref()) {
                assert_eq!(*embedding.space(), self.space, "spaces never mix");
            }
        }
        let record = self.world.lock().unwrap_or_else(PoisonError::into_inner).record();
        let in_switch = record
            .is_some_and(|record| matches!(record.phase, Phase::Switching { .. }) && record.follower() == self.colour);
        let model = self.model.clone();
        call(&self.world, in_switch, lost, async move { model.write(epoch, items).await }).await
    }

    async fn size(&self) -> Result<ReplicaSize> {
        let model = self.model.clone();
        self.call(async move { model.size().await }).await
    }

    async fn gate(&self) -> Result<Gate> {
        let model = self.model.clone();
        self.call(async move { model.gate().await }).await
    }

    async fn set_gate(&self, gate: Gate) -> Result<()> {
        let model = self.model.clone();
        self.call(async move { model.set_gate(gate).await }).await
    }
}

#[async_trait]
impl Records for WatchedRecords {
    async fn load(&self) -> migrate::Result<Option<Record>> {
        let records = self.records.clone();
        call(&self.world, false, lost_record, async move { records.load().await }).await
    }

    async fn store(&self, record: &Record) -> migrate::Result<()> {
        let (records, record) = (self.records.clone(), record.clone());
        call(&self.world, false, lost_record, async move { records.store(&record).await }).await
    }
}

fn lost_record() -> migrate::Error {
    migrate::Error::Record { operation: "written", source: "the connection was lost".into() }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("colour", &self.colour).finish_non_exhaustive()
    }
}

impl fmt::Debug for WatchedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedRecords").finish_non_exhaustive()
    }
}
