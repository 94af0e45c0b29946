//! `cargo xtask ci`: what CI runs, in the order in which it fails soonest.

use std::time::Instant;

use anyhow::Result;

use crate::process::{self, cargo};
use crate::{infra, layers, test};

type Step = (&'static str, fn() -> Result<()>);

/// Runs every check.
pub fn run() -> Result<()> {
    let steps: [Step; 7] = [
        ("format", || process::run(cargo().args(["fmt", "--all", "--check"]))),
        ("layers", layers::check),
        ("infrastructure", infra::check),
        ("lints", || {
            process::run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
        }),
        ("without features", || {
            process::run(cargo().args(["check", "-p", "orchestra-api", "--no-default-features", "--locked"]))
        }),
        ("documentation", || {
            process::run(
                cargo().args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"),
            )
        }),
        ("tests", || test::run(&test::Args::everything())),
    ];
    for (name, step) in steps {
        let start = Instant::now();
        step()?;
        eprintln!("{name}: passed in {:.0} s", start.elapsed().as_secs_f32());
    }
    Ok(())
}
