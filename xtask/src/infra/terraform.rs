//! Terraform: its format, its schema, its policy, and the tests of its modules.
//!
//! Where [`OFFLINE_VARIABLE`] names a folder with `tf-offline` and `tfcheck.py`, the google provider is their schema
//! alone and nothing is asked of a network; else `terraform init` gets the provider from its registry.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use super::tools::{find, left_out, python, shown};
use crate::process::{output, root};

/// Names the folder with the offline provider.
const OFFLINE_VARIABLE: &str = "ORCHESTRA_TF_OFFLINE";
/// What `terraform init` says when it cannot ask for providers.
const NO_REGISTRY: &str = "Failed to query available provider packages";
/// The line of the google provider that the modules are written for.
const PROVIDER_MAJOR: &str = "8";
const PYTHON_OF_OFFLINE: &str = include_str!("tf-offline.txt");
const CHECKOV: &str = include_str!("checkov.txt");

/// The folders of the modules, in order.
pub fn module_folders() -> Result<Vec<PathBuf>> {
    folders("terraform/modules")
}

/// The folders of the environments, in order.
pub fn environment_folders() -> Result<Vec<PathBuf>> {
    folders("terraform/envs")
}

/// `terraform fmt`.
pub fn format() -> Result<()> {
    let Some(terraform) = terraform()? else { return Ok(()) };
    let wrong = command(&terraform).args(["fmt", "-check", "-recursive", "-list=true", "terraform"]).output();
    let wrong = wrong.context("terraform cannot be started")?;
    if !wrong.status.success() {
        bail!(
            "`terraform fmt -recursive terraform` would change:\n{}{}",
            String::from_utf8_lossy(&wrong.stdout),
            String::from_utf8_lossy(&wrong.stderr)
        );
    }
    Ok(())
}

/// Every argument against the provider's schema, where the offline tools are.
pub fn schema() -> Result<()> {
    let Some(offline) = offline() else { return Ok(()) };
    let programs = python("tf-offline", PYTHON_OF_OFFLINE)?;
    let mut check = Command::new(programs.join("python"));
    check.arg(offline.join("tfcheck.py")).args(["--major", PROVIDER_MAJOR, "--strict", "terraform"]);
    eprint!("{}", output(&mut check)?);
    Ok(())
}

/// Checkov's rules. What is not followed is skipped in its place, with the reason.
pub fn policy() -> Result<()> {
    let programs = match python("checkov", CHECKOV) {
        Ok(programs) => programs,
        Err(error) => return left_out("checkov", &format!("{error:#}")),
    };
    let mut checkov = Command::new(programs.join("python"));
    checkov.arg(programs.join("checkov"));
    // Without --skip-download it asks its maker's server for more rules.
    checkov.args(["--directory", "terraform", "--framework", "terraform", "--quiet", "--compact", "--skip-download"]);
    eprint!("{}", output(&mut checkov)?);
    Ok(())
}

/// `terraform validate` and `terraform test` of each module and environment.
pub fn modules() -> Result<()> {
    let Some(terraform) = terraform()? else { return Ok(()) };
    let runner = match offline() {
        Some(folder) => {
            let programs = python("tf-offline", PYTHON_OF_OFFLINE)?;
            Runner::Offline { script: folder.join("tf-offline"), python: programs.join("python") }
        }
        None => Runner::Registry { terraform },
    };
    let environments = environment_folders()?;
    same_in_all_environments(&environments)?;
    // The longest first, which are those that hold the others.
    let all = [environments, module_folders()?].concat();
    if let Runner::Registry { .. } = runner {
        // One after the other: the cache of providers that they share is not safe otherwise.
        match all.iter().try_for_each(|folder| runner.init(folder)) {
            Err(error) if format!("{error:#}").contains(NO_REGISTRY) => {
                let reason = format!("no registry has its provider, and {OFFLINE_VARIABLE} names no folder with one");
                return left_out("terraform", &reason);
            }
            done => done?,
        }
    }
    let waiting = Mutex::new(all.iter().cloned().collect::<VecDeque<_>>());
    let failures = Mutex::new(Vec::new());
    let next = || waiting.lock().ok()?.pop_front();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(folder) = next() {
                    if let (Err(error), Ok(mut failures)) = (runner.check(&folder), failures.lock()) {
                        failures.push(format!("{error:#}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().map_err(|_| anyhow!("a check ended in a panic"))?;
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}

/// How terraform is run.
enum Runner {
    /// By `tf-offline`, which needs this Python.
    Offline {
        script: PathBuf,
        python: PathBuf,
    },
    Registry {
        terraform: PathBuf,
    },
}

impl Runner {
    fn check(&self, folder: &Path) -> Result<()> {
        let name = shown(folder);
        self.output(folder, &["validate", "-no-color"]).with_context(|| name.clone())?;
        let tested = self.output(folder, &["test", "-no-color"]).with_context(|| name.clone())?;
        let result = tested.lines().rev().find(|line| !line.is_empty()).unwrap_or_default();
        // A folder without tests succeeds too.
        if !result.starts_with("Success! ") || result.contains(" 0 passed") {
            bail!("{name}: terraform test says {result:?}; each module and environment has tests");
        }
        eprintln!("{name}: {result}");
        Ok(())
    }

    fn init(&self, folder: &Path) -> Result<()> {
        self.output(folder, &["init", "-backend=false", "-input=false", "-no-color"])?;
        Ok(())
    }

    fn output(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        let mut command = match self {
            Self::Offline { script, python } => {
                let mut command = command(script);
                command.env("TFCHECK_PYTHON", python).env("TFCHECK_PROVIDER_MAJOR", PROVIDER_MAJOR);
                command
            }
            Self::Registry { terraform } => command(terraform),
        };
        // What it keeps for a folder stays out of that folder.
        let kept = root().join("target/tools/terraform");
        let providers = kept.join("providers");
        fs::create_dir_all(&providers)?;
        command.env("TF_DATA_DIR", kept.join(shown(folder))).env("TF_PLUGIN_CACHE_DIR", providers);
        let done = command.arg(format!("-chdir={}", folder.display())).args(arguments).output()?;
        let said = [done.stdout, done.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if !done.status.success() {
            bail!("terraform {}: {}\n{said}", arguments.join(" "), done.status);
        }
        Ok(said)
    }
}

/// The environments differ in `sizes.tf` alone.
fn same_in_all_environments(environments: &[PathBuf]) -> Result<()> {
    let Some((first, others)) = environments.split_first() else { return Ok(()) };
    for name in ["main.tf", "outputs.tf", "variables.tf", "versions.tf"] {
        let text = fs::read_to_string(first.join(name))?;
        for other in others {
            if fs::read_to_string(other.join(name))? != text {
                bail!("{name} differs between {} and {}", shown(first), shown(other));
            }
        }
    }
    Ok(())
}

/// The program, or word that its checks are left out.
fn terraform() -> Result<Option<PathBuf>> {
    let found = find("terraform");
    if found.is_none() {
        left_out("terraform", "not found on the path")?;
    }
    Ok(found)
}

fn offline() -> Option<PathBuf> {
    std::env::var_os(OFFLINE_VARIABLE).filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env("CHECKPOINT_DISABLE", "1").env("TF_IN_AUTOMATION", "1");
    command
}

fn folders(parent: &str) -> Result<Vec<PathBuf>> {
    let parent = root().join(parent);
    let entries = fs::read_dir(&parent).with_context(|| format!("{}: cannot be read", shown(&parent)))?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}
