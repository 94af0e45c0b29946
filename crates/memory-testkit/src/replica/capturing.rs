//! That a store notes what changes.

use std::time::Duration;

use chrono::TimeDelta;
use memory_core::{
    Clock as _, ContentHash, Error, ForgetRequest, IdempotencyKey, InsertBatch, Item, ItemKey, Memory, MemoryPatch,
    Origin, Scope, Selection, ValueKeys, Writer,
};

use super::goods::{answered_key, key_of, memory_item, rejection, whole};
use super::{Home, ReplicaFixture, STREAM};
use crate::make;

/// Each way to write is told with all that it changed, of each tenant, to each stream, until the stream acknowledges it, also
/// after the store was opened again; what was written before is not, and where nothing is captured nothing is told.
pub async fn every_change_is_captured(fixture: &dyn ReplicaFixture) {
    let home = fixture.open().await;
    let refused = home.replica.changed(STREAM, 10).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "nothing was captured: {refused:?}");
    let (ann, bob) = (make::user("acme", "ann"), make::user("globex", "bob"));
    let before = make::memory(&ann, "written before", fixture.clock().now());
    home.store.insert(make::batch([before.clone()])).await.expect("insert");
    home.replica.capture(STREAM).await.expect("capture");
    home.replica.capture("other").await.expect("capture");
    assert_eq!(home.replica.changed(STREAM, 10).await.expect("changed"), []);

    each_way_to_write(fixture, &home, &ann, &bob).await;
    what_the_mover_writes(fixture, &home, &ann).await;
    let told = home.told(fixture, "other", &[]).await;
    assert!(!told.contains(&key_of(&before)), "that was before");
    assert!(told.len() > 10, "the other stream is told as much: {told:?}");
    positions_are_kept(fixture, home, &ann).await;
}

async fn each_way_to_write(fixture: &dyn ReplicaFixture, home: &Home, ann: &Scope, bob: &Scope) {
    let (clock, space) = (fixture.clock(), fixture.space());
    let source = make::memory(ann, "a source", clock.now());
    let derived = Memory {
        evidence: vec![source.id],
        origin: Origin::new(Writer::Consolidation, "testkit"),
        ..make::memory(ann, "what follows", clock.now())
    };
    let elsewhere = make::memory(bob, "elsewhere", clock.now());
    home.store.insert(make::batch([source.clone(), derived.clone()])).await.expect("insert");
    let key = IdempotencyKey { key: "k\u{e9}y".into(), body_hash: [3; 32] };
    home.store
        .insert(InsertBatch { idempotency: Some(key), ..make::batch([elsewhere.clone()]) })
        .await
        .expect("insert");
    let answered = ItemKey::IdempotencyKey { tenant: "globex".into(), key: "k\u{e9}y".into() };
    home.told(fixture, STREAM, &[key_of(&source), key_of(&derived), key_of(&elsewhere), answered]).await;

    clock.advance(Duration::from_secs(1));
    let patch = MemoryPatch { text: Some("changed".into()), ..MemoryPatch::default() };
    home.store.update(bob, elsewhere.id, patch).await.expect("update");
    home.told(fixture, STREAM, &[key_of(&elsewhere)]).await;

    let waiting = home.backlog().without_vector(None, 10).await.expect("a list");
    let unembedded = waiting.iter().find(|one| one.id == elsewhere.id).expect("it has no vector");
    assert!(home.backlog().add_vector(unembedded, make::embedding(&space, 9)).await.expect("a vector"));
    home.told(fixture, STREAM, &[key_of(&elsewhere)]).await;

    let request = ForgetRequest { scope: ann.clone(), selection: Selection::Ids(vec![source.id]), dry_run: false };
    home.store.forget(&request).await.expect("forget");
    let text = |text: &str| ItemKey::ForgottenText { scope: ann.clone(), hash: ContentHash::of(text) };
    home.told(fixture, STREAM, &[key_of(&source), key_of(&derived), text("a source"), text("what follows")]).await;
    let left = home.read_one(key_of(&source)).await;
    assert!(matches!(left, Item::Tombstone { .. }), "{left:?}");

    let rejected = rejection(ann, "never again", clock.now());
    let reads = ValueKeys::of(ann, "never again").reads;
    let rejection_key = ItemKey::Rejection { tenant: "acme".into(), key: reads };
    home.rejections().reject(std::slice::from_ref(&rejected)).await.expect("reject");
    home.told(fixture, STREAM, std::slice::from_ref(&rejection_key)).await;
    assert_eq!(home.read_one(rejection_key.clone()).await, Item::Rejection(rejected));
    assert!(home.rejections().lift(ann, &reads).await.expect("lift"));
    home.told(fixture, STREAM, std::slice::from_ref(&rejection_key)).await;
    assert_eq!(home.read_one(rejection_key.clone()).await, Item::Absent(rejection_key));

    let passing =
        Memory { expires_at: Some(clock.now() + TimeDelta::minutes(1)), ..make::memory(ann, "passing", clock.now()) };
    home.store.insert(make::batch([passing.clone()])).await.expect("insert");
    home.told(fixture, STREAM, &[key_of(&passing)]).await;
    clock.advance(Duration::from_secs(61));
    assert_eq!(home.read_one(key_of(&passing)).await, Item::Absent(key_of(&passing)), "before it is taken away");
    fixture.sweep(home).await;
    home.told(fixture, STREAM, &[key_of(&passing)]).await;
    assert_eq!(home.read_one(key_of(&passing)).await, Item::Absent(key_of(&passing)));
}

async fn what_the_mover_writes(fixture: &dyn ReplicaFixture, home: &Home, scope: &Scope) {
    home.close_to_clients(1).await;
    let now = fixture.clock().now();
    let moved = whole(scope, &fixture.space(), 1_000_000, 3, now);
    let answered = Item::IdempotencyKey(answered_key("acme", "moved", now));
    home.replica.write(1, vec![memory_item(&moved), answered.clone()]).await.expect("write");
    home.told(fixture, STREAM, &[key_of(&moved.current.memory), answered.key()]).await;
    home.open_to_clients(2).await;
}

async fn positions_are_kept(fixture: &dyn ReplicaFixture, home: Home, scope: &Scope) {
    let memory = make::memory(scope, "counted", fixture.clock().now());
    home.store.insert(make::batch([memory.clone()])).await.expect("insert");
    home.told(fixture, STREAM, &[key_of(&memory)]).await;
    for version in 2..5 {
        let patch = MemoryPatch { text: Some(format!("version {version}")), ..MemoryPatch::default() };
        home.store.update(scope, memory.id, patch).await.expect("update");
        // It may be that what changed twice is told once.
        home.told(fixture, "other", &[key_of(&memory)]).await;
    }
    let lag = home.replica.lag(STREAM).await.expect("a lag");
    // By the store's own clock, which need not be the test's.
    assert!(lag.changes >= 1 && lag.oldest.is_some(), "{lag:?}");
    assert_eq!(home.replica.lag("other").await.expect("a lag").changes, 0);
    let told = home.replica.changed(STREAM, 100).await.expect("changed");
    assert_eq!(home.replica.changed(STREAM, 100).await.expect("changed"), told, "until it is acknowledged");
    assert_eq!(
        home.replica.changed(STREAM, 1).await.expect("changed"),
        told[..1],
        "the oldest, no more than asked for"
    );
    home.replica.capture(STREAM).await.expect("capture");
    fixture.close(home).await;

    let home = fixture.open().await;
    assert_eq!(home.replica.changed(STREAM, 100).await.expect("changed"), told, "it keeps its place");
    let last = told.last().expect("a change");
    home.replica.acknowledge(STREAM, &last.position).await.expect("acknowledge");
    home.replica.acknowledge(STREAM, &told[0].position).await.expect("an older place changes nothing");
    assert_eq!(home.replica.changed(STREAM, 100).await.expect("changed"), []);
    assert_eq!(home.replica.lag(STREAM).await.expect("a lag").changes, 0);
    home.replica.release(STREAM).await.expect("release");
    home.replica.release(STREAM).await.expect("once more");
    let refused = home.replica.lag(STREAM).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "it has ended: {refused:?}");
    home.store
        .update(scope, memory.id, MemoryPatch { importance: Some(0.9), ..MemoryPatch::default() })
        .await
        .expect("update");
    home.told(fixture, "other", &[key_of(&memory)]).await;
    home.replica.capture(STREAM).await.expect("capture");
    assert_eq!(home.replica.changed(STREAM, 100).await.expect("changed"), [], "from here on, and nothing before");
}
