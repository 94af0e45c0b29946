//! The provider on a real Postgres, against its contract and beyond.

mod contract;
mod filter;
mod large;
mod support;
