//! The monitor against emulators of BigQuery and Pub/Sub.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod access;
mod dataset;
mod expected;
mod figures;
mod killed;
mod lost_state;
mod mail;
mod messages;
mod metrics;
mod receiver;
mod sql;
mod topics;
mod watcher;
mod watching;
