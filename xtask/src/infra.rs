//! `cargo xtask infra`: checks of what runs the system elsewhere, Terraform, dashboards and workflows.

mod layout;
mod monitoring;
mod promql;
mod readme;
mod terraform;
mod tools;
mod workflows;

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::builder::PossibleValuesParser;

use crate::process::root;

/// A check, and the name to ask for it by.
type Check = (&'static str, fn() -> Result<()>);

/// Every check, those that fail soonest first. One that needs a program which is not there says so and passes, unless
/// [`tools::REQUIRE_VARIABLE`] names the program.
const CHECKS: &[Check] = &[
    ("readme", readme::check),
    ("monitoring", monitoring::check),
    ("alerts", monitoring::alerts),
    ("workflows", workflows::check),
    ("format", terraform::format),
    ("schema", terraform::schema),
    ("policy", terraform::policy),
    ("modules", terraform::modules),
];

/// Which checks.
#[derive(clap::Args)]
pub struct Args {
    /// Run these alone
    #[arg(value_name = "CHECK", value_parser = PossibleValuesParser::new(CHECKS.iter().map(|(name, _)| *name)))]
    only: Vec<String>,
}

/// Runs every check.
pub fn check() -> Result<()> {
    run(&Args { only: Vec::new() })
}

/// Runs the checks that are asked for.
pub fn run(args: &Args) -> Result<()> {
    for (name, check) in CHECKS {
        if args.only.is_empty() || args.only.iter().any(|asked| asked == name) {
            let start = Instant::now();
            check()?;
            eprintln!("infra {name}: {:.0} s", start.elapsed().as_secs_f32());
        }
    }
    Ok(())
}

/// The files in a folder, as paths from the workspace's root, in order.
fn files(folder: &str, ending: &str) -> Result<Vec<String>> {
    let entries = fs::read_dir(root().join(folder)).with_context(|| format!("{folder}: cannot be read"))?;
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(&format!(".{ending}")) {
            files.push(format!("{folder}/{name}"));
        }
    }
    ensure!(!files.is_empty(), "{folder}: has no file");
    files.sort();
    Ok(files)
}
