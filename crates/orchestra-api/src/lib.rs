//! The server and the command line of Orchestra Memory.
//!
//! - [`config`] holds every flag and environment variable of the server, checked once.
//! - [`state`] opens the providers that the settings name and puts the tiers together.
//! - [`background`] runs beside the requests.
//! - [`brake`] is what a budget that is nearly spent asks for.
//! - [`http`] is the router: every route, limit and error of the interface. It needs no socket, so the command line
//!   calls the same router in process that [`serve`](mod@serve) puts behind a listener.
//! - [`identity`] is who calls and what they may do: API keys, limits, the audit log.
//! - [`mcp`] is the Model Context Protocol: tools that are calls of the router.
//! - `moving` follows a move of the memory: which store is in use.
//! - [`side`] opens the memories of a configuration as a move wants them.
//! - [`error`] is the one place that turns a failure into a status and a problem document.
//! - [`observed`] is how the tiers look from outside: spans, counts and times of their calls.
//! - [`telemetry`] sets up the log, [`traces`] sends spans to a collector.
//! - [`usage`] counts what tenants use.
//! - [`cli`] is the command line, [`client`] its way to the router, [`import`] what it reads files with.

pub mod background;
pub mod brake;
pub mod cli;
pub mod client;
pub mod config;
pub mod error;
pub mod http;
pub mod identity;
pub mod import;
pub mod mcp;
pub mod metrics;
pub(crate) mod moving;
pub mod observed;
pub mod serve;
pub mod side;
pub mod state;
pub mod telemetry;
pub mod traces;
pub mod usage;

/// The README's Rust example, compiled with the documentation's other examples.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
