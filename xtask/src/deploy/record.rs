//! The durable record of a deployment: what was done, and which revisions there were. It holds no secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::local::LocalState;
use super::step::StepName;

/// What is known of a deployment.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    #[serde(skip)]
    file: PathBuf,
    /// The run that has not ended, or did not end well: the next one of the same revision goes on with it.
    pub run: Option<Run>,
    /// When each step was last done and verified, and what was seen.
    pub steps: BTreeMap<StepName, Done>,
    /// The revision that serves.
    pub current: Option<u32>,
    /// Every revision that was made, oldest first.
    pub revisions: Vec<Revision>,
    /// What runs on this machine.
    #[serde(skip_serializing_if = "LocalState::is_empty")]
    pub local: LocalState,
}

/// A run and how far it came.
#[derive(Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Run {
    /// The source and the settings that it deploys.
    pub of: String,
    /// The steps that are done.
    pub done: BTreeSet<StepName>,
    /// The step that was begun and is not done.
    pub at: Option<StepName>,
}

/// A step that is done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    /// The source that it was done at.
    pub revision: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// What was seen.
    pub seen: String,
}

/// A version of the program that was deployed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Revision {
    /// From 1 on.
    pub number: u32,
    /// The commit it was built from.
    pub source: String,
    /// The program: a file on this machine, or an image with its digest.
    pub image: String,
    /// What the service calls it.
    pub service_revision: String,
    /// The Terraform variables that it was applied with.
    pub variables: BTreeMap<String, String>,
    /// Whether it ever served.
    pub was_live: bool,
}

impl Record {
    /// Reads it, or begins one.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub fn open(file: &Path) -> Result<Self> {
        let mut record = match fs::read(file) {
            Ok(text) => serde_json::from_slice::<Self>(&text)
                .with_context(|| format!("{}: is damaged; move it away to begin anew", file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", file.display())),
        };
        record.file = file.to_owned();
        Ok(record)
    }

    /// Writes it: a reader finds the former record or this one, also after a crash.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> Result<()> {
        let written = || {
            let part = self.file.with_extension("part");
            let mut file = File::create(&part)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(part, &self.file)
        };
        written().with_context(|| format!("{}: cannot be written", self.file.display()))
    }

    /// Begins a run, or goes on with the one that did not end. Gives whether it goes on.
    pub fn begin(&mut self, of: &str) -> bool {
        let goes_on = self.run.as_ref().is_some_and(|run| run.of == of);
        if !goes_on {
            self.run = Some(Run { of: of.to_owned(), ..Run::default() });
        }
        goes_on
    }

    /// Notes that a step is done.
    pub fn done(&mut self, step: StepName, revision: &str, seen: &str) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        self.steps.insert(step, Done { revision: revision.to_owned(), at, seen: seen.to_owned() });
        if let Some(run) = &mut self.run {
            run.done.insert(step);
            run.at = None;
        }
    }

    /// The revision of this number.
    pub fn revision(&mut self, number: u32) -> Option<&mut Revision> {
        self.revisions.iter_mut().find(|revision| revision.number == number)
    }

    /// The revision that serves.
    pub fn live(&self) -> Option<&Revision> {
        self.revisions.iter().find(|revision| Some(revision.number) == self.current)
    }

    /// The revision that served before the one that serves.
    ///
    /// # Errors
    /// When there is none.
    pub fn former(&self) -> Result<&Revision> {
        let Some(current) = self.current else { bail!("nothing was deployed, so there is nothing to go back to") };
        let before = self.revisions.iter().rev().find(|revision| revision.number < current && revision.was_live);
        before.with_context(|| format!("revision {current} is the first, so there is none to go back to"))
    }

    /// The number of the next revision.
    pub fn next_number(&self) -> u32 {
        self.revisions.last().map_or(1, |revision| revision.number + 1)
    }
}

/// Keeps others from deploying the same while it lives. The system gives it back when the process dies.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held, not read")] File);

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// When another process has it.
    pub fn take(file: &Path) -> Result<Self> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        }
        let lock = File::create(file).with_context(|| format!("{}: cannot be made", file.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self(lock)),
            Err(fs::TryLockError::WouldBlock) => bail!("another `cargo xtask deploy` is at work on this; wait for it"),
            Err(fs::TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: u32, was_live: bool) -> Revision {
        Revision { number, was_live, ..Revision::default() }
    }

    #[test]
    fn going_back_passes_over_what_never_served() {
        let revisions = vec![revision(1, true), revision(2, false), revision(3, true)];
        let mut record = Record { revisions, current: Some(3), ..Record::default() };
        assert_eq!(record.former().unwrap().number, 1);
        record.current = Some(1);
        let error = record.former().unwrap_err().to_string();
        assert_eq!(error, "revision 1 is the first, so there is none to go back to");
        record.current = None;
        assert!(record.former().is_err());
    }

    #[test]
    fn a_run_goes_on_only_with_the_same_source_and_settings() {
        let mut record = Record::default();
        assert!(!record.begin("a"));
        record.done(StepName::Redis, "a", "answers");
        assert!(record.begin("a"));
        assert!(record.run.as_ref().unwrap().done.contains(&StepName::Redis));
        assert!(!record.begin("b"));
        assert!(record.run.unwrap().done.is_empty());
    }

    #[test]
    fn what_is_written_is_read_again_and_damage_is_told() {
        let file = std::env::temp_dir().join(format!("xtask-record-{}.json", std::process::id()));
        let mut record = Record::open(&file).unwrap();
        record.begin("a");
        record.done(StepName::Api, "a", "answers");
        record.write().unwrap();
        let read = Record::open(&file).unwrap();
        assert_eq!((read.run, read.steps[&StepName::Api].seen.as_str()), (record.run, "answers"));
        fs::write(&file, "{").unwrap();
        assert!(Record::open(&file).unwrap_err().to_string().contains("is damaged"));
        fs::remove_file(&file).unwrap();
    }
}
