//! Moves a whole memory from one store, blue, to another one, green, while it is in use.
//!
//! A move copies state: it has blue note what changes, copies everything, and then follows: a change names an item, and what has
//! become of that item on blue is written to green. The switch closes blue, copies what is left, and opens green; from then on
//! the same goes on in reverse, so that a rollback loses nothing, until the move is finalized.
//!
//! In reading order:
//! - [`plan`] is what a move is to do.
//! - [`record`] is how far it has come, kept durably; [`machine`] says what may follow on what, without doing any of it.
//! - [`engine`] carries the steps out. Every step may be done twice, so a move that was killed anywhere goes on.
//! - [`diff`] compares the two stores item by item while writes go on, [`probe`] sends the same queries to both, and [`gates`]
//!   decides by that whether traffic may move.
//! - [`serving`] is what a server has to know of a move: which store is in use.
//! - [`stress`] loads them until they do not keep up, and compares what they find meanwhile with the exact answers.
//! - [`http`] is the store of a running server, such as an embedded file, which is the server's own.
//! - [`dump`] is a whole store in a file: what is kept of blue at the end.
//! - [`import`] is what people already have elsewhere, as a store to move from.
//!
//! Who writes is decided by the stores themselves, by the epoch of their [`Gate`](memory_core::Gate): a mover that was taken for
//! dead changes nothing any more once another one has begun.
//!
//! ```
//! use std::sync::Arc;
//! use memory_testkit::{TestClock, make, replica::model::Model};
//! use memory_core::MemoryStore as _;
//! use migrate::{engine::{Engine, Order, Parts, Side}, plan::Plan, record::{Colour, Phase, memory::MemoryRecords}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), migrate::Error> {
//! let clock = Arc::new(TestClock::new());
//! let (blue, green) = (Model::new(clock.clone()), Model::new(clock.clone()));
//! let memory = make::memory(&make::user("acme", "ann"), "Ann sings", memory_core::Clock::now(&*clock));
//! blue.insert(make::batch([memory])).await.expect("blue is in use");
//!
//! let parts = Parts {
//!     blue: Side::of(blue),
//!     green: Side::of(green),
//!     records: Arc::new(MemoryRecords::default()),
//!     clock,
//!     timer: Arc::new(tokio::time::sleep),
//! };
//! let mut engine = Engine::plan(parts, Plan::default()).await?;
//! engine.order(Order::Start).await?;
//! engine.run_until(|record, lag| record.phase == Phase::Following && lag == 0).await?;
//! engine.order(Order::SwitchWrites).await?;
//! engine.run_until(|record, _| record.phase == Phase::Following).await?;
//! assert_eq!(engine.record().active, Colour::Green);
//! # Ok(())
//! # }
//! ```

pub mod diff;
pub mod dump;
pub mod engine;
mod error;
pub mod gates;
pub mod http;
pub mod import;
pub mod machine;
pub mod plan;
pub mod probe;
pub mod record;
pub mod serving;
pub mod stress;

pub use error::{Error, Result};
