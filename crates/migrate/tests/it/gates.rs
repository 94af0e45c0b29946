//! The gates: what is measured on both stores, and what is decided by it.

use memory_core::{Item, Replica as _};
use migrate::diff::{Counts, Diff};
use migrate::engine::Engine;
use migrate::gates::decide;
use migrate::plan::{Gates, Plan};
use migrate::probe::{Cached, Latency, Probes};
use migrate::record::Colour;

use crate::diffs::following;
use crate::world::now;

#[test]
fn two_equal_stores_hold_every_gate_and_the_record_keeps_it() {
    for (seed, changes_space) in [(11, false), (12, true)] {
        let moving = following(seed, changes_space);
        let mut engine = now(Engine::open(moving.parts())).expect("open");
        let checked = now(engine.check(|_| {})).expect("check");
        assert!(checked.holds(), "{:?}", checked.gates);
        let Probes { queries, exact, green_recall, overlap, leaks, .. } = checked.probes;
        assert!(queries > 10 && exact == queries, "{queries} queries, {exact} exact");
        assert_eq!((green_recall, leaks), (1.0, 0));
        assert!(changes_space || overlap == 1.0, "the same vectors have the same neighbours: {overlap}");
        assert_eq!(moving.record().checked, Some(checked));
    }
}

#[test]
fn a_difference_fails_the_functional_gate_and_no_other() {
    let moving = following(13, false);
    let (record, green) = (moving.record(), moving.world().green.clone());
    let memory = moving.world().items(Colour::Green).into_iter().find(|item| matches!(item, Item::Memory(_)));
    let gone = Item::Absent(memory.expect("a memory").key());
    now(green.write(record.follower_epoch, vec![gone])).expect("green is open to the mover");
    let mut engine = now(Engine::open(moving.parts())).expect("open");
    let checked = now(engine.check(|_| {})).expect("check");
    let failed: Vec<_> = checked.gates.iter().filter(|gate| !gate.holds).map(|gate| gate.name.as_str()).collect();
    assert_eq!(failed, ["functional"], "{:?}", checked.gates);
    assert!(!checked.holds());
}

#[test]
fn each_gate_fails_by_its_own_number() {
    let at = memory_core::Timestamp::UNIX_EPOCH;
    let diff = Diff {
        active: Colour::Blue,
        began_at: at,
        ended_at: Some(at),
        scanning: Colour::Green,
        after: None,
        compared: 10,
        counts: Counts::default(),
        unsettled: 0,
        repaired: 0,
        samples: Vec::new(),
    };
    let counted = |blue, green| Cached::Counted { tenants: 1, of: 1, blue, green };
    let latency = |p95_us| Latency { p50_us: 1, p95_us, p99_us: 1 };
    let probes = Probes {
        queries: 10,
        exact: 10,
        green_recall: 0.97,
        blue: latency(1000),
        green: latency(600),
        cached: counted(10, 5),
        ..Probes::default()
    };
    let gates = Gates { queries: 10, recall: Some(0.95), improvement: Some(0.4), hit_rate: Some(0.5) };
    let plan = Plan { lag_gate: 5, gates, ..Plan::default() };
    let failed = |plan: &Plan, diff: &Diff, probes: &Probes, lag| -> Vec<String> {
        let gates = decide(plan, diff, probes, lag);
        gates.into_iter().filter(|gate| !gate.holds).map(|gate| gate.name).collect()
    };
    assert_eq!(failed(&plan, &diff, &probes, 5), [""; 0]);
    let other = Diff { unsettled: 1, ..diff.clone() };
    assert_eq!(failed(&plan, &other, &probes, 5), ["functional"]);
    let other = Diff { ended_at: None, ..diff.clone() };
    assert_eq!(failed(&plan, &other, &probes, 5), ["functional"]);
    assert_eq!(failed(&plan, &diff, &probes, 6), ["lag"]);
    assert_eq!(failed(&plan, &diff, &Probes { leaks: 1, ..probes.clone() }, 0), ["security"]);
    assert_eq!(failed(&plan, &diff, &Probes { green_recall: 0.94, ..probes.clone() }, 0), ["search"]);
    assert_eq!(failed(&plan, &diff, &Probes { green: latency(601), ..probes.clone() }, 0), ["performance"]);
    let with = |cached: Cached| Probes { cached, ..probes.clone() };
    assert_eq!(failed(&plan, &diff, &with(counted(10, 4)), 0), ["hit rate"]);
    assert_eq!(failed(&plan, &diff, &with(counted(0, 0)), 0), [""; 0], "there is nothing to lose");
    assert_eq!(failed(&plan, &diff, &with(Cached::NothingToLose("none".into())), 0), [""; 0]);
    for unknown in [Cached::Unknown("no".into()), Cached::NotAsked] {
        assert_eq!(failed(&plan, &diff, &with(unknown), 0), ["hit rate"], "what is wanted has to be known");
    }
    let unasked =
        Plan { gates: Gates { recall: None, improvement: None, hit_rate: None, ..plan.gates.clone() }, ..plan };
    assert_eq!(
        failed(
            &unasked,
            &diff,
            &Probes { green_recall: 0.0, green: latency(9999), cached: counted(10, 0), ..probes },
            0
        ),
        [""; 0]
    );
}
