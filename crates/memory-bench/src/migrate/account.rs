//! The account of every acknowledged write, and whether a store holds what it says. It knows nothing of how a move compares.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use memory_core::{Embedding, Error, InsertBatch, ListRequest, Memory, MemoryStore};

use super::memories::{Memories, TENANTS, id_of, number_of, tenant};

/// How many memories are read at once.
const PAGE: usize = 1_000;
/// How many calls are under way at once.
const AT_ONCE: usize = 16;
/// The least cosine similarity of two vectors that are the same; a file keeps 8 bits beside the 32.
const SAME: f32 = 0.999;

/// What a client did with a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// It is there, in this version.
    There(u32),
    /// It was forgotten.
    Forgotten,
}

/// What was acknowledged: of the memories that were loaded, and of those that clients wrote. A loaded one that no client touched is
/// there in its first version.
#[derive(Debug, Default)]
pub struct Account {
    loaded: usize,
    touched: BTreeMap<usize, Acknowledged>,
}

/// What a store does not hold as acknowledged.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Found {
    /// Memories that were looked at.
    pub compared: usize,
    /// Acknowledged, and not there.
    pub lost: usize,
    /// Forgotten, and there; or nobody's.
    pub resurrected: usize,
    /// There with another text, vector, scope, version or history.
    pub different: usize,
    /// The first few of them.
    pub samples: Vec<String>,
}

impl Account {
    /// The account of a store into which so many memories were loaded.
    pub fn of_loaded(loaded: usize) -> Self {
        Self { loaded, touched: BTreeMap::new() }
    }

    /// Adds what a client did.
    pub fn add(&mut self, touched: impl IntoIterator<Item = (usize, Acknowledged)>) {
        self.touched.extend(touched);
    }

    /// How many memories are to be there.
    pub fn there(&self) -> usize {
        let is_there = |(_, acknowledged): &(&usize, &Acknowledged)| matches!(acknowledged, Acknowledged::There(_));
        let untouched = self.loaded - self.touched.range(..self.loaded).count();
        untouched + self.touched.iter().filter(is_there).count()
    }

    fn of(&self, number: usize) -> Option<Acknowledged> {
        let untouched = (number < self.loaded).then_some(Acknowledged::There(1));
        self.touched.get(&number).copied().or(untouched)
    }

    /// Looks at everything in a store, page by page, at the histories of what was changed, and whether what was forgotten may be
    /// written again where the store is open.
    pub async fn check(&self, store: &dyn MemoryStore, memories: &Memories, is_open: bool) -> Result<Found> {
        let mut found = Found::default();
        let numbers = self.touched.last_key_value().map_or(0, |(last, _)| last + 1).max(self.loaded);
        let mut seen = vec![false; numbers];
        for at in 0..TENANTS {
            let mut cursor = None;
            loop {
                let request = ListRequest {
                    scope: tenant(at)?,
                    filter: None,
                    limit: PAGE,
                    cursor,
                    newest_first: false,
                    with_embeddings: true,
                };
                let page = store.list(&request).await?;
                for (memory, embedding) in &page.memories {
                    self.judge(memory, embedding.as_ref(), memories, &mut seen, &mut found)?;
                }
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        for (number, _) in seen.iter().enumerate().filter(|(_, seen)| !**seen) {
            if matches!(self.of(number), Some(Acknowledged::There(_))) {
                found.lost += 1;
                found.sample(number, "lost");
            }
        }
        self.check_touched(store, memories, is_open, &mut found).await?;
        Ok(found)
    }

    fn judge(
        &self,
        memory: &Memory,
        embedding: Option<&Embedding>,
        memories: &Memories,
        seen: &mut [bool],
        found: &mut Found,
    ) -> Result<()> {
        found.compared += 1;
        let number = number_of(memory.id);
        let acknowledged = number.and_then(|number| Some((number, self.of(number)?)));
        let Some((number, Acknowledged::There(version))) = acknowledged else {
            found.resurrected += 1;
            found.sample(number.unwrap_or_default(), "resurrected");
            return Ok(());
        };
        let is_twice = std::mem::replace(&mut seen[number], true);
        let vector = memories.embedding(number, version);
        let has_vector = embedding.is_some_and(|there| there.similarity(&vector).is_ok_and(|same| same >= SAME));
        let is_same = memory.version == u64::from(version)
            && memory.text == memories.text(number, version)
            && memory.scope == memories.scope(number)?
            && has_vector;
        if is_twice || !is_same {
            found.different += 1;
            found.sample(number, "different");
        }
        Ok(())
    }

    async fn check_touched(
        &self,
        store: &dyn MemoryStore,
        memories: &Memories,
        is_open: bool,
        found: &mut Found,
    ) -> Result<()> {
        let checks = self.touched.iter().map(|(&number, &acknowledged)| async move {
            let wrong = Self::check_one(store, memories, is_open, number, acknowledged).await?;
            anyhow::Ok((number, acknowledged, wrong))
        });
        let mut checks = std::pin::pin!(stream::iter(checks).buffer_unordered(AT_ONCE));
        while let Some((number, acknowledged, wrong)) = checks.try_next().await? {
            if let Some(wrong) = wrong {
                match acknowledged {
                    Acknowledged::There(_) => found.different += 1,
                    Acknowledged::Forgotten => found.resurrected += 1,
                }
                found.sample(number, wrong);
            }
        }
        Ok(())
    }

    /// In what the history of a memory is not as acknowledged.
    async fn check_one(
        store: &dyn MemoryStore,
        memories: &Memories,
        is_open: bool,
        number: usize,
        acknowledged: Acknowledged,
    ) -> Result<Option<&'static str>> {
        let history = store.history(&memories.scope(number)?, id_of(number)).await?;
        let is_as_written = |(version, memory): (u32, &Memory)| memory.text == memories.text(number, version);
        match acknowledged {
            Acknowledged::There(version) => {
                let is_same = history.len() == version as usize && (1..).zip(&history).all(is_as_written);
                return Ok((!is_same).then_some("another history"));
            }
            Acknowledged::Forgotten if !history.is_empty() => return Ok(Some("its history")),
            Acknowledged::Forgotten if !is_open => return Ok(None),
            Acknowledged::Forgotten => {}
        }
        let batch = InsertBatch { memories: vec![memories.first(number)?], idempotency: None };
        match store.insert(batch).await {
            Err(Error::Forgotten(_)) => Ok(None),
            Ok(_) => Ok(Some("may be written again")),
            Err(error) => Err(error.into()),
        }
    }
}

impl Found {
    /// Whether all is as acknowledged.
    pub fn is_clean(&self) -> bool {
        self.compared > 0 && self.lost + self.resurrected + self.different == 0
    }

    fn sample(&mut self, number: usize, what: &str) {
        const SAMPLES: usize = 5;
        if self.samples.len() < SAMPLES {
            self.samples.push(format!("{number}: {what}"));
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compared, lost, resurrected, different, samples } = self;
        write!(f, "{compared} memories: {lost} lost, {resurrected} resurrected, {different} different")?;
        if !samples.is_empty() {
            write!(f, " ({})", samples.join("; "))?;
        }
        Ok(())
    }
}
