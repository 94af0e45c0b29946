//! Why a recall gave fewer memories than were asked for. Pure functions of what was counted.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A reason why there are no more results. What was away or too late is told by [`Degradation`](crate::Degradation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Missing {
    /// The store holds nothing in the scope.
    NothingInScope,
    /// The filter leaves a part of the scope, or none of it.
    ExcludedByFilter {
        /// How many memories match.
        matching: u64,
        /// How many there are, where that is known.
        in_scope: Option<u64>,
    },
    /// Facts and procedures are switched off.
    KindsSwitchedOff,
    /// They have ceased to be true, by their `valid_to`.
    Ended {
        /// How many of the candidates.
        memories: u64,
    },
    /// Nothing speaks for them: no word in common, and no vector to compare.
    NoMatch {
        /// How many.
        memories: u64,
    },
    /// They say what another result of the same scope says.
    Repeated {
        /// How many.
        memories: u64,
    },
    /// They did not fit into `max_tokens`.
    OverBudget {
        /// How many of the best.
        memories: u64,
    },
    /// The scope holds no more.
    NoMoreInScope {
        /// How many it holds.
        memories: u64,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |number: u64| if number == 1 { "1 memory".to_owned() } else { format!("{number} memories") };
        match *self {
            Self::NothingInScope => f.write_str("the store holds nothing in this scope"),
            Self::ExcludedByFilter { matching, in_scope: Some(all) } => {
                write!(f, "the filter leaves {matching} of {} in this scope", of(all))
            }
            Self::ExcludedByFilter { matching, in_scope: None } => write!(f, "the filter leaves {}", of(matching)),
            Self::KindsSwitchedOff => f.write_str("facts and procedures are switched off, by long_term_enabled"),
            Self::Ended { memories } => {
                write!(f, "{} had ended, by valid_to; a filter on valid_to or valid_at finds what had", of(memories))
            }
            Self::NoMatch { memories } => {
                write!(f, "{} without a word of the query, and without a vector to compare", of(memories))
            }
            Self::Repeated { memories } => write!(f, "{} with the text of another result of its scope", of(memories)),
            Self::OverBudget { memories } => write!(f, "{} did not fit into max_tokens", of(memories)),
            Self::NoMoreInScope { memories } => write!(f, "this scope holds {} and no more", of(memories)),
        }
    }
}

/// What was counted while a recall was answered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Memories of the scope, where that is known.
    pub in_scope: Option<u64>,
    /// Those of them that the store compared, after the filter and the switched-off kinds.
    pub compared: u64,
    /// Candidates that had ended.
    pub ended: u64,
    /// Candidates that neither words nor meaning speak for; 0 where an arm had more candidates than it gave.
    pub unmatched: u64,
    /// Results that say what another says.
    pub repeated: u64,
    /// Results over the budget.
    pub over_budget: u64,
    /// Whether the request has a filter.
    pub has_filter: bool,
    /// Whether facts and procedures are switched off.
    pub without_long_term: bool,
}

impl Counts {
    /// The reasons, in the order in which memories drop out.
    pub(crate) fn reasons(&self) -> Vec<Missing> {
        let compared = self.compared;
        let is_narrowed = self.has_filter || self.without_long_term;
        let in_scope = self.in_scope.or((!is_narrowed).then_some(compared));
        if in_scope == Some(0) {
            return vec![Missing::NothingInScope];
        }
        let mut reasons = Vec::new();
        let is_less = in_scope.is_none_or(|all| compared < all);
        if self.has_filter && is_less {
            reasons.push(Missing::ExcludedByFilter { matching: compared, in_scope });
        }
        if self.without_long_term && is_less {
            reasons.push(Missing::KindsSwitchedOff);
        }
        let Self { ended, unmatched, repeated, over_budget, .. } = *self;
        let counted = [
            (ended, Missing::Ended { memories: ended }),
            (unmatched, Missing::NoMatch { memories: unmatched }),
            (repeated, Missing::Repeated { memories: repeated }),
            (over_budget, Missing::OverBudget { memories: over_budget }),
        ];
        reasons.extend(counted.into_iter().filter(|(count, _)| *count > 0).map(|(_, reason)| reason));
        match in_scope {
            Some(memories) if reasons.is_empty() => vec![Missing::NoMoreInScope { memories }],
            _ => reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(counts: Counts) -> String {
        let lines = counts.reasons().into_iter().map(|reason| {
            let code = serde_json::json!(reason)["code"].as_str().unwrap().to_owned();
            format!("{code}: {reason}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_reason_has_its_code_and_its_sentence() {
        let all = Counts { in_scope: Some(12), compared: 12, ..Counts::default() };
        insta::assert_snapshot!(said(all), @"no_more_in_scope: this scope holds 12 memories and no more");
        let none = Counts { in_scope: Some(0), compared: 0, has_filter: true, ..Counts::default() };
        insta::assert_snapshot!(said(none), @"nothing_in_scope: the store holds nothing in this scope");
        let many = Counts {
            compared: 7,
            ended: 1,
            unmatched: 2,
            repeated: 3,
            over_budget: 1,
            has_filter: true,
            without_long_term: true,
            ..all
        };
        insta::assert_snapshot!(said(many), @"
        excluded_by_filter: the filter leaves 7 of 12 memories in this scope
        kinds_switched_off: facts and procedures are switched off, by long_term_enabled
        ended: 1 memory had ended, by valid_to; a filter on valid_to or valid_at finds what had
        no_match: 2 memories without a word of the query, and without a vector to compare
        repeated: 3 memories with the text of another result of its scope
        over_budget: 1 memory did not fit into max_tokens
        ");
        let several = Counts { in_scope: None, compared: 1, has_filter: true, ..Counts::default() };
        insta::assert_snapshot!(said(several), @"excluded_by_filter: the filter leaves 1 memory");
    }

    #[test]
    fn nothing_is_said_of_a_filter_that_leaves_all() {
        let all_match = Counts { in_scope: Some(3), compared: 3, has_filter: true, ..Counts::default() };
        assert_eq!(all_match.reasons(), [Missing::NoMoreInScope { memories: 3 }]);
    }
}
