//! What the mover writes.

use memory_core::{Clock as _, Error, InsertStatus, Item, ItemKey, ListRequest, Memory, Origin, SearchRequest, Writer};

use super::goods::{answered_key, assert_same, forgotten_text, key_of, memory_item, rejection, whole};
use super::{Home, ReplicaFixture};
use crate::make;

/// Every field of every kind of item, from whichever order it was written in, once or twice, over nothing or over what was there
/// before; and it is what those find who use the memory.
pub async fn what_is_written_reads_the_same(fixture: &dyn ReplicaFixture) {
    let home = fixture.open().await;
    let (now, space) = (fixture.clock().now(), fixture.space());
    let (ann, monday, bob) =
        (make::user("acme", "ann"), make::session("acme", "ann", "monday"), make::user("globex", "bob"));
    home.close_to_clients(1).await;
    // Ordinals in another order than that of writing, with gaps.
    let memories =
        [whole(&monday, &space, 700, 4, now), whole(&bob, &space, 20, 1, now), whole(&ann, &space, 300, 2, now)];
    let others = vec![
        Item::Rejection(rejection(&ann, "Ann sings", now)),
        forgotten_text(&monday, "Ann danced"),
        Item::Tombstone { scope: monday.clone(), id: make::id(), forgotten_at: now },
        Item::IdempotencyKey(answered_key("globex", "k\u{e9}y '1", now)),
    ];
    let items: Vec<Item> = memories.iter().map(memory_item).chain(others.clone()).collect();
    let keys: Vec<ItemKey> = items.iter().map(Item::key).collect();
    for time in ["written", "written again"] {
        home.replica.write(1, items.clone()).await.expect("write");
        assert_same(&home.replica.read(&keys).await.expect("read"), &items, time);
        let all = home.scan_all().await;
        assert_eq!(all.len(), items.len(), "{time}: all of it is scanned once: {all:?}");
        let ordered: Vec<Item> = all.into_iter().filter(|item| matches!(item, Item::Memory(_))).collect();
        assert_same(&ordered, &[1, 2, 0].map(|at| memory_item(&memories[at])), "in the order of first writing");
    }
    clients_find_it(&home, &memories[0]).await;

    // Over what was there: a newer version; an id that expired and was taken anew; and what is no more.
    let mut newer = memories[2].clone();
    newer.former = whole(&ann, &space, 300, 5, now).former;
    newer.former.iter_mut().for_each(|former| former.version.memory.id = newer.current.memory.id);
    newer.current.memory.version = 5;
    newer.current.memory.text = "a fifth text".into();
    newer.current.embedding = Some(make::embedding(&space, 77));
    let mut anew = whole(&bob, &space, 900, 1, now);
    anew.current.memory.id = memories[1].current.memory.id;
    let gone: Vec<Item> = [others[0].key(), others[1].key(), others[3].key(), key_of(&memories[0].current.memory)]
        .map(Item::Absent)
        .into();
    let changed: Vec<Item> = [memory_item(&newer), memory_item(&anew)].into_iter().chain(gone).collect();
    let keys: Vec<ItemKey> = changed.iter().map(Item::key).collect();
    home.replica.write(1, changed.clone()).await.expect("write");
    assert_same(&home.replica.read(&keys).await.expect("read"), &changed, "over what was there");
    let left: Vec<Item> = home.scan_all().await;
    assert_same(&left, &[others[2].clone(), memory_item(&newer), memory_item(&anew)], "what is left");
    all_or_nothing(&home, &newer.current.memory).await;
    fixture.close(home).await;

    let home = fixture.open().await;
    assert_same(&home.scan_all().await, &left, "after it was opened again");
    let size = home.replica.size().await.expect("a size");
    assert!(size.memories >= 1, "{size:?}");
}

async fn clients_find_it(home: &Home, moved: &memory_core::WholeMemory) {
    let Memory { scope, id, .. } = &moved.current.memory;
    let got = home.store.get(scope, *id).await.expect("get").expect("it is there");
    assert_eq!(*got, moved.current.memory);
    let versions: Vec<Memory> = moved.former.iter().map(|former| former.version.memory.clone()).collect();
    let history = home.store.history(scope, *id).await.expect("history");
    assert_eq!(history, [versions, vec![moved.current.memory.clone()]].concat());
    let request = ListRequest {
        scope: scope.whole_tenant(),
        filter: None,
        limit: 10,
        cursor: None,
        newest_first: false,
        with_embeddings: false,
    };
    let listed = home.store.list(&request).await.expect("list").memories;
    assert_eq!(listed.last().map(|(memory, _)| memory.id), Some(*id), "in the order of first writing");
    let vector = moved.current.embedding.clone();
    assert!(vector.is_some());
    for (vector, words) in [(vector, None), (None, Some(moved.current.memory.text.as_str()))] {
        let request = SearchRequest { candidates: 1, ..make::search(scope, vector, words) };
        let found = home.store.search(&request).await.expect("search").candidates;
        assert_eq!(found.first().map(|found| found.memory.id), Some(*id), "by {words:?}");
    }
}

/// What is refused changes nothing of what came with it.
async fn all_or_nothing(home: &Home, there: &Memory) {
    let before = home.scan_all().await;
    let refused = home.replica.write(2, vec![Item::Absent(key_of(there))]).await;
    assert!(matches!(refused, Err(Error::Fenced { epoch: 1 })), "{refused:?}");
    assert_same(&home.scan_all().await, &before, "what was refused");
}

/// A tombstone stays when the mover comes late with the memory, and clients do not write what was forgotten either.
pub async fn what_is_forgotten_is_never_written_back(fixture: &dyn ReplicaFixture) {
    let home = fixture.open().await;
    let (now, space, ann) = (fixture.clock().now(), fixture.space(), make::user("acme", "ann"));
    home.close_to_clients(1).await;
    let (forgotten, other) = (whole(&ann, &space, 5, 3, now), whole(&ann, &space, 6, 1, now));
    let Memory { id, text, .. } = forgotten.current.memory.clone();
    let tombstone = Item::Tombstone { scope: ann.clone(), id, forgotten_at: now };
    home.replica.write(1, vec![memory_item(&forgotten)]).await.expect("write");
    home.replica.write(1, vec![forgotten_text(&ann, &text), tombstone.clone()]).await.expect("write");
    assert_eq!(home.store.get(&ann, id).await.expect("get"), None);
    assert_eq!(home.store.history(&ann, id).await.expect("history"), [], "nor of what it said");
    for _ in 0..2 {
        home.replica.write(1, vec![memory_item(&forgotten), memory_item(&other)]).await.expect("write");
        let left = home.scan_all().await;
        assert_same(&left, &[forgotten_text(&ann, &text), tombstone.clone(), memory_item(&other)], "the late memory");
        assert_eq!(home.store.get(&ann, id).await.expect("get"), None);
    }
    home.open_to_clients(2).await;
    let again = make::batch([Memory { id, ..make::memory(&ann, "another text", now) }]);
    let refused = home.store.insert(again).await;
    assert!(matches!(refused, Err(Error::Forgotten(_))), "{refused:?}");
    let imported = Memory { origin: Origin::new(Writer::Import, "testkit"), ..make::memory(&ann, &text, now) };
    let receipt = home.store.insert(make::batch([imported])).await.expect("insert");
    assert_eq!(receipt.items[0].status, InsertStatus::RefusedForgotten);
}
