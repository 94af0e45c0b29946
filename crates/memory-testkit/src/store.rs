//! The contract of `memory_core::MemoryStore`, a function for each promise.

use std::collections::BTreeSet;
use std::time::Duration;

use memory_core::{
    Arm, Candidates, Clock, EmbeddedMemory, Error, Filter, ForgetRequest, IdempotencyKey, InsertBatch, InsertStatus,
    ListRequest, Memory, MemoryId, MemoryPatch, MemoryStore, Metadata, Origin, Scope, SearchRequest, Selection, Writer,
};
use serde_json::json;

use crate::StoreFixture;
use crate::make;

/// What `insert`, `update` and `forget` acknowledged is there after the store is opened again.
pub async fn acknowledged_is_durable(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::session("acme", "ann", "monday");
    let mut kept = make::memory(&scope, "Ann's flight leaves at 9:40", fixture.clock().now());
    kept.actor = Some("Ann".into());
    kept.metadata = Metadata::from_iter([("gate".to_owned(), json!({"letter": "B", "number": 12}))]);
    kept.evidence = vec![make::id()];
    kept.valid_from = Some(fixture.clock().now());
    let vector = make::embedding(&fixture.space(), 1);
    let changed = make::memory(&scope, "Ann likes tea", fixture.clock().now());
    let gone = make::memory(&scope, "Ann's old phone number", fixture.clock().now());
    insert(&*store, make::embedded(kept.clone(), vector.clone())).await;
    insert(&*store, make::batch([changed.clone(), gone.clone()])).await;
    let patch = MemoryPatch { text: Some("Ann likes coffee".into()), ..MemoryPatch::default() };
    store.update(&scope, changed.id, patch).await.expect("update");
    forget_ids(&*store, &scope, [gone.id]).await;
    fixture.close(store).await;

    let store = fixture.open().await;
    assert_eq!(*get(&*store, &scope, kept.id).await.expect("kept"), kept, "every field comes back as it was");
    assert_eq!(get(&*store, &scope, changed.id).await.expect("changed").text, "Ann likes coffee");
    assert_eq!(store.history(&scope, changed.id).await.expect("history").len(), 2);
    assert!(get(&*store, &scope, gone.id).await.is_none());
    let found = store.search(&make::search(&scope, Some(vector), None)).await.expect("search");
    let nearest =
        found.candidates.iter().max_by(|a, b| a.similarity.unwrap_or(-1.0).total_cmp(&b.similarity.unwrap_or(-1.0)));
    let nearest = nearest.expect("a candidate");
    assert_eq!(nearest.memory.id, kept.id);
    assert!(nearest.similarity.expect("a similarity") > 0.9999, "the vector comes back as it was");
}

/// No call in one tenant reads, changes or counts what is another's, not even by its id.
pub async fn tenant_from_identity(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (acme, globex) = (make::user("acme", "ann"), make::user("globex", "ann"));
    let vector = make::embedding(&fixture.space(), 1);
    let secret = make::memory(&acme, "the vault code is 4711", fixture.clock().now());
    insert(&*store, make::embedded(secret.clone(), vector.clone())).await;

    for stranger in [globex.clone(), Scope::tenant("globex").expect("a valid name")] {
        assert!(get(&*store, &stranger, secret.id).await.is_none());
        assert!(store.history(&stranger, secret.id).await.expect("history").is_empty());
        assert!(
            search_ids(&*store, &make::search(&stranger, Some(vector.clone()), Some("vault code"))).await.is_empty()
        );
        assert!(list_ids(&*store, &stranger).await.is_empty());
        assert_eq!(store.stats(&stranger).await.expect("stats").memories, 0);
        let patch = MemoryPatch { importance: Some(1.0), ..MemoryPatch::default() };
        assert!(matches!(store.update(&stranger, secret.id, patch).await, Err(Error::NotFound(_))));
        for selection in [Selection::Ids(vec![secret.id]), Selection::All] {
            let request = ForgetRequest { scope: stranger.clone(), selection, dry_run: false };
            assert!(store.forget(&request).await.expect("forget").forgotten.is_empty());
        }
    }
    // The id is taken, whoever asks; and who asks learns no more than that.
    let mut squatter = make::memory(&globex, "mine now", fixture.clock().now());
    squatter.id = secret.id;
    assert!(matches!(store.insert(make::batch([squatter])).await, Err(Error::IdTaken(_))));
    assert_eq!(*get(&*store, &acme, secret.id).await.expect("still there"), secret);
}

/// A user, agent or session in the scope narrows what is seen; a part that is not set does not.
pub async fn a_narrower_scope_sees_only_its_own(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let now = fixture.clock().now();
    let tenant = Scope::tenant("acme").expect("a valid name");
    let ann = make::user("acme", "ann");
    let ann_agent = ann.clone().with_agent("planner").expect("a valid name");
    let ann_session = make::session("acme", "ann", "monday");
    let scopes = [tenant.clone(), ann.clone(), ann_agent.clone(), ann_session.clone(), make::user("acme", "bob")];
    let memories: Vec<Memory> =
        scopes.iter().map(|scope| make::memory(scope, "the weekly report is due", now)).collect();
    insert(&*store, make::batch(memories.clone())).await;
    for (asked, sees) in [
        (&tenant, &[0, 1, 2, 3, 4][..]),
        (&ann, &[1, 2, 3]),
        (&ann_agent, &[2]),
        (&ann_session, &[3]),
        (&scopes[4], &[4]),
    ] {
        let expected: BTreeSet<MemoryId> = sees.iter().map(|&at| memories[at].id).collect();
        assert_eq!(list_ids(&*store, asked).await, expected, "list in {asked:?}");
        assert_eq!(
            search_ids(&*store, &make::search(asked, None, Some("weekly report"))).await,
            expected,
            "search in {asked:?}"
        );
        assert_eq!(store.stats(asked).await.expect("stats").memories, expected.len() as u64);
        for memory in &memories {
            assert_eq!(get(&*store, asked, memory.id).await.is_some(), expected.contains(&memory.id));
        }
    }
}

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

/// A read that carries a write's token sees the write; a token from nowhere is not taken for one.
pub async fn read_your_writes(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    for round in 0..50 {
        let memory = make::memory(&scope, &format!("note number {round}"), fixture.clock().now());
        let id = memory.id;
        let token = insert(&*store, make::batch([memory])).await.token;
        let mut request = make::search(&scope, None, Some(&format!("number {round}")));
        request.at_least = Some(token);
        assert!(search_ids(&*store, &request).await.contains(&id), "round {round}");
    }
    let mut request = make::search(&scope, None, Some("note"));
    request.at_least = Some(memory_core::WriteToken("not a token".into()));
    assert!(matches!(store.search(&request).await, Err(Error::Invalid { .. } | Error::NotYetVisible(_))));
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

/// A replay gives the first receipt and changes nothing; another body under the key is a conflict.
pub async fn one_key_one_effect(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let keyed = |body: u8, text: &str| InsertBatch {
        memories: vec![EmbeddedMemory { memory: make::memory(&scope, text, fixture.clock().now()), embedding: None }],
        idempotency: Some(IdempotencyKey { key: "order-17".into(), body_hash: [body; 32] }),
    };
    let first = insert(&*store, keyed(1, "one")).await;
    let replay = insert(&*store, keyed(1, "one")).await;
    assert!(!first.replayed && replay.replayed);
    assert_eq!((&first.items, &first.token), (&replay.items, &replay.token));
    assert!(matches!(store.insert(keyed(2, "two")).await, Err(Error::IdempotencyConflict { .. })));
    assert_eq!(list_ids(&*store, &scope).await.len(), 1);
    let mut of_another = keyed(2, "two");
    of_another.memories[0].memory.scope = make::user("globex", "ann");
    assert!(!insert(&*store, of_another).await.replayed, "a key holds within its tenant");
    fixture.close(store).await;
    let store = fixture.open().await;
    assert_eq!(insert(&*store, keyed(1, "one")).await.items, first.items, "also after a restart");
}

/// N writes under one key at once make one memory, and all get its receipt.
pub async fn one_key_at_once_has_one_effect(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let writes: Vec<_> = (0..32)
        .map(|_| {
            let (store, memory) = (store.clone(), make::memory(&scope, "once", fixture.clock().now()));
            let batch = InsertBatch {
                memories: vec![EmbeddedMemory { memory, embedding: None }],
                idempotency: Some(IdempotencyKey { key: "k".into(), body_hash: [7; 32] }),
            };
            tokio::spawn(async move { store.insert(batch).await.expect("insert") })
        })
        .collect();
    let mut first = 0;
    let mut ids = BTreeSet::new();
    for write in writes {
        let receipt = write.await.expect("a task that does not panic");
        first += usize::from(!receipt.replayed);
        ids.insert(receipt.items[0].id);
    }
    assert_eq!((first, ids.len()), (1, 1));
    assert_eq!(list_ids(&*store, &scope).await, ids);
}

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

/// A batch whose last memory is refused leaves nothing behind.
pub async fn a_batch_is_atomic(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let now = fixture.clock().now();
    let taken = make::memory(&scope, "first come", now);
    insert(&*store, make::batch([taken.clone()])).await;
    let mut clash = make::memory(&scope, "another text under the same id", now);
    clash.id = taken.id;
    let fresh: Vec<Memory> = (0..5).map(|at| make::memory(&scope, &format!("fresh {at}"), now)).collect();
    let refused = store.insert(make::batch(fresh.iter().cloned().chain([clash]))).await;
    assert!(matches!(refused, Err(Error::IdTaken(id)) if id == taken.id));
    assert_eq!(list_ids(&*store, &scope).await, BTreeSet::from([taken.id]));
    assert!(search_ids(&*store, &make::search(&scope, None, Some("fresh"))).await.is_empty());
    let receipt = insert(&*store, make::batch(fresh.clone())).await;
    assert_eq!(
        receipt.items.iter().map(|item| item.id).collect::<Vec<_>>(),
        fresh.iter().map(|memory| memory.id).collect::<Vec<_>>()
    );
}

/// Writing the same memory again changes nothing; the same id for another text or scope is refused.
pub async fn an_id_is_written_once(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let memory = make::memory(&scope, "once", fixture.clock().now());
    insert(&*store, make::batch([memory.clone()])).await;
    fixture.clock().advance(Duration::from_secs(60));
    let again = Memory { recorded_at: fixture.clock().now(), ..memory.clone() };
    assert_eq!(insert(&*store, make::batch([again.clone()])).await.items[0].status, InsertStatus::Unchanged);
    assert_eq!(*get(&*store, &scope, memory.id).await.expect("there"), memory);
    let other_text = Memory { text: "twice".into(), ..again.clone() };
    assert!(matches!(store.insert(make::batch([other_text])).await, Err(Error::IdTaken(_))));
    let other_scope = Memory { scope: make::user("acme", "bob"), ..again };
    assert!(matches!(store.insert(make::batch([other_scope])).await, Err(Error::IdTaken(_))));
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

/// A turn knows the turn before it in its own session, past turns that were forgotten and other sessions between.
pub async fn a_turn_knows_the_turn_before(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let now = fixture.clock().now();
    let monday = make::session("acme", "ann", "monday");
    let turns = ["one", "two", "three"].map(|text| make::memory(&monday, text, now));
    let elsewhere =
        [make::session("acme", "ann", "tuesday"), make::session("acme", "bob", "monday"), make::user("acme", "ann")]
            .map(|scope| make::memory(&scope, "elsewhere", now));
    insert(&*store, make::batch(turns[..2].to_vec())).await;
    insert(&*store, make::batch(elsewhere.clone())).await;
    insert(&*store, make::batch(turns[2..].to_vec())).await;
    let ann = make::user("acme", "ann");
    let before = |id| {
        let (store, ann) = (store.clone(), ann.clone());
        async move { store.turn_before(&ann, id).await.expect("turn_before").map(|memory| memory.id) }
    };
    assert_eq!(before(turns[2].id).await, Some(turns[1].id));
    assert_eq!(before(turns[0].id).await, None);
    for other in &elsewhere {
        assert_eq!(before(other.id).await, None);
    }
    forget_ids(&*store, &monday, [turns[1].id]).await;
    assert_eq!(before(turns[2].id).await, Some(turns[0].id));
    assert_eq!(
        store.turn_before(&make::user("acme", "bob"), turns[2].id).await.expect("turn_before"),
        None,
        "not in his scope"
    );
}

/// Page after page, in either order and under a filter, gives every memory once, in the order of writing.
pub async fn pages_hold_every_memory_once(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let now = fixture.clock().now();
    let mut memories: Vec<Memory> = (0..53).map(|at| make::memory(&scope, &format!("page {at}"), now)).collect();
    for (at, memory) in memories.iter_mut().enumerate() {
        memory.metadata = Metadata::from_iter([("even".to_owned(), json!(at % 2 == 0))]);
    }
    for chunk in memories.chunks(10) {
        insert(&*store, make::batch(chunk.to_vec())).await;
    }
    for newest_first in [false, true] {
        for filter in [None, Some(json!({"metadata.even": true}))] {
            let mut request = list_request(&scope);
            request.limit = 7;
            request.newest_first = newest_first;
            request.filter = filter.as_ref().map(|filter| Filter::from_json(filter).expect("a valid filter"));
            let mut got = Vec::new();
            loop {
                let page = store.list(&request).await.expect("list");
                assert!(page.memories.len() <= 7 && (page.next.is_none() || !page.memories.is_empty()));
                got.extend(page.memories.iter().map(|(memory, _)| memory.id));
                match page.next {
                    Some(next) => request.cursor = Some(next),
                    None => break,
                }
            }
            let mut expected: Vec<_> = memories
                .iter()
                .filter(|memory| request.filter.as_ref().is_none_or(|filter| filter.matches(memory)))
                .map(|memory| memory.id)
                .collect();
            if newest_first {
                expected.reverse();
            }
            assert_eq!(got, expected, "newest first: {newest_first}, {filter:?}");
        }
    }
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

/// An empty batch, a blank text, a text over the limit, two tenants in a batch and an id twice are refused, and named.
pub async fn bad_batches_are_refused(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let good = make::memory(&scope, "good", fixture.clock().now());
    let with = |change: &dyn Fn(&mut Memory)| {
        let mut memory = make::memory(&scope, "bad", good.recorded_at);
        change(&mut memory);
        make::batch([good.clone(), memory])
    };
    for (batch, field) in [
        (make::batch([]), "memories"),
        (with(&|memory| memory.text = "  \n".into()), "memories[1].text"),
        (with(&|memory| memory.text = "x".repeat(memory_core::memory::MAX_TEXT_BYTES + 1)), "memories[1].text"),
        (with(&|memory| memory.importance = f32::NAN), "memories[1].importance"),
        (with(&|memory| memory.scope = make::user("globex", "ann")), "memories[1].scope.tenant"),
        (with(&|memory| memory.id = good.id), "memories[1].id"),
    ] {
        let error = store.insert(batch).await.expect_err(field);
        assert!(error.to_string().starts_with(&format!("{field}: given")), "{error}");
    }
    assert!(list_ids(&*store, &scope).await.is_empty());
}

/// Quotes, operators and query syntax in names, texts, keys and queries are text and nothing else.
pub async fn hostile_text_is_only_text(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let bystander = make::memory(&make::user("acme", "ann"), "bystander", fixture.clock().now());
    insert(&*store, make::batch([bystander.clone()])).await;
    for hostile in [
        "'; DROP TABLE memory; --",
        "x' OR '1'='1",
        "\" OR \"\" = \"",
        "*",
        "%",
        "_",
        "a* NEAR(b) AND NOT c",
        "@tag:{x}|*=>[KNN 10 @v $b]",
        "{}|\\",
        "$1",
        "\u{202e}\u{0}x",
        "😀",
        "{{7*7}}",
    ] {
        // A control character is not allowed in a name, and is in a text.
        let name: String = hostile.chars().filter(|c| !c.is_control()).collect();
        let scope = make::session("acme", &name, &name);
        let mut memory = make::memory(&scope, hostile, fixture.clock().now());
        memory.metadata = Metadata::from_iter([("key".to_owned(), json!(hostile))]);
        insert(&*store, make::batch([memory.clone()])).await;
        assert_eq!(get(&*store, &scope, memory.id).await.expect("there").text, hostile);
        let mut request = make::search(&scope, None, Some(hostile));
        request.filter = Some(Filter::from_json(&json!({"metadata.key": {"eq": hostile}})).expect("a valid filter"));
        let found = search_ids(&*store, &request).await;
        assert!(found.is_subset(&BTreeSet::from([memory.id])), "{hostile:?}");
        assert_eq!(list_ids(&*store, &scope).await, BTreeSet::from([memory.id]), "{hostile:?}");
    }
    assert_eq!(*get(&*store, &make::user("acme", "ann"), bystander.id).await.expect("still there"), bystander);
}

async fn insert(store: &dyn MemoryStore, batch: InsertBatch) -> memory_core::InsertReceipt {
    store.insert(batch).await.expect("insert")
}

async fn get(store: &dyn MemoryStore, scope: &Scope, id: MemoryId) -> Option<std::sync::Arc<Memory>> {
    store.get(scope, id).await.expect("get")
}

async fn forget_ids(
    store: &dyn MemoryStore,
    scope: &Scope,
    ids: impl IntoIterator<Item = MemoryId>,
) -> memory_core::ForgetReceipt {
    let selection = Selection::Ids(ids.into_iter().collect());
    store.forget(&ForgetRequest { scope: scope.clone(), selection, dry_run: false }).await.expect("forget")
}

fn list_request(scope: &Scope) -> ListRequest {
    ListRequest {
        scope: scope.clone(),
        filter: None,
        limit: 1000,
        cursor: None,
        newest_first: false,
        with_embeddings: false,
    }
}

async fn list_ids(store: &dyn MemoryStore, scope: &Scope) -> BTreeSet<MemoryId> {
    store.list(&list_request(scope)).await.expect("list").memories.iter().map(|(memory, _)| memory.id).collect()
}

async fn search_ids(store: &dyn MemoryStore, request: &SearchRequest) -> BTreeSet<MemoryId> {
    store.search(request).await.expect("search").candidates.iter().map(|candidate| candidate.memory.id).collect()
}

fn shortfall(found: &Candidates, arm: Arm) -> u64 {
    found.arms.iter().filter(|report| report.arm == arm).map(|report| report.shortfall).sum()
}
