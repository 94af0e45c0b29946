//! How the arms of a recall become one ranking. Pure functions of the candidates.
//!
//! The default is a weighted sum. Reciprocal rank fusion throws away the margin of a strong lexical match, and on
//! conversations it was worse than BM25 alone; it stays as an option.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::recall::{Explanation, Recalled, RecalledFrom};
use crate::{Candidate, Error, MemoryId, Result, Timestamp, text};

/// How the dense and the lexical arm are put together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "strategy", rename_all = "snake_case")]
pub enum FusionStrategy {
    /// A weighted sum of both scores, each min-max normalised over the candidates.
    Weighted(Weights),
    /// Reciprocal rank fusion: the sum of 1 / (k + rank) (Cormack, Clarke, Büttcher 2009).
    Rrf {
        /// The rank constant; 60 in the paper.
        k: f32,
    },
}

/// The parts of the weighted sum. Every part has a name, so that a report can say what it gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// Weight of the dense score, `0.0..=1.0`; the lexical score has the rest.
    pub dense: f32,
    /// The part of its BM25 that a memory lends to the turn before it and the turn after it in its session.
    pub neighbours: f32,
    /// What a memory gets when the query names its [speaker](crate::Memory::speaker).
    pub actor: f32,
    /// What a memory gets for being new: this at age zero, half of it after each half-life.
    pub recency: f32,
    /// The half-life of `recency`, in days.
    pub recency_half_life_days: f32,
    /// What a memory of importance 1 gets over one of importance 0.
    pub importance: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { dense: 0.5, neighbours: 0.3, actor: 0.2, recency: 0.0, recency_half_life_days: 30.0, importance: 0.0 }
    }
}

impl Default for FusionStrategy {
    fn default() -> Self {
        Self::Weighted(Weights::default())
    }
}

impl FusionStrategy {
    /// Reciprocal rank fusion with the paper's constant.
    pub const RRF: Self = Self::Rrf { k: 60.0 };

    /// Whether the ranking uses the turns next to a lexical match.
    #[must_use]
    pub fn uses_neighbours(&self) -> bool {
        matches!(self, Self::Weighted(weights) if weights.neighbours > 0.0)
    }

    /// Whether words change nothing of the ranking.
    #[must_use]
    pub fn is_by_vector_alone(&self) -> bool {
        matches!(self, Self::Weighted(weights) if weights.dense == 1.0 && weights.actor == 0.0)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the weight.
    pub fn validate(&self) -> Result<()> {
        let within = |field: &str, value: f32, low: f32, high: f32| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::invalid(format!("strategy.{field}"), value, format!("{low} to {high}")))
        };
        match self {
            Self::Rrf { k } => within("k", *k, 0.0, 10_000.0),
            Self::Weighted(weights) => {
                within("dense", weights.dense, 0.0, 1.0)?;
                within("neighbours", weights.neighbours, 0.0, 1.0)?;
                within("actor", weights.actor, 0.0, 1.0)?;
                within("recency", weights.recency, 0.0, 1.0)?;
                within("recency_half_life_days", weights.recency_half_life_days, 0.01, 36_500.0)?;
                within("importance", weights.importance, 0.0, 1.0)
            }
        }
    }
}

/// Ranks the candidates of `query` and gives the best `limit`, best first, ties by id.
///
/// A candidate that neither arm speaks for (no similarity, no word in common, also not next door) is left out. Where the store
/// has [left candidates out](crate::Candidates::least_left_out), the scores are those that all together would have.
#[must_use]
pub fn fuse(
    query: &str,
    candidates: &[Candidate],
    least_left_out: Option<f32>,
    strategy: &FusionStrategy,
    now: Timestamp,
    limit: usize,
) -> Vec<Recalled> {
    let lexical = lexical_in_context(candidates, strategy);
    let dense_ranks = ranks(candidates.iter().map(|candidate| candidate.similarity));
    let lexical_ranks = ranks(lexical.iter().map(|&score| (score > 0.0).then_some(score)));
    // Of those that were left out the least similar one counts for all.
    let dense_scores = min_max(candidates.iter().map(|candidate| candidate.similarity).chain([least_left_out]));
    let lexical_scores = min_max(lexical.iter().map(|&score| Some(score)).chain([least_left_out.map(|_| 0.0)]));
    let query_words = match strategy {
        FusionStrategy::Weighted(weights) if weights.actor > 0.0 => names_in(query),
        _ => HashSet::new(),
    };

    let mut ranked: Vec<Recalled> = candidates
        .iter()
        .enumerate()
        .filter(|&(at, candidate)| candidate.similarity.is_some() || lexical[at] > 0.0)
        .map(|(at, candidate)| {
            let memory = &candidate.memory;
            let mut why = Explanation {
                similarity: candidate.similarity,
                dense_rank: dense_ranks[at],
                bm25: candidate.bm25,
                bm25_in_context: lexical[at],
                lexical_rank: lexical_ranks[at],
                ..Explanation::default()
            };
            let score = match strategy {
                FusionStrategy::Rrf { k } => {
                    [dense_ranks[at], lexical_ranks[at]].into_iter().flatten().map(|rank| 1.0 / (k + rank as f32)).sum()
                }
                FusionStrategy::Weighted(weights) => {
                    if !query_words.is_empty() && memory.speaker().is_some_and(|actor| names(&query_words, actor)) {
                        why.actor_bonus = weights.actor;
                    }
                    let said_at = memory.valid_from.unwrap_or(memory.recorded_at);
                    why.recency = weights.recency * recency(said_at, now, weights);
                    why.importance = weights.importance * memory.importance;
                    weights.dense * dense_scores[at]
                        + (1.0 - weights.dense) * lexical_scores[at]
                        + why.actor_bonus
                        + why.recency
                        + why.importance
                }
            };
            Recalled { memory: memory.clone(), score, tier: memory.kind.tier(), from: RecalledFrom::Persistent, why }
        })
        .collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.memory.id.cmp(&b.memory.id)));
    ranked.truncate(limit);
    ranked
}

/// Each candidate's BM25 with what its neighbours in the session lend it.
fn lexical_in_context(candidates: &[Candidate], strategy: &FusionStrategy) -> Vec<f32> {
    let share = match strategy {
        FusionStrategy::Weighted(weights) => weights.neighbours,
        FusionStrategy::Rrf { .. } => 0.0,
    };
    if share == 0.0 {
        return candidates.iter().map(|candidate| candidate.bm25).collect();
    }
    let own: HashMap<MemoryId, f32> = candidates
        .iter()
        .filter(|candidate| candidate.bm25 > 0.0)
        .map(|candidate| (candidate.memory.id, candidate.bm25))
        .collect();
    let of = |id: Option<MemoryId>| id.and_then(|id| own.get(&id)).copied().unwrap_or(0.0);
    candidates.iter().map(|candidate| candidate.bm25 + share * (of(candidate.previous) + of(candidate.next))).collect()
}

/// Scores scaled to `0.0..=1.0` over those that are there. The absent ones get 0; where all are equal they get 1, or 0
/// when they are 0.
fn min_max(scores: impl Iterator<Item = Option<f32>> + Clone) -> Vec<f32> {
    let (low, high) = scores
        .clone()
        .flatten()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), score| (low.min(score), high.max(score)));
    scores
        .map(|score| match score {
            None => 0.0,
            Some(score) if high > low => (score - low) / (high - low),
            Some(score) => f32::from(score > 0.0),
        })
        .collect()
}

/// The place of each score from 1, highest first; equal scores share a place.
fn ranks(scores: impl Iterator<Item = Option<f32>>) -> Vec<Option<u32>> {
    let scores: Vec<_> = scores.collect();
    let mut order: Vec<usize> = (0..scores.len()).filter(|&at| scores[at].is_some()).collect();
    order.sort_by(|&a, &b| scores[b].unwrap_or(f32::MIN).total_cmp(&scores[a].unwrap_or(f32::MIN)));
    let mut ranks = vec![None; scores.len()];
    for (place, &at) in order.iter().enumerate() {
        ranks[at] = match place.checked_sub(1).map(|before| order[before]) {
            Some(before) if scores[before] == scores[at] => ranks[before],
            _ => u32::try_from(place + 1).ok(),
        };
    }
    ranks
}

/// The words of a query that can be somebody's name: none that carries grammar, but for Will where he is written as a name.
fn names_in(query: &str) -> HashSet<String> {
    let mut names: HashSet<String> = text::words(query).filter(|word| !text::is_stop_word(word)).collect();
    if names_will(query) {
        names.insert("will".to_owned());
    }
    names
}

/// Whether a query names Will: "What did Will say?", not "Will we go?". His is the one common name that no index of words is
/// asked for.
pub(crate) fn names_will(query: &str) -> bool {
    let mut begins = true;
    query.split_whitespace().any(|part| {
        let begins = std::mem::replace(&mut begins, part.ends_with(['.', '!', '?', ':']));
        !begins
            && part.trim_start_matches(|c: char| !c.is_alphanumeric()).starts_with("Will")
            && text::words(part).next().is_some_and(|word| word == "will")
    })
}

/// Whether the query holds a word of the actor's name; words of one letter do not count.
fn names(query_words: &HashSet<String>, actor: &str) -> bool {
    text::words(actor).any(|word| word.chars().count() > 1 && query_words.contains(&word))
}

fn recency(at: Timestamp, now: Timestamp, weights: &Weights) -> f32 {
    if weights.recency == 0.0 {
        return 0.0;
    }
    let days = (now - at).num_seconds().max(0) as f32 / 86_400.0;
    (-days / weights.recency_half_life_days).exp2()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{Memory, MemoryKind, Metadata, Origin, Scope, Writer};

    fn candidate(number: u128, similarity: Option<f32>, bm25: f32) -> Candidate {
        let memory = Memory {
            id: uuid::Uuid::from_u128(number).into(),
            version: 1,
            scope: Scope::tenant("t").unwrap(),
            kind: MemoryKind::Message,
            text: format!("memory {number}"),
            actor: None,
            metadata: Metadata::new(),
            importance: 0.5,
            origin: Origin::new(Writer::Agent, "test"),
            evidence: Vec::new(),
            valid_from: None,
            valid_to: None,
            recorded_at: Timestamp::UNIX_EPOCH,
            superseded_at: None,
            expires_at: None,
        };
        Candidate { memory: Arc::new(memory), similarity, bm25, previous: None, next: None }
    }

    fn order(candidates: &[Candidate], strategy: &FusionStrategy) -> Vec<u128> {
        let ranked = fuse("what did Ann say", candidates, None, strategy, Timestamp::UNIX_EPOCH, 10);
        ranked.iter().map(|recalled| recalled.memory.id.as_uuid().as_u128()).collect()
    }

    #[test]
    fn a_strong_lexical_match_outweighs_rank_only_under_weights() {
        // 1 is the only lexical match, far ahead; 2 and 3 are a little nearer by vector.
        let candidates = [
            candidate(1, Some(0.40), 9.0),
            candidate(2, Some(0.42), 0.2),
            candidate(3, Some(0.41), 0.1),
            candidate(4, Some(0.1), 0.0),
        ];
        assert_eq!(order(&candidates, &FusionStrategy::default())[0], 1);
        assert_eq!(order(&candidates, &FusionStrategy::RRF)[0], 2, "ranks 1 and 2 beat ranks 3 and 1");
    }

    #[test]
    fn a_turn_next_to_a_match_is_lifted() {
        let mut candidates = [candidate(1, None, 4.0), candidate(2, None, 0.0), candidate(3, None, 1.0)];
        candidates[1].previous = Some(candidates[0].memory.id);
        assert_eq!(order(&candidates, &FusionStrategy::default()), [1, 2, 3], "0.3 × 4 is more than 1");
        let alone = Weights { neighbours: 0.0, ..Weights::default() };
        assert_eq!(
            order(&candidates, &FusionStrategy::Weighted(alone)),
            [1, 3],
            "without it 2 has nothing to speak for it"
        );
    }

    #[test]
    fn naming_the_actor_lifts_what_they_said() {
        let mut candidates =
            [candidate(1, Some(0.50), 1.0), candidate(2, Some(0.49), 1.0), candidate(3, Some(0.1), 0.0)];
        let said_by =
            |candidate: &mut Candidate, actor: &str| Arc::make_mut(&mut candidate.memory).actor = Some(actor.into());
        said_by(&mut candidates[0], "Bob A.");
        said_by(&mut candidates[1], "Ann Lee");
        let ranked =
            fuse("What did Ann say? a", &candidates, None, &FusionStrategy::default(), Timestamp::UNIX_EPOCH, 10);
        assert_eq!(ranked[0].why.actor_bonus, 0.2);
        assert_eq!(
            ranked.iter().find(|recalled| recalled.memory.actor.as_deref() == Some("Bob A.")).unwrap().why.actor_bonus,
            0.0
        );
    }

    #[test]
    fn a_word_of_grammar_is_a_name_only_where_it_is_written_as_one() {
        assert!(names_in("What did Will's aunt say").contains("will") && names_in("and (Will)?").contains("will"));
        assert!(!names_in("Will you? What will we do? Will they? Willow").contains("will"));
        assert!(!names_in("What did The Me say").contains("me"));
        assert!(names_in("what did ann say").contains("ann"));
    }

    #[test]
    fn what_was_left_out_counts_in_the_span_of_both_scores() {
        let all = [candidate(1, Some(0.9), 2.0), candidate(2, Some(0.8), 1.0), candidate(3, Some(0.1), 0.0)];
        let ranked = |candidates: &[Candidate], least| {
            let ranked = fuse("q", candidates, least, &FusionStrategy::default(), Timestamp::UNIX_EPOCH, 2);
            ranked.into_iter().map(|recalled| (recalled.memory.id, recalled.score)).collect::<Vec<_>>()
        };
        assert_eq!(ranked(&all[..2], Some(0.1)), ranked(&all, None));
        assert_ne!(ranked(&all[..2], None), ranked(&all, None));
    }

    #[test]
    fn recency_and_importance_count_only_when_asked_for() {
        let mut candidates = [candidate(1, Some(0.5), 1.0), candidate(2, Some(0.5), 1.0)];
        Arc::make_mut(&mut candidates[0].memory).recorded_at = Timestamp::UNIX_EPOCH - chrono::TimeDelta::days(60);
        Arc::make_mut(&mut candidates[0].memory).importance = 1.0;
        assert_eq!(order(&candidates, &FusionStrategy::default()), [1, 2], "a tie goes by id");
        assert_eq!(
            order(&candidates, &FusionStrategy::Weighted(Weights { recency: 0.1, ..Weights::default() })),
            [2, 1]
        );
        assert_eq!(
            order(&candidates, &FusionStrategy::Weighted(Weights { importance: 0.1, ..Weights::default() })),
            [1, 2]
        );
    }

    #[test]
    fn weights_out_of_range_are_refused_by_name() {
        let strategy = FusionStrategy::Weighted(Weights { neighbours: f32::NAN, ..Weights::default() });
        assert_eq!(strategy.validate().unwrap_err().to_string(), "strategy.neighbours: given NaN, allowed: 0 to 1");
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (prop::option::of(-1.0_f32..=1.0), prop_oneof![Just(0.0_f32), 0.0_f32..20.0]);
        prop::collection::vec(one, 0..40).prop_map(|list| {
            let mut candidates: Vec<Candidate> = list
                .into_iter()
                .enumerate()
                .map(|(at, (similarity, bm25))| candidate(at as u128 + 1, similarity, bm25))
                .collect();
            for at in 1..candidates.len() {
                candidates[at].previous = Some(candidates[at - 1].memory.id);
                candidates[at - 1].next = Some(candidates[at].memory.id);
            }
            candidates
        })
    }

    proptest! {
        #[test]
        fn a_ranking_is_sound(candidates in candidates(), limit in 1_usize..50, rrf: bool) {
            let strategy = if rrf { FusionStrategy::RRF } else { FusionStrategy::default() };
            let ranked = fuse("what did Ann say", &candidates, None, &strategy, Timestamp::UNIX_EPOCH, limit);
            prop_assert!(ranked.len() <= limit);
            prop_assert!(ranked.iter().all(|recalled| recalled.score.is_finite() && recalled.score >= 0.0));
            prop_assert!(ranked.windows(2).all(|pair| pair[0].score >= pair[1].score));
            let ids: HashSet<MemoryId> = ranked.iter().map(|recalled| recalled.memory.id).collect();
            prop_assert_eq!(ids.len(), ranked.len(), "each once");
        }

        #[test]
        fn the_order_of_the_candidates_does_not_matter(candidates in candidates(), rrf: bool) {
            let strategy = if rrf { FusionStrategy::RRF } else { FusionStrategy::default() };
            let mut reversed = candidates.clone();
            reversed.reverse();
            prop_assert_eq!(order(&candidates, &strategy), order(&reversed, &strategy));
        }

        #[test]
        fn a_better_score_in_both_arms_never_ranks_lower(mut candidates in candidates(), at: prop::sample::Index) {
            prop_assume!(candidates.len() > 1);
            let at = at.index(candidates.len());
            let id = candidates[at].memory.id.as_uuid().as_u128();
            let place = |candidates: &[Candidate]| {
                let ranked = fuse("q", candidates, None, &FusionStrategy::default(), Timestamp::UNIX_EPOCH, 100);
                ranked.iter().position(|recalled| recalled.memory.id.as_uuid().as_u128() == id).unwrap_or(usize::MAX)
            };
            candidates.iter_mut().for_each(|candidate| (candidate.previous, candidate.next) = (None, None));
            candidates[at].similarity = Some(candidates[at].similarity.unwrap_or(-1.0));
            let before = place(&candidates);
            candidates[at].similarity = Some(1.0);
            candidates[at].bm25 = 21.0;
            prop_assert!(place(&candidates) <= before);
        }
    }
}
