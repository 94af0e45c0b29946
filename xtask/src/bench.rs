//! `cargo xtask bench`: the benchmarks of `crates/memory-bench`, in a release build.

use anyhow::Result;

use crate::process::{cargo, run as run_command};

/// Which benchmark, and its arguments.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// embed, search, recall, write or cache, and its arguments; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs a benchmark.
pub fn run(args: &Args) -> Result<()> {
    let mut bench = cargo();
    bench.args(["run", "--release", "--quiet", "--package", "memory-bench", "--"]);
    let help = ["--help".to_owned()];
    run_command(bench.args(if args.arguments.is_empty() { &help[..] } else { &args.arguments }))
}
