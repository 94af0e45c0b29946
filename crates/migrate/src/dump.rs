//! A whole store in a file: what is kept of blue when a move ends, and what an empty store can be filled from.
//!
//! The file is JSON lines in gzip: a [`Header`], every item of the store in the order of scanning, and at the end how many there are
//! and a checksum. Each page of items is a gzip member of its own, so that one can be read without those before it, and `zcat` still
//! shows them all.
//!
//! It is written beside its name, read back whole, and given its name only then.

mod read;
mod write;

use memory_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

pub use read::Dump;
pub(crate) use write::write;

/// What the first line says that it is.
const FORMAT: &str = "orchestra-memory-dump";
/// The version of the format.
const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    format: String,
    version: u32,
    /// Which move it was made by.
    #[serde(rename = "move")]
    pub of: Of,
    /// When.
    pub made_at: Timestamp,
}

/// Which move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// Its name.
    pub name: String,
    /// When it was planned: another one may have the same name.
    pub planned_at: Option<Timestamp>,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Trailer {
    items: u64,
    /// BLAKE3 of all lines before it, in hexadecimal digits.
    checksum: String,
}

/// A dump that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Where it is.
    pub path: String,
    /// How many items are in it.
    pub items: u64,
    /// BLAKE3 of its lines, in hexadecimal digits.
    pub checksum: String,
    /// When it was made.
    pub made_at: Timestamp,
}

impl Header {
    pub(crate) fn new(plan: &Plan, made_at: Timestamp) -> Self {
        let of = Of { name: plan.name.clone(), planned_at: plan.recorded_at };
        Self { format: FORMAT.into(), version: VERSION, of, made_at }
    }
}
