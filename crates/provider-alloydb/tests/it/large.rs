//! Scopes that are searched through the indexes, by the same promises as small ones.

use std::collections::HashMap;

use memory_core::arena::{Bm25Query, Bm25Statistics, LexicalArena};
use memory_core::{
    Arm, EmbeddedMemory, Filter, InsertBatch, Memory, MemoryId, MemoryPatch, MemoryStore as _, SearchRequest,
};
use memory_testkit::make;
use provider_alloydb::AlloyDbMemoryProvider;
use serde_json::json;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_large_scopes_are_weighed_together() {
    let Some(home) = Home::new() else { return };
    let (store, mut memories) = filled(&home).await;
    let now = memory_core::Clock::now(&home.clock);
    let (ann, bob) = (make::user("acme", "ann"), make::user("acme", "bob"));
    let of_bob: Vec<Memory> = (0..100)
        .map(|at| make::memory(&bob, &format!("common {} passport number {at}", WORDS[at % 12]), now))
        .collect();
    let of_others = (0..100).map(|at| make::memory(&make::user("acme", "cyd"), &format!("passport {at}"), now));
    store.insert(make::batch(of_bob.iter().cloned().chain(of_others))).await.expect("insert");
    memories.extend(of_bob);
    let query = "a common passport";
    let expected = expected(&memories, query);
    let request = memory_core::SearchRequest { also: vec![bob.clone()], ..make::search(&ann, None, Some(query)) };
    let is_measured = until(|| async {
        let found = store.search(&request).await.expect("search");
        found.arms[0].considered == 400
    });
    assert!(is_measured.await, "both are measured together");
    let found = store.search(&request).await.expect("search");
    assert!(!found.arms[0].exact && found.candidates.len() == 10, "{:?}", found.arms);
    for candidate in &found.candidates {
        let score = expected[&candidate.memory.id];
        assert!((candidate.bm25 - score).abs() < 1e-4, "{} against {score}", candidate.bm25);
    }
    // What is known of both says nothing of one: it is counted anew.
    let alone = make::search(&bob, None, Some(query));
    assert!(store.search(&alone).await.expect("search").arms[0].considered < 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_scope_as_of_a_former_time_is_compared_whole() {
    let Some(home) = Home::new() else { return };
    let (store, memories) = filled(&home).await;
    let scope = make::user("acme", "ann");
    let then = memory_core::Clock::now(&home.clock);
    home.clock.advance(std::time::Duration::from_secs(1));
    for memory in &memories[..50] {
        let patch = memory_core::MemoryPatch { text: Some("nothing".into()), ..Default::default() };
        store.update(&scope, memory.id, patch).await.expect("update");
    }
    let query = make::embedding(&make::space("testkit"), 7);
    let request = memory_core::SearchRequest {
        as_of: Some(then),
        ..make::search(&scope, Some(query), Some("the tent in Lisbon"))
    };
    let found = store.search(&request).await.expect("search");
    assert!(found.arms.iter().all(|arm| arm.exact && arm.considered == 300 && arm.index.is_none()), "{:?}", found.arms);
    let expected = expected(&memories, "the tent in Lisbon");
    for candidate in &found.candidates {
        let score = expected.get(&candidate.memory.id).copied().unwrap_or_default();
        assert!((candidate.bm25 - score).abs() < 1e-4, "{} against {score}", candidate.bm25);
    }
    let same = found.candidates.iter().find(|one| one.memory.id == memories[7].id).expect("the very vector");
    assert!(same.similarity.expect("a vector") > 0.9999 && same.memory.text == memories[7].text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_metadata_leaves_of_a_large_scope_is_searched_exactly_where_it_is_little() {
    let Some(home) = Home::new() else { return };
    let (store, memories) = filled(&home).await;
    let scope = make::user("acme", "ann");
    for (at, memory) in memories.iter().enumerate() {
        let metadata = json!({"order": format!("A-{}", at % 30), "source": if at % 3 == 0 { "mail" } else { "chat" }});
        let patch = MemoryPatch { metadata: Some(metadata.as_object().unwrap().clone()), ..MemoryPatch::default() };
        store.update(&scope, memory.id, patch).await.expect("update");
    }
    let query = make::embedding(&make::space("testkit"), 1000);
    let search = async |filter: serde_json::Value| {
        let filter = Some(Filter::from_json(&filter).unwrap());
        let request = SearchRequest { filter, ..make::search(&scope, Some(query.clone()), Some("a common passport")) };
        store.search(&request).await.expect("search")
    };
    let matching = |rest: usize| memories.iter().skip(rest).step_by(30);
    for (filter, expected) in [
        (json!({"metadata.order": "A-7"}), matching(7).map(|memory| memory.id).collect::<Vec<_>>()),
        (json!({"metadata.order": {"in": ["A-7", "A-9"]}}), matching(7).chain(matching(9)).map(|m| m.id).collect()),
        (json!({"metadata.order": "A-7", "metadata.source": "mail"}), vec![]),
        (json!({"metadata.order": "A-99"}), vec![]),
    ] {
        let found = search(filter.clone()).await;
        assert!(found.arms.iter().all(|arm| arm.exact), "{filter}: {:?}", found.arms);
        assert!(found.arms.iter().all(|arm| arm.considered == expected.len() as u64), "{filter}: {:?}", found.arms);
        assert!(found.candidates.iter().all(|candidate| expected.contains(&candidate.memory.id)), "{filter}");
        assert_eq!(found.candidates.is_empty(), expected.is_empty(), "{filter}");
    }
    // It leaves 100, which are many here.
    let found = search(json!({"metadata.source": "mail"})).await;
    let words = found.arms.iter().find(|report| report.arm == Arm::Lexical).expect("a report");
    assert!(!words.exact && words.returned > 0, "{words:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_and_names_are_found_first_in_small_and_large_scopes() {
    const NAMED: [&str; 5] = [
        "The parcel ORD-4711-B went back",
        "Her limits are in conf/v2.3 since then",
        "Doctor Müller-Lüdenscheidt called twice",
        "Ticket #A17_x is for O'Neill",
        "The build 1.84.0-nightly is broken",
    ];
    let Some(home) = Home::new() else { return };
    let (large, memories) = filled(&home).await;
    let small = home.open().await;
    let scope = make::user("acme", "ann");
    // What is like it, but another one.
    let other = [
        "The parcel ORD-4711-C",
        "ORD-4712-B came",
        "Limits of conf/v2.4",
        "Doctor Müller",
        "Ticket #A18_x",
        "1.85.0-nightly",
    ];
    let now = memories[0].recorded_at;
    let named: Vec<Memory> = NAMED.iter().chain(&other).map(|text| make::memory(&scope, text, now)).collect();
    large.insert(make::batch(named.clone())).await.expect("insert");
    for (at, query) in [
        "what became of ORD-4711-B",
        "conf/v2.3?",
        "when did Müller-Lüdenscheidt call",
        "a17_X",
        "is 1.84.0-nightly broken",
    ]
    .into_iter()
    .enumerate()
    {
        for store in [&small, &large] {
            let found = store.search(&make::search(&scope, None, Some(query))).await.expect("search");
            let best = found.candidates.iter().max_by(|a, b| a.bm25.total_cmp(&b.bm25)).expect("a candidate");
            assert_eq!(best.memory.text, NAMED[at], "{query}");
        }
    }
}

/// What rows of a scope of 100,000 are found by, by how many of them have each word.
#[tokio::test]
async fn rare_words_are_asked_for_alone_and_common_ones_together() {
    let Some(home) = Home::new() else { return };
    let mut connection = home.as_app().await;
    let mut of = async |words: serde_json::Value, budget: i32| {
        let of = "SELECT orchestra.promising_match($1, 100000, $2)::text";
        let found: Option<String> =
            sqlx::query_scalar(of).bind(words).bind(budget).fetch_one(&mut connection).await.expect("an answer");
        found.unwrap_or_default()
    };
    let words = json!({"lisbon": 40, "passport": 300, "week": 3000, "day": 9000, "one": 11000, "absent": 0});
    insta::assert_snapshot!(of(words.clone(), 1000).await, @"'lisbon' | 'passport' | 'week' & 'day'");
    insta::assert_snapshot!(of(words.clone(), 20).await, @"'lisbon' & ( 'day' | 'one' | 'passport' | 'week' ) | 'passport' & ( 'day' & 'one' | 'week' & ( 'day' | 'one' ) )");
    insta::assert_snapshot!(of(words, 100_000).await, @"'day' | 'lisbon' | 'one' | 'passport' | 'week'");
    // One that everybody has is better than none; nobody is found by what nobody has.
    insta::assert_snapshot!(of(json!({"it's": 90000, "a\\b": 100000}), 1000).await, @"'it''s'");
    insta::assert_snapshot!(of(json!({"absent": 0}), 1000).await, @"");
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
