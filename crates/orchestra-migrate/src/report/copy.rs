//! The part of the page that tells of the copy, and of how far behind the store that follows was.

use chrono::{DateTime, Utc};
use migrate::record::{Colour, Record};

use super::plot::{self, Axis, BLUE, GREEN, Line, Mark, ORANGE, Plot};

/// Into how many parts the time is divided, at most, for a rate each.
const PARTS: f64 = 60.0;
/// Changes that the axis of them has at least, so that no part of one is on it.
const FEW: f64 = 5.0;

/// Items over the time, their rate, and the changes that were left.
pub fn html(record: &Record) -> String {
    let (items, behind) = (items(record), behind(record));
    let rates = rates(&items);
    let over_time = |title, unit, else_why, line| Plot {
        title,
        x: Axis::Time,
        unit,
        most: None,
        lines: vec![line],
        marks: Vec::new(),
        else_why,
    };
    let nothing = "nothing was copied yet";
    let copied = over_time("Items copied", "items", nothing, Line::new("copied", BLUE, items));
    let too_few = "it takes two measurements at different times";
    let rate = over_time("Rate of the copy", "items/s", too_few, Line::new("copied a second", BLUE, rates));
    let highest = behind.iter().map(|(_, changes)| *changes).fold(FEW, f64::max);
    let mut lag = over_time("Changes behind", "changes", nothing, Line::new("left to follow", ORANGE, behind));
    lag.most = Some(highest);
    if let Some(began) = began(record) {
        let switches = record.switches.iter().map(|switch| Mark {
            at: seconds(began, switch.at),
            text: format!("{} in use", switch.to),
            colour: colour(switch.to),
        });
        lag.marks = switches.collect();
    }
    format!("<h2>Copy</h2>\n{}", plot::row(&[copied.html(), rate.html(), lag.html()]))
}

/// What a store is drawn in.
pub fn colour(of: Colour) -> &'static str {
    match of {
        Colour::Blue => BLUE,
        Colour::Green => GREEN,
    }
}

/// When the first of what is drawn was: of a copy that was made again, the first one.
fn began(record: &Record) -> Option<DateTime<Utc>> {
    record.samples.iter().map(|sample| sample.at).chain(record.copied.began_at).min()
}

fn seconds(began: DateTime<Utc>, at: DateTime<Utc>) -> f64 {
    ((at - began).num_milliseconds() as f64 / 1000.0).max(0.0)
}

fn items(record: &Record) -> Vec<(f64, f64)> {
    let Some(began) = began(record).filter(|_| !record.samples.is_empty()) else { return Vec::new() };
    // Nothing was copied when it began.
    let start = (record.copied.began_at == Some(began)).then_some((0.0, 0.0));
    let copied = record.samples.iter().map(|sample| (seconds(began, sample.at), sample.items as f64));
    start.into_iter().chain(copied).collect()
}

/// The rate of each part of the time.
fn rates(items: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let Some(mut from) = items.first().copied() else { return Vec::new() };
    // That nothing was left is found out in the end, and is no rate.
    let last = items.iter().rposition(|(_, count)| items.last().is_none_or(|(_, all)| count < all));
    let items = &items[..items.len().min(last.map_or(0, |last| last + 2))];
    let part = items.last().map_or(0.0, |(end, _)| end / PARTS).max(0.001);
    let mut rates = Vec::new();
    for &(at, count) in items {
        if at - from.0 >= part {
            rates.push((at, (count - from.1).max(0.0) / (at - from.0)));
            from = (at, count);
        }
    }
    rates
}

fn behind(record: &Record) -> Vec<(f64, f64)> {
    let Some(began) = began(record) else { return Vec::new() };
    let copying = record.samples.iter().map(|sample| (sample.at, sample.lag));
    let following = record.behind.iter().map(|behind| (behind.at, behind.changes));
    copying.chain(following).map(|(at, changes)| (seconds(began, at), changes as f64)).collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use migrate::plan::Plan;
    use migrate::record::{Behind, Sample, Switch};

    use super::*;

    fn record(counts: &[u64]) -> Record {
        let began = Utc::now();
        let mut record = Record::planned(Plan::default(), false, 0, began);
        record.copied.began_at = Some(began);
        for (at, items) in (1..).zip(counts) {
            record.samples.push(Sample { at: began + TimeDelta::seconds(at), items: *items, lag: 3 });
        }
        record
    }

    #[test]
    fn the_copy_is_drawn_from_its_beginning_with_its_rate() {
        let mut record = record(&[100, 300]);
        record.switches.push(Switch { at: record.samples[1].at, to: Colour::Green, waited_ms: 7 });
        record.behind.push(Behind { at: record.samples[1].at + TimeDelta::seconds(5), changes: 9 });
        assert_eq!(behind(&record), [(1.0, 3.0), (2.0, 3.0), (7.0, 9.0)]);
        assert_eq!(items(&record), [(0.0, 0.0), (1.0, 100.0), (2.0, 300.0)]);
        assert_eq!(rates(&items(&record)), [(1.0, 100.0), (2.0, 200.0)]);
        let found_out = Sample { at: record.samples[1].at + TimeDelta::seconds(1), ..record.samples[1] };
        record.samples.push(found_out);
        assert_eq!(rates(&items(&record)).len(), 2, "nothing was copied in the end");
        record.samples.pop();
        let page = html(&record);
        for shown in [">items</text>", ">items/s</text>", ">changes</text>", ">time in s</text>", "green in use</text>"]
        {
            assert!(page.contains(shown), "{shown}: {page}");
        }
        assert_eq!(
            (page.matches("<figure>").count(), page.matches("class=key").count()),
            (3, 3),
            "each line has a name"
        );
    }

    #[test]
    fn a_copy_of_one_sample_of_none_and_one_made_again_are_drawn_too() {
        let none = html(&record(&[]));
        assert_eq!((none.matches("<figure>").count(), none.matches(": nothing was copied yet</p>").count()), (0, 2));
        assert_eq!(html(&record(&[7])).matches("<figure>").count(), 3);
        assert!(html(&record(&[7])).contains(">5</text>"), "an axis of few changes has no parts of one");
        let mut still = record(&[7, 7]);
        still.samples[1].at = still.samples[0].at;
        still.copied.began_at = Some(still.samples[0].at);
        assert!(rates(&items(&still)).is_empty(), "no time went by");
        assert!(html(&still).contains("<b>Rate of the copy</b>: it takes two measurements"), "{}", html(&still));
        let mut again = record(&[50, 90, 10]);
        again.copied.began_at = Some(again.samples[2].at);
        assert_eq!(items(&again)[0], (0.0, 50.0), "the first copy began before, nobody knows when");
        assert!(rates(&items(&again)).iter().all(|(_, rate)| *rate >= 0.0));
        for page in [html(&still), html(&again)] {
            assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        }
    }
}
