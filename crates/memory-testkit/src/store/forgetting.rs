//! What is forgotten, and stays so.

use std::collections::BTreeSet;
use std::time::Duration;

use memory_core::{
    Clock as _, Error, Filter, ForgetRequest, InsertStatus, Memory, MemoryId, Origin, Selection, Writer,
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
