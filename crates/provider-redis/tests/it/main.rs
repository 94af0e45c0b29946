//! The Redis provider against its contract and against what happens to servers, on a real Redis.

mod cluster;
mod contract;
mod epochs;
mod expiry;
mod failover;
mod faults;
mod fills;
mod hostile;
mod hybrid;
mod index;
mod isolation;
mod large;
mod late;
mod metrics;
mod opening;
mod peer;
mod pressure;
mod proxy;
mod rebuild;
mod repeats;
mod round_trips;
mod support;
mod tls;
mod tokens;
mod working;
