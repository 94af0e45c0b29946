//! The order of memories: pages, and the turn before.

use memory_core::{Clock as _, Filter, Memory, Metadata};
use serde_json::json;

use super::{forget_ids, insert, list_request};
use crate::StoreFixture;
use crate::make;

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
