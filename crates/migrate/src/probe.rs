//! Whether both stores find the same, how fast, and nothing of another tenant: the same queries are sent to both.

mod answers;
mod search;

use std::collections::BTreeSet;
use std::sync::Arc;

use memory_core::{Embedding, Item, Memory, MemoryId, ScanPosition, Scope};
use serde::{Deserialize, Serialize};

pub use answers::{AnswerCache, Cached};
pub(crate) use search::FOUND;
pub use search::{Answer, Direct, Hit, Search};

use crate::Result;
use crate::engine::{Engine, Parts, of};
use crate::record::Colour;

/// What the queries showed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Probes {
    /// How many queries were sent to both stores.
    pub queries: u64,
    /// How many of them were compared with every vector of their scope: those whose scope is not too large.
    pub exact: u64,
    /// The share of the exact answers that blue's search found, `0.0..=1.0`.
    pub blue_recall: f64,
    /// The share that green's search found.
    pub green_recall: f64,
    /// The share of what blue found that green found too. Lower than 1 where the vectors are of another model.
    pub overlap: f64,
    /// How long blue took.
    pub blue: Latency,
    /// How long green took.
    pub green: Latency,
    /// Memories that green showed to a tenant whose they are not.
    pub leaks: u64,
    /// How many answers the caches of both sides hold.
    #[serde(default)]
    pub cached: Cached,
    /// The sides that have no search, so that nothing was asked of them.
    #[serde(default)]
    pub not_asked: Vec<Colour>,
}

impl Probes {
    /// Whether a side was asked.
    #[must_use]
    pub fn asked(&self, colour: Colour) -> bool {
        !self.not_asked.contains(&colour)
    }
}

/// How long searches took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50_us: u64,
    /// 95 of a hundred.
    pub p95_us: u64,
    /// 99 of a hundred.
    pub p99_us: u64,
}

impl Latency {
    fn of(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        let at =
            |share: usize| micros.get((micros.len() * share).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0);
        Self { p50_us: at(50), p95_us: at(95), p99_us: at(99) }
    }
}

/// What of the store in use is asked about.
struct Sampled {
    memories: Vec<Memory>,
    tenants: BTreeSet<String>,
}

/// What one side found.
struct Found {
    ids: Vec<MemoryId>,
    micros: u64,
    recall: Option<f64>,
}

/// What one side found, over all queries.
#[derive(Default)]
struct Answers {
    micros: Vec<u64>,
    recalls: Vec<f64>,
}

impl Answers {
    fn take(&mut self, found: Option<Found>) {
        let Some(Found { micros, recall, .. }) = found else { return };
        self.micros.push(micros);
        self.recalls.extend(recall);
    }
}

impl Engine {
    /// Sends queries to both stores: the texts and vectors of memories from all over the store in use. A side without a search is
    /// not asked.
    ///
    /// # Errors
    /// As the stores.
    pub async fn probe(&self) -> Result<Probes> {
        let search = |colour| self.parts().side(colour).search.clone();
        let [blue, green] = [Colour::Blue, Colour::Green].map(search);
        let mut probes = Probes::default();
        for (colour, search) in [(Colour::Blue, &blue), (Colour::Green, &green)] {
            if search.is_none() {
                probes.not_asked.push(colour);
            }
        }
        if blue.is_none() && green.is_none() {
            return Ok(probes);
        }
        let Sampled { memories: sample, tenants } = self.sample_with_tenants(self.record().plan.gates.queries).await?;
        probes.cached = self.count_answers(&tenants).await?;
        let tenants: BTreeSet<Scope> = sample.iter().map(|memory| memory.scope.whole_tenant()).collect();
        let (mut of_blue, mut of_green, mut overlaps) = (Answers::default(), Answers::default(), Vec::new());
        for memory in &sample {
            let of_both = (
                self.ask_some(Colour::Blue, memory, blue.as_ref()).await?,
                self.ask_some(Colour::Green, memory, green.as_ref()).await?,
            );
            let (Some(from_blue), Some(from_green)) = of_both else { continue };
            probes.queries += 1;
            if let (Some(there), Some(copy)) = (&from_blue, &from_green) {
                let common = copy.ids.iter().filter(|id| there.ids.contains(id)).count();
                overlaps.push(if there.ids.is_empty() { 1.0 } else { common as f64 / there.ids.len() as f64 });
            }
            of_blue.take(from_blue);
            of_green.take(from_green);
            if let Some(green) = &green {
                probes.leaks += self.leaks(memory, &tenants, &**green).await?;
            }
        }
        probes.exact = of_green.recalls.len() as u64;
        (probes.blue_recall, probes.green_recall) = (mean(&of_blue.recalls), mean(&of_green.recalls));
        (probes.blue, probes.green) = (Latency::of(of_blue.micros), Latency::of(of_green.micros));
        probes.overlap = mean(&overlaps);
        Ok(probes)
    }

    /// As [`Self::ask`]; `Some(None)` of a side that is not asked.
    async fn ask_some(
        &self,
        colour: Colour,
        memory: &Memory,
        asked: Option<&Arc<dyn Search>>,
    ) -> Result<Option<Option<Found>>> {
        match asked {
            Some(asked) => Ok(self.ask(colour, memory, &**asked).await?.map(Some)),
            None => Ok(Some(None)),
        }
    }

    /// Memories with vectors, from all over the store in use, at most so many.
    pub(crate) async fn sample(&self, count: usize) -> Result<Vec<Memory>> {
        Ok(self.sample_with_tenants(count).await?.memories)
    }

    /// The same, and every tenant that there is.
    async fn sample_with_tenants(&self, count: usize) -> Result<Sampled> {
        let mut all_tenants = BTreeSet::new();
        let (active, batch) = (self.record().active, self.record().plan.batch);
        let (mut sample, mut stride, mut seen) = (Vec::new(), 1, 0_usize);
        let mut after: Option<ScanPosition> = None;
        loop {
            let replica = &self.parts().side(active).replica;
            let page = replica.scan(after.as_ref(), batch).await.map_err(of(active, "scan"))?;
            for item in page.items {
                let Item::Memory(whole) = item else { continue };
                let tenant = whole.current.memory.scope.tenant_name();
                if !all_tenants.contains(tenant) {
                    all_tenants.insert(tenant.to_owned());
                }
                if whole.current.embedding.is_none() {
                    continue;
                }
                if seen.is_multiple_of(stride) {
                    sample.push(whole.current.memory);
                }
                seen += 1;
                if sample.len() > 2 * count {
                    // Every second one, so that those from the end are as many as those from the beginning.
                    let mut is_kept = false;
                    sample.retain(|_| {
                        is_kept = !is_kept;
                        is_kept
                    });
                    stride *= 2;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let step = sample.len().div_ceil(count.max(1)).max(1);
        Ok(Sampled { memories: sample.into_iter().step_by(step).take(count).collect(), tenants: all_tenants })
    }

    /// What a side finds for the text and the vector of a memory; nothing where it has no vector of it any more.
    async fn ask(&self, colour: Colour, memory: &Memory, asked: &dyn Search) -> Result<Option<Found>> {
        let Parts { clock, .. } = self.parts();
        let scope = memory.scope.without_session();
        let Some(vector) = self.vector(colour, memory).await? else { return Ok(None) };
        // Once before, so that neither side is asked cold.
        asked.search(&scope, Some(&vector), &memory.text).await.map_err(of(colour, "search"))?;
        let began = clock.now();
        let found = asked.search(&scope, Some(&vector), &memory.text).await.map_err(of(colour, "search"))?;
        let took = found.took.or_else(|| (clock.now() - began).to_std().ok()).unwrap_or_default();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let ids = found.nearest();
        let exact = asked.nearest(&scope, &vector).await.map_err(of(colour, "list"))?;
        let recall = exact
            .filter(|exact| !exact.is_empty())
            .map(|exact| exact.iter().filter(|id| ids.contains(id)).count() as f64 / exact.len() as f64);
        Ok(Some(Found { ids, micros, recall }))
    }

    async fn vector(&self, colour: Colour, memory: &Memory) -> Result<Option<Embedding>> {
        let key = memory_core::ItemKey::Memory { tenant: memory.scope.tenant_name().to_owned(), id: memory.id };
        let items = self.parts().side(colour).replica.read(&[key]).await.map_err(of(colour, "read"))?;
        Ok(items.into_iter().find_map(|item| match item {
            Item::Memory(whole) => whole.current.embedding,
            _ => None,
        }))
    }

    /// How much green shows to others: what a search within the scope finds of another one, and what every other tenant, also one
    /// that is not there, sees of this memory.
    async fn leaks(&self, memory: &Memory, tenants: &BTreeSet<Scope>, asked: &dyn Search) -> Result<u64> {
        let vector = self.vector(Colour::Green, memory).await?;
        let scope = memory.scope.without_session();
        let search = async |scope: &Scope| {
            let found =
                asked.search(scope, vector.as_ref(), &memory.text).await.map_err(of(Colour::Green, "search"))?;
            Result::Ok(found.hits.iter().filter(|hit| !scope.covers(&hit.scope)).count() as u64)
        };
        let mut leaks = search(&scope).await?;
        let nobody = Scope::tenant("orchestra-migrate-nobody").ok();
        let others = tenants.iter().filter(|tenant| tenant.tenant_name() != scope.tenant_name()).take(3);
        for other in others.chain(&nobody) {
            leaks += search(other).await?;
            let is_shown = asked.shows(other, memory.id).await.map_err(of(Colour::Green, "get"))?;
            leaks += u64::from(is_shown);
        }
        Ok(leaks)
    }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 1.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let latency = Latency::of((1..=200).rev().collect());
        assert_eq!(latency, Latency { p50_us: 100, p95_us: 190, p99_us: 198 });
        assert_eq!(Latency::of(vec![7]), Latency { p50_us: 7, p95_us: 7, p99_us: 7 });
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }
}
