//! Whether a space gets an index, and which: pure decisions.

use std::fmt;
use std::str::FromStr;

use memory_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::spec::{IndexParameters, IndexSpec, Precision};
use crate::config::Storage;

/// IVFFlat's lists follow the rows, and were trained on them: at so many times the rows they are made anew.
const GROWTH: u64 = 4;
/// ScaNN gives an error for fewer rows.
const SCANN_MIN_ROWS: u64 = 10_000;

/// A kind of vector index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexKind {
    /// None: every memory of a scope is compared.
    Exact,
    /// pgvector's lists around centres: quick to build and small.
    #[default]
    Ivfflat,
    /// pgvector's graph: finds more for the same time, longer to build, and slower to write to.
    Hnsw,
    /// AlloyDB's ScaNN, where the extension `alloydb_scann` is.
    Scann,
}

impl IndexKind {
    /// The name as configuration and reports spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Ivfflat => "ivfflat",
            Self::Hnsw => "hnsw",
            Self::Scann => "scann",
        }
    }
}

impl fmt::Display for IndexKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for IndexKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        [Self::Exact, Self::Ivfflat, Self::Hnsw, Self::Scann]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| Error::invalid("index", name, "ivfflat, hnsw, scann or exact"))
    }
}

/// Which index the spaces get, and from when on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct IndexPolicy {
    /// The kind; IVFFlat unless told otherwise.
    pub kind: IndexKind,
    /// IVFFlat: at most so many lists, 1,000 unless told otherwise. Made are a thousandth of the rows, at least 10; above
    /// a million rows their square root.
    pub lists: u32,
    /// HNSW: the connections of a node, 2 to 100; 16 unless told otherwise.
    pub m: u16,
    /// HNSW: the candidates while it is built, 2 `m` to 1,000; 64 unless told otherwise.
    pub ef_construction: u16,
    /// From how many rows of a space on it gets an index; 10,000 unless told otherwise.
    ///
    /// Below that hardly a scope is larger than what is read whole in some 20 ms and exactly, every write would pay for the
    /// index, and IVFFlat would be trained on next to nothing: built on an empty table it found 0.21 of the true nearest.
    pub min_rows: u64,
    /// What is built where ScaNN is asked for and is not there; an error unless told otherwise.
    pub scann_fallback: Option<IndexKind>,
    /// The memory of an HNSW build, in MiB, 1,024 unless told otherwise; a graph that is larger is built on disk, slowly.
    /// IVFFlat takes what its lists need, some 300 MiB for 1,000 lists of 384 dimensions.
    pub build_memory_mib: u32,
    /// How many workers help with a build, 0 to 8; 2 unless told otherwise.
    pub build_workers: u8,
    /// Every so many searches through an index one is repeated exactly, in the background, to know what is found; 1,000
    /// unless told otherwise, 0 for never.
    pub measure_every: u32,
}

impl Default for IndexPolicy {
    fn default() -> Self {
        Self {
            kind: IndexKind::default(),
            lists: 1_000,
            m: 16,
            ef_construction: 64,
            min_rows: 10_000,
            scann_fallback: None,
            build_memory_mib: 1_024,
            build_workers: 2,
            measure_every: 1_000,
        }
    }
}

impl IndexPolicy {
    /// Checks every setting.
    pub(crate) fn validate(&self) -> Result<()> {
        let check = |holds: bool, field: &str, given: u64, allowed: &str| {
            if holds { Ok(()) } else { Err(Error::invalid(format!("index.{field}"), given, allowed)) }
        };
        check((1..=32_768).contains(&self.lists), "lists", self.lists.into(), "1 to 32768")?;
        check((2..=100).contains(&self.m), "m", self.m.into(), "2 to 100")?;
        let allowed = format!("{} (twice m) to 1000", 2 * self.m);
        let given = self.ef_construction;
        check((2 * self.m..=1_000).contains(&given), "ef_construction", given.into(), &allowed)?;
        check(self.build_memory_mib >= 64, "build_memory_mib", self.build_memory_mib.into(), "at least 64")?;
        check(self.build_workers <= 8, "build_workers", self.build_workers.into(), "0 to 8")?;
        if self.scann_fallback == Some(IndexKind::Scann) {
            return Err(Error::invalid("index.scann_fallback", "scann", "ivfflat, hnsw or exact"));
        }
        Ok(())
    }

    fn lists_for(&self, rows: u64) -> u32 {
        let lists = if rows <= 1_000_000 { (rows / 1_000).max(10) } else { rows.isqrt() };
        u32::try_from(lists).unwrap_or(u32::MAX).min(self.lists)
    }
}

/// Whether the extension `alloydb_scann` can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extension {
    /// The server does not have it.
    Missing,
    /// The server has it, the database does not.
    Available,
    Installed,
}

/// What is known of a space.
#[derive(Debug, Clone)]
pub(crate) struct Situation {
    pub rows: u64,
    pub dimensions: u32,
    pub storage: Storage,
    pub scann: Extension,
    pub standing: Option<Standing>,
}

/// The index that a space has.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// None for one that another version of the program made, of a kind that this one does not know.
    pub spec: Option<IndexSpec>,
    pub rows_at_build: u64,
}

/// What is to be done about a space's index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// Nothing.
    Nothing {
        /// Why.
        reason: String,
    },
    /// To build the first one.
    Build {
        /// Which.
        spec: IndexSpec,
        /// Why.
        reason: String,
    },
    /// To build one beside the one that stands, and to drop that one.
    Rebuild {
        /// Which.
        spec: IndexSpec,
        /// Why.
        reason: String,
    },
    /// To drop the one that stands.
    Drop {
        /// Why.
        reason: String,
    },
    /// What is configured cannot be; somebody has to change something.
    Impossible {
        /// Why, and what to do.
        reason: String,
    },
}

impl Decision {
    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Nothing { reason }
            | Self::Build { reason, .. }
            | Self::Rebuild { reason, .. }
            | Self::Drop { reason }
            | Self::Impossible { reason } => reason,
        }
    }
}

/// What is to be done about a space's index.
pub(crate) fn wanted(situation: &Situation, policy: &IndexPolicy) -> Decision {
    let kind = match kind(situation.scann, policy) {
        Ok(kind) => kind,
        Err(reason) => return Decision::Impossible { reason },
    };
    let rows = situation.rows;
    if kind == IndexKind::Exact {
        let reason = "exact search is configured".to_owned();
        return if situation.standing.is_some() { Decision::Drop { reason } } else { Decision::Nothing { reason } };
    }
    if kind == IndexKind::Scann && situation.dimensions > Precision::Vector.most_dimensions() {
        let reason = format!(
            "scann takes up to {} dimensions, these are {}: set `index` to hnsw or ivfflat",
            Precision::Vector.most_dimensions(),
            situation.dimensions,
        );
        return Decision::Impossible { reason };
    }
    if let Some(standing) = &situation.standing {
        return changed(standing, situation, kind, policy);
    }
    let min_rows = if kind == IndexKind::Scann { policy.min_rows.max(SCANN_MIN_ROWS) } else { policy.min_rows };
    if rows < min_rows {
        let reason = format!("{rows} rows: below {min_rows} the exact search is the better one");
        return Decision::Nothing { reason };
    }
    Decision::Build { spec: spec(situation, kind, rows, policy), reason: format!("{rows} rows have no index") }
}

fn kind(scann: Extension, policy: &IndexPolicy) -> std::result::Result<IndexKind, String> {
    if policy.kind != IndexKind::Scann || scann == Extension::Installed {
        return Ok(policy.kind);
    }
    policy.scann_fallback.ok_or_else(|| {
        let todo = match scann {
            Extension::Available => "run CREATE EXTENSION alloydb_scann CASCADE as an administrator",
            _ => "this server does not have it, AlloyDB does; set `index` to hnsw or ivfflat, or give `scann_fallback`",
        };
        format!("scann needs the extension alloydb_scann: {todo}")
    })
}

fn changed(standing: &Standing, situation: &Situation, kind: IndexKind, policy: &IndexPolicy) -> Decision {
    let rows = situation.rows;
    let rebuild = |reason| Decision::Rebuild { spec: spec(situation, kind, rows, policy), reason };
    let Some(built) = &standing.spec else {
        // A later version of the program knows why.
        return Decision::Nothing { reason: "the index is of a kind that this version does not know".into() };
    };
    // As it would have been made then: rows that came since are no change of configuration.
    let then = spec(situation, kind, standing.rows_at_build, policy);
    if *built != then {
        return rebuild(format!("{built} stands, {then} is configured"));
    }
    let follows_rows = matches!(kind, IndexKind::Ivfflat | IndexKind::Scann);
    if follows_rows && rows >= standing.rows_at_build.max(1).saturating_mul(GROWTH) {
        return rebuild(format!("{} rows were there when it was built, {rows} are now", standing.rows_at_build));
    }
    Decision::Nothing { reason: format!("{built} stands") }
}

fn spec(situation: &Situation, kind: IndexKind, rows: u64, policy: &IndexPolicy) -> IndexSpec {
    let most = Precision::Halfvec.most_dimensions();
    let precision = match situation.storage {
        Storage::Vector if situation.dimensions <= Precision::Vector.most_dimensions() => Precision::Vector,
        _ if situation.dimensions <= most => Precision::Halfvec,
        _ => Precision::Subvector,
    };
    // ScaNN makes its own small copies.
    let precision = if kind == IndexKind::Scann { Precision::Vector } else { precision };
    let parameters = match kind {
        IndexKind::Hnsw => IndexParameters::Hnsw { m: policy.m, ef_construction: policy.ef_construction },
        IndexKind::Scann => {
            IndexParameters::Scann { leaves: u32::try_from(rows.isqrt()).unwrap_or(u32::MAX).clamp(1, 1_048_576) }
        }
        _ => IndexParameters::Ivfflat { lists: policy.lists_for(rows) },
    };
    IndexSpec { precision, dimensions: situation.dimensions.min(most), parameters }
}

#[cfg(test)]
mod tests;
