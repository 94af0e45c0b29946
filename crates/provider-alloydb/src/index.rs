//! The vector index of each embedding space: when there is one, how it is built beside traffic, how a search uses it and
//! how well that finds.
//!
//! A scope of up to [`exact_up_to`](crate::AlloyDbConfig::exact_up_to) memories is always searched whole. The index serves
//! the larger ones: one index a space over all tenants, never one a tenant.

mod keeper;
mod live;
mod policy;
mod scann;
mod spec;
mod state;
mod status;
mod tune;

pub use keeper::{BuildOutcome, BuildProgress, IndexKeeper};
pub use policy::{Decision, IndexKind, IndexPolicy};
pub use spec::{IndexParameters, IndexSpec, Precision};
pub use status::{Measured, SpaceStatus, StandingIndex};
pub use tune::{TuneOptions, TunePoint, TuneQuery, Tuning};

pub(crate) use live::Live;
pub(crate) use state::{InUse, Indexes};
