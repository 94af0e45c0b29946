//! Whether the store that follows is the same as the one in use, item by item, while writes go on.
//!
//! Both are scanned, and what one has is read from the other by its key. An item that differs is looked at again: it is read from
//! the store in use, then everything that had changed by then is written to the other and read from there, and then the first one
//! is read once more. Where both readings of the store in use are the same, nothing happened in between, and the two stores are
//! compared at one position. Where they are not, it is tried again.

mod compare;

use std::time::Duration;

use chrono::TimeDelta;
use memory_core::{Item, ItemKey, ScanPosition, Timestamp};
use serde::{Deserialize, Serialize};

pub use compare::{Kind, Vectors, compare};

use crate::engine::{Engine, of};
use crate::record::{Colour, Phase};
use crate::{Error, Result};

/// How many differences are listed.
const SAMPLES: usize = 100;
/// How many pages are compared before it is recorded how far it has come.
const PAGES: usize = 20;
/// How often what changes all the time is looked at again.
const TRIES: usize = 20;
/// The pause before it is.
const PAUSE: Duration = Duration::from_millis(50);

/// How the stores are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiffOptions {
    /// The least cosine similarity of two vectors that are the same.
    pub similarity: f32,
    /// Whether what differs is made the same.
    pub repair: bool,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self { similarity: 0.999, repair: false }
    }
}

/// How far a comparison has come, and what it found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// The store in use, which the other one was compared with.
    pub active: Colour,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended; `None` while it goes on.
    pub ended_at: Option<Timestamp>,
    /// The store that is being scanned: first the one in use.
    pub scanning: Colour,
    /// Where the next page begins.
    pub after: Option<ScanPosition>,
    /// Items that were compared.
    pub compared: u64,
    /// What differs, by kind.
    pub counts: Counts,
    /// What changed each time that it was looked at, so that it could not be compared.
    pub unsettled: u64,
    /// What differed and was made the same.
    pub repaired: u64,
    /// The first differences.
    pub samples: Vec<Difference>,
}

/// How many items differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Not on the store that follows.
    pub missing: u64,
    /// On the store that follows alone.
    pub extra: u64,
    /// Not the same.
    pub different: u64,
    /// Forgotten on one of them alone.
    pub tombstones: u64,
}

/// An item that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Which item.
    pub key: ItemKey,
    /// How.
    pub kind: Kind,
    /// The fields in which it differs.
    pub fields: Vec<String>,
}

impl Diff {
    fn new(active: Colour, now: Timestamp) -> Self {
        Self {
            active,
            began_at: now,
            ended_at: None,
            scanning: active,
            after: None,
            compared: 0,
            counts: Counts::default(),
            unsettled: 0,
            repaired: 0,
            samples: Vec::new(),
        }
    }

    /// Whether the stores were the same, all through.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.ended_at.is_some() && self.counts == Counts::default() && self.unsettled == 0
    }

    fn count(&mut self, difference: Difference) {
        let count = match difference.kind {
            Kind::Missing => &mut self.counts.missing,
            Kind::Extra => &mut self.counts.extra,
            Kind::Different => &mut self.counts.different,
            Kind::Tombstone => &mut self.counts.tombstones,
        };
        *count += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(difference);
        }
    }
}

impl Engine {
    /// Compares the two stores, from where a comparison that was interrupted left off, and follows meanwhile. `told` is told how
    /// far it has come.
    ///
    /// # Errors
    /// [`Error::Refused`] unless one store follows the other; or as the stores and the record.
    pub async fn diff(&mut self, options: DiffOptions, mut told: impl FnMut(&Diff)) -> Result<Diff> {
        self.reload().await?;
        if self.record().phase != Phase::Following {
            return Err(Error::refused("nothing follows that could be compared", "wait until the copy is done"));
        }
        let active = self.record().active;
        let is_going_on = |diff: &&Diff| diff.ended_at.is_none() && diff.active == active && !options.repair;
        let begun = self.record().diff.as_ref().filter(is_going_on).cloned();
        let mut diff = begun.unwrap_or_else(|| Diff::new(active, self.parts().clock.now()));
        let mut pages = 0;
        while diff.ended_at.is_none() {
            self.compare_page(&mut diff, options).await?;
            pages += 1;
            if pages % PAGES == 0 || diff.ended_at.is_some() {
                self.put_diff(diff.clone()).await?;
                told(&diff);
            }
        }
        Ok(diff)
    }

    async fn compare_page(&mut self, diff: &mut Diff, options: DiffOptions) -> Result<()> {
        let (scanning, batch) = (diff.scanning, self.record().plan.batch);
        let page =
            self.parts().side(scanning).replica.scan(diff.after.as_ref(), batch).await.map_err(of(scanning, "scan"))?;
        let keys: Vec<ItemKey> = page.items.iter().map(Item::key).collect();
        let other = scanning.other();
        let others = self.parts().side(other).replica.read(&keys).await.map_err(of(other, "read"))?;
        let is_first_pass = scanning == diff.active;
        let mut suspects = Vec::new();
        for (item, other) in page.items.iter().zip(&others) {
            let differs = if is_first_pass {
                self.compare_items(item, other, options).is_some()
            } else {
                // What both have was compared before.
                matches!(other, Item::Absent(_))
            };
            if differs {
                suspects.push(item.key());
            }
        }
        diff.compared += if is_first_pass { page.items.len() } else { suspects.len() } as u64;
        self.settle(suspects, diff, options).await?;
        self.follow_through().await?;
        diff.after = page.next;
        if diff.after.is_none() {
            if is_first_pass {
                diff.scanning = diff.active.other();
            } else {
                diff.ended_at = Some(self.parts().clock.now());
            }
        }
        Ok(())
    }

    /// Looks at suspects again, at one position.
    async fn settle(&mut self, mut suspects: Vec<ItemKey>, diff: &mut Diff, options: DiffOptions) -> Result<()> {
        let (active, follower) = (diff.active, diff.active.other());
        for attempt in 0..TRIES {
            if suspects.is_empty() {
                return Ok(());
            }
            if attempt > 0 {
                self.parts().timer.sleep(PAUSE).await;
            }
            let before = self.parts().side(active).replica.read(&suspects).await.map_err(of(active, "read"))?;
            self.follow_through().await?;
            let copies = self.parts().side(follower).replica.read(&suspects).await.map_err(of(follower, "read"))?;
            let after = self.parts().side(active).replica.read(&suspects).await.map_err(of(active, "read"))?;
            let mut unsettled = Vec::new();
            for ((before, copy), after) in before.into_iter().zip(copies).zip(after) {
                if before != after {
                    unsettled.push(after.key());
                } else if let Some((kind, fields)) = self.compare_items(&before, &copy, options) {
                    let key = before.key();
                    if options.repair && self.repair(before, options).await? {
                        diff.repaired += 1;
                    } else {
                        diff.count(Difference { key, kind, fields });
                    }
                }
            }
            suspects = unsettled;
        }
        diff.unsettled += suspects.len() as u64;
        Ok(())
    }

    /// Makes an item what it is in the store in use, and says whether it is. A tombstone stays, whatever it stands for.
    async fn repair(&mut self, item: Item, options: DiffOptions) -> Result<bool> {
        let follower = self.record().follower();
        self.write(vec![item.clone()]).await?;
        let copies = self.parts().side(follower).replica.read(&[item.key()]).await.map_err(of(follower, "read"))?;
        Ok(copies.first().is_some_and(|copy| self.compare_items(&item, copy, options).is_none()))
    }

    fn compare_items(&self, there: &Item, copy: &Item, options: DiffOptions) -> Option<(Kind, Vec<String>)> {
        let embedder = self.parts().side(self.record().follower()).embedder.as_ref();
        let space = embedder.map(|embedder| &**embedder.space());
        compare(there, copy, Vectors { space, similarity: options.similarity }, self.parts().clock.now())
    }

    /// About how long the comparison still takes, by the items that it compared.
    #[must_use]
    pub fn diff_left(&self, diff: &Diff) -> Option<Duration> {
        let spent: TimeDelta = self.parts().clock.now() - diff.began_at;
        let left = self.record().copied.of.saturating_sub(diff.compared) as f64 / diff.compared.max(1) as f64;
        spent.to_std().ok().filter(|_| diff.compared > 0).map(|spent| spent.mul_f64(left))
    }
}
