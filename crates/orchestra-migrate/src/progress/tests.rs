//! What is shown, on a terminal and without.

use std::io;
use std::sync::{Arc, Mutex};

use indicatif::TermLike;
use migrate::plan::Plan;
use migrate::record::{Behind, Colour, Sample, Switch};

use super::*;

/// A terminal that keeps what is written to it.
#[derive(Debug, Clone, Default)]
struct Terminal(Arc<Mutex<String>>);

impl Terminal {
    fn target(&self) -> ProgressDrawTarget {
        ProgressDrawTarget::term_like(Box::new(self.clone()))
    }

    fn put(&self, text: &str) -> io::Result<()> {
        self.0.lock().unwrap().push_str(text);
        Ok(())
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        80
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        self.put("<up>")
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.put(&format!("{line}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("<clear>")
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A copy of 1000 items that has measured so many, a second after the other.
fn copying(counts: &[u64]) -> Record {
    let began = Utc::now() - TimeDelta::seconds(counts.len() as i64);
    let mut record = Record::planned(Plan::default(), false, 0, began).started(1000, began).unwrap().prepared(began);
    for (second, items) in (1..).zip(counts) {
        record.samples.push(Sample { at: began + TimeDelta::seconds(second), items: *items, lag: 0 });
        record.copied.items = *items;
    }
    record
}

fn now(record: &Record) -> DateTime<Utc> {
    record.samples.last().unwrap().at
}

#[test]
fn a_line_says_how_much_is_copied_how_fast_and_how_long_the_rest_takes() {
    let record = copying(&[100, 250]);
    let told = line(&record, 3, now(&record));
    assert_eq!(told, "copying: 25 %, 250 of about 1000 items, 125 items/s, 3 changes behind, about 6 s left");
    let following = record.copied(750, None, 0, now(&record));
    assert_eq!(line(&following, 3, now(&record)), "following: blue in use, green is 3 changes behind");
}

#[test]
fn the_rate_is_that_of_the_last_seconds_and_of_this_copy() {
    assert_eq!(rate(&copying(&[])), None);
    let mut counts = vec![600; 20];
    counts.extend((1..=10).map(|second| 600 + second * 7));
    let slower = copying(&counts);
    assert_eq!(rate(&slower), Some(7.0));
    let mut again = copying(&[900, 40]);
    again.copied.began_at = Some(again.samples[0].at + TimeDelta::milliseconds(500));
    assert_eq!(rate(&again), Some(80.0), "the copy before has none of it");
    again.copied.began_at = Some(again.samples[1].at);
    assert_eq!(rate(&again), None, "no time went by");
}

#[test]
fn times_are_in_the_unit_that_suits_them() {
    let spans = [0, 119, 120, 7199, 9000].map(|seconds| span(Duration::from_secs(seconds)));
    assert_eq!(spans, ["0 s", "119 s", "2 min", "119 min", "2.5 h"]);
}

#[test]
fn what_was_noted_before_a_switch_says_nothing_of_the_store_that_follows_since() {
    let copied = copying(&[1000]).copied(0, None, 0, Utc::now());
    let at = now(&copied);
    assert_eq!(behind(&copied, at), None, "nothing was noted");
    let mut record = Record { behind: vec![Behind { at, changes: 7 }], ..copied };
    let later = at + TimeDelta::seconds(4);
    assert_eq!(behind(&record, later).as_deref(), Some("green was 7 changes behind 4 s ago"));
    record.switches.push(Switch { at: later, to: Colour::Green, waited_ms: 5 });
    assert_eq!(behind(&record, later), None);
}

#[test]
fn a_terminal_has_a_bar_of_the_copy_and_then_what_is_followed_in_its_place() {
    let (terminal, record) = (Terminal::default(), copying(&[100, 250]));
    let progress = Progress::on(terminal.target());
    progress.tell(&record, 3);
    progress.bar.force_draw();
    let shown = terminal.text();
    assert!(shown.contains("copying ") && shown.contains("━╸") && shown.contains(" 25 %"), "{shown}");
    assert!(shown.contains("250 of about 1000 items, 125 items/s, 3 changes behind, about"), "{shown}");
    progress.tell(&record.copied(750, None, 0, now(&record)), 5);
    progress.bar.force_draw();
    let rest = terminal.text().split_off(shown.len());
    assert!(rest.contains("<clear>") && rest.contains("green is 5 changes behind") && !rest.contains('╸'), "{rest}");
    drop(progress);
    let shown = terminal.text();
    assert_eq!(shown.rsplit_once("<clear>").map(|(_, left)| left), Some("<up>"), "nothing of it is left: {shown:?}");
}

#[test]
fn a_page_takes_the_place_of_the_one_before_and_the_last_one_stays() {
    let (terminal, record) = (Terminal::default(), copying(&[100, 250]));
    let page = Page(Some(ProgressBar::with_draw_target(None, terminal.target())));
    page.show(&record, "first\nof two\n");
    page.0.as_ref().unwrap().force_draw();
    let first = terminal.text();
    assert!(first.contains("first ") && first.contains("of two ") && first.contains("╸") && first.contains(" 25 %"));
    page.show(&record.copied(750, None, 0, now(&record)), "second\n");
    page.0.as_ref().unwrap().force_draw();
    let rest = terminal.text().split_off(first.len());
    drop(page);
    let shown = terminal.text();
    let (_, last) = shown.rsplit_once("<clear>").unwrap();
    assert!(rest.contains("<clear>") && last.contains("second") && !last.contains(" %"), "{rest:?}");
}
