//! Memory store on AlloyDB, or on any Postgres with pgvector.

mod batch;
mod config;
mod credentials;
mod error;
pub mod escape;
pub mod filter;
pub mod index;
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
pub use index::{IndexKeeper, IndexKind, IndexPolicy};
pub use migrations::{
    AppUser, MIGRATOR, MigrationReport, MigrationState, MigrationStatus, SchemaStatus, create_app_user, migrate, status,
};
pub use provider::AlloyDbMemoryProvider;
