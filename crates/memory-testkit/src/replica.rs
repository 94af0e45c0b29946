//! The contract of `memory_core::Replica`, a function for each promise. A store that can be moved keeps them beside those of
//! [`store`](crate::store).
//!
//! [`model`] keeps them all in memory; the tests here run every promise on it, and on one that breaks it.

mod capturing;
mod fencing;
mod goods;
pub mod model;
mod scanning;
mod writing;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use memory_core::{
    EmbeddingSpace, Gate, Item, ItemKey, MemoryStore, Rejections, Replica, ScanPosition, VectorBacklog, Writers,
};

use crate::{TestClock, make};

pub use capturing::every_change_is_captured;
pub use fencing::{a_closed_store_takes_no_writes, an_older_epoch_changes_nothing, an_opened_store_goes_on};
pub use scanning::{a_scan_and_the_changes_after_miss_nothing, what_is_read_is_of_one_moment};
pub use writing::{what_is_forgotten_is_never_written_back, what_is_written_reads_the_same};

/// The stream of the tests.
const STREAM: &str = "to-green";

/// Makes one test for each promise of `Replica`. `$fixture` is an expression that makes a [`ReplicaFixture`].
#[macro_export]
macro_rules! replica_suite {
    ($fixture:expr) => {
        $crate::__suite!(
            replica, $fixture;
            a_scan_and_the_changes_after_miss_nothing, every_change_is_captured, what_is_read_is_of_one_moment,
            what_is_written_reads_the_same, what_is_forgotten_is_never_written_back, a_closed_store_takes_no_writes,
            an_older_epoch_changes_nothing, an_opened_store_goes_on
        );
    };
}

/// How a contract suite opens a store that can be moved. Every test makes a fixture of its own, with data of its own.
#[async_trait]
pub trait ReplicaFixture: Send + Sync {
    /// The clock that the store takes the time from.
    fn clock(&self) -> TestClock;

    /// The space of the vectors that the store is opened for.
    fn space(&self) -> Arc<EmbeddingSpace> {
        make::space("testkit")
    }

    /// How long the suite waits for what is promised soon: what else goes on in a store may hold it back for a while.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Opens the store: empty at first, and after [`close`](Self::close) with what was acknowledged before. It keeps rejections
    /// and knows which memories have no vector.
    async fn open(&self) -> Home;

    /// Ends the store as a process that ends would. The suite has dropped its other handles.
    async fn close(&self, home: Home);

    /// Sees to it that what has expired goes from the store, now or soon.
    async fn sweep(&self, home: &Home);
}

/// One store, as those see it who use the memory, and as whoever moves it does.
#[derive(Debug, Clone)]
pub struct Home {
    /// For those who use it.
    pub store: Arc<dyn MemoryStore>,
    /// For whoever moves it.
    pub replica: Arc<dyn Replica>,
}

impl Home {
    /// Both sides of one value.
    #[must_use]
    pub fn of<T: MemoryStore + Replica + Clone + 'static>(both: T) -> Self {
        Self { store: Arc::new(both.clone()), replica: Arc::new(both) }
    }

    fn rejections(&self) -> &dyn Rejections {
        self.store.rejections().expect("the store keeps rejections")
    }

    fn backlog(&self) -> &dyn VectorBacklog {
        self.store.backlog().expect("the store knows which memories have no vector")
    }

    async fn close_to_clients(&self, epoch: u64) {
        self.replica.set_gate(Gate { epoch, writers: Writers::Mover }).await.expect("set_gate");
    }

    async fn open_to_clients(&self, epoch: u64) {
        self.replica.set_gate(Gate { epoch, writers: Writers::Clients }).await.expect("set_gate");
    }

    /// All that the store holds, in its order, by pages of three.
    async fn scan_all(&self) -> Vec<Item> {
        let (mut all, mut after): (Vec<Item>, Option<ScanPosition>) = (Vec::new(), None);
        loop {
            let page = self.replica.scan(after.as_ref(), 3).await.expect("scan");
            assert!(page.items.len() <= 3, "no more than asked for");
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    }

    /// One item as it is.
    async fn read_one(&self, key: ItemKey) -> Item {
        let mut items = self.replica.read(std::slice::from_ref(&key)).await.expect("read");
        assert_eq!(items.len(), 1, "one for each key");
        items.remove(0)
    }

    /// Everything that a stream tells until all of `expected` was told, acknowledged as it comes.
    async fn told(&self, fixture: &dyn ReplicaFixture, stream: &str, expected: &[ItemKey]) -> Vec<ItemKey> {
        let (began, mut told) = (Instant::now(), Vec::new());
        loop {
            let changes = self.replica.changed(stream, 100).await.expect("changed");
            told.extend(changes.iter().map(|change| change.key.clone()));
            if let Some(last) = changes.last() {
                self.replica.acknowledge(stream, &last.position).await.expect("acknowledge");
            }
            let missing: Vec<_> = expected.iter().filter(|key| !told.contains(key)).collect();
            if missing.is_empty() && changes.is_empty() {
                return told;
            }
            assert!(began.elapsed() < fixture.patience(), "these changes are not told: {missing:?}, of {told:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
