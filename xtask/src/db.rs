//! `cargo xtask db`: the schema of the standing Postgres that `cargo xtask services up` starts, through `orchestra db`.

use anyhow::{Context as _, Result};
use memory_testkit::services::{self, Service, Standing};

use crate::process::{cargo, run as run_command};

/// What to do with its schema.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Apply the migrations that it lacks; arguments go on to `orchestra db migrate`
    Migrate(Arguments),
    /// Show which migrations it has; arguments go on to `orchestra db status`
    Status(Arguments),
    /// End it, remove its data, start another, and apply every migration
    Reset,
    /// Print its URL: `psql "$(cargo xtask db url)"`
    Url,
}

/// What goes on to the command.
#[derive(clap::Args)]
pub struct Arguments {
    /// See `orchestra db --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Does it.
pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Migrate(Arguments { arguments }) => orchestra("migrate", arguments),
        Command::Status(Arguments { arguments }) => orchestra("status", arguments),
        Command::Reset => {
            services::down(Service::Postgres)?;
            services::up(Service::Postgres)?;
            orchestra("migrate", &[])
        }
        Command::Url => {
            println!("{}", standing()?.url());
            Ok(())
        }
    }
}

fn orchestra(command: &str, arguments: &[String]) -> Result<()> {
    let mut orchestra = cargo();
    orchestra.args(["run", "--quiet", "--package", "orchestra-api", "--bin", "orchestra", "--", "db", command]);
    // In the environment, so that the password is not among the arguments.
    run_command(orchestra.args(arguments).env(Service::Postgres.url_variable(), standing()?.url()))
}

fn standing() -> Result<Standing> {
    let standing = services::status(Service::Postgres)?.filter(Standing::answers);
    standing.context("no Postgres stands; `cargo xtask services up` starts one")
}
