//! Whether both stores find the same, how fast, and nothing of another tenant: the same queries are sent to both.

use std::collections::BTreeSet;

use memory_core::{
    Embedding, Item, ListRequest, Memory, MemoryId, MemoryStore, ScanPosition, Scope, SearchRequest, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::engine::{Engine, Parts, of};
use crate::record::Colour;

/// How many are found for a query.
const FOUND: usize = 10;
/// The most memories of a scope that a query is compared with exactly.
const MOST: usize = 20_000;

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

/// What one side found.
struct Found {
    ids: Vec<MemoryId>,
    micros: u64,
    recall: Option<f64>,
}

impl Engine {
    /// Sends queries to both stores: the texts and vectors of memories from all over the store in use.
    ///
    /// # Errors
    /// As the stores.
    pub async fn probe(&self) -> Result<Probes> {
        let sample = self.sample(self.record().plan.gates.queries).await?;
        let tenants: BTreeSet<Scope> = sample.iter().map(|memory| memory.scope.whole_tenant()).collect();
        let mut probes = Probes::default();
        let (mut blue_micros, mut green_micros) = (Vec::new(), Vec::new());
        let (mut blue_recalls, mut green_recalls, mut overlaps) = (Vec::new(), Vec::new(), Vec::new());
        for memory in &sample {
            let Some(blue) = self.ask(Colour::Blue, memory).await? else { continue };
            let Some(green) = self.ask(Colour::Green, memory).await? else { continue };
            probes.queries += 1;
            blue_micros.push(blue.micros);
            green_micros.push(green.micros);
            blue_recalls.extend(blue.recall);
            green_recalls.extend(green.recall);
            let common = green.ids.iter().filter(|id| blue.ids.contains(id)).count();
            overlaps.push(if blue.ids.is_empty() { 1.0 } else { common as f64 / blue.ids.len() as f64 });
            probes.leaks += self.leaks(memory, &tenants).await?;
        }
        probes.exact = green_recalls.len() as u64;
        (probes.blue, probes.green) = (Latency::of(blue_micros), Latency::of(green_micros));
        (probes.blue_recall, probes.green_recall) = (mean(&blue_recalls), mean(&green_recalls));
        probes.overlap = mean(&overlaps);
        Ok(probes)
    }

    /// Memories with vectors, from all over the store in use, at most so many.
    pub(crate) async fn sample(&self, count: usize) -> Result<Vec<Memory>> {
        let (active, batch) = (self.record().active, self.record().plan.batch);
        let (mut sample, mut stride, mut seen) = (Vec::new(), 1, 0_usize);
        let mut after: Option<ScanPosition> = None;
        loop {
            let replica = &self.parts().side(active).replica;
            let page = replica.scan(after.as_ref(), batch).await.map_err(of(active, "scan"))?;
            for item in page.items {
                let Item::Memory(whole) = item else { continue };
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
        Ok(sample.into_iter().step_by(step).take(count).collect())
    }

    /// What a side finds for the text and the vector of a memory; nothing where it has no vector of it any more.
    async fn ask(&self, colour: Colour, memory: &Memory) -> Result<Option<Found>> {
        let Parts { clock, .. } = self.parts();
        let store = &*self.parts().side(colour).store;
        let scope = memory.scope.without_session();
        let Some(vector) = self.vector(colour, memory).await? else { return Ok(None) };
        let request = request(&scope, Some(vector.clone()), &memory.text);
        // Once before, so that neither side is asked cold.
        store.search(&request).await.map_err(of(colour, "search"))?;
        let began = clock.now();
        let found = store.search(&request).await.map_err(of(colour, "search"))?;
        let micros = (clock.now() - began).num_microseconds().unwrap_or(0).max(0).cast_unsigned();
        let mut nearest: Vec<(f32, MemoryId)> = found
            .candidates
            .iter()
            .filter_map(|candidate| Some((candidate.similarity?, candidate.memory.id)))
            .collect();
        sort(&mut nearest);
        let ids: Vec<MemoryId> = nearest.into_iter().map(|(_, id)| id).take(FOUND).collect();
        let exact = exact(store, &scope, &vector).await.map_err(of(colour, "list"))?;
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
    async fn leaks(&self, memory: &Memory, tenants: &BTreeSet<Scope>) -> Result<u64> {
        let store = &self.parts().side(Colour::Green).store;
        let vector = self.vector(Colour::Green, memory).await?;
        let scope = memory.scope.without_session();
        let own = request(&scope, vector.clone(), &memory.text);
        let found = store.search(&own).await.map_err(of(Colour::Green, "search"))?;
        let mut leaks = found.candidates.iter().filter(|found| !scope.covers(&found.memory.scope)).count() as u64;
        let nobody = Scope::tenant("orchestra-migrate-nobody").ok();
        let others = tenants.iter().filter(|tenant| tenant.tenant_name() != scope.tenant_name()).take(3);
        for other in others.chain(&nobody) {
            let asked = request(other, vector.clone(), &memory.text);
            let found = store.search(&asked).await.map_err(of(Colour::Green, "search"))?;
            leaks += found.candidates.iter().filter(|found| !other.covers(&found.memory.scope)).count() as u64;
            let got = store.get(other, memory.id).await.map_err(of(Colour::Green, "get"))?;
            leaks += u64::from(got.is_some());
        }
        Ok(leaks)
    }
}

fn request(scope: &Scope, embedding: Option<Embedding>, text: &str) -> SearchRequest {
    SearchRequest {
        scope: scope.clone(),
        also: Vec::new(),
        embedding,
        text: Some(text.to_owned()),
        filter: None,
        candidates: FOUND,
        neighbours: false,
        at_least: None,
        as_of: None::<Timestamp>,
        best: None,
    }
}

/// The nearest of all vectors of a scope; `None` where there are too many to compare.
async fn exact(
    store: &dyn MemoryStore,
    scope: &Scope,
    vector: &Embedding,
) -> memory_core::Result<Option<Vec<MemoryId>>> {
    let (mut nearest, mut cursor, mut seen) = (Vec::new(), None, 0);
    loop {
        let request = ListRequest {
            scope: scope.clone(),
            filter: None,
            limit: 500,
            cursor,
            newest_first: false,
            with_embeddings: true,
        };
        let page = store.list(&request).await?;
        seen += page.memories.len();
        if seen > MOST {
            return Ok(None);
        }
        for (memory, embedding) in page.memories {
            if let Some(similarity) = embedding.and_then(|embedding| embedding.similarity(vector).ok()) {
                nearest.push((similarity, memory.id));
            }
        }
        sort(&mut nearest);
        nearest.truncate(FOUND);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(Some(nearest.into_iter().map(|(_, id)| id).collect()));
        }
    }
}

fn sort(nearest: &mut [(f32, MemoryId)]) {
    nearest.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
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
