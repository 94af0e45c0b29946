//! The checker: what every acknowledged request means, and whether what is read agrees with it.
//!
//! It knows nothing of servers. Whoever sends a request tells when it is sent and what became of it, whoever reads tells
//! since when the answer must count and what was there. Each memory is written by one worker alone, one request after the
//! other, and each attempt to write it has a number that its text shows. An attempt whose answer was lost is in doubt: it
//! may have had its effect, or have it later, until an answer or a sight of its text says so.

mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;

use crate::name::Name;
use memory_testkit::random::Random;
use record::{Known, Record};

/// A place in the order in which the campaign did and saw things.
pub type Tick = u64;

/// What must never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What was acknowledged is not there.
    Lost,
    /// What was forgotten is there.
    Resurrected,
    /// A former text, though a later one was acknowledged before the read.
    Stale,
    /// A text of another tenant.
    Leaked,
    /// One write is there twice.
    Duplicated,
    /// A part of a batch is there without the rest.
    Torn,
    /// A text that nobody wrote, or that was refused.
    Invented,
    /// An answer that makes no sense: a refusal without a reason, a request that is never answered.
    Senseless,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Lost,
        Self::Resurrected,
        Self::Stale,
        Self::Leaked,
        Self::Duplicated,
        Self::Torn,
        Self::Invented,
        Self::Senseless,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Resurrected => "resurrected",
            Self::Stale => "stale",
            Self::Leaked => "leaked",
            Self::Duplicated => "duplicated",
            Self::Torn => "torn",
            Self::Invented => "invented",
            Self::Senseless => "senseless",
        })
    }
}

/// Something that must never be, and was.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    pub kind: Kind,
    #[serde(flatten)]
    pub sighting: Sighting,
}

/// What was read, and how it came to be there.
#[derive(Debug, Clone, Serialize)]
pub struct Sighting {
    /// What was read, where.
    pub what: String,
    /// The requests about that memory, oldest first; their ids are in the servers' logs.
    pub trail: Vec<String>,
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        self.trail.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// How much a read has to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Everything that was acknowledged before this.
    Since(Tick),
    /// Some former state: a search without a token may be answered by a replica that is behind.
    Anything,
}

impl View {
    fn must_show(self, known: Option<Known>) -> bool {
        matches!((self, known), (Self::Since(tick), Some(known)) if known.at < tick)
    }
}

/// Every memory of the campaign.
#[derive(Debug, Default)]
pub struct Model {
    tick: Tick,
    records: HashMap<Name, Record>,
    /// By tenant, in the order in which they were first written.
    names: BTreeMap<usize, Vec<Name>>,
    /// Those that a cached answer was filed about.
    answers: BTreeMap<usize, Vec<Name>>,
    batches: Vec<Vec<Name>>,
    violations: Vec<Violation>,
    /// Hits on outdated answers that nobody had promised to be gone yet.
    late_answers: usize,
}

impl Model {
    /// The present: what is known by now must be seen by what is asked from now on.
    pub fn now(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    /// A write of a memory is sent. Gives the number of the attempt, from 1.
    pub fn write_sent(&mut self, name: Name) -> usize {
        let names = &mut self.names;
        let record = self.records.entry(name).or_insert_with(|| {
            names.entry(name.tenant).or_default().push(name);
            Record::default()
        });
        record.begin_attempt()
    }

    /// These were sent as one batch.
    pub fn batch_sent(&mut self, names: &[Name]) {
        self.batches.push(names.to_vec());
    }

    /// The attempt was acknowledged. `cache_told`: no cached answer of before may be served from now on.
    pub fn write_known(&mut self, name: Name, attempt: usize, id: &str, cache_told: bool) {
        let at = self.now();
        self.identify(name, id, "an acknowledgement");
        self.record(name).attempt_known(attempt, at, cache_told.then_some(at));
    }

    /// The attempt was refused: it has no effect, now or later.
    pub fn write_void(&mut self, name: Name, attempt: usize) {
        self.record(name).attempt_void(attempt);
    }

    pub fn delete_sent(&mut self, name: Name) {
        self.record(name).begin_deletion();
    }

    pub fn delete_known(&mut self, name: Name, cache_told: bool) {
        let at = self.now();
        self.record(name).deletion_known(at, cache_told.then_some(at));
    }

    /// An answer that says what the attempt wrote is about to be filed.
    pub fn answer_sent(&mut self, name: Name) {
        let record = self.record(name);
        if !std::mem::replace(&mut record.answered, true) {
            self.answers.entry(name.tenant).or_default().push(name);
        }
    }

    /// Keeps a line about a memory, for whoever looks into a violation.
    pub fn note(&mut self, name: Name, line: String) {
        self.record(name).note(line);
    }

    /// A current text was read, by a caller of this tenant. Gives what it is of, where that is this tenant's.
    pub fn saw(&mut self, tenant: usize, id: &str, text: &str, view: View, place: &str) -> Option<(Name, usize)> {
        let (name, attempt) = self.recognised(tenant, id, text, view, place)?;
        let newer = self.record(name).newer(attempt).find(|(_, known)| view.must_show(Some(*known)));
        if let Some((later, known)) = newer {
            let what = format!("{place}: attempt {attempt}, though {later} was acknowledged at {}", known.at);
            self.violate(Kind::Stale, name, what);
        }
        Some((name, attempt))
    }

    /// A former text was read, in a memory's history.
    pub fn saw_former(&mut self, tenant: usize, id: &str, text: &str, view: View, place: &str) {
        self.recognised(tenant, id, text, view, place);
    }

    /// What a text is of, when it may be there at all.
    fn recognised(&mut self, tenant: usize, id: &str, text: &str, view: View, place: &str) -> Option<(Name, usize)> {
        let (name, attempt) = self.written(text, place)?;
        if name.tenant != tenant {
            self.violate(Kind::Leaked, name, format!("{place}: {text:?} was shown to another tenant"));
            return None;
        }
        self.identify(name, id, place);
        let record = self.record(name);
        if record.is_void(attempt) {
            self.violate(Kind::Invented, name, format!("{place}: attempt {attempt} was refused and is there"));
        } else if let Some(known) = record.deletion().filter(|known| view.must_show(Some(*known))) {
            self.violate(Kind::Resurrected, name, format!("{place}: attempt {attempt}, forgotten at {}", known.at));
        } else {
            let at = self.now();
            self.record(name).attempt_known(attempt, at, None);
        }
        Some((name, attempt))
    }

    /// A memory was looked for and is not there.
    pub fn missed(&mut self, name: Name, view: View, place: &str) {
        let record = self.record(name);
        let known = record.first_known();
        if record.is_deletion_sent() {
            if matches!(view, View::Since(_)) {
                let at = self.now();
                self.record(name).deletion_known(at, None);
            }
        } else if view.must_show(known) {
            let at = known.map_or(0, |known| known.at);
            self.violate(Kind::Lost, name, format!("{place}: not there, though acknowledged at {at}"));
        }
    }

    /// A cached answer was served to a caller of this tenant who asked about `asked`, not before `since`. `settled`: every
    /// change had time to reach the cache, also those whose acknowledgement did not promise it.
    pub fn hit(&mut self, tenant: usize, asked: Name, response: &str, since: Tick, settled: bool, place: &str) {
        let Some((name, attempt)) = self.written(response, place) else { return };
        if name.tenant != tenant {
            self.violate(Kind::Leaked, name, format!("{place}: {response:?} was served to another tenant"));
            return;
        }
        if name != asked {
            self.violate(Kind::Invented, name, format!("{place}: served to the question about {asked}"));
            return;
        }
        let record = self.record(name);
        let must_be_gone = |known: Known| match known.cache_told_at {
            Some(at) => at < since,
            None => settled && known.at < since,
        };
        let deleted = record.deletion().is_some_and(must_be_gone);
        let newer = record.newer(attempt).any(|(_, known)| must_be_gone(known));
        if deleted || newer {
            let kind = if deleted { Kind::Resurrected } else { Kind::Stale };
            self.violate(kind, name, format!("{place}: a cached answer of attempt {attempt}"));
        } else if self.is_outdated(response) {
            self.late_answers += 1;
        }
    }

    /// Whether the memory that a cached answer is about was changed since.
    pub fn is_outdated(&mut self, response: &str) -> bool {
        Name::of(response).is_some_and(|(name, attempt)| {
            let record = self.record(name);
            record.deletion().is_some() || record.newer(attempt).next().is_some()
        })
    }

    /// Looks at the batches, once everything that is there was seen: each is there whole or not at all.
    pub fn check_batches(&mut self, view: View) {
        for batch in std::mem::take(&mut self.batches) {
            let is_there =
                |name: &Name| self.records.get(name).is_some_and(|record| view.must_show(record.first_known()));
            let there = batch.iter().filter(|name| is_there(name)).count();
            if there > 0 && there < batch.len() {
                self.violate(Kind::Torn, batch[0], format!("{there} of a batch of {} were written", batch.len()));
            }
        }
    }

    /// Something that is no matter of one memory's states.
    pub fn violate(&mut self, kind: Kind, name: Name, what: String) {
        let trail = self.record(name).trail();
        let sighting = Sighting { what: format!("{name}: {what}"), trail };
        self.violations.push(Violation { kind, sighting });
    }

    /// The memory's id, once it is known.
    pub fn id(&self, name: Name) -> Option<String> {
        self.records.get(&name)?.id.clone()
    }

    /// Every memory of a tenant that was ever written.
    pub fn names(&self, tenant: usize) -> Vec<Name> {
        self.names.get(&tenant).cloned().unwrap_or_default()
    }

    /// Every memory of a tenant that an answer was ever filed about.
    pub fn answered(&self, tenant: usize) -> Vec<Name> {
        self.answers.get(&tenant).cloned().unwrap_or_default()
    }

    /// A memory of a tenant that has an id, and that id.
    pub fn any(&self, tenant: usize, random: &mut Random) -> Option<(Name, String)> {
        let name = *random.one_of(self.names.get(&tenant)?)?;
        Some((name, self.id(name)?))
    }

    /// A memory of a tenant that an answer was filed about, mostly a late one.
    pub fn any_answered(&self, tenant: usize, random: &mut Random) -> Option<Name> {
        let answers = self.answers.get(&tenant)?;
        let recent = &answers[answers.len().saturating_sub(30)..];
        let among = if random.percent(80) { recent } else { answers };
        random.one_of(among).copied()
    }

    /// How many memories must be there, and how many may be: at least, at most.
    pub fn count(&self, tenant: usize) -> (usize, usize) {
        let of_tenant = || self.records.iter().filter(|(name, _)| name.tenant == tenant).map(|(_, record)| record);
        let at_most = of_tenant().filter(|record| record.deletion().is_none() && record.may_be_there()).count();
        let at_least =
            of_tenant().filter(|record| !record.is_deletion_sent() && record.first_known().is_some()).count();
        (at_least, at_most)
    }

    /// Whether it was forgotten, and that was acknowledged or seen.
    pub fn is_forgotten(&self, name: Name) -> bool {
        self.records.get(&name).is_some_and(|record| record.deletion().is_some())
    }

    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub fn late_answers(&self) -> usize {
        self.late_answers
    }

    fn written(&mut self, text: &str, place: &str) -> Option<(Name, usize)> {
        let found = Name::of(text).filter(|(name, attempt)| {
            self.records.get(name).is_some_and(|record| record.attempts() >= *attempt && *attempt > 0)
        });
        if found.is_none() {
            let what = format!("{place}: {text:?} was written by nobody");
            self.violations.push(Violation { kind: Kind::Invented, sighting: Sighting { what, trail: Vec::new() } });
        }
        found
    }

    fn identify(&mut self, name: Name, id: &str, place: &str) {
        let known = self.record(name).id.get_or_insert_with(|| id.to_owned()).clone();
        if known != id {
            self.violate(Kind::Duplicated, name, format!("{place}: it has the id {id} too, beside {known}"));
        }
    }

    fn record(&mut self, name: Name) -> &mut Record {
        self.records.entry(name).or_default()
    }
}
