//! The commands that a deployment runs: which programs they are, and how they are run.

use std::ffi::OsString;
use std::io::stderr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::deploy::step::Failure;
use crate::process::{root, show};

/// The programs; other ones than those of the path are named by the environment.
#[derive(Debug)]
pub struct Tools {
    pub gcloud: OsString,
    pub terraform: OsString,
    pub docker: OsString,
}

impl Tools {
    /// `ORCHESTRA_GCLOUD`, `ORCHESTRA_TERRAFORM` and `ORCHESTRA_DOCKER`, else those of the path.
    pub fn from_environment() -> Self {
        let of = |variable: &str, name: &str| std::env::var_os(variable).unwrap_or_else(|| name.into());
        Self {
            gcloud: of("ORCHESTRA_GCLOUD", "gcloud"),
            terraform: of("ORCHESTRA_TERRAFORM", "terraform"),
            docker: of("ORCHESTRA_DOCKER", "docker"),
        }
    }

    /// A call of gcloud that never asks.
    pub fn gcloud(&self, words: &[&str]) -> Command {
        let mut gcloud = Command::new(&self.gcloud);
        gcloud.args(words).env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1");
        gcloud
    }
}

/// How a command ended.
pub struct Ended {
    /// Its exit status; -1 where a signal ended it.
    pub status: i32,
    /// What it printed.
    pub output: String,
    /// What it said of its failure.
    pub complaint: String,
    shown: String,
}

impl Ended {
    /// What it printed, where it succeeded.
    ///
    /// # Errors
    /// A [`Failure`] with the command, what it said, and `fix`.
    pub fn or_fix(self, fix: &str) -> Result<String> {
        if self.status == 0 {
            return Ok(self.output);
        }
        Err(self.failure(fix))
    }

    /// It as a failure.
    pub fn failure(self, fix: &str) -> anyhow::Error {
        let complaint = self.complaint.trim();
        let reason = if complaint.is_empty() { format!("it ended with {}", self.status) } else { complaint.to_owned() };
        Failure { command: self.shown, reason, fix: fix.to_owned() }.into()
    }
}

/// Runs a command to its end and keeps what it printed, which may be secret.
///
/// # Errors
/// When it cannot be started.
pub fn ask(command: &mut Command) -> Result<Ended> {
    let shown = show(command);
    let output = command.current_dir(root()).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{shown}: cannot be started; is it installed?"))?;
    Ok(Ended {
        status: output.status.code().unwrap_or(-1),
        output: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
        shown,
    })
}

/// Runs a command that takes long: it is shown, and what it prints goes to standard error as it comes.
///
/// # Errors
/// When it cannot be started.
pub fn work(command: &mut Command) -> Result<Ended> {
    let shown = show(command);
    eprintln!("      $ {shown}");
    command.current_dir(root()).stdin(Stdio::null()).stdout(stderr()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("{shown}: cannot be started; is it installed?"))?;
    let output = child.wait_with_output()?;
    Ok(Ended {
        status: output.status.code().unwrap_or(-1),
        output: String::new(),
        complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
        shown,
    })
}
