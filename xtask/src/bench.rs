//! `cargo xtask bench`: the benchmarks of `crates/memory-bench`, in a release build.

use anyhow::Result;

use crate::process::{cargo, root, run as run_command};

/// Which benchmark, and its arguments.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// embed, search, recall, write, cache, store, api, migrate or pause, and its arguments; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs a benchmark.
pub fn run(args: &Args) -> Result<()> {
    let mut bench = cargo();
    if args.arguments.iter().any(|argument| ["api", "pause"].contains(&argument.as_str())) {
        run_command(cargo().args(["build", "--release", "--quiet", "--package", "orchestra-api"]))?;
        bench.env(
            "ORCHESTRA_BIN",
            root().join("target/release").join(format!("orchestra{}", std::env::consts::EXE_SUFFIX)),
        );
    }
    bench.args(["run", "--release", "--quiet", "--package", "memory-bench", "--"]);
    let help = ["--help".to_owned()];
    run_command(bench.args(if args.arguments.is_empty() { &help[..] } else { &args.arguments }))
}
