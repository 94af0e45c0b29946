//! Scopes that are searched through the indexes, by the same promises as small ones.

use std::collections::HashMap;

use memory_core::arena::{Bm25Query, Bm25Statistics, LexicalArena};
use memory_core::{Arm, EmbeddedMemory, InsertBatch, Memory, MemoryId, MemoryStore as _};
use memory_testkit::make;
use provider_alloydb::AlloyDbMemoryProvider;
use sqlx::Executor as _;

use crate::support::Home;

const WORDS: [&str; 12] = [
    "tent", "lisbon", "coffee", "invoice", "garden", "piano", "train", "window", "recipe", "passport", "dentist",
    "winter",
];

/// A provider that takes 20 memories for many, and a scope of 300 of which every second has the word "common".
async fn filled(home: &Home) -> (AlloyDbMemoryProvider, Vec<Memory>) {
    let mut config = home.config();
    config.exact_up_to = 20;
    let store = home.open_with(config).await;
    let scope = make::user("acme", "ann");
    let memories: Vec<Memory> = (0..300)
        .map(|at| {
            let common = if at % 2 == 0 { "common" } else { "other" };
            let text = format!("{common} {} {} number {at}", WORDS[at % 12], WORDS[at / 12 % 12]);
            make::memory(&scope, &text, memory_core::Clock::now(&home.clock))
        })
        .collect();
    let batch = memories.iter().enumerate().map(|(at, memory)| EmbeddedMemory {
        memory: memory.clone(),
        embedding: Some(make::embedding(&make::space("testkit"), at as u64)),
    });
    store.insert(InsertBatch { memories: batch.collect(), idempotency: None }).await.expect("insert");
    home.direct().await.execute("ANALYZE orchestra.memories").await.expect("analyse");
    (store, memories)
}

/// The scores that the core's own index gives.
fn expected(memories: &[Memory], query: &str) -> HashMap<MemoryId, f32> {
    let mut arena = LexicalArena::default();
    memories.iter().enumerate().for_each(|(row, memory)| arena.set(row, &memory.lexical_text()));
    let query = Bm25Query::new(query);
    let mut statistics = Bm25Statistics::default();
    arena.add_statistics(&query, &mut statistics, true, |_| true);
    arena.scores(&query, &statistics, |_| true).iter().map(|(row, score)| (memories[row].id, score)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_a_large_scope_are_weighed_as_those_of_a_small_one() {
    let Some(home) = Home::new() else { return };
    let (store, memories) = filled(&home).await;
    let scope = make::user("acme", "ann");
    for query in ["the tent in Lisbon", "a common passport", "number 17"] {
        let expected = expected(&memories, query);
        let request = make::search(&scope, None, Some(query));
        // Measured beside the first search: from then on the scope's size is known to the last row.
        let found = until(|| async {
            let found = store.search(&request).await.expect("search");
            found.arms[0].considered == 300
        });
        assert!(found.await, "the scope is measured");
        let found = store.search(&request).await.expect("search");
        let report = found.arms.iter().find(|report| report.arm == Arm::Lexical).expect("a report");
        assert!(!report.exact, "{report:?}");
        assert_eq!(found.candidates.len(), request.candidates.min(expected.len()), "{query}");
        for candidate in &found.candidates {
            let score = expected[&candidate.memory.id];
            assert!((candidate.bm25 - score).abs() < 1e-4, "{query}: {} against {score}", candidate.bm25);
        }
        let mut best: Vec<f32> = expected.values().copied().collect();
        best.sort_unstable_by(|a, b| b.total_cmp(a));
        let least = found.candidates.iter().map(|candidate| candidate.bm25).fold(f32::INFINITY, f32::min);
        assert!((least - best[found.candidates.len() - 1]).abs() < 1e-4, "{query}: the best are found");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_of_a_large_scope_without_an_index_are_compared_one_by_one() {
    let Some(home) = Home::new() else { return };
    let (store, memories) = filled(&home).await;
    let query = make::embedding(&make::space("testkit"), 1000);
    let request = make::search(&make::user("acme", "ann"), Some(query.clone()), None);
    let found = store.search(&request).await.expect("search");
    let report = found.arms.iter().find(|report| report.arm == Arm::Dense).expect("a report");
    assert!(report.exact && report.shortfall == 0, "{report:?}");
    let similarity =
        |at: usize| query.similarity(&make::embedding(&make::space("testkit"), at as u64)).expect("one space");
    let mut nearest: Vec<usize> = (0..memories.len()).collect();
    nearest.sort_by(|&a, &b| similarity(b).total_cmp(&similarity(a)));
    let mut expected: Vec<MemoryId> = nearest[..10].iter().map(|&at| memories[at].id).collect();
    let mut got: Vec<MemoryId> = found.candidates.iter().map(|candidate| candidate.memory.id).collect();
    expected.sort_unstable();
    got.sort_unstable();
    assert_eq!(got, expected);
}

/// Whether a condition holds within some seconds.
async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) -> bool {
    for _ in 0..200 {
        if condition().await {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    false
}
