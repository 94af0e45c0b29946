//! Comparing two stores: what differs is found, what only changes is not taken for a difference.

use memory_core::{Item, ItemKey, MemoryStore as _, Replica as _};
use memory_testkit::make;
use migrate::diff::{Counts, Diff, DiffOptions, Kind};
use migrate::engine::Engine;
use migrate::record::{Colour, Phase};

use crate::moves::Move;
use crate::world::now;

const REPAIR: DiffOptions = DiffOptions { similarity: 0.999, repair: true };

/// A comparison by as many movers as it takes, and how many that were.
fn compare(moving: &Move, options: DiffOptions) -> (Diff, usize) {
    for movers in 1..2000 {
        let Some(Ok(mut engine)) = futures_util::FutureExt::now_or_never(Engine::open(moving.parts())) else {
            continue;
        };
        match futures_util::FutureExt::now_or_never(engine.diff(options, |_| {})) {
            Some(Ok(diff)) => return (diff, movers),
            Some(Err(error)) => assert!(error.is_retryable(), "{error:?}"),
            None => {}
        }
    }
    panic!("the comparison does not end");
}

/// A move that follows, with what clients wrote before.
pub fn following(seed: u64, changes_space: bool) -> Move {
    let mut moving = used(seed, changes_space);
    moving.plan();
    moving.start();
    moving
}

/// A store that clients have written to.
fn used(seed: u64, changes_space: bool) -> Move {
    let moving = Move::new(seed, changes_space);
    for _ in 0..60 {
        moving.world().client();
    }
    // What expires has expired before anything is compared.
    moving.world().clock.advance(std::time::Duration::from_secs(1));
    moving
}

#[test]
fn stores_that_are_the_same_are_found_to_be_while_clients_write_and_movers_are_killed() {
    for seed in 1..60 {
        let moving = following(seed, seed.is_multiple_of(2));
        {
            let mut world = moving.world();
            (world.traffic, world.trouble) = (30, if seed.is_multiple_of(3) { 20 } else { 0 });
            world.refresh();
        }
        let (diff, _) = compare(&moving, DiffOptions::default());
        assert!(diff.is_clean(), "seed {seed}: {diff:?}");
        assert!(diff.compared > 20, "seed {seed}: {diff:?}");
        assert_eq!(moving.record().diff, Some(diff));
    }
}

#[test]
fn a_comparison_does_not_wait_until_nobody_writes() {
    let mut moving = used(7, false);
    // So many are moved at a time as keep up with the clients, who never leave nothing to do.
    moving.plan_in_batches_of(50);
    moving.start();
    (moving.world().traffic, moving.world().left) = (75, 2000);
    let (diff, _) = compare(&moving, DiffOptions::default());
    assert!(diff.ended_at.is_some() && diff.counts == Counts::default(), "{diff:?}");
    assert!(moving.world().left > 0, "it ended when the clients did");
}

#[test]
fn a_comparison_goes_on_where_it_was_interrupted() {
    let moving = following(5, false);
    let compared = compare(&moving, DiffOptions::default()).0.compared;
    moving.world().trouble = 60;
    let mut movers = 0;
    for _ in 0..20 {
        let (diff, needed) = compare(&moving, DiffOptions::default());
        assert_eq!((diff.compared, diff.is_clean()), (compared, true), "nothing is compared twice or left out");
        movers += needed;
    }
    assert!(movers > 40, "they were interrupted: {movers}");
}

#[test]
fn every_kind_of_difference_is_found_listed_and_repaired() {
    let moving = following(7, false);
    let record = moving.record();
    let (green, scope) = (moving.world().green.clone(), make::user("acme", "ann"));
    let memories: Vec<_> = moving
        .world()
        .items(Colour::Green)
        .into_iter()
        .filter_map(|item| match item {
            Item::Memory(whole) if whole.current.embedding.is_some() => Some(whole),
            _ => None,
        })
        .collect();
    let key = |at: usize| Item::Memory(memories[at].clone()).key();
    let (mut other_text, mut other_vector, mut other_place) =
        (memories[1].clone(), memories[2].clone(), memories[3].clone());
    other_text.current.memory.text = "another text".into();
    let space = memories[2].current.embedding.as_ref().expect("a vector").space().clone();
    other_vector.current.embedding = Some(make::embedding(&space, 99));
    other_place.ordinal += 1_000_000;
    let now_is = memory_core::Clock::now(&moving.world().clock);
    let extra = make::memory(&scope, "never written", now_is);
    let extra = memory_core::WholeMemory {
        ordinal: 2_000_000,
        current: memory_core::StoredVersion { memory: extra, embedding: None },
        former: Vec::new(),
    };
    let extra = Item::Memory(Box::new(extra));
    let buried = &memories[4].current.memory;
    let tampered = vec![
        Item::Absent(key(0)),
        Item::Memory(other_text),
        Item::Memory(other_vector),
        Item::Memory(other_place),
        extra.clone(),
        Item::Tombstone { scope: buried.scope.clone(), id: buried.id, forgotten_at: now_is },
    ];
    now(green.write(record.follower_epoch, tampered)).expect("green is open to the mover");

    let (diff, _) = compare(&moving, DiffOptions::default());
    assert_eq!(diff.counts, Counts { missing: 1, extra: 1, different: 3, tombstones: 1 }, "{diff:?}");
    assert!(!diff.is_clean());
    let found = |key: &ItemKey| {
        let sample = diff.samples.iter().find(|sample| sample.key == *key).expect("it is listed");
        (sample.kind, sample.fields.join(" "))
    };
    assert_eq!(found(&key(0)), (Kind::Missing, String::new()));
    assert_eq!(found(&key(1)), (Kind::Different, "text".into()));
    assert_eq!(found(&key(2)), (Kind::Different, "embedding".into()));
    assert_eq!(found(&key(3)), (Kind::Different, "ordinal".into()));
    assert_eq!(found(&key(4)), (Kind::Tombstone, String::new()));
    assert_eq!(found(&extra.key()), (Kind::Extra, String::new()));

    let (repaired, _) = compare(&moving, REPAIR);
    assert_eq!(
        (repaired.repaired, repaired.counts),
        (5, Counts { tombstones: 1, ..Counts::default() }),
        "{repaired:?}"
    );
    let (again, _) = compare(&moving, DiffOptions::default());
    assert_eq!(again.counts, Counts { tombstones: 1, ..Counts::default() }, "a tombstone stays");
    assert_eq!(now(green.get(&scope, buried.id)).expect("get"), None);
}

#[test]
fn nothing_is_compared_before_the_copy_is_done() {
    let mut moving = Move::new(3, false);
    moving.plan();
    let mut engine = now(Engine::open(moving.parts())).expect("open");
    let refused = now(engine.diff(DiffOptions::default(), |_| {})).expect_err("nothing follows");
    assert_eq!(refused.to_string(), "nothing follows that could be compared; wait until the copy is done");
    assert_eq!(moving.record().phase, Phase::Planned);
}
