//! The search of few memories for the best of them: the same ranking as of all candidates.

use std::sync::Arc;
use std::time::Duration;

use memory_core::{
    Best, Candidates, Clock as _, EmbeddedMemory, Embedding, Error, FusionStrategy, InsertBatch, MemoryId,
    MemoryStore as _, RecallRequest, Scope, SearchRequest, TieredMemoryManager, Timestamp, Weights, fusion,
};
use memory_testkit::make;
use provider_alloydb::AlloyDbMemoryProvider;

use crate::support::{Home, wait_until};
use crate::tiers::OneVector;

const WORDS: [&str; 10] = ["tent", "harbour", "car", "day", "map", "boat", "tea", "lamp", "bike", "rain"];
const QUESTIONS: [&str; 6] = [
    "What did Ann say of the tent and the tent's lamp?",
    "tea",
    "What did Will say?",
    "volcano",
    "boat's \\ day",
    "…?",
];

/// Memories of one user: some in sessions, by somebody, ended, expired, without a vector or without a word.
fn memories(scope: &Scope, near: &Embedding, now: Timestamp, numbers: std::ops::Range<u64>) -> Vec<EmbeddedMemory> {
    let hour = chrono::TimeDelta::hours(1);
    let one = |number: u64| {
        let at = number as usize;
        let text = match number % 9 {
            8 => "…".to_owned(),
            _ => format!("{0} {1} {0} {2}", WORDS[at % 10], WORDS[at * 7 % 10], WORDS[at / 3 % 10]),
        };
        let scope = match number % 4 {
            0 => scope.clone().with_session(format!("session-{}", number % 3)).expect("a valid name"),
            _ => scope.clone(),
        };
        let mut memory = make::memory(&scope, &text, now);
        memory.actor =
            number.is_multiple_of(5).then(|| if number.is_multiple_of(2) { "Ann" } else { "Will" }.to_owned());
        memory.valid_to = match number % 11 {
            0 => Some(now - hour),
            1 => Some(now + hour),
            _ => None,
        };
        memory.expires_at = number.is_multiple_of(13).then(|| now + hour);
        let embedding =
            (!number.is_multiple_of(7)).then(|| make::embedding_near(near, (at % 97) as f32 / 100.0, number));
        EmbeddedMemory { memory, embedding }
    };
    numbers.map(one).collect()
}

/// What a recall makes of the candidates: which, with what score, and by which BM25 in their session.
fn ranking(
    mut found: Candidates,
    question: &str,
    weights: Weights,
    now: Timestamp,
    limit: usize,
) -> Vec<(MemoryId, f32, f32)> {
    found.candidates.retain(|candidate| candidate.memory.valid_to.is_none_or(|to| to > now));
    let strategy = FusionStrategy::Weighted(weights);
    let ranked = fusion::fuse(question, &found.candidates, found.least_left_out, &strategy, now, limit);
    ranked.into_iter().map(|recalled| (recalled.memory.id, recalled.score, recalled.why.bm25_in_context)).collect()
}

/// Compares both searches; gives how many candidates fewer the one for the best had, all questions together.
async fn compare(store: &AlloyDbMemoryProvider, request: &SearchRequest, now: Timestamp) -> usize {
    let mut fewer = 0;
    for question in QUESTIONS {
        for limit in [1, 10] {
            for weights in [Weights::default(), Weights { dense: 0.9, neighbours: 0.0, ..Weights::default() }] {
                // Who is named by no word that is looked for is no matter of the store.
                let names_unseen = request.text.is_none() || question.contains("Will");
                let weights = if names_unseen { Weights { actor: 0.0, ..weights } } else { weights };
                let all = SearchRequest { text: request.text.as_ref().map(|_| question.into()), ..request.clone() };
                let best = SearchRequest { best: Some(Best { count: limit, at: now }), ..all.clone() };
                let all = store.search(&all).await.expect("all");
                let best = store.search(&best).await.expect("the best");
                assert_eq!(best.arms, all.arms);
                fewer += all.candidates.len() - best.candidates.len();
                let all = ranking(all, question, weights, now, limit);
                let best = ranking(best, question, weights, now, limit);
                let is_same = |(best, all): (&(MemoryId, f32, f32), &(MemoryId, f32, f32))| {
                    best.0 == all.0 && (best.1 - all.1).abs() < 1e-5 && (best.2 - all.2).abs() < 1e-4
                };
                assert!(
                    best.len() == all.len() && best.iter().zip(&all).all(is_same),
                    "{question} {limit} {weights:?}: {best:?} in place of {all:?}"
                );
            }
        }
    }
    fewer
}

#[tokio::test]
async fn the_best_of_few_rank_as_among_all() {
    let Some(home) = Home::new() else { return };
    let (store, space) = (home.open().await, make::space("testkit"));
    let (ann, now) = (make::user("acme", "ann"), home.clock.now());
    let question = make::embedding(&space, 1);
    let insert = async |scope: &Scope, numbers| {
        let memories = memories(scope, &question, now, numbers);
        store.insert(InsertBatch { memories, idempotency: None }).await.unwrap().token
    };
    let token = insert(&ann, 0..90).await;
    insert(&make::user("acme", "bob"), 0..20).await;
    insert(&make::user("globex", "ann"), 0..20).await;
    home.clock.advance(chrono::TimeDelta::hours(2).to_std().unwrap());
    let now = home.clock.now();
    let request = SearchRequest {
        candidates: 100,
        neighbours: true,
        at_least: Some(token),
        ..make::search(&ann, Some(question.clone()), Some(""))
    };
    assert!(compare(&store, &request, now).await > 100, "candidates are left out");
    // And so by what is at hand.
    wait_until("the user is at hand", Duration::from_secs(30), async || {
        compare(&store, &request, now).await;
        store.recall_cache().users == 1
    })
    .await;
    assert!(compare(&store, &request, now).await > 100, "candidates are left out");
    let agent = ann.clone().with_agent("nobody").unwrap();
    let session = ann.clone().with_session("session-0").unwrap();
    for request in [
        SearchRequest { embedding: None, ..request.clone() },
        SearchRequest { text: None, ..request.clone() },
        SearchRequest { scope: agent, ..request.clone() },
        SearchRequest { scope: session, ..request.clone() },
    ] {
        compare(&store, &request, now).await;
    }
    insert(&ann, 90..150).await;
    assert_eq!(compare(&store, &request, now).await, 0, "it is no small scope any more");
}

#[tokio::test]
async fn a_write_that_must_be_visible_is_waited_for() {
    let Some(home) = Home::new() else { return };
    let (store, ann) = (home.open().await, make::user("acme", "ann"));
    let token = store.insert(make::batch([make::memory(&ann, "a red tent", home.clock.now())])).await.unwrap().token;
    let best = Some(Best { count: 1, at: home.clock.now() });
    let mut request = SearchRequest { best, at_least: Some(token.clone()), ..make::search(&ann, None, Some("tent")) };
    for _ in 0..2 {
        assert_eq!(store.search(&request).await.unwrap().candidates.len(), 1);
    }
    let (instance, transaction) = token.0.split_once(':').unwrap();
    let later = transaction.parse::<u64>().unwrap() + 1_000_000;
    request.at_least = Some(memory_core::WriteToken(format!("{instance}:{later}")));
    assert!(matches!(store.search(&request).await, Err(Error::NotYetVisible(_))));
}

#[tokio::test]
async fn what_was_left_out_is_asked_for_when_the_best_say_the_same() {
    let Some(home) = Home::new() else { return };
    let (store, space, ann) = (Arc::new(home.open().await), make::space("testkit"), make::user("acme", "ann"));
    let (question, now) = (make::embedding(&space, 1), home.clock.now());
    let memory = |number: u64| {
        let (text, similarity) = match number {
            0..20 => ("a red tent".to_owned(), 0.9),
            _ => (format!("boat {number}"), 0.5),
        };
        let embedding = Some(make::embedding_near(&question, similarity, number));
        EmbeddedMemory { memory: make::memory(&ann, &text, now), embedding }
    };
    let memories = (0..30).map(memory).collect();
    store.insert(InsertBatch { memories, idempotency: None }).await.unwrap();
    let clock = home.clock.clone();
    let manager = TieredMemoryManager::builder(move || clock.now(), make::id)
        .medium_term_provider(store)
        .embedder(Arc::new(OneVector(space)))
        .build()
        .unwrap();
    for round in 0..2 {
        let request = RecallRequest { limit: 5, ..RecallRequest::new(ann.clone(), "tent") };
        let report = manager.recall(request).await.unwrap();
        let texts: Vec<&str> = report.memories.iter().map(|recalled| &*recalled.memory.text).collect();
        assert_eq!((texts[0], texts.len()), ("a red tent", 5), "{round}");
        assert!(texts[1..].iter().all(|text| text.starts_with("boat")), "{round}: {texts:?}");
    }
}
