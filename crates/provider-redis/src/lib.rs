//! The semantic cache of Orchestra Memory on Redis: by the exact prompt and by meaning, in one round trip.
//!
//! [`RedisSemanticCacheProvider`] implements [`SemanticCache`](memory_core::SemanticCache) on any Redis with vector
//! search.
//!
//! - **One round trip.** A lookup sends the tenant's epoch, the exact key and the vector search in one write; a store is
//!   one script; a hit writes nothing. Only what is first asked for a tenant in a process, and first after its cache
//!   was emptied, takes one more to learn the epoch, and a store after something of the tenant was invalidated elsewhere.
//! - **Nothing is filed behind its invalidation.** An invalidation counts before it looks for entries, and the script files
//!   only at the count that was known before the memories of the answer were looked at: a request that waited in a server
//!   that was stopped files nothing.
//! - **Isolation is in the key and in the query.** Tenant, user, agent, session, fingerprint and embedding space are
//!   hashed into one value that the entry's key is made of and that every search is restricted to. Text of callers never
//!   becomes part of a query, but for single words of letters and digits of a filter on text. What comes back is compared
//!   with the request once more before it is served.
//! - **Filters narrow the search.** What the schema indexes of metadata is asked of Redis together with the vector, and
//!   whatever is found is checked with the filter itself.
//! - **The index can change while it is used**: [`rebuild`](RedisSemanticCacheProvider::rebuild) makes another beside it.
//! - **A repeat needs no round trip.** What was read a moment ago is served from this process's memory, for at most 10 ms
//!   after Redis was last asked something for the tenant. An invalidation waits as long before it returns, so that no
//!   process serves what was invalidated.
//! - **A tenant is emptied by one write.** Every entry is named by its tenant's epoch; another epoch is an empty cache,
//!   and the room of the former entries is given back behind the scenes. Where Redis loses an epoch, the cache of that
//!   tenant begins empty.
//! - **Redis is a cache, not a promise.** A lookup that has no answer within its deadline is a retryable error, which
//!   the manager treats as a miss. A breaker keeps callers from waiting for a Redis that does not answer, and a
//!   connection that is lost is made again in the background, together with the index when that is gone too.
//! - **One server or a cluster.** A tenant's entries are in one slot; a node that is gone takes nothing but its own
//!   tenants with it.
//! - **Expiry is checked by the caller's clock** on everything that comes back. Redis removes the keys; where expired entries
//!   took all places among the nearest, it is asked once more without them.
//!
//! [`RedisWorkingMemory`], from [`working_memory`](RedisSemanticCacheProvider::working_memory), keeps the messages of
//! sessions on the same connection; its docs say what Redis promises about them.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use memory_core::EmbeddingSpace;
//! use provider_redis::{RedisConfig, RedisSemanticCacheProvider};
//!
//! # async fn run() -> memory_core::Result<()> {
//! let space = Arc::new(EmbeddingSpace::new("static-256", "1", 256)?);
//! let cache = RedisSemanticCacheProvider::connect(RedisConfig::new("redis://127.0.0.1:6379", space)).await?;
//! # Ok(())
//! # }
//! ```

mod breaker;
mod cache;
mod config;
mod connection;
mod credentials;
mod entry;
mod error;
mod fills;
mod filter;
mod half;
mod index;
mod invalidate;
mod keys;
pub mod metrics;
mod provider;
mod query;
mod rebuild;
mod repeats;
mod schema;
mod script;
mod servers;
mod sliding;
mod tenants;
mod topology;
mod verdicts;
mod working;

pub use config::RedisConfig;
pub use credentials::{Credentials, CredentialsProvider};
pub use index::Capabilities;
pub use provider::{Health, RedisSemanticCacheProvider};
pub use rebuild::RebuildProgress;
pub use schema::{Algorithm, DEFAULT_SCHEMA_FILE, DataType, FieldKind, IndexField, IndexSchema, VectorField};
pub use working::RedisWorkingMemory;
