//! A stock that is moved while it is in use, by the simplest of movers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use memory_core::{
    Error, ForgetRequest, InsertBatch, Item, ItemKey, MemoryId, MemoryPatch, MemoryStore as _, Replica as _, Result,
    Scope, Selection,
};
use memory_testkit::make;
use provider_alloydb::{AlloyDbMemoryProvider, AlloyDbReplica};

use super::{LONGEST, closed, everything, key_of, open_to_clients, triggers};
use crate::support::{Home, forget, key, wait_until};

/// How long a client waits that was refused.
const PAUSE: Duration = Duration::from_millis(1);

/// What a client does of one user, until it is told to stop: it inserts, updates, forgets and gives keys. A store that is fenced
/// is asked again, by then the other one.
async fn use_memory(
    stores: [AlloyDbMemoryProvider; 2],
    active: Arc<AtomicUsize>,
    is_done: Arc<AtomicBool>,
    user: String,
) -> BTreeMap<ItemKey, Option<String>> {
    let scope = make::session("acme", &user, "monday");
    let now = chrono::DateTime::from_timestamp(1_780_315_200, 0).expect("a time");
    let mut acknowledged = BTreeMap::new();
    let mut number = 0;
    while !is_done.load(Ordering::SeqCst) {
        number += 1;
        let memory = make::memory(&scope, &format!("{user} {number}"), now);
        let batch = InsertBatch {
            idempotency: key(&format!("{user} {number}")),
            ..make::embedded(memory.clone(), make::embedding(&make::space("m"), number))
        };
        let here = key_of(&scope, memory.id);
        until_open(&stores, &active, Write::Insert(batch)).await;
        acknowledged.insert(here.clone(), Some(memory.text.clone()));
        if number % 3 == 0 {
            let text = format!("{} changed", memory.text);
            let patch = MemoryPatch { text: Some(text.clone()), ..MemoryPatch::default() };
            until_open(&stores, &active, Write::Update(scope.clone(), memory.id, patch)).await;
            acknowledged.insert(here, Some(text));
        } else if number % 3 == 1 {
            until_open(&stores, &active, Write::Forget(forget(&scope, Selection::Ids(vec![memory.id])))).await;
            acknowledged.insert(here, None);
        }
    }
    acknowledged
}

enum Write {
    Insert(InsertBatch),
    Update(Scope, MemoryId, MemoryPatch),
    Forget(ForgetRequest),
}

impl Write {
    async fn to(&self, store: &AlloyDbMemoryProvider) -> Result<()> {
        match self {
            Self::Insert(batch) => store.insert(batch.clone()).await.map(drop),
            Self::Update(scope, id, patch) => store.update(scope, *id, patch.clone()).await.map(drop),
            Self::Forget(request) => store.forget(request).await.map(drop),
        }
    }
}

/// Writes to the store that is in use, as soon as it takes writes.
async fn until_open(stores: &[AlloyDbMemoryProvider; 2], active: &AtomicUsize, write: Write) {
    loop {
        match write.to(&stores[active.load(Ordering::SeqCst)]).await {
            Ok(()) => return,
            Err(Error::Fenced { .. }) => tokio::time::sleep(PAUSE).await,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Moves what changed until nothing is left, once; gives how much it was.
async fn catch_up(from: &AlloyDbReplica, to: &AlloyDbReplica, stream: &str, epoch: u64) -> usize {
    let changes = from.changed(stream, 100).await.expect("an answer");
    let Some(last) = changes.last() else { return 0 };
    let keys: Vec<ItemKey> = changes.iter().map(|change| change.key.clone()).collect();
    to.write(epoch, from.read(&keys).await.expect("an answer")).await.expect("an answer");
    from.acknowledge(stream, &last.position).await.expect("an answer");
    changes.len()
}

async fn drain(from: &AlloyDbReplica, to: &AlloyDbReplica, stream: &str, epoch: u64) {
    wait_until("the stream is drained", LONGEST, async || {
        catch_up(from, to, stream, epoch).await == 0 && from.lag(stream).await.expect("an answer").changes == 0
    })
    .await;
}

/// Switches the writes from one store to the other, and captures what changes there from then on.
async fn switch(stores: [&AlloyDbReplica; 2], streams: [&str; 2], epoch: u64) {
    let [from, to] = stores;
    from.set_gate(closed(epoch)).await.expect("an answer");
    drain(from, to, streams[0], epoch - 1).await;
    to.capture(streams[1]).await.expect("an answer");
    to.set_gate(open_to_clients(epoch)).await.expect("an answer");
    from.release(streams[0]).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_in_use_is_moved_there_and_back_and_nothing_is_lost() {
    const USERS: usize = 4;
    let (Some(home), Some(other)) = (Home::new(), Home::new()) else { return };
    let (blue, green) = (home.replica().await, other.replica().await);
    let stores = [home.open().await, other.open().await];
    let (active, is_done) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let users: Vec<_> = (0..USERS)
        .map(|user| {
            let (active, is_done) = (Arc::clone(&active), is_done.clone());
            tokio::spawn(use_memory(stores.clone(), active, is_done, format!("user {user}")))
        })
        .collect();
    wait_until("there is something to move", LONGEST, async || blue.size().await.unwrap().memories > 30).await;

    green.set_gate(closed(0)).await.expect_err("the first epoch is a later one");
    green.set_gate(closed(1)).await.unwrap();
    blue.capture("to-green").await.unwrap();
    let mut after = None;
    loop {
        let page = blue.scan(after.as_ref(), 20).await.unwrap();
        green.write(1, page.items).await.unwrap();
        catch_up(&blue, &green, "to-green", 1).await;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    switch([&blue, &green], ["to-green", "to-blue"], 2).await;
    active.store(1, Ordering::SeqCst);
    let moved = green.size().await.unwrap().memories;
    wait_until("the other one is used", LONGEST, async || {
        catch_up(&green, &blue, "to-blue", 2).await;
        green.size().await.unwrap().memories > moved + 20
    })
    .await;
    // And back again.
    switch([&green, &blue], ["to-blue", "to-green"], 3).await;
    active.store(0, Ordering::SeqCst);
    let moved = blue.size().await.unwrap().memories;
    wait_until("the first one is used", LONGEST, async || {
        catch_up(&blue, &green, "to-green", 3).await;
        blue.size().await.unwrap().memories > moved + 20
    })
    .await;
    is_done.store(true, Ordering::SeqCst);
    let mut acknowledged = BTreeMap::new();
    for user in users {
        acknowledged.extend(user.await.unwrap());
    }
    drain(&blue, &green, "to-green", 3).await;

    let (in_blue, in_green) = (everything(&blue).await, everything(&green).await);
    // Both give the same, in the same order of first writing.
    assert_eq!(in_blue.len(), in_green.len());
    for (blue, green) in in_blue.iter().zip(&in_green) {
        assert_eq!(blue, green);
    }
    for (key, text) in &acknowledged {
        let found = in_blue.iter().find(|item| item.key() == *key).unwrap_or_else(|| panic!("{key:?} is lost"));
        match (found, text) {
            (Item::Memory(whole), Some(text)) => assert_eq!(whole.current.memory.text, *text),
            (Item::Tombstone { .. }, None) => {}
            other => panic!("{other:?}"),
        }
    }
    let keys = in_blue.iter().filter(|item| matches!(item, Item::IdempotencyKey(_))).count();
    assert_eq!(keys, acknowledged.len(), "each was inserted with a key");
    blue.release("to-green").await.unwrap();
    let mut direct = home.direct().await;
    assert_eq!(triggers(&mut direct).await, [""; 0]);
}
