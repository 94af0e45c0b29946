//! The provider on a real Postgres, against its contract and beyond.

mod availability;
mod concurrency;
mod contract;
mod credentials;
mod durability;
mod erasure;
mod expiry;
mod filter;
mod follow;
mod index;
mod isolation;
mod large;
mod migrations;
mod pooler;
mod recall_cache;
mod replica;
mod small_scope;
mod support;
mod tiers;
mod tls;
mod together;
mod turns;
