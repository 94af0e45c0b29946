//! What is asked, and what the exact answer to it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ground_truth::{Made, Neighbour, Vectors, Wanted};
use memory_core::{Embedding, Item, ItemKey, Memory, MemoryId, Replica, Scope};

use super::random::Random;
use crate::engine::of;
use crate::probe::{FOUND, Hit};
use crate::record::Colour;
use crate::{Error, Result};

/// How many of the nearest are looked at for those that are as near as the last one of [`FOUND`].
const NEAREST: usize = 100;
/// Memories of similarities that differ by no more are as near: stores compare in 32 bits.
const AS_NEAR: f64 = 1e-6;
/// How near the vector of a query that was changed is to that of its memory.
const CHANGED_TO: f64 = 0.9;
/// How many bytes of vectors are held at once.
const PART_BYTES: usize = 64 << 20;

/// A query.
#[derive(Debug, Clone)]
pub struct Query {
    /// Where it looks.
    pub scope: Scope,
    /// Its words.
    pub text: String,
    /// Its vector.
    pub vector: Embedding,
    /// Those that may be among the answers: the nearest, and those that are as near as the last of them.
    near: HashSet<MemoryId>,
    /// How many answers there are.
    wanted: u32,
}

/// The queries of a store.
#[derive(Debug)]
pub struct Queries {
    /// The queries.
    pub all: Vec<Query>,
    /// Every memory that was compared with them.
    known: HashSet<MemoryId>,
    /// How the exact answers were found.
    pub made: Made,
}

/// How good an answer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Score {
    /// How many of the nearest were to be found.
    pub wanted: u32,
    /// How many of them were.
    pub found: u32,
    /// How many memories are of another scope than was asked for.
    pub leaks: u32,
}

impl Queries {
    /// Makes queries of memories, as many as have a vector on that side, and finds their exact answers among all its vectors.
    ///
    /// A client asks within the scope of a user, and now and then within a whole tenant; for what a memory says, and for what is near
    /// to it: so does every second query, and every second two of them.
    ///
    /// # Errors
    /// As the store; and [`Error::Refused`] when a GPU is wanted that cannot be used.
    pub async fn prepare(
        colour: Colour,
        replica: &dyn Replica,
        sample: &[Memory],
        batch: usize,
        truth: Wanted,
    ) -> Result<Self> {
        let mut all = asked(colour, replica, sample).await?;
        let Some(space) = all.first().map(|query| query.vector.space().clone()) else {
            return Err(Error::refused(format!("{colour} has no memories with vectors"), "copy some first"));
        };
        all.retain(|query| *query.vector.space() == space);
        let mut vectors = Vectors::new(space.dimensions);
        for query in &all {
            vectors.push(query.vector.values()).map_err(|error| no_truth(&error))?;
        }
        let search = ground_truth::Search::new(vectors, NEAREST, truth).map_err(|error| no_truth(&error))?;
        let scopes: Arc<Vec<Scope>> = Arc::new(all.iter().map(|query| query.scope.clone()).collect());
        let (mut part, mut ids) = (Part::new(space.dimensions, search, scopes), Vec::new());
        let mut after = None;
        loop {
            let page = replica.scan(after.as_ref(), batch).await.map_err(of(colour, "scan"))?;
            for item in page.items {
                let Item::Memory(whole) = item else { continue };
                let Some(vector) = whole.current.embedding.filter(|vector| *vector.space() == space) else { continue };
                part.rows.push(vector.values()).map_err(|error| no_truth(&error))?;
                part.of.push(whole.current.memory.scope);
                ids.push(whole.current.memory.id);
            }
            if size_of_val(part.rows.values()) >= PART_BYTES {
                part = part.compared().await?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let truth = part.compared().await?.search.finish();
        for (query, nearest) in all.iter_mut().zip(&truth.nearest) {
            query.answer(nearest, &ids);
        }
        Ok(Self { all, known: ids.into_iter().collect(), made: truth.made })
    }

    /// How good an answer is. A memory that was written since takes the place of one that was to be found.
    #[must_use]
    pub fn score(&self, query: &Query, hits: &[Hit]) -> Score {
        let leaks = hits.iter().filter(|hit| !query.scope.covers(&hit.scope)).count() as u32;
        let mut nearest: Vec<_> = hits.iter().filter_map(|hit| Some((hit.similarity?, hit.id))).collect();
        nearest.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        nearest.truncate(FOUND);
        let count = |is: &dyn Fn(&MemoryId) -> bool| nearest.iter().filter(|(_, id)| is(id)).count() as u32;
        let new = count(&|id| !self.known.contains(id));
        let wanted = query.wanted.saturating_sub(new);
        Score { wanted, found: count(&|id| query.near.contains(id)).min(wanted), leaks }
    }
}

impl Query {
    fn answer(&mut self, nearest: &[Neighbour], ids: &[MemoryId]) {
        let first = &nearest[..nearest.len().min(FOUND)];
        let floor = first.last().map_or(f64::INFINITY, |last| last.similarity - AS_NEAR);
        self.wanted = first.len() as u32;
        let near = nearest.iter().take_while(|neighbour| neighbour.similarity >= floor);
        self.near = near.map(|neighbour| ids[neighbour.row]).collect();
    }
}

/// Vectors that are still to be compared.
struct Part {
    rows: Vectors,
    of: Vec<Scope>,
    search: ground_truth::Search,
    scopes: Arc<Vec<Scope>>,
}

impl Part {
    fn new(dimensions: usize, search: ground_truth::Search, scopes: Arc<Vec<Scope>>) -> Self {
        Self { rows: Vectors::new(dimensions), of: Vec::new(), search, scopes }
    }

    /// Compares them where it keeps nobody waiting.
    async fn compared(mut self) -> Result<Self> {
        let compared = tokio::task::spawn_blocking(move || {
            let Self { rows, of, search, scopes } = &mut self;
            search.add(rows, &|query, row| scopes[query].covers(&of[row]));
            Self::new(rows.dimensions(), self.search, self.scopes)
        });
        compared.await.map_err(|error| Error::refused(format!("the exact answers: {error}"), "try --truth cpu"))
    }
}

/// The queries, without their answers.
async fn asked(colour: Colour, replica: &dyn Replica, sample: &[Memory]) -> Result<Vec<Query>> {
    let key = |memory: &Memory| ItemKey::Memory { tenant: memory.scope.tenant_name().to_owned(), id: memory.id };
    let keys: Vec<_> = sample.iter().map(key).collect();
    let mut vectors = HashMap::new();
    for keys in keys.chunks(500) {
        for item in replica.read(keys).await.map_err(of(colour, "read"))? {
            let Item::Memory(whole) = item else { continue };
            vectors.extend(whole.current.embedding.map(|vector| (whole.current.memory.id, vector)));
        }
    }
    let mut random = Random::new(1);
    let mut queries = Vec::new();
    for memory in sample {
        let Some(mut vector) = vectors.remove(&memory.id) else { continue };
        let at = queries.len();
        if at % 4 >= 2 {
            vector = changed(&vector, &mut random)?;
        }
        let scope = if at.is_multiple_of(2) { memory.scope.without_session() } else { memory.scope.whole_tenant() };
        queries.push(Query { scope, text: memory.text.clone(), vector, near: HashSet::new(), wanted: 0 });
    }
    Ok(queries)
}

/// A vector near to one, in a random direction from it.
fn changed(vector: &Embedding, random: &mut Random) -> Result<Embedding> {
    let values = vector.values();
    let noise: Vec<f64> = values.iter().map(|_| random.normal()).collect();
    // What of the noise is along the vector is no change.
    let along: f64 = noise.iter().zip(values).map(|(noise, value)| noise * f64::from(*value)).sum();
    let across: Vec<f64> = noise.iter().zip(values).map(|(noise, value)| noise - along * f64::from(*value)).collect();
    let length = across.iter().map(|value| value * value).sum::<f64>().sqrt();
    let weight = if length > 0.0 { (1.0 - CHANGED_TO * CHANGED_TO).sqrt() / length } else { 0.0 };
    let mix =
        values.iter().zip(across).map(|(value, across)| (f64::from(*value) * CHANGED_TO + across * weight) as f32);
    Embedding::new(vector.space().clone(), mix.collect())
        .map_err(|error| Error::refused(error.to_string(), "this is a bug: report it"))
}

fn no_truth(error: &ground_truth::Error) -> Error {
    Error::refused(error.to_string(), "use `--truth auto` or `--truth cpu`, or see to the driver and to cuBLAS")
}

#[cfg(test)]
mod tests {
    use memory_testkit::make;

    use super::*;

    fn hit(id: MemoryId, scope: &Scope, similarity: f32) -> Hit {
        Hit { id, scope: scope.clone(), similarity: Some(similarity) }
    }

    #[test]
    fn an_answer_is_held_against_the_exact_one() {
        let (scope, other) = (make::user("acme", "ann"), make::user("acme", "bob"));
        let ids: Vec<MemoryId> = (0..20).map(|_| make::id()).collect();
        let vector = make::embedding(&make::space("m"), 1);
        let mut query = Query { scope: scope.clone(), text: String::new(), vector, near: HashSet::new(), wanted: 0 };
        // The tenth to the twelfth are as near.
        let similarity = |row: usize| match row {
            0..9 => 0.9 - row as f64 / 50.0,
            9..12 => 0.5,
            _ => 0.3,
        };
        let mut nearest: Vec<_> = (0..15).map(|row| Neighbour { row, similarity: similarity(row) }).collect();
        nearest.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        query.answer(&nearest, &ids);
        let queries = Queries { all: Vec::new(), known: ids.iter().copied().collect(), made: Made::default() };
        let first_ten: Vec<Hit> =
            nearest.iter().take(FOUND).map(|near| hit(ids[near.row], &scope, near.similarity as f32)).collect();
        assert_eq!(queries.score(&query, &first_ten), Score { wanted: 10, found: 10, leaks: 0 });
        assert_eq!(queries.score(&query, &first_ten[1..]), Score { wanted: 10, found: 9, leaks: 0 });
        assert_eq!(queries.score(&query, &[]), Score { wanted: 10, found: 0, leaks: 0 });
        let mut leaking = first_ten.clone();
        leaking[0].scope = other;
        assert_eq!(queries.score(&query, &leaking).leaks, 1);
        // A memory of which nobody knew when the answers were found is nearest now.
        let mut with_new = first_ten.clone();
        with_new.insert(0, hit(make::id(), &scope, 0.99));
        assert_eq!(queries.score(&query, &with_new), Score { wanted: 9, found: 9, leaks: 0 });
        let mut by_words = first_ten;
        by_words[0].similarity = None;
        assert_eq!(queries.score(&query, &by_words).found, 9, "what words alone found says nothing of vectors");
    }

    #[test]
    fn a_changed_vector_is_as_near_as_it_is_to_be() {
        let mut random = Random::new(7);
        for seed in 0..20 {
            let vector = make::embedding(&make::space("m"), seed);
            let near = changed(&vector, &mut random).unwrap();
            let similarity = f64::from(vector.similarity(&near).unwrap());
            assert!((similarity - CHANGED_TO).abs() < 1e-4, "{similarity}");
        }
    }
}
