//! Memory store on AlloyDB, or on any Postgres with pgvector.

mod batch;
mod config;
mod credentials;
mod error;
pub mod escape;
pub mod filter;
mod lexical;
mod migrations;
mod provider;
mod rows;
mod scopes;
mod search;
mod statements;
mod store;

pub use config::{AlloyDbConfig, Storage, Tls};
pub use credentials::PasswordProvider;
pub use migrations::MIGRATOR;
pub use provider::AlloyDbMemoryProvider;
