//! Reading all of a store while it is in use.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use memory_core::{
    Clock as _, ForgetRequest, IdempotencyKey, InsertBatch, Item, ItemKey, MemoryId, MemoryPatch, ScanPosition, Scope,
    Selection, ValueKeys,
};

use super::goods::{assert_same, key_of, rank, rejection};
use super::{Home, ReplicaFixture, STREAM};
use crate::make;

/// What is written, changed or removed before, between and after the pages of a scan is in one of them as it was left, or told
/// by the stream that was captured before; and the pages come in the promised order.
pub async fn a_scan_and_the_changes_after_miss_nothing(fixture: &dyn ReplicaFixture) {
    let home = fixture.open().await;
    let mut traffic = Traffic::new(fixture, &home);
    for _ in 0..12 {
        traffic.go_on().await;
    }
    home.replica.capture(STREAM).await.expect("capture");
    let mut copy: BTreeMap<ItemKey, Item> = BTreeMap::new();
    let (mut after, mut scanned): (Option<ScanPosition>, Vec<Item>) = (None, Vec::new());
    loop {
        let page = home.replica.scan(after.as_ref(), 4).await.expect("scan");
        scanned.extend(page.items);
        traffic.go_on().await;
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    for _ in 0..4 {
        traffic.go_on().await;
    }
    let ranks: Vec<_> = scanned.iter().filter_map(rank).collect();
    assert!(ranks.is_sorted(), "the order of scanning: {ranks:?}");
    let keys: Vec<_> = scanned.iter().map(Item::key).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "an item comes once: {keys:?}");
    copy.extend(scanned.into_iter().map(|item| (item.key(), item)));

    // What the changes say is read, until the copy is what is there.
    let began = Instant::now();
    let there = home.scan_all().await;
    loop {
        let told = home.told(fixture, STREAM, &[]).await;
        for item in home.replica.read(&told).await.expect("read") {
            match item {
                Item::Absent(key) => copy.remove(&key),
                item => copy.insert(item.key(), item),
            };
        }
        let is_whole = there.len() == copy.len() && there.iter().all(|item| copy.get(&item.key()) == Some(item));
        if is_whole || began.elapsed() > fixture.patience() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut copied: Vec<Item> = copy.into_values().collect();
    let place = |key: &ItemKey| there.iter().position(|item| item.key() == *key).unwrap_or(usize::MAX);
    copied.sort_by_key(|item| place(&item.key()));
    assert_same(&copied, &there, "the copy");
    assert!(
        there.len() > 20 && there.iter().any(|item| matches!(item, Item::Tombstone { .. })),
        "there is much to copy"
    );
}

/// A memory that is changed all the time is read with as many former versions as its version says, each ended when the next
/// began.
pub async fn what_is_read_is_of_one_moment(fixture: &dyn ReplicaFixture) {
    const UPDATES: u64 = 30;
    let home = fixture.open().await;
    let scope = make::user("acme", "ann");
    let memory = make::memory(&scope, "version 1", fixture.clock().now());
    let (id, key) = (memory.id, key_of(&memory));
    home.store.insert(make::batch([memory])).await.expect("insert");
    let updates = {
        let (home, scope, clock) = (home.clone(), scope.clone(), fixture.clock());
        tokio::spawn(async move {
            for version in 2..=UPDATES {
                clock.advance(Duration::from_millis(1));
                let patch = MemoryPatch { text: Some(format!("version {version}")), ..MemoryPatch::default() };
                home.store.update(&scope, id, patch).await.expect("update");
            }
        })
    };
    let mut reads = 0;
    loop {
        let is_last = updates.is_finished();
        let scanned = home.scan_all().await;
        for item in [home.read_one(key.clone()).await].into_iter().chain(scanned) {
            let Item::Memory(whole) = item else { panic!("it is there: {item:?}") };
            let version = whole.current.memory.version;
            let versions: Vec<_> = whole.former.iter().map(|former| former.version.memory.version).collect();
            assert_eq!(versions, (1..version).collect::<Vec<_>>(), "the history of version {version}");
            let all: Vec<_> = whole.former.iter().map(|former| &former.version).chain([&whole.current]).collect();
            for (at, former) in whole.former.iter().enumerate() {
                assert_eq!(former.superseded_at, all[at + 1].memory.recorded_at, "when version {} ended", at + 1);
            }
            for version in all {
                assert_eq!(version.memory.text, format!("version {}", version.memory.version));
            }
            reads += 1;
        }
        if is_last {
            break;
        }
        tokio::task::yield_now().await;
    }
    updates.await.expect("no panic");
    assert!(reads >= 2);
    let Item::Memory(last) = home.read_one(key).await else { panic!("it is there") };
    assert_eq!(last.current.memory.version, UPDATES);
}

/// Writes of every kind, one after the other.
struct Traffic<'a> {
    home: &'a Home,
    fixture: &'a dyn ReplicaFixture,
    scope: Scope,
    ids: Vec<MemoryId>,
    step: u64,
}

impl<'a> Traffic<'a> {
    fn new(fixture: &'a dyn ReplicaFixture, home: &'a Home) -> Self {
        Self { home, fixture, scope: make::user("acme", "ann"), ids: Vec::new(), step: 0 }
    }

    /// Two inserts, one of them with a key, and in turn an update or a forgetting of one of the oldest or the newest, a
    /// rejection or a lifting.
    async fn go_on(&mut self) {
        self.step += 1;
        let (step, home) = (self.step, self.home);
        let clock = self.fixture.clock();
        clock.advance(Duration::from_millis(7));
        for number in 0..2 {
            let memory = make::memory(&self.scope, &format!("memory {step}.{number}"), clock.now());
            self.ids.push(memory.id);
            let batch = make::embedded(memory, make::embedding(&self.fixture.space(), step * 2 + number));
            let key = IdempotencyKey { key: format!("key {step}"), body_hash: [step as u8; 32] };
            let batch = InsertBatch { idempotency: (number == 0).then_some(key), ..batch };
            home.store.insert(batch).await.expect("insert");
        }
        let at = if step.is_multiple_of(2) { (step / 2) as usize % self.ids.len() } else { self.ids.len() - 1 };
        let id = self.ids[at];
        match step % 4 {
            0 | 3 => {
                let patch = MemoryPatch { text: Some(format!("changed in {step}")), ..MemoryPatch::default() };
                home.store.update(&self.scope, id, patch).await.expect("update");
            }
            1 => {
                self.ids.remove(at);
                let selection = Selection::Ids(vec![id]);
                let request = ForgetRequest { scope: self.scope.clone(), selection, dry_run: false };
                home.store.forget(&request).await.expect("forget");
            }
            _ => {
                let rejected = [rejection(&self.scope, &format!("never {step}"), clock.now())];
                home.rejections().reject(&rejected).await.expect("reject");
                let former = ValueKeys::of(&self.scope, &format!("never {}", step.saturating_sub(8))).reads;
                home.rejections().lift(&self.scope, &former).await.expect("lift");
            }
        }
    }
}
