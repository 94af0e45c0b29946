//! What a search finds, and what it says is missing.

use std::collections::BTreeSet;

use memory_core::{Arm, Candidates, Clock as _, EmbeddedMemory, Error, Filter, InsertBatch, MemoryId, Metadata};
use serde_json::json;

use super::{forget_ids, insert, search_ids, shortfall};
use crate::StoreFixture;
use crate::make;

/// A vector of another space is never compared, even at equal dimensions, and the answer does not pass as complete.
pub async fn spaces_never_mix(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let here = make::embedding(&fixture.space(), 1);
    let elsewhere = make::embedding(&make::space("another-model"), 1);
    assert_eq!(here.values(), elsewhere.values(), "the same numbers in two spaces");
    insert(&*store, make::embedded(make::memory(&scope, "alpha", fixture.clock().now()), here)).await;
    match store.search(&make::search(&scope, Some(elsewhere), None)).await {
        Err(Error::SpaceMismatch { .. }) => {}
        Err(other) => panic!("{other}"),
        Ok(found) => {
            assert!(found.candidates.iter().all(|candidate| candidate.similarity.is_none()), "{found:?}");
            assert_eq!(shortfall(&found, Arm::Dense), 1, "a memory that could not be compared is counted: {found:?}");
        }
    }
}

/// An arm gives as many candidates as there are, up to what was asked, or counts what is missing; and memories without
/// a vector are counted as missing from the dense arm.
pub async fn no_silent_shortfall(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    for seed in 0..30 {
        let memory = make::memory(&scope, &format!("entry {seed}"), fixture.clock().now());
        insert(&*store, make::embedded(memory, make::embedding(&fixture.space(), seed))).await;
    }
    let mut request = make::search(&scope, Some(make::embedding(&fixture.space(), 99)), Some("entry"));
    let found = store.search(&request).await.expect("search");
    for arm in [Arm::Dense, Arm::Lexical] {
        let report = found.arms.iter().find(|report| report.arm == arm).expect("a report for each arm asked for");
        assert!(report.returned + report.shortfall >= 10, "{report:?}");
        assert_eq!(report.considered, 30, "{report:?}");
    }
    request.candidates = 100;
    let found = store.search(&request).await.expect("search");
    assert_eq!(found.candidates.len() as u64 + shortfall(&found, Arm::Dense), 30, "{:?}", found.arms);
    insert(&*store, make::batch([make::memory(&scope, "no vector yet", fixture.clock().now())])).await;
    let found = store.search(&request).await.expect("search");
    assert_eq!(shortfall(&found, Arm::Dense), 1, "{:?}", found.arms);
}

/// Where an arm calls itself exact, it gives just what comparing everything gives, under filters too.
pub async fn search_agrees_with_a_full_comparison(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let space = fixture.space();
    let mut stored = Vec::new();
    for seed in 0..300_u64 {
        let mut memory = make::memory(&scope, &format!("item {seed}"), fixture.clock().now());
        memory.importance = (seed % 10) as f32 / 10.0;
        memory.metadata = Metadata::from_iter([
            ("shelf".to_owned(), json!(seed % 7)),
            ("tags".to_owned(), json!([format!("t{}", seed % 3)])),
        ]);
        stored.push(EmbeddedMemory { memory, embedding: Some(make::embedding(&space, seed)) });
    }
    insert(&*store, InsertBatch { memories: stored.clone(), idempotency: None }).await;
    for filter in [
        None,
        Some(json!({"metadata.shelf": 3})),
        Some(json!({"metadata.shelf": {"in": [1, 2]}, "importance": {"gte": 0.5}})),
        Some(json!({"or": [{"metadata.tags": {"contains": "t1"}}, {"not": {"importance": {"lt": 0.9}}}]})),
        Some(json!({"metadata.nothing": "here"})),
    ] {
        let filter = filter.map(|filter| Filter::from_json(&filter).expect("a valid filter"));
        let query = make::embedding(&space, 1000);
        let mut request = make::search(&scope, Some(query.clone()), None);
        request.filter.clone_from(&filter);
        let found = store.search(&request).await.expect("search");
        assert!(
            found.arms.iter().all(|arm| arm.exact && arm.shortfall == 0),
            "a scope of 300 is answered exactly: {:?}",
            found.arms
        );
        let mut expected: Vec<_> = stored
            .iter()
            .filter(|item| filter.as_ref().is_none_or(|filter| filter.matches(&item.memory)))
            .map(|item| (item.memory.id, query.similarity(item.embedding.as_ref().expect("given")).expect("one space")))
            .collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        expected.truncate(10);
        let mut got: Vec<_> = found
            .candidates
            .iter()
            .map(|candidate| (candidate.memory.id, candidate.similarity.expect("a similarity")))
            .collect();
        got.sort_by(|a, b| b.1.total_cmp(&a.1));
        let ids = |list: &[(MemoryId, f32)]| list.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(ids(&got), ids(&expected), "{filter:?}");
        assert!(got.iter().zip(&expected).all(|(got, expected)| (got.1 - expected.1).abs() < 1e-5));
    }
}

/// How rare a word is, is counted in the scope that asks: what others store neither shows in the scores nor moves them.
pub async fn words_are_weighed_within_the_scope(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let now = fixture.clock().now();
    let texts = ["the blue car is in the garage", "the red car is at the station", "Ann sold the red bicycle"];
    insert(&*store, make::batch(texts.map(|text| make::memory(&scope, text, now)))).await;
    let request = make::search(&scope, None, Some("Where is the red car?"));
    let scores = |found: Candidates| {
        let mut scores: Vec<(String, f32)> = found.candidates.iter().map(|c| (c.memory.text.clone(), c.bm25)).collect();
        scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        scores
    };
    let before = scores(store.search(&request).await.expect("search"));
    assert_eq!(before.len(), 3);
    assert_eq!(before[0].0, texts[1], "both words beat one: {before:?}");
    let noise = (0..100).map(|at| make::memory(&make::user("globex", "bob"), &format!("red red red number {at}"), now));
    insert(&*store, make::batch(noise)).await;
    let noise = (0..100).map(|at| make::memory(&make::user("acme", "bob"), &format!("car car car number {at}"), now));
    insert(&*store, make::batch(noise)).await;
    assert_eq!(scores(store.search(&request).await.expect("search")), before);
}

/// A turn that matches by its words brings the turn before and the turn after it in its session, and names them.
pub async fn a_lexical_match_brings_its_neighbours(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let now = fixture.clock().now();
    let monday = make::session("acme", "ann", "monday");
    let tuesday = make::session("acme", "ann", "tuesday");
    let turns = ["Hello there", "Which tent did you buy?", "The blue one, 240 euros", "Great"]
        .map(|text| make::memory(&monday, text, now));
    insert(&*store, make::batch(turns[..2].to_vec())).await;
    insert(&*store, make::batch([make::memory(&tuesday, "An interruption in another session", now)])).await;
    insert(&*store, make::batch(turns[2..].to_vec())).await;
    let mut request = make::search(&make::user("acme", "ann"), None, Some("tent"));
    assert_eq!(search_ids(&*store, &request).await, BTreeSet::from([turns[1].id]));
    request.neighbours = true;
    let found = store.search(&request).await.expect("search");
    let of = |id| found.candidates.iter().find(|candidate| candidate.memory.id == id).expect("a candidate");
    assert_eq!(found.candidates.len(), 3);
    let tent = of(turns[1].id);
    assert_eq!((tent.previous, tent.next), (Some(turns[0].id), Some(turns[2].id)));
    assert_eq!(of(turns[2].id).previous, Some(turns[1].id));
    assert!(tent.bm25 > 0.0 && of(turns[2].id).bm25 == 0.0);
    forget_ids(&*store, &monday, [turns[2].id]).await;
    let found = store.search(&request).await.expect("search");
    let tent = found.candidates.iter().find(|candidate| candidate.memory.id == turns[1].id).expect("a candidate");
    assert_eq!(tent.next, Some(turns[3].id), "the turn after the forgotten one is next now");
}
