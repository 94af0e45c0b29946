//! Memories that were stored without a vector, to be given one later.

use std::fmt;

use async_trait::async_trait;

use super::Cursor;
use crate::{Embedding, MemoryId, Result, Scope};

/// The memories of a store that have no vector, of all tenants.
///
/// # Contract
/// Each promise has a test of its name in `memory_testkit::store`.
/// - `a_vector_is_added_to_the_version_it_is_of`: a memory that was changed, forgotten or has a vector by then stays as it is,
///   and one that is given a vector is the same version as before.
#[async_trait]
pub trait VectorBacklog: fmt::Debug + Send + Sync {
    /// Memories that stand and have no vector, in the order of first writing, at most `limit`, from `after` on.
    async fn without_vector(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Unembedded>>;

    /// Gives a memory its vector, if it is still this version and has none. Says whether it did.
    async fn add_vector(&self, unembedded: &Unembedded, embedding: Embedding) -> Result<bool>;
}

/// A memory without a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unembedded {
    /// Where it is in the order of first writing.
    pub cursor: Cursor,
    /// The whole of its tenant.
    pub tenant: Scope,
    /// Which one.
    pub id: MemoryId,
    /// Its version.
    pub version: u64,
}
