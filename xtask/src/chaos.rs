//! `cargo xtask chaos`: the tests of orchestra-api that let everything fail, for longer.

use std::fs;

use anyhow::Result;
use memory_testkit::services::REQUIRE_VARIABLE;

use crate::process::{cargo, root, run as run_command};

/// How long, and which choices.
#[derive(clap::Args)]
pub struct Args {
    /// How many minutes the load lasts
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Repeat the choices of the campaign that printed this seed; the times at which they fall differ
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print the report as JSON; what is told meanwhile goes to standard error all the same
    #[arg(long)]
    json: bool,
    /// Build the server for speed, as it is released
    #[arg(long)]
    release: bool,
}

/// Runs a campaign. It fails when something is lost, resurrected, stale or leaked.
pub fn run(args: &Args) -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--package", "orchestra-api", "--test", "chaos"]);
    if args.release {
        test.arg("--release");
    }
    test.args(["--", "--exact", "--nocapture", "what_was_acknowledged_outlives_every_failure"]);
    test.env("CHAOS_SECONDS", (args.minutes * 60).to_string());
    if let Some(seed) = args.seed {
        test.env("CHAOS_SEED", seed.to_string());
    }
    if std::env::var_os(REQUIRE_VARIABLE).is_none() {
        test.env(REQUIRE_VARIABLE, "redis,postgres");
    }
    // A report of before must not be taken for one of this campaign.
    let target = root().join("target");
    fs::create_dir_all(&target)?;
    let file = target.join("chaos.json");
    if file.exists() {
        fs::remove_file(&file)?;
    }
    test.env("CHAOS_JSON", &file).stdout(std::io::stderr());
    let outcome = run_command(&mut test);
    if args.json && file.exists() {
        println!("{}", fs::read_to_string(&file)?);
    }
    outcome
}
