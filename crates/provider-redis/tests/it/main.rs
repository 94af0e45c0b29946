//! The Redis provider against its contract and against what happens to servers, on a real Redis.

mod contract;
mod epochs;
mod expiry;
mod faults;
mod fills;
mod hostile;
mod hybrid;
mod index;
mod isolation;
mod large;
mod rebuild;
mod repeats;
mod round_trips;
mod support;
mod working;
