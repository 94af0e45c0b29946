//! `cargo xtask migrate`: runs `orchestra-migrate`, out of this checkout.

use anyhow::Result;

use crate::process::{cargo, run as run_process};

/// What goes on to the program.
#[derive(clap::Args)]
pub struct Args {
    /// Its command and flags: `cargo xtask migrate status --json`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// Builds the program optimized, and runs it.
pub fn run(args: &Args) -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--locked", "--package", "orchestra-migrate", "--"]);
    run_process(command.args(&args.arguments))
}
