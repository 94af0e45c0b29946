//! Versions, evidence and expiry of a memory.

use std::time::Duration;

use memory_core::{Clock as _, Error, Memory, MemoryPatch, Metadata, Origin, Writer};
use serde_json::json;

use super::{get, insert, list_ids, search_ids};
use crate::StoreFixture;
use crate::make;

/// Evidence ids are kept, in order, through an update as well.
pub async fn derived_keeps_evidence(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let mut derived = make::memory(&scope, "Ann prefers mornings", fixture.clock().now());
    derived.origin = Origin::new(Writer::Consolidation, "testkit");
    derived.evidence = vec![make::id(), make::id(), make::id()];
    insert(&*store, make::batch([derived.clone()])).await;
    let patch = MemoryPatch { importance: Some(0.9), ..MemoryPatch::default() };
    store.update(&scope, derived.id, patch).await.expect("update");
    let got = get(&*store, &scope, derived.id).await.expect("there");
    assert_eq!((&got.evidence, &got.origin), (&derived.evidence, &derived.origin));
}

/// An update is a new version; the former ones stay, closed at the moment of the update.
pub async fn an_update_keeps_its_history(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let memory = make::memory(&scope, "the meeting is on Monday", fixture.clock().now());
    insert(&*store, make::embedded(memory.clone(), make::embedding(&fixture.space(), 1))).await;
    fixture.clock().advance(Duration::from_secs(10));
    let later = fixture.clock().now();
    let vector = make::embedding(&fixture.space(), 2);
    let patch = MemoryPatch {
        text: Some("the meeting is on Thursday".into()),
        embedding: Some(vector.clone()),
        metadata: Some(Metadata::from_iter([("moved".to_owned(), json!(true))])),
        expected_version: Some(1),
        ..MemoryPatch::default()
    };
    let receipt = store.update(&scope, memory.id, patch).await.expect("update");
    assert_eq!((receipt.memory.version, receipt.memory.recorded_at, receipt.memory.superseded_at), (2, later, None));
    let history = store.history(&scope, memory.id).await.expect("history");
    assert_eq!(history.iter().map(|version| version.version).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(history[0], Memory { superseded_at: Some(later), ..memory.clone() });
    assert_eq!(history[1], *receipt.memory);
    assert!(
        search_ids(&*store, &make::search(&scope, None, Some("Monday"))).await.is_empty(),
        "the former text is not found"
    );
    let found = store.search(&make::search(&scope, Some(vector), Some("Thursday"))).await.expect("search");
    assert!(found.candidates[0].similarity.expect("a vector") > 0.9999 && found.candidates[0].bm25 > 0.0);
    assert_eq!(*found.candidates[0].memory, *receipt.memory);
}

/// An update that expects another version is refused; so is one of a memory that is not there.
pub async fn a_stale_update_is_refused(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let memory = make::memory(&scope, "a counter", fixture.clock().now());
    insert(&*store, make::batch([memory.clone()])).await;
    let patch =
        |expected| MemoryPatch { importance: Some(0.1), expected_version: Some(expected), ..MemoryPatch::default() };
    store.update(&scope, memory.id, patch(1)).await.expect("the version is 1");
    let stale = store.update(&scope, memory.id, patch(1)).await;
    assert!(matches!(stale, Err(Error::VersionConflict { expected: 1, actual: 2, .. })), "{stale:?}");
    assert!(matches!(store.update(&scope, make::id(), patch(1)).await, Err(Error::NotFound(_))));
    let invalid = MemoryPatch { importance: Some(1.5), ..MemoryPatch::default() };
    assert!(matches!(store.update(&scope, memory.id, invalid).await, Err(Error::Invalid { .. })));
    assert_eq!(store.history(&scope, memory.id).await.expect("history").len(), 2);
}

/// From its time of expiry on a memory is neither got, listed nor found.
pub async fn an_expired_memory_is_gone(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let mut memory = make::memory(&scope, "the door code is 1234 today", fixture.clock().now());
    memory.expires_at = Some(fixture.clock().now() + Duration::from_secs(60));
    let vector = make::embedding(&fixture.space(), 3);
    insert(&*store, make::embedded(memory.clone(), vector.clone())).await;
    let request = make::search(&scope, Some(vector), Some("door code"));
    fixture.clock().advance(Duration::from_secs(59));
    assert!(search_ids(&*store, &request).await.contains(&memory.id));
    fixture.clock().advance(Duration::from_secs(1));
    assert!(search_ids(&*store, &request).await.is_empty());
    assert!(get(&*store, &scope, memory.id).await.is_none());
    assert!(list_ids(&*store, &scope).await.is_empty());
}
