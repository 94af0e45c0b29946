//! How far it is, while it goes on: a bar in a terminal, else a line now and then on standard error.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use migrate::diff::Diff;
use migrate::record::{Phase, Record};

/// How often a line is told.
const EVERY: Duration = Duration::from_secs(2);
/// The time that a rate is of.
const RATE_OF: TimeDelta = TimeDelta::seconds(10);
const BAR: &str = "{prefix} {wide_bar:.cyan/black.bright} {percent:>3} %\n{wide_msg}";
const BAR_AND_TEXT: &str = "{wide_bar:.cyan/black.bright} {percent:>3} %\n{msg}";

/// Shows progress on standard error, until it is dropped.
#[derive(Debug)]
pub struct Progress {
    /// Hidden where there is no terminal.
    bar: ProgressBar,
    has_length: Cell<Option<bool>>,
    told: Cell<Option<Instant>>,
}

impl Progress {
    pub fn new() -> Self {
        Self::on(ProgressDrawTarget::stderr())
    }

    fn on(target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        Self { bar, has_length: Cell::default(), told: Cell::default() }
    }

    /// Of the copy, and of what is followed.
    pub fn tell(&self, record: &Record, lag: u64) {
        let now = Utc::now();
        if self.bar.is_hidden() {
            if self.told.get().is_none_or(|told| told.elapsed() >= EVERY) {
                self.told.set(Some(Instant::now()));
                eprintln!("{}", line(record, lag, now));
            }
            return;
        }
        if record.phase == Phase::Copying {
            let of = record.copied.of.max(record.copied.items);
            self.bar("copying", record.copied.items, of, copied(record, lag, now));
        } else {
            self.spinner(line(record, lag, now));
        }
    }

    /// Of a comparison of about so many items.
    pub fn compared(&self, diff: &Diff, of: u64) {
        let (with, compared) = (diff.scanning.other(), diff.compared);
        if self.bar.is_hidden() {
            eprintln!("comparing with {with}: {compared} items");
        } else {
            self.bar(&format!("comparing with {with}"), compared, of.max(compared), format!("{compared} items"));
        }
    }

    fn bar(&self, what: &str, done: u64, of: u64, message: String) {
        self.style(true, BAR);
        self.bar.set_prefix(what.to_owned());
        self.bar.set_length(of);
        self.bar.set_message(message);
        self.bar.set_position(done);
    }

    fn spinner(&self, message: String) {
        self.style(false, "{spinner} {wide_msg}");
        self.bar.set_message(message);
        self.bar.tick();
    }

    fn style(&self, has_length: bool, template: &str) {
        if self.has_length.replace(Some(has_length)) != Some(has_length) {
            self.bar.set_style(style(template));
        }
    }
}

/// Shows where a move is: in a terminal in place of what was shown before, under a bar of the copy.
pub struct Page(Option<ProgressBar>);

impl Page {
    /// On standard output.
    pub fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self(is_terminal.then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout())))
    }

    /// Text behind text, whatever it is shown on.
    pub fn plain() -> Self {
        Self(None)
    }

    pub fn show(&self, record: &Record, text: &str) {
        let Some(page) = &self.0 else { return print!("{text}") };
        let (done, of) = (record.copied.items, record.copied.of.max(record.copied.items));
        let template = if record.phase == Phase::Copying { BAR_AND_TEXT } else { "{msg}" };
        page.set_style(style(template));
        page.set_length(of);
        page.set_message(text.trim_end().to_owned());
        page.set_position(done);
        page.tick();
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(page) = &self.0 {
            page.abandon();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well formed").progress_chars("━╸━")
}

/// Where it is, in a line.
pub fn line(record: &Record, lag: u64, now: DateTime<Utc>) -> String {
    match record.phase {
        Phase::Copying => format!("copying: {:.0} %, {}", record.progress() * 100.0, copied(record, lag, now)),
        _ => format!("{}: {} in use, {} is {lag} changes behind", record.phase, record.active, record.follower()),
    }
}

/// What was noted last of the store that follows; nothing where none follows.
pub fn behind(record: &Record, now: DateTime<Utc>) -> Option<String> {
    let since = record.switches.last().map(|switch| switch.at);
    let last = record.behind.last().filter(|last| record.phase == Phase::Following && Some(last.at) > since)?;
    let ago = span((now - last.at).to_std().unwrap_or_default());
    Some(format!("{} was {} changes behind {ago} ago", record.follower(), last.changes))
}

fn copied(record: &Record, lag: u64, now: DateTime<Utc>) -> String {
    let (items, of) = (record.copied.items, record.copied.of);
    let rate = rate(record).map_or(String::new(), |rate| format!(", {rate:.0} items/s"));
    let left = record.copy_left(now).map_or(String::new(), |left| format!(", about {} left", span(left)));
    format!("{items} of about {of} items{rate}, {lag} changes behind{left}")
}

/// Items a second, of the last seconds of the copy.
fn rate(record: &Record) -> Option<f64> {
    let began = record.copied.began_at?;
    let last = record.samples.last().filter(|last| last.at > began)?;
    let is_recent = |at: DateTime<Utc>| at >= began && last.at - at <= RATE_OF;
    let first = record.samples.iter().find(|sample| is_recent(sample.at)).map(|sample| (sample.at, sample.items));
    // All of it is recent, or what there is is a single measurement.
    let (at, items) = first.filter(|(at, _)| last.at - began > RATE_OF && *at < last.at).unwrap_or((began, 0));
    let seconds = (last.at - at).to_std().ok()?.as_secs_f64();
    (seconds > 0.0).then(|| last.items.saturating_sub(items) as f64 / seconds)
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}

#[cfg(test)]
mod tests;
