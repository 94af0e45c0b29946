//! What was true, and what was known, at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use memory_core::{
    Candidate, Candidates, Clock as _, Error, Filter, ListRequest, Memory, MemoryId, MemoryPatch, Metadata,
    SearchRequest, Timestamp, WriteToken,
};
use serde_json::json;

use super::{forget_ids, insert, list_request, search_ids};
use crate::StoreFixture;
use crate::make;

/// A search as of a time gives what the same search gave at that time: texts, vectors, statistics and neighbours.
pub async fn a_search_as_of_finds_what_was_known(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (clock, space) = (fixture.clock(), fixture.space());
    let monday = make::session("acme", "ann", "monday");
    let before_all = clock.now();
    clock.advance(Duration::from_secs(10));
    let texts = ["Hello Ann", "The tent is red", "It was 240 euros", "A red car", "The train was late"];
    let turns = texts.map(|text| make::memory(&monday, text, clock.now()));
    for (seed, turn) in turns.iter().enumerate() {
        insert(&*store, make::embedded(turn.clone(), make::embedding(&space, seed as u64))).await;
    }
    let mut request = make::search(&make::user("acme", "ann"), Some(make::embedding(&space, 1)), Some("the red tent"));
    request.neighbours = true;
    request.candidates = 3;
    let mut known: Vec<(Timestamp, Candidates)> = vec![(clock.now(), store.search(&request).await.expect("search"))];

    // Another text and vector; other metadata only; a text without a vector; and turns and words that were not there before.
    clock.advance(Duration::from_secs(10));
    let patch = |text: Option<&str>, seed: Option<u64>| MemoryPatch {
        text: text.map(Into::into),
        embedding: seed.map(|seed| make::embedding(&space, seed)),
        metadata: Some(Metadata::from_iter([("state".to_owned(), json!("corrected"))])),
        ..MemoryPatch::default()
    };
    store.update(&monday, turns[1].id, patch(Some("The boat is blue"), Some(50))).await.expect("update");
    store.update(&monday, turns[2].id, patch(None, None)).await.expect("update");
    store.update(&monday, turns[3].id, patch(Some("A blue car, not a red one"), None)).await.expect("update");
    known.push((clock.now(), store.search(&request).await.expect("search")));
    clock.advance(Duration::from_secs(10));
    let later =
        ["A second tent", "The red one again", "red red red"].map(|text| make::memory(&monday, text, clock.now()));
    for (seed, turn) in later.iter().enumerate() {
        insert(&*store, make::embedded(turn.clone(), make::embedding(&space, 100 + seed as u64))).await;
    }
    let token =
        store.update(&monday, turns[1].id, patch(Some("The boat was sold"), Some(1))).await.expect("update").token;
    let elsewhere = make::memory(&make::user("acme", "bob"), "Bob has a red tent", before_all);
    insert(&*store, make::batch([elsewhere])).await;
    known.push((clock.now(), store.search(&request).await.expect("search")));
    assert!(!same(&known[0].1, &known[1].1) && !same(&known[1].1, &known[2].1), "the changes show");

    clock.advance(Duration::from_secs(10));
    request.at_least = Some(token);
    fixture.close(store).await;
    let store = fixture.open().await;
    for (at, then) in &known {
        for at in [*at, *at + Duration::from_secs(9)] {
            request.as_of = Some(at);
            let found = store.search(&request).await.expect("search");
            assert!(same(&found, then), "as of {at}: {found:#?}\nthen {then:#?}");
        }
    }
    for at in [clock.now(), clock.now() + Duration::from_secs(1000)] {
        request.as_of = Some(at);
        assert!(same(&store.search(&request).await.expect("search"), &known[2].1), "a time to come is now");
    }
    for at in [before_all, Timestamp::MIN_UTC] {
        request.as_of = Some(at);
        let found = store.search(&request).await.expect("search");
        assert!(found.candidates.is_empty(), "{found:?}");
        assert!(found.arms.iter().all(|arm| arm.exact && arm.considered == 0), "{found:?}");
    }
    request.as_of = Some(known[0].0);
    let found = store.search(&request).await.expect("search");
    let tent = of(&found, turns[1].id).expect("found");
    let superseded_at = Some(known[1].0);
    assert_eq!(*tent.memory, Memory { superseded_at, ..turns[1].clone() }, "the former version, as history has it");
    request.filter = Some(Filter::from_json(&json!({"metadata.state": "corrected"})).expect("a valid filter"));
    assert!(search_ids(&*store, &request).await.is_empty(), "a filter is of the former version");
    request.as_of = Some(known[1].0);
    assert_eq!(search_ids(&*store, &request).await, BTreeSet::from([turns[1].id, turns[2].id, turns[3].id]));
    request.at_least = Some(WriteToken("not a token".into()));
    assert!(matches!(store.search(&request).await, Err(Error::Invalid { .. } | Error::NotYetVisible(_))));
}

/// What was forgotten since, or has expired, does not come back by asking what was known before; what was given longer to
/// live does.
pub async fn a_search_as_of_brings_back_nothing_gone(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let clock = fixture.clock();
    let scope = make::session("acme", "ann", "monday");
    let soon = clock.now() + Duration::from_secs(60);
    let mut notes = ["forgotten", "stays", "expires", "prolonged", "shortened", "stays too"]
        .map(|word| make::memory(&scope, &format!("a note that {word}"), clock.now()));
    notes[2].expires_at = Some(soon);
    notes[3].expires_at = Some(soon);
    insert(&*store, make::batch(notes.clone())).await;
    let then = clock.now();
    clock.advance(Duration::from_secs(10));
    let until = |expires_at| MemoryPatch { expires_at: Some(expires_at), ..MemoryPatch::default() };
    store.update(&scope, notes[3].id, until(None)).await.expect("update");
    store.update(&scope, notes[4].id, until(Some(soon))).await.expect("update");
    let patch = MemoryPatch { text: Some("a note that says nothing".into()), ..MemoryPatch::default() };
    store.update(&scope, notes[0].id, patch).await.expect("update");
    forget_ids(&*store, &scope, [notes[0].id]).await;

    let mut request = make::search(&scope, None, Some("note"));
    request.neighbours = true;
    request.as_of = Some(then);
    let ids = |kept: &[usize]| kept.iter().map(|&at| notes[at].id).collect::<BTreeSet<_>>();
    assert_eq!(search_ids(&*store, &request).await, ids(&[1, 2, 3, 4, 5]), "what is forgotten is gone at once");
    clock.advance(Duration::from_secs(100));
    let found = store.search(&request).await.expect("search");
    assert_eq!(found.candidates.iter().map(|one| one.memory.id).collect::<BTreeSet<_>>(), ids(&[1, 3, 5]));
    assert!(found.candidates.iter().all(|one| one.memory.version == 1), "{found:?}");
    let prolonged = of(&found, notes[3].id).expect("found");
    assert_eq!((prolonged.previous, prolonged.next), (Some(notes[1].id), Some(notes[5].id)));
    assert_eq!(found.arms[0].considered, 3, "and what is gone counts for nothing");
    for stranger in [make::session("acme", "bob", "monday"), make::session("globex", "ann", "monday")] {
        assert!(search_ids(&*store, &SearchRequest { scope: stranger, ..request.clone() }).await.is_empty());
    }
}

/// What was true in the world at a time is a filter, in a search and in a list.
pub async fn what_was_true_is_a_filter(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let now = fixture.clock().now();
    let day = |day: u64| now + Duration::from_secs(day * 24 * 3600);
    let address = |text: &str, from: Option<u64>, to: Option<u64>| Memory {
        valid_from: from.map(day),
        valid_to: to.map(day),
        ..make::memory(&scope, text, now)
    };
    let memories = [
        address("Ann lives in Lisbon", None, Some(10)),
        address("Ann lives in Porto", Some(10), Some(20)),
        address("Ann lives in Faro", Some(20), None),
        address("Ann lives by the sea", None, None),
    ];
    insert(&*store, make::batch(memories.clone())).await;
    for (at, holds) in [(1, [0, 3]), (10, [1, 3]), (19, [1, 3]), (20, [2, 3]), (90, [2, 3])] {
        let expected: BTreeSet<MemoryId> = holds.map(|at| memories[at].id).into();
        let filter = Some(Filter::valid_at(day(at)));
        let search = SearchRequest { filter: filter.clone(), ..make::search(&scope, None, Some("Ann lives")) };
        assert_eq!(search_ids(&*store, &search).await, expected, "day {at}");
        let list = ListRequest { filter, ..list_request(&scope) };
        let page = store.list(&list).await.expect("list");
        assert_eq!(page.memories.iter().map(|(memory, _)| memory.id).collect::<BTreeSet<_>>(), expected, "day {at}");
    }
}

fn of(found: &Candidates, id: MemoryId) -> Option<&Candidate> {
    found.candidates.iter().find(|candidate| candidate.memory.id == id)
}

/// Whether two searches found the same, apart from when the versions ceased to be current.
fn same(found: &Candidates, other: &Candidates) -> bool {
    let by_id = |found: &Candidates| -> BTreeMap<MemoryId, Candidate> {
        found.candidates.iter().map(|candidate| (candidate.memory.id, candidate.clone())).collect()
    };
    let near = |a: f32, b: f32| (a - b).abs() < 1e-5;
    let (found_by_id, other_by_id) = (by_id(found), by_id(other));
    let mut pairs = found_by_id.values().zip(other_by_id.values());
    found.arms == other.arms
        && found_by_id.len() == other_by_id.len()
        && pairs.all(|(a, b)| {
            Memory { superseded_at: None, ..Memory::clone(&a.memory) }
                == Memory { superseded_at: None, ..Memory::clone(&b.memory) }
                && near(a.similarity.unwrap_or(-2.0), b.similarity.unwrap_or(-2.0))
                && near(a.bm25, b.bm25)
                && (a.previous, a.next) == (b.previous, b.next)
        })
}
