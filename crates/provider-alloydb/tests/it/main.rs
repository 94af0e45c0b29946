//! The memory store on a real Postgres.

mod filter;
