//! The whole move, killed anywhere, under traffic, and what clients were told holds at its end.
//!
//! `MIGRATE_SEED=123` runs one seed alone, `MIGRATE_RUNS=5000` more of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use memory_core::{Gate, Item, Replica as _, WholeMemory, Writers};
use migrate::Error;
use migrate::engine::{Engine, Order, Parts, Side};
use migrate::plan::Plan;
use migrate::probe::{AnswerCache, Direct};
use migrate::record::{Colour, Phase, Record};

use crate::watched::{Watched, WatchedRecords};
use crate::world::{Hashing, Shared, World, now};

/// How many steps a part of a move may take before it is taken for endless.
const STEPS: usize = 20_000;

/// A move of the world, with the mover that is alive.
pub struct Move {
    world: Shared,
    changes_space: bool,
    engine: Option<Engine>,
}

impl Move {
    pub fn new(seed: u64, changes_space: bool) -> Self {
        let world = World::new(seed, changes_space);
        Self { world: Arc::new(Mutex::new(world)), changes_space, engine: None }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn record(&self) -> Record {
        self.world().record().expect("a move is planned")
    }

    pub fn parts(&self) -> Parts {
        let world = self.world();
        let side = |colour| {
            let (model, space) = (world.model(colour), world.space(colour).clone());
            let watched = Watched { world: self.world.clone(), colour, model: model.clone(), space: space.clone() };
            let embedder = Hashing(space);
            let search = Arc::new(Direct(Arc::new(model)));
            let is_read_only = world.one_way && colour == Colour::Blue;
            let side = Side {
                replica: Arc::new(watched),
                search: Some(search),
                embedder: None,
                answers: AnswerCache::None,
                is_read_only,
            };
            if self.changes_space { side.embedding_with(Arc::new(embedder)) } else { side }
        };
        let clock = world.clock.clone();
        let timer = {
            let clock = clock.clone();
            move |pause| {
                clock.advance(pause);
                std::future::ready(())
            }
        };
        Parts {
            blue: side(Colour::Blue),
            green: side(Colour::Green),
            records: Arc::new(WatchedRecords { world: self.world.clone(), records: world.records.clone() }),
            clock: Arc::new(clock),
            timer: Arc::new(timer),
        }
    }

    /// The parts, with nothing that befalls a call any more.
    fn parts_at_rest(&self) -> Parts {
        self.world().trouble = 0;
        self.world().settle();
        self.parts()
    }

    pub fn plan(&mut self) {
        let batch = 2 + self.world().random.below(20);
        self.plan_in_batches_of(batch);
    }

    pub fn plan_in_batches_of(&mut self, batch: usize) {
        let mut world = self.world();
        let plan =
            Plan { batch, slowdown: 1.0 + world.random.below(4) as f64, switch_deadline_ms: 3000, ..Plan::default() };
        drop(world);
        let parts = self.parts();
        // Planning is done by hand, and again when it failed.
        for _ in 0..STEPS {
            if self.world().record().is_some() {
                return;
            }
            drop(Engine::plan(parts.clone(), plan.clone()).now_or_never());
        }
        panic!("it cannot be planned");
    }

    /// Gives the order until it is taken, and goes on until the record is as wanted; a mover that was killed is started anew.
    fn go(&mut self, order: Order, may_order: impl Fn(&Record) -> bool, is_done: impl Fn(&Record) -> bool) {
        self.world().refresh();
        for _ in 0..STEPS {
            let record = self.record();
            if is_done(&record) {
                return;
            }
            let wants = may_order(&record);
            self.act(wants.then_some(order));
        }
        panic!("it does not end: {:?}", self.record());
    }

    /// Goes on a few steps.
    fn go_on(&mut self, steps: usize) {
        self.world().refresh();
        // So that the lag is noted, among all else.
        self.world().clock.advance(std::time::Duration::from_secs(6));
        for _ in 0..steps {
            self.act(None);
        }
    }

    /// One order or step of a mover.
    fn act(&mut self, order: Option<Order>) {
        let Some(mut engine) = self.engine.take() else {
            // It may be killed while it starts.
            self.engine = Engine::open(self.parts()).now_or_never().and_then(Result::ok);
            return;
        };
        let acted = match order {
            Some(order) => engine.order(order).now_or_never(),
            None => engine.step().map(|stepped| stepped.map(drop)).now_or_never(),
        };
        match acted {
            // It was killed.
            None => {}
            Some(Err(Error::Superseded)) => {}
            Some(Ok(())) => self.engine = Some(engine),
            Some(Err(error)) => {
                let is_stale = matches!(&error, Error::Refused { .. });
                assert!(is_stale || error.is_retryable(), "{error:?}");
                if matches!(engine.reload().now_or_never(), Some(Ok(()))) {
                    self.engine = Some(engine);
                }
            }
        }
    }

    pub fn start(&mut self) {
        let following = |record: &Record| record.phase == Phase::Following;
        self.go(Order::Start, |record| record.phase == Phase::Planned, following);
    }

    fn switch(&mut self, order: Order) {
        let to = if order == Order::Rollback { Colour::Blue } else { Colour::Green };
        let may_order = move |record: &Record| record.phase == Phase::Following && record.active != to;
        self.go(order, may_order, |record| record.phase == Phase::Following && record.active == to);
    }

    /// Ends all traffic and trouble, lets the follower catch up, and compares everything.
    fn check(&mut self, context: &str) {
        {
            let mut world = self.world();
            (world.traffic, world.trouble, world.is_slow) = (0, 0, false);
            world.settle();
        }
        self.engine = None;
        for _ in 0..STEPS {
            let record = self.record();
            let (Some(stream), None, Phase::Following) = (&record.stream, &record.releasing, &record.phase) else {
                self.act(None);
                continue;
            };
            let lag = now(self.world().model(record.active).lag(stream)).expect("a lag");
            if lag.changes == 0 {
                break;
            }
            self.act(None);
        }
        let world = self.world();
        let (active, now) = (world.active(), memory_core::Clock::now(&world.clock));
        let [there, copy] = [active, active.other()].map(|colour| world.items(colour));
        world.oracle.check(&there, now, &format!("{context}: {active} in use"));
        world.oracle.check(&copy, now, &format!("{context}: {} follows", active.other()));
        for (colour, items) in [(active, &there), (active.other(), &copy)] {
            for embedding in items.iter().flat_map(vectors).flatten() {
                assert_eq!(embedding.space(), world.space(colour), "{context}: the vectors of {colour}");
            }
        }
        let plain = |items: &[Item]| {
            let mut items: Vec<Item> = items.iter().map(|item| without_vectors(item, self.changes_space)).collect();
            items.sort_by_key(Item::key);
            items
        };
        assert_eq!(plain(&there), plain(&copy), "{context}: the two stores");
    }
}

fn vectors(item: &Item) -> Vec<Option<&memory_core::Embedding>> {
    let Item::Memory(whole) = item else { return Vec::new() };
    whole
        .former
        .iter()
        .map(|former| &former.version)
        .chain([&whole.current])
        .map(|version| version.embedding.as_ref())
        .collect()
}

/// The item; where the spaces are two, with its vectors taken out but for whether they are there.
fn without_vectors(item: &Item, changes_space: bool) -> Item {
    let mut item = item.clone();
    if let (Item::Memory(whole), true) = (&mut item, changes_space) {
        let WholeMemory { current, former, .. } = &mut **whole;
        current.memory.actor = Some(format!("has a vector: {}", current.embedding.take().is_some()));
        for former in former {
            let memory = &mut former.version.memory;
            memory.actor = Some(format!("has a vector: {}", former.version.embedding.take().is_some()));
        }
    }
    item
}

#[test]
fn a_mover_that_another_one_takes_over_from_ends() {
    let mut moving = Move::new(1, false);
    moving.plan();
    moving.start();
    let open = || now(Engine::open(moving.parts())).expect("open");
    let (mut former, mut next) = (open(), open());
    now(former.step()).expect("it follows");
    now(next.step()).expect("it takes over");
    for _ in 0..20 {
        moving.world().client();
    }
    let rounds = std::cell::Cell::new(0);
    let ended = now(former.run_until(|_, _| {
        rounds.set(rounds.get() + 1);
        rounds.get() > 1000
    }));
    assert!(matches!(ended, Err(Error::Superseded)), "{ended:?}");
    now(next.order(Order::SwitchWrites)).expect("the other one goes on");
    now(next.run_until(|record, _| record.phase == Phase::Following && record.active == Colour::Green))
        .expect("switched");
    moving.check("taken over");
}

/// What is asked of a run besides the move itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// It goes as planned.
    Straight,
    /// After the switch it is rolled back, and perhaps switched again.
    RolledBack,
    /// The first switch takes too long and is undone, in one direction or the other.
    TimesOut,
}

/// A whole move, and how often the mover was killed on it, a switch undone and the lag noted.
fn run(seed: u64, course: Course) -> (usize, usize, usize) {
    let changes_space = seed % 2 == 1;
    let mut moving = Move::new(seed, changes_space);
    {
        let mut world = moving.world();
        for _ in 0..10 + seed % 60 {
            world.client();
        }
        (world.traffic, world.trouble) = (20 + world.random.below(25), 10 + world.random.below(60));
    }
    moving.plan();
    moving.start();
    let steps = moving.world().random.below(20);
    moving.go_on(steps);
    if course == Course::TimesOut {
        time_out(&mut moving, Order::SwitchWrites);
    }
    if seed.is_multiple_of(3) {
        moving.go(Order::SwitchReads(10), |_| true, |record| record.reads_on_green == 10);
    }
    moving.switch(Order::SwitchWrites);
    let steps = moving.world().random.below(30);
    moving.go_on(steps);
    if course == Course::TimesOut {
        time_out(&mut moving, Order::Rollback);
    }
    if course == Course::RolledBack {
        moving.switch(Order::Rollback);
        let steps = moving.world().random.below(30);
        moving.go_on(steps);
        if seed.is_multiple_of(4) {
            moving.check("rolled back");
            {
                let mut world = moving.world();
                (world.traffic, world.trouble) = (30, 30);
            }
            moving.switch(Order::SwitchWrites);
        }
    }
    let kills = moving.world().kills;
    moving.check("at the end");
    end(&mut moving);
    (kills, undone(&moving.record()), moving.record().behind.len())
}

fn undone(record: &Record) -> usize {
    record.history.iter().filter(|event| event.what.contains("undone")).count()
}

/// Orders a switch that the store which follows does not end in time.
fn time_out(moving: &mut Move, order: Order) {
    let from = moving.record().active;
    let before = undone(&moving.record());
    moving.world().is_slow = true;
    moving.world().traffic = 60;
    let may_order = |record: &Record| record.phase == Phase::Following && undone(record) == before;
    let is_done =
        |record: &Record| record.phase == Phase::Following && (undone(record) > before || record.active != from);
    moving.go(order, may_order, is_done);
    moving.world().is_slow = false;
    moving.world().traffic = 25;
    if moving.record().active != from {
        // There was nothing left to write, so that it went through at once.
        let back = if order == Order::Rollback { Order::SwitchWrites } else { Order::Rollback };
        moving.switch(back);
    }
}

/// Ends the move, and sees that nothing of it is left.
fn end(moving: &mut Move) {
    let active = moving.record().active;
    let order = if active == Colour::Green { Order::Finalize } else { Order::Cancel };
    moving.go(order, |record| record.phase == Phase::Following, Record::is_over);
    let record = moving.record();
    assert_eq!((record.active, record.stream), (active, None));
    let world = moving.world();
    for colour in [Colour::Blue, Colour::Green] {
        assert_eq!(world.model(colour).streams(), Vec::<String>::new(), "of {colour}");
    }
}

/// Runs many seeds, and names the one that failed.
fn runs(course: Course, first: u64, count: u64) {
    let one = std::env::var("MIGRATE_SEED").ok().map(|seed| seed.parse().expect("MIGRATE_SEED is a number"));
    let count = std::env::var("MIGRATE_RUNS").map_or(count, |runs| runs.parse().expect("MIGRATE_RUNS is a number"));
    let seeds: Vec<u64> = one.map_or_else(|| (first..first + count).collect(), |seed: u64| vec![seed]);
    let (mut kills, mut undone, mut noted) = (0, 0, 0);
    for &seed in &seeds {
        let ran = std::panic::catch_unwind(|| run(seed, course));
        let ran = ran.unwrap_or_else(|_| panic!("the run failed: MIGRATE_SEED={seed}, {course:?}"));
        (kills, undone, noted) = (kills + ran.0, undone + ran.1, noted + ran.2);
    }
    println!("{course:?}: {} runs, the mover was killed {kills} times, {undone} switches were undone", seeds.len());
    assert!(one.is_some() || kills as u64 > count, "the mover is killed more than once a run: {kills}");
    assert!(one.is_some() || noted as u64 > count, "the lag is noted more than once a run: {noted}");
    let is_undone = course != Course::TimesOut || undone as u64 > count;
    assert!(one.is_some() || is_undone, "more than one switch a run is undone: {undone}");
}

#[test]
fn an_end_that_was_interrupted_behind_its_stream_goes_on() {
    let moving = crate::diffs::following(3, false);
    let (stream, blue) = (moving.record().stream.expect("a stream"), moving.world().blue.clone());
    let mut engine = now(Engine::open(moving.parts())).expect("open");
    now(engine.order(Order::Cancel)).expect("cancelled");
    now(blue.release(&stream)).expect("released");
    now(engine.run_until(|_, _| false)).expect("it ends");
    assert!(moving.record().is_over());
}

#[test]
fn a_move_that_is_killed_anywhere_loses_and_resurrects_nothing() {
    runs(Course::Straight, 1, 250);
}

#[test]
fn a_rollback_at_any_time_loses_and_resurrects_nothing() {
    runs(Course::RolledBack, 10_001, 250);
}

#[test]
fn a_switch_that_takes_too_long_is_undone() {
    runs(Course::TimesOut, 20_001, 100);
}

/// A move from what can only be read, killed anywhere: green has all of it and is in use, and blue was not touched.
#[test]
fn what_can_only_be_read_is_copied_whole_and_left_as_it_is() {
    let mut kills = 0;
    for seed in 30_001..30_081 {
        let mut moving = Move::new(seed, seed % 2 == 1);
        moving.world().one_way = true;
        for _ in 0..10 + seed % 60 {
            moving.world().client();
        }
        moving.world().clock.advance(std::time::Duration::from_secs(1));
        moving.world().trouble = 60;
        moving.plan();
        moving.start();
        if seed % 3 == 0 {
            // More was written meanwhile: it is copied again.
            for _ in 0..20 {
                moving.world().client();
            }
            let revision = moving.record().revision;
            let again = |record: &Record| record.phase == Phase::Following && record.revision > revision;
            moving.go(Order::Start, Record::may_copy_again, again);
        }
        moving.switch(Order::SwitchWrites);
        let refused = now(Engine::open(moving.parts_at_rest())).expect("open").answer(Order::Rollback).now_or_never();
        let refused = refused.expect("at once").expect_err("nothing could go back");
        assert!(refused.to_string().contains("can only be read"), "{refused}");
        moving.go(Order::Finalize, |record| record.phase == Phase::Following, Record::is_over);
        let world = moving.world();
        kills += world.kills;
        let gates = [&world.blue, &world.green].map(|model| now(model.gate()).expect("a gate"));
        assert_eq!(gates[0], Gate { epoch: 0, writers: Writers::Clients }, "seed {seed}: blue was not closed");
        assert_eq!(gates[1].writers, Writers::Clients, "seed {seed}: green is open");
        let [there, copy] = [Colour::Blue, Colour::Green].map(|colour| {
            let items = world.items(colour);
            let mut items: Vec<Item> = items.iter().map(|item| without_vectors(item, moving.changes_space)).collect();
            items.sort_by_key(Item::key);
            items
        });
        assert_eq!(there, copy, "seed {seed}");
    }
    assert!(kills > 80, "the mover is killed: {kills}");
}
