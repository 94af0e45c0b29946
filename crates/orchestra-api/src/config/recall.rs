//! The settings about recall: what a request that says nothing gets.

use std::time::Duration;

use memory_core::{FusionStrategy, Weights};

use super::values::Values;

/// How memories are recalled unless a request says otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecallSettings {
    /// Whether reciprocal rank fusion is used, in place of a weighted sum.
    pub rrf: bool,
    /// The weights of the sum.
    pub weights: Weights,
    /// How long a recall may take; `None` for as long as it takes.
    pub deadline: Option<Duration>,
}

impl RecallSettings {
    /// The strategy of a request that names none.
    #[must_use]
    pub fn strategy(&self) -> FusionStrategy {
        if self.rrf { FusionStrategy::RRF } else { FusionStrategy::Weighted(self.weights) }
    }
}

/// What the values come to.
pub fn settings(values: &Values) -> RecallSettings {
    let default = Weights::default();
    RecallSettings {
        rrf: values.of::<String>("recall.strategy") == "rrf",
        weights: Weights {
            recency: values.of("recall.recency"),
            recency_half_life_days: values.of("recall.recency_half_life_days"),
            importance: values.of("recall.importance"),
            ..default
        },
        deadline: values.get("recall.deadline_ms").map(Duration::from_millis),
    }
}
