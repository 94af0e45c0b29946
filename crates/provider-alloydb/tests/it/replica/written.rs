//! What the mover writes, as the tables have it.

use memory_core::{
    ChangeEvent, ChangeFeed as _, Clock as _, Error, Item, Memory, MemoryPatch, MemoryStore as _, Replica as _,
    Selection, StoredVersion,
};
use memory_testkit::make;
use provider_alloydb::{AlloyDbReplica, Storage};
use sqlx::PgConnection;

use super::{LONGEST, closed, everything, item, key_of, told, whole};
use crate::support::{Home, forget, key, wait_until};

/// The sessions that there are, with when each began, in microseconds.
async fn sessions(connection: &mut PgConnection) -> Vec<(String, i64)> {
    let statement =
        "SELECT session_id, (extract(epoch FROM started_at) * 1e6)::bigint FROM orchestra.sessions ORDER BY session_id";
    sqlx::query_as(statement).fetch_all(connection).await.expect("an answer")
}

#[tokio::test]
async fn sessions_begin_with_their_first_memory_and_go_with_their_last() {
    let Some(home) = Home::new() else { return };
    let replica = home.replica().await;
    replica.set_gate(closed(1)).await.unwrap();
    let (monday, tuesday) = (make::session("acme", "ann", "monday"), make::session("acme", "ann", "tuesday"));
    let now = home.clock.now();
    let later = now + chrono::TimeDelta::hours(1);
    let [second, first] = [later, now].map(|at| make::memory(&monday, "on Monday", at));
    let third = make::memory(&tuesday, "on Tuesday", now);
    let all = [whole(2, second.clone()), whole(1, first.clone()), whole(3, third.clone())];
    replica.write(1, all.iter().map(item).collect()).await.unwrap();
    let mut direct = home.direct().await;
    let began = now.timestamp_micros();
    assert_eq!(sessions(&mut direct).await, [("monday".to_owned(), began), ("tuesday".to_owned(), began)]);

    // It is one memory of a session that the store's own functions find by it.
    let store = home.open().await;
    assert_eq!(store.turn_before(&monday, second.id).await.unwrap().map(|turn| turn.id), Some(first.id));

    let gone = vec![Item::Absent(key_of(&monday, first.id)), Item::Absent(key_of(&tuesday, third.id))];
    replica.write(1, gone).await.unwrap();
    assert_eq!(sessions(&mut direct).await, [("monday".to_owned(), began)]);
}

#[tokio::test]
async fn those_who_follow_the_store_are_told_what_the_mover_changed() {
    let Some(home) = Home::new() else { return };
    let (store, replica) = (home.open().await, home.replica().await);
    let (ann, now) = (make::user("acme", "ann"), home.clock.now());
    assert_eq!(store.unseen("cache", 10).await.unwrap(), []);
    replica.set_gate(closed(1)).await.unwrap();
    let [mut changed, gone, buried] = [1, 2, 3].map(|ordinal| whole(ordinal, make::memory(&ann, "one", now)));
    let all = [&changed, &gone, &buried].map(item);
    replica.write(1, all.to_vec()).await.unwrap();
    replica.write(1, all.to_vec()).await.unwrap();
    changed.current.memory.text = "two".into();
    let [gone, buried] = [gone, buried].map(|whole| whole.current.memory.id);
    let tombstone = Item::Tombstone { scope: ann.clone(), id: buried, forgotten_at: now };
    replica.write(1, vec![item(&changed), Item::Absent(key_of(&ann, gone)), tombstone]).await.unwrap();
    let mut told = Vec::new();
    wait_until("the changes are told", LONGEST, async || {
        told = store.unseen("cache", 10).await.unwrap();
        told.len() >= 3
    })
    .await;
    // They are of one transaction, and in no order.
    let told: Vec<_> = told.into_iter().map(|change| (change.event, change.memories)).collect();
    let expected = [
        (ChangeEvent::Updated, vec![changed.current.memory.id]),
        (ChangeEvent::Expired, vec![gone]),
        (ChangeEvent::Forgotten, vec![buried]),
    ];
    assert!(told.len() == expected.len() && expected.iter().all(|one| told.contains(one)), "{told:?}");
}

#[tokio::test]
async fn what_is_so_already_is_not_written_again() {
    let Some(home) = Home::new() else { return };
    let (store, replica) = (home.open().await, home.replica().await);
    let (ann, now) = (make::user("acme", "ann"), home.clock.now());
    let memory = make::memory(&ann, "one", now);
    let batch = memory_core::InsertBatch { idempotency: key("k"), ..make::batch([memory.clone()]) };
    store.insert(batch).await.unwrap();
    let patch = MemoryPatch { text: Some("two".into()), ..MemoryPatch::default() };
    store.update(&ann, memory.id, patch).await.unwrap();
    let other = make::memory(&ann, "other", now);
    store.insert(make::batch([other.clone()])).await.unwrap();
    store.forget(&forget(&ann, Selection::Ids(vec![other.id]))).await.unwrap();
    let items = everything(&replica).await;
    assert_eq!(items.len(), 4, "{items:?}");
    replica.set_gate(closed(1)).await.unwrap();
    replica.capture("back").await.unwrap();
    replica.write(1, items.clone()).await.unwrap();
    assert_eq!(replica.lag("back").await.unwrap().changes, 0, "nothing changed");
    assert_eq!(everything(&replica).await, items);

    // A history that is another one is made the same, and is noted though the current version is as it was.
    let Some(Item::Memory(whole)) = items.last() else { panic!("the memory comes last: {items:?}") };
    let mut shorter = whole.clone();
    shorter.former.clear();
    replica.write(1, vec![Item::Memory(shorter.clone())]).await.unwrap();
    let keys = [key_of(&ann, memory.id)];
    assert_eq!(replica.read(&keys).await.unwrap(), [Item::Memory(shorter)]);
    assert_eq!(told(&replica, "back").await.len(), 1);
    replica.write(1, items.clone()).await.unwrap();
    assert_eq!(everything(&replica).await, items);
}

#[tokio::test]
async fn half_precision_is_kept_where_it_is_configured() {
    let Some(home) = Home::new() else { return };
    home.prepare().await;
    let mut config = home.config();
    config.storage = Storage::Halfvec;
    let replica = AlloyDbReplica::connect(config).await.unwrap();
    replica.set_gate(closed(1)).await.unwrap();
    let embedding = make::embedding(&make::space("m"), 3);
    let mut written = whole(1, make::memory(&make::user("acme", "ann"), "one", home.clock.now()));
    written.current.embedding = Some(embedding.clone());
    replica.write(1, vec![item(&written)]).await.unwrap();
    let mut direct = home.direct().await;
    let is_half: bool =
        sqlx::query_scalar("SELECT embedding IS NULL AND embedding_half IS NOT NULL FROM orchestra.memories")
            .fetch_one(&mut direct)
            .await
            .unwrap();
    assert!(is_half);
    let read = everything(&replica).await;
    let [Item::Memory(read)] = &read[..] else { panic!("{read:?}") };
    let similarity = read.current.embedding.as_ref().unwrap().similarity(&embedding).unwrap();
    assert!(similarity > 0.999, "{similarity}");
}

#[tokio::test]
async fn an_expired_memory_is_as_good_as_gone() {
    let Some(home) = Home::new() else { return };
    let replica = home.replica().await;
    replica.set_gate(closed(1)).await.unwrap();
    let (ann, now) = (make::user("acme", "ann"), home.clock.now());
    let memory = Memory { expires_at: Some(now + chrono::TimeDelta::minutes(1)), ..make::memory(&ann, "passing", now) };
    let there = item(&whole(1, memory.clone()));
    replica.write(1, vec![there.clone()]).await.unwrap();
    assert_eq!(everything(&replica).await, [there]);
    home.clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(everything(&replica).await, []);
    let key = key_of(&ann, memory.id);
    assert_eq!(replica.read(std::slice::from_ref(&key)).await.unwrap(), [Item::Absent(key)]);
}

#[tokio::test]
async fn two_memories_are_never_in_one_place_of_the_order() {
    let Some(home) = Home::new() else { return };
    let replica = home.replica().await;
    replica.set_gate(closed(1)).await.unwrap();
    let (ann, now) = (make::user("acme", "ann"), home.clock.now());
    let [first, second, third] = ["one", "two", "three"].map(|text| make::memory(&ann, text, now));
    let there = item(&whole(1, first));
    replica.write(1, vec![there.clone()]).await.unwrap();
    let refused = replica.write(1, vec![item(&whole(2, second)), item(&whole(1, third))]).await;
    assert!(matches!(refused, Err(Error::Backend { retryable: false, .. })), "{refused:?}");
    assert_eq!(everything(&replica).await, [there], "and nothing of the batch is written");
}

#[tokio::test]
async fn a_vector_of_a_space_that_is_new_here_is_found_by_it() {
    let Some(home) = Home::new() else { return };
    let (store, replica) = (home.open().await, home.replica().await);
    replica.set_gate(closed(1)).await.unwrap();
    let (ann, space) = (make::user("acme", "ann"), make::space("another"));
    let mut written = whole(1, make::memory(&ann, "tea", home.clock.now()));
    written.current = StoredVersion { embedding: Some(make::embedding(&space, 5)), ..written.current };
    replica.write(1, vec![item(&written)]).await.unwrap();
    let found = store.search(&make::search(&ann, Some(make::embedding(&space, 5)), None)).await.unwrap();
    assert_eq!(found.candidates[0].memory.id, written.current.memory.id);
}
