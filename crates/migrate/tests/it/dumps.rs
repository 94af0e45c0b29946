//! Dumps of blue: what is in one is what blue was, and what is not whole is refused.

use std::collections::HashSet;
use std::fs;
use std::mem::discriminant;
use std::path::Path;
use std::sync::Arc;

use chrono::TimeDelta;
use memory_core::{Clock as _, Error as StoreError, Item, ItemKey, Replica as _, ReplicaSize, Writers};
use memory_testkit::make;
use memory_testkit::replica::model::Model;
use migrate::Error;
use migrate::dump::Dump;
use migrate::engine::{Engine, Order, Parts, Side};
use migrate::plan::Plan;
use migrate::record::memory::MemoryRecords;
use migrate::record::{Colour, Phase, Record};

use crate::world::World;

/// The plan of a move that was planned at that time of the test.
fn plan(world: &World, seed: u64) -> Plan {
    let planned_at = world.clock.now() + TimeDelta::seconds(seed as i64);
    Plan { batch: 16, recorded_at: Some(planned_at), ..Plan::default() }
}

fn is_calm(record: &Record) -> bool {
    record.phase == Phase::Following && record.releasing.is_none()
}

/// A move that has green in use, with what clients wrote before and after.
async fn switched(seed: u64) -> (World, Engine) {
    let mut world = World::new(seed, false);
    for _ in 0..300 {
        world.client();
    }
    let parts = Parts {
        blue: Side::of(world.blue.clone()),
        green: Side::of(world.green.clone()),
        records: world.records.clone(),
        clock: Arc::new(world.clock.clone()),
        timer: Arc::new(tokio::time::sleep),
    };
    let mut engine = Engine::plan(parts, plan(&world, seed)).await.expect("a plan");
    engine.order(Order::Start).await.expect("start");
    engine.run_until(|record, lag| is_calm(record) && lag == 0).await.expect("it follows");
    engine.order(Order::SwitchWrites).await.expect("switch");
    engine.run_until(|record, _| is_calm(record)).await.expect("it switches");
    for _ in 0..50 {
        world.client();
    }
    (world, engine)
}

async fn open(path: &Path, world: &World) -> memory_core::Result<Dump> {
    Dump::open(path, Arc::new(world.clock.clone())).await
}

/// Every item, by pages of seven.
async fn scan(dump: &Dump) -> Vec<Item> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = dump.scan(after.as_ref(), 7).await.expect("scan");
        assert!(page.items.len() <= 7);
        all.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

#[tokio::test]
async fn a_dump_is_what_blue_was_at_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("blue.jsonl.gz");
    let (mut world, mut engine) = switched(1).await;
    fs::write(folder.path().join("blue.jsonl.gz.new"), "what a killed one left").expect("a file");
    engine.keep_dump(&path).await.expect("a dump");
    let blue = world.items(Colour::Blue);
    assert_eq!(blue, world.items(Colour::Green), "it had caught up");
    assert_eq!(blue.iter().map(discriminant).collect::<HashSet<_>>().len(), 5, "there is something of every kind");
    let dump = open(&path, &world).await.expect("a dump");
    assert_eq!(scan(&dump).await, blue);
    let kept = engine.record().dump.clone().expect("it is recorded");
    assert_eq!((kept.items, kept.path.as_str()), (blue.len() as u64, path.to_str().expect("UTF-8")));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
    #[cfg(unix)]
    {
        let mode = fs::metadata(&path).expect("a file").permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    }

    let unknown = ItemKey::Memory { tenant: "acme".into(), id: make::id() };
    let keys: Vec<_> = blue.iter().rev().map(Item::key).chain([unknown.clone()]).collect();
    let expected: Vec<_> = blue.iter().rev().cloned().chain([Item::Absent(unknown)]).collect();
    assert_eq!(dump.read(&keys).await.expect("read"), expected);
    let memories = blue.iter().filter(|item| matches!(item, Item::Memory(_))).count() as u64;
    let bytes = fs::metadata(&path).expect("a file").len();
    let size = ReplicaSize { memories, others: blue.len() as u64 - memories, bytes };
    assert_eq!(dump.size().await.expect("a size"), size);

    // The move goes on, and one that is made later takes the place.
    for _ in 0..50 {
        world.client();
    }
    engine.keep_dump(&path).await.expect("a dump");
    let later = scan(&open(&path, &world).await.expect("a dump")).await;
    assert!(later == world.items(Colour::Blue) && later != blue);
    // What has had its time by now is not there.
    world.clock.advance(std::time::Duration::from_secs(25 * 3600));
    let dump = open(&path, &world).await.expect("a dump");
    let there = world.items(Colour::Blue).into_iter().filter(|item| !matches!(item, Item::IdempotencyKey(_)));
    assert_eq!(scan(&dump).await, there.collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_not_whole_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("blue.jsonl.gz");
    let (world, mut engine) = switched(2).await;
    engine.keep_dump(&path).await.expect("a dump");
    let (whole, blue) = (fs::read(&path).expect("a file"), world.items(Colour::Blue));
    let refuse = async |bytes: &[u8]| {
        fs::write(&path, bytes).expect("a file");
        let error = open(&path, &world).await.expect_err("it is not whole");
        assert!(error.to_string().contains("take another copy of it"), "{error}");
    };
    for at in 0..30 {
        refuse(&whole[..whole.len() * at / 30]).await;
    }
    refuse(&whole[..whole.len() - 1]).await;
    refuse(&[whole.as_slice(), b"x"].concat()).await;
    refuse(&whole.repeat(2)).await;
    // Members of gzip that are whole each, and not where they were.
    let begins = |at: &usize| whole[*at..].starts_with(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    let starts: Vec<_> = (0..whole.len()).filter(begins).chain([whole.len()]).collect();
    let mut members: Vec<_> = starts.windows(2).map(|ends| &whole[ends[0]..ends[1]]).collect();
    assert!(members.len() > 4, "a header, pages and an end: {starts:?}");
    members.swap(1, 2);
    refuse(&members.concat()).await;
    members.swap(1, 2);
    members.remove(2);
    refuse(&members.concat()).await;
    refuse(b"{\"id\":1}\n").await;
    for at in 0..60 {
        let mut bytes = whole.clone();
        bytes[whole.len() * at / 60] ^= 0x10;
        fs::write(&path, &bytes).expect("a file");
        // What gzip says of itself, such as the system it was made on, may be anything.
        if let Ok(dump) = open(&path, &world).await {
            assert_eq!(scan(&dump).await, blue, "byte {at}");
        }
    }
    let middle = whole.len() / 2;
    refuse(&[&whole[..middle], &[whole[middle] ^ 1], &whole[middle + 1..]].concat()).await;
}

#[tokio::test]
async fn a_file_of_another_is_not_replaced_and_the_move_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("blue.jsonl.gz");
    let (_, mut others) = switched(3).await;
    others.keep_dump(&path).await.expect("a dump");
    let (_, mut engine) = switched(4).await;
    // A move of the same name that was planned another time.
    assert_eq!(others.record().plan.name, engine.record().plan.name);
    assert_ne!(others.record().plan.recorded_at, engine.record().plan.recorded_at);
    for content in [fs::read(&path).expect("a file"), b"a shopping list".to_vec(), Vec::new()] {
        fs::write(&path, &content).expect("a file");
        let refused = engine.keep_dump(&path).await.expect_err("it is another's");
        assert!(
            matches!(&refused, Error::Refused { reason, .. } if reason.contains("no dump of this move")),
            "{refused}"
        );
        assert_eq!(fs::read(&path).expect("a file"), content);
    }
    let failed = engine.keep_dump(&folder.path().join("nowhere/blue.gz")).await.expect_err("there is no such folder");
    assert!(matches!(failed, Error::Dump { .. }), "{failed}");
    // Another one writes it.
    fs::remove_file(&path).expect("a file");
    let new = folder.path().join("blue.jsonl.gz.new");
    let held = fs::File::create(&new).expect("a file");
    held.lock().expect("a lock");
    fs::write(&new, "half a dump").expect("a file");
    let failed = engine.keep_dump(&path).await.expect_err("it is written to");
    assert!(matches!(failed, Error::Dump { .. }) && !path.exists(), "{failed}");
    assert_eq!(fs::read_to_string(&new).expect("a file"), "half a dump");
    drop(held);
    #[cfg(unix)]
    {
        let list = folder.path().join("list");
        fs::write(&list, "a shopping list").expect("a file");
        fs::remove_file(&new).expect("a file");
        std::os::unix::fs::symlink(&list, &new).expect("a link");
        engine.keep_dump(&path).await.expect_err("it would be written into what the link names");
        assert_eq!(fs::read_to_string(&list).expect("a file"), "a shopping list");
    }
    assert_eq!(engine.record().dump, None);
    engine.order(Order::Rollback).await.expect("the way back is open");
    engine.run_until(|record, _| is_calm(record)).await.expect("it goes back");
    assert_eq!(engine.record().active, Colour::Blue);
    let refused = engine.keep_dump(&folder.path().join("new.gz")).await.expect_err("blue is in use");
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
}

#[tokio::test]
async fn an_empty_store_is_filled_from_a_dump() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("blue.jsonl.gz");
    let (world, mut engine) = switched(5).await;
    engine.keep_dump(&path).await.expect("a dump");
    let (dump, empty) = (open(&path, &world).await.expect("a dump"), Model::new(Arc::new(world.clock.clone())));
    let refused = dump.write(1, Vec::new()).await.expect_err("it can only be read");
    assert!(matches!(refused, StoreError::Unusable { .. }), "{refused}");
    let parts = Parts {
        blue: Side::read_only(dump),
        green: Side::of(empty.clone()),
        records: Arc::new(MemoryRecords::default()),
        ..engine.parts().clone()
    };
    let mut refill = Engine::plan(parts, plan(&world, 6)).await.expect("a plan");
    refill.order(Order::Start).await.expect("start");
    refill.run_until(|record, _| is_calm(record)).await.expect("it copies");
    refill.order(Order::SwitchWrites).await.expect("switch");
    refill.run_until(|record, _| is_calm(record)).await.expect("it switches");
    assert_eq!(empty.scan(None, usize::MAX / 2).await.expect("scan").items, world.items(Colour::Blue));
    assert_eq!(empty.gate().await.expect("a gate").writers, Writers::Clients);
    let refused = refill.keep_dump(&path).await.expect_err("blue is the dump");
    assert!(refused.to_string().contains("can only be read"), "{refused}");
}
