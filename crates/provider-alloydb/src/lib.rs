//! The persistent layer of Orchestra Memory: memories on AlloyDB, or on any Postgres with pgvector.
//!
//! [`AlloyDbMemoryProvider`] implements [`MemoryStore`](memory_core::MemoryStore).
//!
//! - **One round trip.** Each call is one statement, a function of the schema `orchestra`; an update reads what it changes
//!   first. A write is memory and idempotency key in one transaction, as a change is its
//!   event in the outbox; a new memory's row is its own event.
//! - **The store keeps tenants apart.** Each statement names its tenant for its own transaction, and row-level security, forced
//!   for the owner too, shows it nothing else. A role that is not held by it is refused. Nothing is left in a session, so that
//!   a pooler in transaction mode may be in between ([`pooler`](AlloyDbConfig::pooler)).
//! - **Small scopes are searched exactly**: up to [`exact_up_to`](AlloyDbConfig::exact_up_to) memories are read once through
//!   the scope's own btree, by vector and by words. Larger ones go by one vector index for all tenants ([`index`]) and one of
//!   words. The report of a search says which it was, and what an index does not give is found by comparing everything.
//! - **Who is searched again and again is at hand**: up to 1,000 memories of a user stay in this process
//!   ([`recall_cache_bytes`](AlloyDbConfig::recall_cache_bytes)), and each search asks the store, in its snapshot and under its
//!   row-level security, whether they are still what it has.
//! - **Words are weighed as the embedded provider weighs them**: the core's stemmer makes a `tsvector`, and BM25 takes its
//!   statistics from the scope that asks. In a large scope rows are found by their rarer words.
//! - **A write token is a transaction's id.** A read sees the write when its snapshot does: on a replica as on the primary, and
//!   after a failover.
//! - **It can be moved while it is in use**: [`AlloyDbReplica`] reads and writes it over all tenants, tells what changes, and
//!   closes it to everyone else ([`Replica`](memory_core::Replica)).
//! - **The schema comes with the crate**: [`migrate`](migrate()) applies it, as the owner; programs connect as a role that has
//!   been granted `orchestra_app`.
//!
//! ```no_run
//! use memory_core::{MemoryStore as _, Scope};
//! use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider};
//! use secrecy::SecretString;
//!
//! # async fn run() -> memory_core::Result<()> {
//! let mut config = AlloyDbConfig::new("10.0.0.5");
//! config.user = "memory".into();
//! config.password = std::env::var("MEMORY_PASSWORD").ok().map(SecretString::from);
//! config.database = "memory".into();
//! config.vector_dim = 1536;
//! config.high_availability = true;
//! config.read_hosts = vec!["10.0.0.6:5432".into()];
//! let store = AlloyDbMemoryProvider::connect(config).await?;
//! println!("{} memories", store.stats(&Scope::tenant("acme")?).await?.memories);
//! # Ok(())
//! # }
//! ```

mod backlog;
mod batch;
mod config;
mod connections;
mod credentials;
mod error;
pub mod escape;
pub mod filter;
mod follow;
mod followers;
mod forget;
mod gate;
pub mod index;
mod lexical;
mod losses;
mod migrations;
mod observe;
mod provider;
mod recall_cache;
mod rejections;
mod replica;
mod replicas;
mod rows;
mod scopes;
mod search;
mod small_scope;
mod statements;
mod store;
mod sweep;
mod together;
mod turns;
mod write;

pub use config::{AlloyDbConfig, Storage, Tls};
pub use credentials::PasswordProvider;
pub use followers::{Follower, followers, remove_follower};
pub use index::{IndexKeeper, IndexKind, IndexPolicy};
pub use migrations::{
    AppUser, MIGRATOR, MigrationReport, MigrationState, MigrationStatus, SchemaStatus, create_app_user, migrate, status,
};
pub use observe::{PoolStatus, ReplicaLag};
pub use provider::AlloyDbMemoryProvider;
pub use recall_cache::RecallCacheStatus;
pub use replica::AlloyDbReplica;
pub use sweep::Removed;
