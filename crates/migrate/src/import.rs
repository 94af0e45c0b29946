//! What people already have, as a source to move from: read as it is, and never written to.
//!
//! A source is looked through once, when it is opened: each row is read and checked, those that cannot be taken are
//! [left out](Import::left_out) and said why, and the others are numbered in the order in which they were made. So a plan
//! knows before it begins what will not come along, and ids and ordinals are the same in every run.
//!
//! Its changes cannot be followed: whoever moves from it stops writing to it first, and [copies it](Import::copy_to).

mod copy;
mod jsonl;
mod langchain;
mod mem0;
mod row;
mod table;

pub use self::jsonl::open as open_jsonl;
pub use self::langchain::{Langchain, Members};
pub use self::mem0::Mem0;
pub use self::row::Options;
pub use self::table::TableName;

use std::collections::HashMap;

use async_trait::async_trait;
use memory_core::{
    ChangeLag, ChangePosition, Error, Gate, Item, ItemChange, ItemKey, MemoryId, Replica, ReplicaSize, Result,
    ScanPage, ScanPosition, StoredVersion, WholeMemory, Writers,
};

use self::row::{Row, Rows};

/// A source that can be read only.
#[derive(Debug)]
pub struct Import {
    rows: Box<dyn Rows>,
    tenant: String,
    /// In the order of their ordinals.
    places: Vec<Place>,
    by_id: HashMap<MemoryId, usize>,
    left_out: Vec<LeftOut>,
    bytes: u64,
}

/// A row that is taken.
#[derive(Debug)]
struct Place {
    ordinal: u64,
    key: String,
    /// Tells it from another row of the same key.
    tie: u64,
}

/// A row that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Which one, as the source names it.
    pub key: String,
    /// What was found and what was expected.
    pub reason: String,
}

impl Import {
    /// Looks through a source.
    async fn of(rows: Box<dyn Rows>, tenant: String) -> Result<Self> {
        struct Seen {
            order: row::Order,
            key: String,
            tie: u64,
            memory: Result<MemoryId, String>,
        }
        let mut seen = Vec::new();
        let mut see = |row: Row| {
            let (tie, Row { key, order, memory }) = (row.tie(), row);
            seen.push(Seen { order, key, tie, memory: memory.map(|embedded| embedded.memory.id) });
        };
        rows.each(&mut see).await?;
        seen.sort_by(|a, b| (&a.order, &a.key, a.tie).cmp(&(&b.order, &b.key, b.tie)));
        let bytes = rows.bytes().await?;
        let (places, by_id, left_out) = (Vec::with_capacity(seen.len()), HashMap::new(), Vec::new());
        let mut import = Self { rows, tenant, places, by_id, left_out, bytes };
        // Those that are left out keep their number, so that one that is mended later changes no other's.
        for (Seen { key, tie, memory, .. }, ordinal) in seen.into_iter().zip(1..) {
            match memory {
                Ok(id) if import.by_id.contains_key(&id) => {
                    import.leave_out(&key, format!("its id, {id}, is that of a row before it; expected each id once"));
                }
                Ok(id) => {
                    import.by_id.insert(id, import.places.len());
                    import.places.push(Place { ordinal, key, tie });
                }
                Err(reason) => import.leave_out(&key, reason),
            }
        }
        Ok(import)
    }

    fn leave_out(&mut self, key: &str, reason: String) {
        self.left_out.push(LeftOut { key: self.rows.name_of(key), reason });
    }

    /// The rows that do not come along, in the order of the source.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    async fn items(&self, places: &[Place]) -> Result<Vec<Item>> {
        let keys: Vec<String> = places.iter().map(|place| place.key.clone()).collect();
        let found = if keys.is_empty() { Vec::new() } else { self.rows.fetch(&keys).await? };
        let mut found: HashMap<(String, u64), Row> =
            found.into_iter().map(|row| ((row.key.clone(), row.tie()), row)).collect();
        let item = |place: &Place| {
            let row = found.remove(&(place.key.clone(), place.tie));
            let embedded = row.and_then(|row| row.memory.ok()).ok_or_else(|| self.has_changed(&place.key))?;
            let current = StoredVersion { memory: embedded.memory, embedding: embedded.embedding };
            Ok(Item::Memory(Box::new(WholeMemory { ordinal: place.ordinal, current, former: Vec::new() })))
        };
        places.iter().map(item).collect()
    }

    fn has_changed(&self, key: &str) -> Error {
        let name = self.rows.name_of(key);
        self.unusable(format!("{name} was changed since the source was opened; stop writing to it and begin again"))
    }

    fn cannot_be_followed(&self) -> Error {
        self.unusable("it can only be read: stop writing to it first, then copy it without following its changes")
    }

    fn is_not_written(&self) -> Error {
        self.unusable("it can only be read: it may be moved from, and neither moved to nor rolled back to")
    }

    fn unusable(&self, reason: impl Into<String>) -> Error {
        Error::Unusable { provider: self.rows.provider(), reason: reason.into(), source: None }
    }
}

#[async_trait]
impl Replica for Import {
    async fn capture(&self, _: &str) -> Result<()> {
        Err(self.cannot_be_followed())
    }

    /// There is none.
    async fn release(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn scan(&self, after: Option<&ScanPosition>, limit: usize) -> Result<ScanPage> {
        let allowed = "a place in the order of scanning that this source gave";
        let parse = |after: &ScanPosition| {
            let place: Option<u64> = after.0.parse().ok();
            place.ok_or_else(|| Error::invalid("after", &after.0, allowed))
        };
        let after = after.map(parse).transpose()?.unwrap_or(0);
        let from = self.places.partition_point(|place| place.ordinal <= after);
        let to = from.saturating_add(limit.max(1)).min(self.places.len());
        let page = &self.places[from..to];
        let next = page.last().filter(|_| to < self.places.len());
        let next = next.map(|last| ScanPosition(last.ordinal.to_string()));
        Ok(ScanPage { items: self.items(page).await?, next })
    }

    async fn read(&self, keys: &[ItemKey]) -> Result<Vec<Item>> {
        let mut items = Vec::with_capacity(keys.len());
        for key in keys {
            let place = match key {
                ItemKey::Memory { tenant, id } if *tenant == self.tenant => self.by_id.get(id).copied(),
                _ => None,
            };
            match place {
                Some(at) => items.extend(self.items(&self.places[at..=at]).await?),
                None => items.push(Item::Absent(key.clone())),
            }
        }
        Ok(items)
    }

    async fn changed(&self, _: &str, _: usize) -> Result<Vec<ItemChange>> {
        Err(self.cannot_be_followed())
    }

    async fn acknowledge(&self, _: &str, _: &ChangePosition) -> Result<()> {
        Err(self.cannot_be_followed())
    }

    async fn lag(&self, _: &str) -> Result<ChangeLag> {
        Err(self.cannot_be_followed())
    }

    async fn write(&self, _: u64, _: Vec<Item>) -> Result<()> {
        Err(self.is_not_written())
    }

    async fn size(&self) -> Result<ReplicaSize> {
        Ok(ReplicaSize { memories: self.places.len() as u64, others: 0, bytes: self.bytes })
    }

    async fn gate(&self) -> Result<Gate> {
        Ok(Gate { epoch: 0, writers: Writers::Clients })
    }

    async fn set_gate(&self, _: Gate) -> Result<()> {
        Err(self.is_not_written())
    }
}
