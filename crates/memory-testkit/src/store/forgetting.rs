//! What is forgotten, and stays so.

use std::collections::BTreeSet;
use std::time::Duration;

use memory_core::{
    Clock as _, Error, Filter, ForgetRequest, InsertStatus, Memory, MemoryId, MemoryPatch, Origin, Scope, Selection,
    Writer,
};
use serde_json::json;

use super::{forget_ids, get, insert, list_ids, search_ids};
use crate::StoreFixture;
use crate::make;

/// A forgotten id is never written or read again, whoever tries, and an import does not bring the text back.
pub async fn forgotten_stays_forgotten(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let now = fixture.clock().now();
    let rejected = make::memory(&scope, "Ann is allergic to nuts", now);
    let sibling = make::memory(&scope, "Ann is allergic to dust", now);
    insert(&*store, make::batch([rejected.clone(), sibling.clone()])).await;
    let receipt = forget_ids(&*store, &scope, [rejected.id, make::id()]).await;
    assert_eq!(receipt.forgotten, [rejected.id], "what is not there is not an error and not in the receipt");
    assert!(receipt.token.is_some());
    fixture.close(store).await;
    fixture.clock().advance(Duration::from_secs(400 * 24 * 3600));
    let store = fixture.open().await;

    assert!(get(&*store, &scope, rejected.id).await.is_none());
    assert!(store.history(&scope, rejected.id).await.expect("history").is_empty(), "former versions are gone too");
    let found = search_ids(&*store, &make::search(&scope, None, Some("allergic nuts"))).await;
    assert_eq!(found, BTreeSet::from([sibling.id]), "the sibling is still recalled");
    assert!(matches!(store.insert(make::batch([rejected.clone()])).await, Err(Error::Forgotten(_))));
    for path in [Writer::Import, Writer::Consolidation] {
        for text in ["Ann is allergic to nuts", "ann is ALLERGIC to  nuts.", "Ann is allergic to\u{200b} nuts"] {
            for id in [rejected.id, make::id()] {
                let mut again = make::memory(&scope, text, now);
                again.id = id;
                again.origin = Origin::new(path, "testkit");
                let receipt = insert(&*store, make::batch([again])).await;
                assert_eq!(receipt.items[0].status, InsertStatus::RefusedForgotten, "{path:?} {text:?}");
            }
        }
    }
    assert_eq!(list_ids(&*store, &scope).await, BTreeSet::from([sibling.id]));
    let mut elsewhere = make::memory(&make::user("acme", "bob"), &rejected.text, now);
    elsewhere.origin = Origin::new(Writer::Import, "testkit");
    assert_eq!(
        insert(&*store, make::batch([elsewhere])).await.items[0].status,
        InsertStatus::Created,
        "Bob's nuts are Bob's"
    );
    let said_again = make::memory(&scope, &rejected.text, now);
    assert_eq!(
        insert(&*store, make::batch([said_again])).await.items[0].status,
        InsertStatus::Created,
        "an agent may say it anew"
    );
}

/// Forgetting a source forgets what was derived from it, and what was derived from that.
pub async fn forgetting_reaches_what_was_derived(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let now = fixture.clock().now();
    let source = make::memory(&scope, "Ann moved to Lyon in May", now);
    let other = make::memory(&scope, "Ann has a cat", now);
    let mut derived = make::memory(&scope, "Ann lives in France", now);
    derived.evidence = vec![other.id, source.id];
    let mut again = make::memory(&scope, "Ann lives in the EU", now);
    again.evidence = vec![derived.id];
    let mut unrelated = make::memory(&scope, "Ann keeps pets", now);
    unrelated.evidence = vec![other.id];
    insert(&*store, make::batch([source.clone(), other.clone(), derived.clone(), again.clone(), unrelated.clone()]))
        .await;
    let receipt = forget_ids(&*store, &scope, [source.id]).await;
    assert_eq!(receipt.forgotten, [source.id]);
    assert_eq!(receipt.derived.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([derived.id, again.id]));
    assert_eq!(list_ids(&*store, &scope).await, BTreeSet::from([other.id, unrelated.id]));
}

/// A consolidation that ran beside the forgetting of its source and is written after it is left out.
pub async fn what_is_derived_from_the_forgotten_is_refused(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let now = fixture.clock().now();
    let sources = ["Ann has a cat", "Ann has a dog"].map(|text| make::memory(&scope, text, now));
    insert(&*store, make::batch(sources.clone())).await;
    forget_ids(&*store, &scope, [sources[0].id]).await;
    let derived = |evidence: Vec<MemoryId>, text: &str| Memory {
        origin: Origin::new(Writer::Consolidation, "testkit"),
        evidence,
        ..make::memory(&scope, text, now)
    };
    let late = derived(vec![sources[1].id, sources[0].id], "Ann keeps pets");
    let sound = derived(vec![sources[1].id], "Ann likes dogs");
    let receipt = insert(&*store, make::batch([late, sound.clone()])).await;
    let statuses: Vec<InsertStatus> = receipt.items.iter().map(|item| item.status).collect();
    assert_eq!(statuses, [InsertStatus::RefusedForgotten, InsertStatus::Created]);
    assert_eq!(list_ids(&*store, &scope).await, BTreeSet::from([sources[1].id, sound.id]));
}

/// A dry run of forgetting counts what it would do and does nothing.
pub async fn a_dry_run_changes_nothing(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let now = fixture.clock().now();
    let memories = ["a", "b", "c"].map(|text| make::memory(&scope, text, now));
    insert(&*store, make::batch(memories.clone())).await;
    let mut request = ForgetRequest { scope: scope.clone(), selection: Selection::All, dry_run: true };
    let receipt = store.forget(&request).await.expect("forget");
    assert!(receipt.dry_run && receipt.token.is_none());
    assert_eq!(receipt.forgotten.len(), 3);
    assert_eq!(list_ids(&*store, &scope).await.len(), 3);
    request.dry_run = false;
    request.selection =
        Selection::Matching(Filter::from_json(&json!({"text": {"in": ["a", "c"]}})).expect("a valid filter"));
    assert_eq!(store.forget(&request).await.expect("forget").forgotten.len(), 2);
    assert_eq!(list_ids(&*store, &scope).await, BTreeSet::from([memories[1].id]));
}

/// The receipt counts former versions, vectors and sessions, of what was derived too, and a dry run counts the same.
pub async fn a_receipt_counts_what_went(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (monday, tuesday) = (make::session("acme", "ann", "monday"), make::session("acme", "ann", "tuesday"));
    let now = fixture.clock().now();
    let turns = ["Ann has a cat", "It is called Tom"].map(|text| make::memory(&monday, text, now));
    let left = make::memory(&tuesday, "Ann has a garden", now);
    let elsewhere = make::memory(&make::session("acme", "bob", "monday"), "Bob has a dog", now);
    // What was derived reaches over the scope's edge.
    let derived = Memory { evidence: vec![turns[0].id], ..make::memory(&tuesday, "Ann keeps a cat", now) };
    let alone =
        Memory { evidence: vec![derived.id], ..make::memory(&make::session("acme", "bob", "friday"), "Cats", now) };
    let mut batch = make::batch(turns.iter().chain([&left, &derived, &alone, &elsewhere]).cloned());
    for (seed, item) in batch.memories.iter_mut().enumerate().take(4) {
        item.embedding = Some(make::embedding(&fixture.space(), seed as u64));
    }
    insert(&*store, batch).await;
    for importance in [0.1, 0.2] {
        let patch = MemoryPatch { importance: Some(importance), ..MemoryPatch::default() };
        store.update(&tuesday, derived.id, patch.clone()).await.expect("update");
        store.update(&tuesday, left.id, patch).await.expect("update");
    }
    let patch = MemoryPatch { importance: Some(0.3), ..MemoryPatch::default() };
    store.update(&monday, turns[1].id, patch).await.expect("update");

    let counts = async |scope: &Scope, dry_run: bool| {
        let request = ForgetRequest { scope: scope.clone(), selection: Selection::All, dry_run };
        let receipt = store.forget(&request).await.expect("forget");
        let gone = (receipt.forgotten.len(), receipt.derived.len());
        (gone, receipt.former_versions, receipt.embeddings, receipt.sessions)
    };
    // Ann's monday goes, and with it the two that were derived: Bob's friday, and of her tuesday but one of two turns.
    let expected = ((2, 2), 3, 3, 2);
    assert_eq!(counts(&monday, true).await, expected);
    assert_eq!(counts(&monday, false).await, expected);
    assert_eq!(counts(&monday, false).await, ((0, 0), 0, 0, 0), "they are gone");
    assert_eq!(counts(&make::user("acme", "ann"), true).await, ((1, 0), 2, 1, 1));
    assert_eq!(counts(&make::user("acme", "ann"), false).await, ((1, 0), 2, 1, 1));
}
