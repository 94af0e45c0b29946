//! What an Orchestra Memory costs, and a brake.
//!
//! Usage events of the memory times prices are an estimate; the billing export in BigQuery is the truth. The views over it
//! ([`views`]) share the truth out to components and tenants so that the shares add up to the invoice exactly.
//! Budget messages ([`alert`]) are stored once each, and what is done about them ([`policy`]) is a function of values.

pub mod alert;
pub mod allocation;
pub mod auth;
pub mod billing;
pub mod brake;
pub mod config;
pub mod metrics;
pub mod money;
pub mod notify;
pub mod policy;
pub mod price;
pub mod report;
pub mod simulate;
pub mod state;
pub mod tables;
pub mod usage;
pub mod views;
pub mod warehouse;
pub mod watch;
