//! `cargo xtask test`: the one test command.

use anyhow::Result;
use memory_testkit::services::{REQUIRE_VARIABLE, Service};

use crate::process::{self, cargo};

/// What goes on to `cargo test`.
#[derive(clap::Args)]
pub struct Args {
    /// Arguments for `cargo test`; the whole workspace unless a package is named
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
    /// Fail, not skip, what finds no server
    #[arg(skip)]
    with_every_server: bool,
}

impl Args {
    /// Every test of the workspace, none of them skipped.
    pub fn everything() -> Self {
        Self { arguments: Vec::new(), with_every_server: true }
    }
}

/// Runs the tests. The servers that tests need are started by the tests themselves and end with them.
pub fn run(args: &Args) -> Result<()> {
    let mut test = cargo();
    test.arg("test");
    if args.arguments.is_empty() {
        test.args(["--workspace", "--no-fail-fast"]);
    }
    // Snapshots are compared, never written: a new one is made on purpose, with INSTA_UPDATE.
    if std::env::var_os("INSTA_UPDATE").is_none() {
        test.env("INSTA_UPDATE", "no");
    }
    if args.with_every_server && std::env::var_os(REQUIRE_VARIABLE).is_none() {
        let every = Service::ALL.iter().filter(|service| service.can_be_had());
        let every: Vec<&str> = every.map(|service| service.name()).collect();
        test.env(REQUIRE_VARIABLE, every.join(","));
    }
    process::run(test.args(&args.arguments))
}
