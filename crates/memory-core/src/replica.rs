//! A store as whoever moves it sees it: the whole of it, of every tenant, its changes, and who may write to it.
//!
//! A move works by state, not by operations: a change says which item changed, and the mover reads what has become of it and
//! makes the other store's the same. So everything may be done twice, in any order of items, and after any interruption; the
//! two stores are the same once nothing has changed that was not read.

mod wire;

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    ChangeLag, ChangePosition, ContentHash, Embedding, Memory, MemoryId, Rejection, Result, Scope, Timestamp, ValueKey,
};

/// A store that can be moved from or to.
///
/// # Contract
/// Each promise has a test of its name in `memory_testkit::replica`.
/// - `a_scan_and_the_changes_after_miss_nothing`: what is written, changed or removed while a scan goes on is in the scan
///   as it was left, or in the changes of a stream that was captured before the scan began.
/// - `every_change_is_captured`: of every way to write (inserts, updates, late embeddings, forgetting, rejections,
///   expiry, what the mover writes itself), in its transaction or not at all, and told until it is acknowledged.
/// - `what_is_read_is_of_one_moment`: a memory comes with the history that its version has, or not at all.
/// - `what_is_written_reads_the_same`: every field, in the same order of first writing; written again it changes nothing.
/// - `what_is_forgotten_is_never_written_back`: a tombstone is not replaced by the memory.
/// - `a_closed_store_takes_no_writes`: from when `set_gate` returns no write by a client is acknowledged that began before or
///   begins after, until it is opened; each fails with [`Error::Fenced`](crate::Error::Fenced). So does one that would change
///   nothing, as of what is not there: a store that follows may be behind.
/// - `an_older_epoch_changes_nothing`: neither the gate nor an item.
/// - `an_opened_store_goes_on`: what clients write after is ordered behind all that the mover wrote.
#[async_trait]
pub trait Replica: fmt::Debug + Send + Sync {
    /// Has the store note which items change from here on, until [`Self::release`]. Waits for the writes that are under way.
    /// A stream that is captured already keeps its place.
    async fn capture(&self, stream: &str) -> Result<()>;

    /// Ends a stream. Where it was the last one nothing is noted any more.
    async fn release(&self, stream: &str) -> Result<()>;

    /// The items behind a place in the order of scanning, at most `limit`: rejections and forgotten texts, then tombstones, then
    /// memories in the order of first writing; answered keys anywhere among them. What has expired is no item.
    async fn scan(&self, after: Option<&ScanPosition>, limit: usize) -> Result<ScanPage>;

    /// What has become of items, in the order of their keys as given. What has expired is absent, whether or not it was taken away.
    async fn read(&self, keys: &[ItemKey]) -> Result<Vec<Item>>;

    /// The oldest changes that a stream has not acknowledged, at most `limit`, in an order in which nothing is skipped.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a stream that is not captured.
    async fn changed(&self, stream: &str, limit: usize) -> Result<Vec<ItemChange>>;

    /// Says that every change of a stream up to this one was moved. It goes from the store when no stream needs it.
    async fn acknowledge(&self, stream: &str, position: &ChangePosition) -> Result<()>;

    /// How much a stream has not acknowledged.
    async fn lag(&self, stream: &str) -> Result<ChangeLag>;

    /// Makes items what they are given as, all or nothing, durably. A memory takes the place of one of the same id whatever its
    /// version and ordinal: the id may have expired and been taken anew.
    ///
    /// # Errors
    /// [`Error::Fenced`](crate::Error::Fenced) unless the store is [open to the mover](Writers::Mover) at this very epoch.
    async fn write(&self, epoch: u64, items: Vec<Item>) -> Result<()>;

    /// About how many items there are.
    async fn size(&self) -> Result<ReplicaSize>;

    /// Who may write; a store that no move has touched is open to clients at epoch 0.
    async fn gate(&self) -> Result<Gate>;

    /// Says who may write from now on. Waits for the writes that are under way. The gate that stands changes nothing.
    ///
    /// # Errors
    /// [`Error::Fenced`](crate::Error::Fenced) when the store is at a later epoch, or at this one with another gate.
    async fn set_gate(&self, gate: Gate) -> Result<()>;
}

/// Who may write to a store, and since which epoch: a number that each switch raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Raised by each switch; a switch that is older than the store's is over.
    pub epoch: u64,
    /// Who may write.
    pub writers: Writers,
}

/// Who may write to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writers {
    /// Those who use the memory: the store is the one that is in use.
    Clients,
    /// Whoever moves the memory, and nobody else: the store follows the one in use.
    Mover,
}

/// Which item of a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemKey {
    /// A value that is not to be written again, by the key that it reads as.
    Rejection {
        /// Whose it is.
        tenant: String,
        /// The key that the value reads as.
        key: ValueKey,
    },
    /// A text that no import brings back into its scope.
    ForgottenText {
        /// Where it was forgotten.
        scope: Scope,
        /// BLAKE3 of the normalised text.
        hash: ContentHash,
    },
    /// A memory, or what is left of a forgotten one.
    Memory {
        /// Whose it is.
        tenant: String,
        /// Its id.
        id: MemoryId,
    },
    /// A write that was sent with a key.
    IdempotencyKey {
        /// Whose it is.
        tenant: String,
        /// The key.
        key: String,
    },
}

/// An item as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "wire::WireItem", try_from = "wire::WireItem")]
pub enum Item {
    /// There is nothing of this key: it expired, was lifted or had its time.
    Absent(ItemKey),
    /// A value that is not to be written again.
    Rejection(Rejection),
    /// A text that no import brings back into its scope.
    ForgottenText {
        /// Where it was forgotten.
        scope: Scope,
        /// BLAKE3 of the normalised text.
        hash: ContentHash,
    },
    /// What is left of a forgotten memory.
    Tombstone {
        /// Where the memory was.
        scope: Scope,
        /// Its id.
        id: MemoryId,
        /// When it was forgotten.
        forgotten_at: Timestamp,
    },
    /// A memory that is there, with its history.
    Memory(Box<WholeMemory>),
    /// A write that was sent with a key.
    IdempotencyKey(AnsweredKey),
}

/// A memory with all that a store keeps of it.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeMemory {
    /// Its place in the order of first writing.
    pub ordinal: u64,
    /// The current version.
    pub current: StoredVersion,
    /// The former versions, oldest first.
    pub former: Vec<FormerVersion>,
}

/// A version of a memory with its vector.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVersion {
    /// What it says.
    pub memory: Memory,
    /// What it is searched by; `None` while it has no vector.
    pub embedding: Option<Embedding>,
}

/// A version of a memory that another one took the place of.
#[derive(Debug, Clone, PartialEq)]
pub struct FormerVersion {
    /// What it said.
    pub version: StoredVersion,
    /// When the next one took its place.
    pub superseded_at: Timestamp,
}

/// A write that was sent with a key, and what it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredKey {
    /// Whose it is.
    pub tenant: String,
    /// The key.
    pub key: String,
    /// BLAKE3 of the request's body.
    pub body_hash: [u8; 32],
    /// The ids and statuses that were answered, in the batch's order.
    pub items: Vec<crate::InsertedItem>,
    /// When it was first sent.
    pub created_at: Timestamp,
}

/// A place in the order of scanning. Opaque, and of use to the store that gave it alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScanPosition(pub String);

/// Items in the order of scanning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanPage {
    /// The items.
    pub items: Vec<Item>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<ScanPosition>,
}

/// That an item changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemChange {
    /// Where it is in the order of changes.
    pub position: ChangePosition,
    /// Which item.
    pub key: ItemKey,
    /// When, by the store's clock.
    pub occurred_at: Timestamp,
}

/// About how much is in a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaSize {
    /// Memories that are there.
    pub memories: u64,
    /// All other items.
    pub others: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Item {
    /// Which item it is.
    #[must_use]
    pub fn key(&self) -> ItemKey {
        match self {
            Self::Absent(key) => key.clone(),
            Self::Rejection(rejection) => {
                ItemKey::Rejection { tenant: rejection.scope.tenant_name().to_owned(), key: rejection.keys.reads }
            }
            Self::ForgottenText { scope, hash } => ItemKey::ForgottenText { scope: scope.clone(), hash: *hash },
            Self::Tombstone { scope, id, .. } => ItemKey::Memory { tenant: scope.tenant_name().to_owned(), id: *id },
            Self::Memory(whole) => {
                let memory = &whole.current.memory;
                ItemKey::Memory { tenant: memory.scope.tenant_name().to_owned(), id: memory.id }
            }
            Self::IdempotencyKey(answered) => {
                ItemKey::IdempotencyKey { tenant: answered.tenant.clone(), key: answered.key.clone() }
            }
        }
    }
}
