//! `cargo xtask chaos`: the tests of orchestra-api that let everything fail, for longer; and those of orchestra-migrate.

use std::fs;
use std::process::Command as Process;

use anyhow::Result;
use memory_testkit::services::REQUIRE_VARIABLE;

use crate::process::{cargo, root, run as run_command};

/// How long, and which choices.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
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

#[derive(clap::Subcommand)]
enum Command {
    /// Move a memory from database to database under clients of real servers, and kill the mover and the servers on the way
    Migrate {
        /// How many moves; every other one is rolled back and switched again
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
        runs: u64,
        /// Repeat the choices of the campaign, or of the move, that printed this seed; the times at which they fall differ
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Print the report as JSON; what is told meanwhile goes to standard error all the same
        #[arg(long)]
        json: bool,
    },
}

/// Runs a campaign. It fails when something is lost, resurrected, stale or leaked.
pub fn run(args: &Args) -> Result<()> {
    let mut test = cargo();
    if let Some(Command::Migrate { runs, seed, json }) = args.command {
        // The servers that the clients use, beside the program that moves.
        run_command(cargo().args(["build", "--quiet", "--package", "orchestra-api", "--bin", "orchestra"]))?;
        test.args(["test", "--package", "orchestra-migrate", "--test", "chaos"]);
        test.args(["--", "--exact", "--nocapture", "a_move_that_is_killed_anywhere_loses_and_resurrects_nothing"]);
        test.env("CHAOS_RUNS", runs.to_string());
        return campaign(&mut test, seed, json, "chaos-migrate.json");
    }
    test.args(["test", "--package", "orchestra-api", "--test", "chaos"]);
    if args.release {
        test.arg("--release");
    }
    test.args(["--", "--exact", "--nocapture", "what_was_acknowledged_outlives_every_failure"]);
    test.env("CHAOS_SECONDS", (args.minutes * 60).to_string());
    campaign(&mut test, args.seed, args.json, "chaos.json")
}

/// Runs it with real parts, and prints its report where that is asked for.
fn campaign(test: &mut Process, seed: Option<u64>, json: bool, report: &str) -> Result<()> {
    if let Some(seed) = seed {
        test.env("CHAOS_SEED", seed.to_string());
    }
    if std::env::var_os(REQUIRE_VARIABLE).is_none() {
        test.env(REQUIRE_VARIABLE, "redis,postgres");
    }
    // A report of before must not be taken for one of this campaign.
    let target = root().join("target");
    fs::create_dir_all(&target)?;
    let file = target.join(report);
    if file.exists() {
        fs::remove_file(&file)?;
    }
    test.env("CHAOS_JSON", &file).stdout(std::io::stderr());
    let outcome = run_command(test);
    if json && file.exists() {
        println!("{}", fs::read_to_string(&file)?);
    }
    outcome
}
