//! What is at hand of users who are searched again and again: never anything but what the store has.

use std::collections::BTreeSet;
use std::time::Duration;

use memory_core::{
    Best, Candidates, Clock as _, ForgetRequest, MemoryId, MemoryPatch, MemoryStore as _, Scope, SearchRequest,
    Selection,
};
use memory_testkit::make;
use provider_alloydb::AlloyDbMemoryProvider;
use sqlx::Executor as _;

use crate::support::{Home, wait_until};

/// A search of a user who has few memories, for the best of them.
fn request(home: &Home, scope: &Scope) -> SearchRequest {
    let best = Some(Best { count: 10, at: home.clock.now() });
    let question = make::embedding(&make::space("testkit"), 1);
    SearchRequest { best, candidates: 100, ..make::search(scope, Some(question), Some("tent")) }
}

fn texts(found: &Candidates) -> BTreeSet<String> {
    found.candidates.iter().map(|candidate| candidate.memory.text.clone()).collect()
}

/// Searches until so many users are at hand.
async fn keep_at_hand(store: &AlloyDbMemoryProvider, request: &SearchRequest, users: usize) {
    wait_until("the users are at hand", Duration::from_secs(30), async || {
        store.search(request).await.expect("an answer");
        store.recall_cache().users == users
    })
    .await;
}

async fn insert(home: &Home, store: &AlloyDbMemoryProvider, scope: &Scope, text: &str) -> MemoryId {
    let memory = make::memory(scope, text, home.clock.now());
    let id = memory.id;
    let embedding = make::embedding(&make::space("testkit"), 2);
    store.insert(make::embedded(memory, embedding)).await.expect("written");
    id
}

#[tokio::test]
async fn what_another_process_does_is_seen_by_the_next_search() {
    let Some(home) = Home::new() else { return };
    let (reader, writer, ann) = (home.open().await, home.open().await, make::user("acme", "ann"));
    let request = request(&home, &ann);
    let first = insert(&home, &writer, &ann, "a red tent").await;
    for round in 0..3 {
        let expect = async |what: &str, texts_there: &[&str]| {
            let found = reader.search(&request).await.expect("an answer");
            assert_eq!(texts(&found), texts_there.iter().map(|text| (*text).to_owned()).collect(), "{round} {what}");
            assert_eq!(found.arms[1].considered, texts_there.len() as u64, "{round} {what}");
            // So that the next step finds something at hand again.
            keep_at_hand(&reader, &request, 1).await;
        };
        expect("at first", &["a red tent"]).await;
        let second = insert(&home, &writer, &ann, "a blue tent").await;
        expect("written", &["a red tent", "a blue tent"]).await;
        let patch = MemoryPatch { text: Some("a green tent".into()), ..MemoryPatch::default() };
        writer.update(&ann, second, patch).await.expect("updated");
        let found = reader.search(&request).await.expect("an answer");
        let green = found.candidates.iter().find(|candidate| candidate.memory.id == second).expect("it is there");
        assert!(green.similarity.is_none(), "its vector went with its text");
        expect("updated", &["a red tent", "a green tent"]).await;
        // As a late embedding does: no new version.
        let by_hand = "UPDATE orchestra.memories SET importance = 1 WHERE id = $1";
        sqlx::query(by_hand).bind(second.as_uuid()).execute(&mut home.direct().await).await.expect("updated");
        let found = reader.search(&request).await.expect("an answer");
        let important = found.candidates.iter().find(|candidate| candidate.memory.id == second).expect("it is there");
        assert_eq!(important.memory.importance, 1.0, "{round}");
        keep_at_hand(&reader, &request, 1).await;
        let forget = ForgetRequest { scope: ann.clone(), selection: Selection::Ids(vec![second]), dry_run: false };
        writer.forget(&forget).await.expect("forgotten");
        expect("forgotten", &["a red tent"]).await;
    }
    assert!(reader.get(&ann, first).await.expect("an answer").is_some());
}

#[tokio::test]
async fn what_expires_is_not_found_though_it_is_at_hand() {
    let Some(home) = Home::new() else { return };
    let (store, ann) = (home.open().await, make::user("acme", "ann"));
    let mut memory = make::memory(&ann, "a red tent", home.clock.now());
    memory.expires_at = Some(home.clock.now() + chrono::TimeDelta::hours(1));
    store.insert(make::batch([memory])).await.unwrap();
    let request = request(&home, &ann);
    keep_at_hand(&store, &request, 1).await;
    assert_eq!(store.search(&request).await.unwrap().candidates.len(), 1);
    home.clock.advance(Duration::from_secs(3600));
    assert_eq!(store.search(&request).await.unwrap().candidates.len(), 0);
}

#[tokio::test]
async fn nobody_finds_what_is_at_hand_of_another() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scopes = [make::user("acme", "ann"), make::user("globex", "ann"), make::user("acme", "bob")];
    for (at, scope) in scopes.iter().enumerate() {
        insert(&home, &store, scope, &format!("tent {at}")).await;
    }
    for (at, scope) in scopes.iter().enumerate() {
        keep_at_hand(&store, &request(&home, scope), at + 1).await;
    }
    for (at, scope) in scopes.iter().enumerate() {
        let found = store.search(&request(&home, scope)).await.unwrap();
        assert_eq!(texts(&found), BTreeSet::from([format!("tent {at}")]));
    }
    // The store decides, not what is at hand: who may not see the rows any more finds none.
    let hide = "CREATE POLICY hidden ON orchestra.memories AS RESTRICTIVE USING (tenant <> 'acme')";
    home.direct().await.execute(hide).await.unwrap();
    assert!(store.search(&request(&home, &scopes[0])).await.unwrap().candidates.is_empty());
    assert_eq!(store.search(&request(&home, &scopes[1])).await.unwrap().candidates.len(), 1);
}

#[tokio::test]
async fn no_more_is_at_hand_than_there_is_room_for() {
    let Some(home) = Home::new() else { return };
    let mut config = home.config();
    config.recall_cache_bytes = 2_500;
    let store = home.open_with(config).await;
    for user in ["ann", "bob", "cas", "dee"] {
        let scope = make::user("acme", user);
        insert(&home, &store, &scope, "a tent").await;
        let request = request(&home, &scope);
        // Until its own is at hand: the others' may have had to go for it.
        for _ in 0..3 {
            store.search(&request).await.unwrap();
        }
        wait_until("something is at hand", Duration::from_secs(30), async || {
            store.search(&request).await.unwrap();
            store.recall_cache().users > 0
        })
        .await;
        assert!(store.recall_cache().bytes <= 2_500, "{:?}", store.recall_cache());
    }
    let mut config = home.config();
    config.recall_cache_bytes = 0;
    let without = home.open_with(config).await;
    let request = request(&home, &make::user("acme", "ann"));
    for _ in 0..5 {
        assert_eq!(without.search(&request).await.unwrap().candidates.len(), 1);
    }
    assert_eq!(without.recall_cache().users, 0);
}
