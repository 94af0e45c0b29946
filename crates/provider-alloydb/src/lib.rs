//! Memory store on AlloyDB, or on any Postgres with pgvector.

pub mod escape;
pub mod filter;
