//! ScaNN, as AlloyDB spells it. It cannot be run on a plain Postgres: these texts follow AlloyDB's documentation and are
//! held by snapshots.

/// The setting that says how many leaves are searched.
pub(super) const EFFORT: &str = "scann.num_leaves_to_search";

pub(super) fn using(expression: &str, leaves: u32) -> String {
    format!("scann ({expression} dot_product) WITH (num_leaves = {leaves}, quantizer = 'SQ8')")
}
