//! Which of the ranked memories are given: each once, at most so many, and within a budget of tokens.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::working::estimate_tokens;
use crate::{ContentHash, Memory, Recalled};

/// What is given of a ranking.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Selected {
    /// The memories, best first.
    pub memories: Vec<Recalled>,
    /// Their tokens together.
    pub tokens: u64,
    /// How many of the best `limit` did not fit the budget.
    pub left_out: u64,
    /// How many said what a better one of the same scope says.
    pub repeated: u64,
}

/// What of a memory makes it the same as another: who says what, where, and of when. The same said of another time, or by
/// another, is something else, as are equal texts of two scopes.
struct Saying {
    memory: Arc<Memory>,
    text: ContentHash,
}

impl PartialEq for Saying {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.memory, &other.memory);
        self.text == other.text && a.scope == b.scope && a.actor == b.actor && a.valid_from == b.valid_from
    }
}

impl Eq for Saying {}

impl Hash for Saying {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// The best `limit` of a ranking that fit into `max_tokens` together. What does not fit into what is left is passed over, and
/// what comes after it still gets its place when it fits: as many as fit, never more.
pub(crate) fn select(ranked: Vec<Recalled>, limit: usize, max_tokens: Option<u64>) -> Selected {
    let mut selected = Selected::default();
    let mut said = HashSet::with_capacity(limit.min(ranked.len()));
    // The place in the ranking without its repetitions.
    let mut place = 0;
    for recalled in ranked {
        if selected.memories.len() == limit {
            break;
        }
        let memory = &recalled.memory;
        let saying = Saying { memory: memory.clone(), text: memory.content_hash() };
        if !said.insert(saying) {
            selected.repeated += 1;
            continue;
        }
        place += 1;
        let tokens = u64::from(estimate_tokens(&memory.text));
        if max_tokens.is_some_and(|most| selected.tokens + tokens > most) {
            selected.left_out += u64::from(place <= limit);
            continue;
        }
        selected.tokens += tokens;
        selected.memories.push(recalled);
    }
    selected
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{Explanation, MemoryKind, Metadata, Origin, RecalledFrom, Scope, Timestamp, Writer};

    fn recalled(number: u128, text: &str) -> Recalled {
        let memory = Memory {
            id: uuid::Uuid::from_u128(number).into(),
            version: 1,
            scope: Scope::tenant("acme").unwrap(),
            kind: MemoryKind::Episodic,
            text: text.into(),
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
        let (tier, from, why) = (memory.kind.tier(), RecalledFrom::Persistent, Explanation::default());
        Recalled { memory: Arc::new(memory), score: 1.0, tier, from, why }
    }

    /// `words` tokens: each a short word and the space before it.
    fn of(number: u128, words: usize) -> Recalled {
        recalled(number, &vec!["cat"; words].join(" "))
    }

    fn numbers(selected: &Selected) -> Vec<u128> {
        selected.memories.iter().map(|recalled| recalled.memory.id.as_uuid().as_u128()).collect()
    }

    #[test]
    fn what_does_not_fit_is_passed_over_for_what_does() {
        let tokens = |words: usize| u64::from(estimate_tokens(&vec!["cat"; words].join(" ")));
        let ranked = || vec![of(1, 10), of(2, 50), of(3, 12), of(4, 51), of(5, 1)];
        let budget = tokens(10) + tokens(12) + tokens(1);
        let selected = select(ranked(), 3, Some(budget));
        assert_eq!((numbers(&selected), selected.tokens, selected.left_out), (vec![1, 3, 5], budget, 1));
        let selected = select(ranked(), 3, Some(budget - 1));
        assert_eq!((numbers(&selected), selected.left_out), (vec![1, 3], 1), "the fifth was not one of the best three");
        let all = select(ranked(), 10, None);
        assert_eq!((all.memories.len(), all.left_out), (5, 0));
        let none = select(ranked(), 10, Some(tokens(1) - 1));
        assert_eq!((none.memories.len(), none.tokens, none.left_out), (0, 0, 5));
    }

    #[test]
    fn what_is_said_twice_in_one_scope_is_given_once() {
        let changed = |number, change: fn(&mut Memory)| {
            let mut recalled = recalled(number, "Ann likes tea");
            change(Arc::make_mut(&mut recalled.memory));
            recalled
        };
        let ranked = vec![
            recalled(1, "Ann likes tea"),
            recalled(2, "ann likes  TEA"),
            changed(3, |memory| memory.scope = Scope::tenant("acme").unwrap().with_user("ann").unwrap()),
            changed(4, |memory| memory.actor = Some("Ann".into())),
            changed(5, |memory| memory.valid_from = Some(Timestamp::UNIX_EPOCH)),
            recalled(6, "Ann likes coffee"),
        ];
        let selected = select(ranked.clone(), 10, None);
        assert_eq!((numbers(&selected), selected.repeated), (vec![1, 3, 4, 5, 6], 1));
        assert_eq!(numbers(&select(ranked, 2, None)), [1, 3], "what comes after takes the place");
    }

    proptest! {
        #[test]
        fn never_more_than_asked_for_and_as_many_as_fit(
            words in proptest::collection::vec(1_usize..60, 0..30), limit in 1_usize..12, budget in proptest::option::of(1_u64..200),
        ) {
            let ranked: Vec<Recalled> = words
                .iter()
                .enumerate()
                .map(|(at, &words)| recalled(at as u128, &format!("{at} {}", vec!["cat"; words].join(" "))))
                .collect();
            let selected = select(ranked.clone(), limit, budget);
            let tokens = |recalled: &Recalled| u64::from(estimate_tokens(&recalled.memory.text));
            prop_assert!(selected.memories.len() <= limit);
            prop_assert_eq!(selected.tokens, selected.memories.iter().map(tokens).sum::<u64>());
            prop_assert!(budget.is_none_or(|most| selected.tokens <= most));
            let best: u64 = ranked.iter().take(limit).map(tokens).sum();
            if budget.is_none_or(|most| best <= most) {
                prop_assert_eq!(numbers(&selected), (0..ranked.len().min(limit) as u128).collect::<Vec<_>>());
                prop_assert_eq!(selected.left_out, 0);
            }
            if selected.memories.len() < limit {
                let given = numbers(&selected);
                let left = ranked.iter().enumerate().filter(|(at, _)| !given.contains(&(*at as u128)));
                for (_, recalled) in left {
                    prop_assert!(budget.is_some_and(|most| selected.tokens + tokens(recalled) > most));
                }
            }
        }
    }
}
