//! Memory store, working memory and semantic cache in one process and one SQLite file, without a server.
//!
//! [`EmbeddedProvider`] implements [`MemoryStore`](memory_core::MemoryStore) and
//! [`SemanticCache`](memory_core::SemanticCache) over the same file, so that correcting or forgetting a memory and
//! removing the cached answers that used it are one transaction. [`WorkingMemory`](memory_core::WorkingMemory) is in that
//! file too: the messages of a session are as durable as memories are, until the session ends.
//!
//! - **The file is the system of record.** A write is answered after its transaction is on disk (WAL,
//!   `synchronous=FULL`). One task writes; requests that wait are committed together.
//! - **A search runs in memory.** The memories of a (tenant, user) are read from the file when they are first searched,
//!   and every commit is applied to them before its writer is answered. Vectors are compared exactly, and so are words.
//! - **Words are scored by an inverted index of ours, not by SQLite's FTS5.** The `bm25()` of FTS5 takes its statistics
//!   over the whole table: one tenant's texts would shift, and so betray themselves in, another tenant's ranking. It
//!   also costs milliseconds where this costs microseconds.
//! - **The file can be moved from and to** while it is in use ([`Replica`](memory_core::Replica)): triggers note which items
//!   change, in the transaction that changes them and only while a move has them noted; the writer keeps the gate.
//! - **One process owns the file**, by a lock on `<file>.lock` that dies with the process.
//!
//! ```
//! use memory_core::{MemoryStore, Scope};
//! use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> memory_core::Result<()> {
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let path = folder.path().join("memory.db");
//! let provider = EmbeddedProvider::open(EmbeddedConfig::new(path)).await?;
//! assert_eq!(provider.stats(&Scope::tenant("acme")?).await?.memories, 0);
//! provider.close().await?;
//! # Ok(())
//! # }
//! ```

mod cache;
mod config;
mod error;
mod follow;
mod former;
mod lock;
mod partition;
mod provider;
mod rejections;
mod replica;
mod rows;
mod schema;
mod search;
mod shelf;
mod shelves;
mod sql;
mod store;
mod tenants;
mod working;
mod writer;

pub use config::EmbeddedConfig;
pub use provider::EmbeddedProvider;
