//! An index as SQL: how it is made, and how it is searched.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::policy::IndexKind;
use super::scann;
use crate::config::Storage;

const MIB: u64 = 1 << 20;

/// An index as it is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexSpec {
    /// How vectors are kept in it.
    #[serde(rename = "as")]
    pub precision: Precision,
    /// How many of their dimensions.
    pub dimensions: u32,
    /// Its kind, and what that takes.
    #[serde(flatten)]
    pub parameters: IndexParameters,
}

/// How an index keeps vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// In full.
    Vector,
    /// In half the bytes: vectors that are stored so, or that have too many dimensions for an index in full.
    Halfvec,
    /// The first dimensions, in half the bytes: there are more than an index takes. More than is asked for is then
    /// compared in full.
    Subvector,
}

impl Precision {
    /// The most dimensions that pgvector indexes so.
    pub(crate) fn most_dimensions(self) -> u32 {
        match self {
            Self::Vector => 2_000,
            Self::Halfvec | Self::Subvector => 4_000,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::Halfvec => "halfvec",
            Self::Subvector => "subvector",
        }
    }
}

/// The kind of an index, with what it is built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[expect(missing_docs, reason = "the fields are named as pgvector and ScaNN name them")]
pub enum IndexParameters {
    /// pgvector's lists.
    Ivfflat { lists: u32 },
    /// pgvector's graph.
    Hnsw { m: u16, ef_construction: u16 },
    /// AlloyDB's ScaNN.
    Scann { leaves: u32 },
}

impl IndexSpec {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> IndexKind {
        match self.parameters {
            IndexParameters::Ivfflat { .. } => IndexKind::Ivfflat,
            IndexParameters::Hnsw { .. } => IndexKind::Hnsw,
            IndexParameters::Scann { .. } => IndexKind::Scann,
        }
    }

    /// The expression that the index is over, as a call that gives its text: the search asks the same.
    pub(crate) fn expression(&self) -> String {
        let (precision, dimensions) = (self.precision.name(), self.dimensions);
        format!("SELECT orchestra.indexed_expression('{precision}', {dimensions}, 'embedding', 'embedding_half')")
    }

    /// The statement that builds it beside traffic. Vectors are of length 1, so that their inner product orders as the
    /// cosine does, and is the cheaper one.
    pub(crate) fn create(&self, name: &str, space: i16, expression: &str) -> String {
        let class = if self.precision == Precision::Vector { "vector_ip_ops" } else { "halfvec_ip_ops" };
        let using = match self.parameters {
            IndexParameters::Ivfflat { lists } => format!("ivfflat ({expression} {class}) WITH (lists = {lists})"),
            IndexParameters::Hnsw { m, ef_construction } => {
                format!("hnsw ({expression} {class}) WITH (m = {m}, ef_construction = {ef_construction})")
            }
            IndexParameters::Scann { leaves } => scann::using(expression, leaves),
        };
        format!("CREATE INDEX CONCURRENTLY {name} ON orchestra.memories USING {using} WHERE space = {space}")
    }

    /// The memory that its build needs, in MiB: what pgvector takes while it makes lists, or the whole graph.
    pub(crate) fn build_memory_mib(&self, rows: u64, at_most: u32) -> u64 {
        let bytes_each = match self.precision {
            Precision::Vector => u64::from(self.dimensions) * 4 + 16,
            Precision::Halfvec | Precision::Subvector => u64::from(self.dimensions) * 2 + 16,
        };
        let needed = match self.parameters {
            IndexParameters::Ivfflat { lists } => {
                let lists = u64::from(lists);
                let samples = (lists * 50).max(10_000);
                // The samples, three sets of centres in full, the bounds of each sample to each centre, and the distances
                // between centres, as in pgvector's ElkanKmeans; and a half more.
                let centres = lists * (u64::from(self.dimensions) * 4 + 16) * 3;
                (samples * bytes_each + centres + samples * (lists + 2) * 4 + lists * lists * 4) * 3 / 2
            }
            // A node has 2 m neighbours in the lowest layer and m in the few above, each of 16 bytes.
            IndexParameters::Hnsw { m, .. } => {
                return (rows * (bytes_each + u64::from(m) * 3 * 16 + 200)).div_ceil(MIB).clamp(64, at_most.into());
            }
            IndexParameters::Scann { .. } => u64::from(at_most) * MIB,
        };
        needed.div_ceil(MIB).max(64)
    }

    /// With which effort it is searched before that was measured.
    pub(crate) fn first_effort(&self) -> u32 {
        match self.parameters {
            IndexParameters::Ivfflat { lists: many } | IndexParameters::Scann { leaves: many } => {
                f64::from(many).sqrt().ceil() as u32
            }
            IndexParameters::Hnsw { .. } => 100,
        }
    }

    /// The most effort that makes sense: the whole index, or what pgvector allows.
    pub(crate) fn most_effort(&self) -> u32 {
        match self.parameters {
            IndexParameters::Ivfflat { lists: many } | IndexParameters::Scann { leaves: many } => many,
            IndexParameters::Hnsw { .. } => 1_000,
        }
    }

    /// What `orchestra.search_memories` is told of the index. `rows` are in it.
    pub(crate) fn search(&self, effort: u32, rows: u64, storage: Storage) -> Value {
        let (setting, settings) = match self.parameters {
            // Where a quarter of the lists does not give enough, reading the scope takes no longer than going on.
            IndexParameters::Ivfflat { lists } => (
                "ivfflat.probes",
                json!({
                    "ivfflat.iterative_scan": "relaxed_order",
                    "ivfflat.max_probes": lists.div_ceil(4).to_string(),
                }),
            ),
            IndexParameters::Hnsw { .. } => (
                "hnsw.ef_search",
                json!({
                    "hnsw.iterative_scan": "relaxed_order",
                    "hnsw.max_scan_tuples": "20000",
                    "hnsw.scan_mem_multiplier": "4",
                }),
            ),
            IndexParameters::Scann { .. } => (scann::EFFORT, json!({})),
        };
        let oversampling = match (self.precision, storage) {
            (Precision::Vector, _) | (Precision::Halfvec, Storage::Halfvec) => 1,
            (Precision::Halfvec, Storage::Vector) => 2,
            (Precision::Subvector, _) => 4,
        };
        json!({
            "as": self.precision,
            "dimensions": self.dimensions,
            "settings": settings,
            "effort_setting": setting,
            "effort": effort,
            "most": self.most_effort(),
            "rows": rows,
            "oversampling": oversampling,
            // Whether ScaNN counts its scans as others do is not known.
            "counted": self.kind() != IndexKind::Scann,
        })
    }
}

/// For a person: `ivfflat (lists 100)`.
impl fmt::Display for IndexSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parameters {
            IndexParameters::Ivfflat { lists } => write!(f, "ivfflat (lists {lists}")?,
            IndexParameters::Hnsw { m, ef_construction } => {
                write!(f, "hnsw (m {m}, ef_construction {ef_construction}")?;
            }
            IndexParameters::Scann { leaves } => write!(f, "scann (leaves {leaves}")?,
        }
        match self.precision {
            Precision::Vector => f.write_str(")"),
            Precision::Halfvec => f.write_str(", halfvec)"),
            Precision::Subvector => write!(f, ", halfvec of the first {} dimensions)", self.dimensions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [IndexSpec; 4] {
        let spec = |precision, dimensions, parameters| IndexSpec { precision, dimensions, parameters };
        [
            spec(Precision::Vector, 384, IndexParameters::Ivfflat { lists: 1_000 }),
            spec(Precision::Halfvec, 3_072, IndexParameters::Hnsw { m: 16, ef_construction: 64 }),
            spec(Precision::Subvector, 4_000, IndexParameters::Ivfflat { lists: 10 }),
            spec(Precision::Vector, 768, IndexParameters::Scann { leaves: 1_000 }),
        ]
    }

    #[test]
    fn statements() {
        let statements = all().map(|spec| format!("-- {spec}\n{}", spec.create("the_index", 3, "(expression)")));
        insta::assert_snapshot!(statements.join("\n"));
    }

    #[test]
    fn settings_of_a_search() {
        let settings = all().map(|spec| spec.search(spec.first_effort(), 1_000_000, Storage::Vector).to_string());
        insta::assert_snapshot!(settings.join("\n"));
    }

    #[test]
    fn what_was_kept_is_read_again() {
        for spec in all() {
            let kept = serde_json::to_value(&spec).unwrap();
            assert_eq!(serde_json::from_value::<IndexSpec>(kept).unwrap(), spec);
        }
    }

    #[test]
    fn a_build_gets_the_memory_it_needs_and_a_graph_no_more_than_allowed() {
        let [lists, graph, ..] = all();
        // pgvector's own count of bytes for 1,000 lists of 384 dimensions is 272 MiB.
        assert!((272..512).contains(&lists.build_memory_mib(1_000_000, 64)));
        assert_eq!(graph.build_memory_mib(1_000_000, 1_024), 1_024);
        assert_eq!(graph.build_memory_mib(10, 1_024), 64);
    }
}
