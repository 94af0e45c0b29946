//! The lag that is noted while changes are followed: it is there to be shown, and nobody's way is crossed by it.

use std::time::Duration;

use migrate::diff::DiffOptions;
use migrate::engine::{Engine, Order};
use migrate::record::Record;

use crate::diffs::following;
use crate::moves::Move;
use crate::world::now;

/// A mover that follows, and another one that has read the record too.
fn two() -> (Move, Engine, Engine) {
    let moving = following(3, false);
    let open = || now(Engine::open(moving.parts())).expect("open");
    let (mut first, second) = (open(), open());
    now(first.step()).expect("it follows");
    (moving, first, second)
}

/// Follows for some time, with something to follow.
fn follow(moving: &Move, engine: &mut Engine, rounds: usize) {
    for _ in 0..rounds {
        moving.world().clock.advance(Duration::from_secs(6));
        moving.world().client();
        now(engine.step()).expect("it follows");
    }
}

fn lags(record: &Record) -> usize {
    record.behind.len()
}

#[test]
fn the_lag_is_noted_while_changes_are_followed_and_not_with_each_of_them() {
    let (moving, mut engine, _) = two();
    let before = moving.record();
    for _ in 0..10 {
        moving.world().client();
        now(engine.step()).expect("it follows");
    }
    let soon = moving.record();
    assert!(lags(&soon) - lags(&before) <= 1, "a few milliseconds went by: {:?}", soon.behind);
    // What is left when it is noted: nothing has changed since the step before.
    follow(&moving, &mut engine, 5);
    let noted = moving.record();
    assert!(noted.revision >= soon.revision + 5 && lags(&noted) > lags(&before), "{:?}", noted.behind);
    assert_eq!(noted.behind.last().map(|last| last.changes), Some(0));
    assert_eq!(now(engine.lag()).expect("a lag"), 0);
}

#[test]
fn a_command_that_stores_between_notes_is_not_superseded_by_them_and_the_mover_goes_on() {
    let (moving, mut follower, mut other) = two();
    for _ in 0..600 {
        moving.world().client();
    }
    while now(follower.lag()).expect("a lag") > 0 {
        now(follower.step()).expect("it follows");
    }
    let mut told = 0;
    let compared = now(other.diff(DiffOptions::default(), |_| {
        told += 1;
        moving.world().clock.advance(Duration::from_secs(6));
        now(follower.step()).expect("it follows, and notes it");
    }));
    let diff = compared.expect("only notes were stored since");
    assert!(told > 1 && diff.is_clean(), "{told}: {diff:?}");
    let before = moving.record();
    assert_eq!(before.diff, Some(diff));
    now(other.order(Order::SwitchReads(10))).expect("it is ordered");
    follow(&moving, &mut follower, 3);
    let after = moving.record();
    assert_eq!((after.reads_on_green, after.diff), (10, before.diff));
    assert!(after.behind.last() != before.behind.last(), "{:?}", after.behind);
}
