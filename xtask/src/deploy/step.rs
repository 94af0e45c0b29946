//! What a deployment is made of: steps with their order, and the choice of some of them.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};

/// The name of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    Network,
    Iam,
    Secrets,
    Redis,
    Alloydb,
    Ha,
    Image,
    Migrations,
    Indexes,
    Monitoring,
    Dashboards,
    Api,
}

impl StepName {
    /// As it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Iam => "iam",
            Self::Secrets => "secrets",
            Self::Redis => "redis",
            Self::Alloydb => "alloydb",
            Self::Ha => "ha",
            Self::Image => "image",
            Self::Migrations => "migrations",
            Self::Indexes => "indexes",
            Self::Monitoring => "monitoring",
            Self::Dashboards => "dashboards",
            Self::Api => "api",
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is asked for: one step, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Every step, and what is to hold at the end.
    All,
    /// This one.
    One(StepName),
}

impl ValueEnum for Choice {
    fn value_variants<'a>() -> &'a [Self] {
        use StepName as S;
        &[
            Self::All,
            Self::One(S::Network),
            Self::One(S::Iam),
            Self::One(S::Secrets),
            Self::One(S::Redis),
            Self::One(S::Alloydb),
            Self::One(S::Ha),
            Self::One(S::Image),
            Self::One(S::Migrations),
            Self::One(S::Indexes),
            Self::One(S::Monitoring),
            Self::One(S::Dashboards),
            Self::One(S::Api),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::All => "all",
            Self::One(step) => step.as_str(),
        }))
    }
}

/// One step of the deployment to a target `T`. Every part of it may run twice.
pub struct Step<T> {
    /// Its name.
    pub name: StepName,
    /// What it does, in a few words.
    pub about: &'static str,
    /// What has to be done before it.
    pub needs: &'static [StepName],
    /// The commands that it would run, as a person would type them; none where it runs none.
    pub commands: fn(&T) -> Vec<String>,
    /// Whether there is nothing left to do.
    pub is_done: fn(&mut T) -> Result<bool>,
    /// Does it.
    pub act: fn(&mut T) -> Result<()>,
    /// Looks at what was made and says what was seen, in a few words.
    pub verify: fn(&mut T) -> Result<String>,
}

/// Those of `steps` that are chosen, in their order.
pub fn chosen<'a, T>(steps: &'a [Step<T>], choices: &[Choice]) -> Vec<&'a Step<T>> {
    let all = choices.is_empty() || choices.contains(&Choice::All);
    steps.iter().filter(|step| all || choices.contains(&Choice::One(step.name))).collect()
}

/// Why a step failed, for the person who is to mend it.
#[derive(Debug)]
pub struct Failure {
    /// The command that failed, as it was run.
    pub command: String,
    /// What went wrong.
    pub reason: String,
    /// What to type or to change.
    pub fix: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.command.is_empty() {
            writeln!(f, "command: {}", self.command)?;
        }
        write!(f, "reason:  {}\nfix:     {}", self.reason.trim().replace('\n', "\n         "), self.fix)
    }
}

impl std::error::Error for Failure {}

/// An error that says what to do, without a command that failed.
pub fn failure(reason: impl Into<String>, fix: impl Into<String>) -> anyhow::Error {
    Failure { command: String::new(), reason: reason.into(), fix: fix.into() }.into()
}

/// Checks that every step comes after what it needs.
#[cfg(test)]
pub fn check_order<T>(steps: &[Step<T>]) {
    for (at, step) in steps.iter().enumerate() {
        for need in step.needs {
            assert!(steps[..at].iter().any(|before| before.name == *need), "{} needs {need} before it", step.name);
        }
    }
}
