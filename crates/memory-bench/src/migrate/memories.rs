//! What each memory says: a function of its number and version, so that whoever checks need keep no texts.

use std::sync::Arc;

use embedders::{MiniLmEmbedder, StaticEmbedder};
use memory_core::{EmbeddedMemory, Embedder as _, Embedding, EmbeddingSpace, MemoryId, Result, Scope};
use memory_testkit::make;
use uuid::Uuid;

use crate::corpus;

/// The tenants, and the users of each.
pub const TENANTS: usize = 20;
const USERS: usize = 50;
/// One memory in so many is a turn of a session.
const IN_SESSION: usize = 10;
const SESSIONS: usize = 40;
const TEXTS: usize = 20_000;
/// Where the number is in an id.
const IDS: u128 = 0x0190_0000_0000_7000_8000_0000_0000_0000;

/// Where vectors come from.
#[derive(Debug, Clone)]
pub enum Vectors {
    /// From a number: cheap, for a million of them.
    Drawn(Arc<EmbeddingSpace>),
    Static(Arc<StaticEmbedder>),
    MiniLm(Arc<MiniLmEmbedder>),
}

/// Makes the memories of a side.
pub struct Memories {
    vectors: Vectors,
    texts: Arc<Vec<String>>,
}

impl Vectors {
    /// The space that they are of.
    pub fn space(&self) -> Arc<EmbeddingSpace> {
        match self {
            Self::Drawn(space) => space.clone(),
            Self::Static(embedder) => embedder.space().clone(),
            Self::MiniLm(embedder) => embedder.space().clone(),
        }
    }
}

impl Memories {
    /// The memories of both sides, which differ in their vectors alone.
    pub fn of_sides(vectors: [Vectors; 2]) -> [Arc<Self>; 2] {
        let texts = Arc::new(corpus::sentences(TEXTS, 8));
        vectors.map(|vectors| Arc::new(Self { vectors, texts: texts.clone() }))
    }

    /// The text of a version; each begins with what it is of.
    pub fn text(&self, number: usize, version: u32) -> String {
        format!("{number} as of version {version}: {}", self.texts[number % TEXTS])
    }

    /// The vector of a version, of length 1.
    pub fn embedding(&self, number: usize, version: u32) -> Embedding {
        match &self.vectors {
            Vectors::Drawn(space) => make::embedding(space, ((number as u64) << 16) + u64::from(version)),
            Vectors::Static(embedder) => embedder.embed_one(&self.text(number, version)),
            Vectors::MiniLm(embedder) => embedder.embed_one(&self.text(number, version)),
        }
    }

    /// Where the memory of a number is. Only drawn vectors are of turns of sessions: of those an embedder reads the turn before.
    pub fn scope(&self, number: usize) -> Result<Scope> {
        let scope = tenant(number % TENANTS)?.with_user((number / TENANTS % USERS).to_string())?;
        if matches!(self.vectors, Vectors::Drawn(_)) && number / TENANTS % IN_SESSION == 3 {
            return scope.with_session((number / TENANTS / USERS % SESSIONS).to_string());
        }
        Ok(scope)
    }

    /// The first version of a memory.
    pub fn first(&self, number: usize) -> Result<EmbeddedMemory> {
        let mut memory = make::memory(&self.scope(number)?, &self.text(number, 1), chrono::Utc::now());
        memory.id = id_of(number);
        Ok(EmbeddedMemory { memory, embedding: Some(self.embedding(number, 1)) })
    }
}

/// All of one tenant.
pub fn tenant(number: usize) -> Result<Scope> {
    Scope::tenant(format!("bench-{number}"))
}

/// The id of the memory of a number.
pub fn id_of(number: usize) -> MemoryId {
    Uuid::from_u128(IDS + number as u128).into()
}

/// The number of the memory of an id; `None` for one that was not made here.
pub fn number_of(id: MemoryId) -> Option<usize> {
    usize::try_from(id.as_uuid().as_u128().checked_sub(IDS)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_is_known_by_its_id_and_each_version_says_something_else() {
        let [memories, _] = Memories::of_sides([(); 2].map(|()| Vectors::Drawn(make::space("bench"))));
        for number in [0, 1, 999_999] {
            assert_eq!(number_of(id_of(number)), Some(number));
            assert_ne!(memories.text(number, 1), memories.text(number, 2));
            assert_ne!(memories.embedding(number, 1), memories.embedding(number, 2));
        }
        assert_eq!(number_of(Uuid::nil().into()), None);
        assert!((0..2000).any(|number| memories.scope(number).unwrap().session().is_some()));
    }
}
