//! The testkit's own machinery against real processes.

mod cluster;
mod services;
