//! What may not follow on what.

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn planned() -> Record {
    Record::planned(Plan { lag_gate: 10, switch_deadline_ms: 1000, ..Plan::default() }, false, 7, NOW)
}

fn following() -> Record {
    planned().started(5, NOW).unwrap().taken_over().prepared(NOW).copied(5, None, 0, NOW)
}

fn on_green() -> Record {
    following().switched(10, NOW).unwrap().drained(NOW).unwrap().opened(NOW).unwrap()
}

#[test]
fn orders_are_refused_where_they_make_no_sense() {
    let started = planned().started(5, NOW).unwrap();
    assert!(started.started(5, NOW).is_err(), "it has begun");
    assert!(planned().switched(0, NOW).is_err() && started.switched(0, NOW).is_err(), "nothing was copied");
    assert!(following().switched(11, NOW).is_err(), "too much is left");
    assert!(planned().reads_moved(10, NOW).is_err() && following().reads_moved(101, NOW).is_err());
    assert!(following().finalized(NOW).is_err(), "blue is in use");
    let switching = following().switched(0, NOW).unwrap();
    assert!(
        switching.switched(0, NOW).is_err() && switching.cancelled(NOW).is_err() && switching.finalized(NOW).is_err()
    );
    assert!(on_green().cancelled(NOW).is_err(), "green is in use");
    assert!(on_green().switched(0, NOW).is_err(), "the former stream stands");
    assert!(on_green().released().switched(0, NOW).is_ok());
    let over = on_green().released().finalized(NOW).unwrap().ended(NOW);
    assert!(over.is_over() && over.switched(0, NOW).is_err() && over.cancelled(NOW).is_err());
    assert_eq!(over.next(NOW), Step::Rest);
}

#[test]
fn a_switch_that_is_decided_is_not_undone_and_one_that_is_undone_is_not_decided() {
    let switching = following().switched(0, NOW).unwrap();
    let late = NOW + TimeDelta::milliseconds(1001);
    assert_eq!((switching.next(NOW), switching.next(late)), (Step::Drain, Step::GiveUp));
    let opening = switching.drained(NOW).unwrap();
    assert_eq!((opening.next(late), opening.given_up(late)), (Step::Open, None));
    let undoing = switching.given_up(late).unwrap();
    assert_eq!((undoing.next(late), undoing.drained(late), undoing.opened(late)), (Step::Reopen, None, None));
    let undone = undoing.undone(late).unwrap();
    assert_eq!((undone.active, &undone.phase), (Colour::Blue, &Phase::Following));
}

#[test]
fn every_gate_has_an_epoch_of_its_own_and_every_stream_a_name() {
    let before = following();
    let switching = before.switched(0, NOW).unwrap();
    let Phase::Switching { epoch: closed_at, .. } = switching.phase else { panic!("{switching:?}") };
    let opening = switching.taken_over().drained(NOW).unwrap();
    let Phase::Opening { epoch: opened_at, stream, .. } = opening.phase.clone() else { panic!("{opening:?}") };
    assert!(7 < before.follower_epoch && before.follower_epoch < closed_at && closed_at < opening.follower_epoch);
    assert!(opening.follower_epoch < opened_at);
    let opened = opening.opened(NOW).unwrap();
    assert_eq!((opened.follower_epoch, opened.active, opened.reads_on_green), (closed_at, Colour::Green, 100));
    assert_eq!(opened.releasing, before.stream.clone().map(|stream| (Colour::Blue, stream)));
    let back = opened.released().switched(0, NOW).unwrap().drained(NOW).unwrap().opened(NOW).unwrap();
    assert_eq!((back.active, back.reads_on_green), (Colour::Blue, 0));
    assert!(back.stream != before.stream && back.stream != stream, "{:?}", back.stream);
}

#[test]
fn each_switch_that_was_made_is_kept_with_its_pause() {
    let at = |ms| NOW + TimeDelta::milliseconds(ms);
    let switching = following().switched(0, at(10)).unwrap();
    assert!(switching.switches.is_empty(), "it may be undone yet");
    let opened = switching.drained(at(40)).unwrap().opened(at(65)).unwrap();
    assert_eq!(opened.switches, [Switch { at: at(65), to: Colour::Green, waited_ms: 55 }]);
    let late = opened.released().switched(0, at(100)).unwrap().given_up(at(5000)).unwrap().undone(at(5001)).unwrap();
    assert_eq!(late.switches, opened.switches, "one that was undone is none");
    let back = late.switched(0, at(6000)).unwrap().drained(at(6000)).unwrap().opened(at(5999)).unwrap();
    assert_eq!(back.switches[1], Switch { at: at(5999), to: Colour::Blue, waited_ms: 0 }, "a clock that was set back");
    let mut former = serde_json::to_value(&back).unwrap();
    former.as_object_mut().unwrap().remove("switches");
    assert!(serde_json::from_value::<Record>(former).unwrap().switches.is_empty(), "a record from before is read");
}

#[test]
fn the_samples_stay_few() {
    let mut record = planned().started(5, NOW).unwrap().prepared(NOW);
    for at in 0..5000 {
        record = record.copied(1, Some(ScanPosition(at.to_string())), 0, NOW);
    }
    assert!(record.samples.len() <= SAMPLES && record.samples.len() > SAMPLES / 3, "{}", record.samples.len());
    assert_eq!((record.copied.items, record.samples[0].items), (5000, 1));
    assert_eq!(record.samples.last().map(|sample| sample.items > 4900), Some(true));
}

#[test]
fn what_can_only_be_read_is_copied_as_often_as_wanted_and_left() {
    let planned = Record::planned(Plan { lag_gate: 10, ..Plan::default() }, true, 7, NOW);
    let copying = planned.started(5, NOW).unwrap().taken_over().prepared(NOW);
    assert_eq!((copying.next(NOW), &copying.stream), (Step::Copy, &None));
    let copied = copying.copied(5, None, 0, NOW);
    assert_eq!(copied.next(NOW), Step::Rest, "there is nothing to follow");
    let again = copied.started(6, NOW).unwrap();
    assert_eq!((again.next(NOW), again.copied.of, again.copied.items), (Step::Prepare, 6, 0));
    assert!(again.started(6, NOW).is_err(), "it is being copied");
    let opening = copied.switched(0, NOW).unwrap();
    assert_eq!((opening.next(NOW), opening.given_up(NOW)), (Step::Open, None));
    let opened = opening.opened(NOW).unwrap();
    assert_eq!((opened.active, opened.next(NOW), &opened.releasing), (Colour::Green, Step::Rest, &None));
    assert!(opened.switched(0, NOW).unwrap_err().to_string().contains("can only be read"));
    assert!(opened.started(5, NOW).is_err(), "green is in use");
    assert!(copied.cancelled(NOW).unwrap().ended(NOW).streams.is_empty());
    assert_eq!(opened.finalized(NOW).unwrap().ended(NOW).phase, Phase::Finalized);
}
