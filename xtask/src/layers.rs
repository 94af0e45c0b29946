//! The rule that dependencies point down only, checked against what cargo resolves.

use anyhow::{Result, bail};

use crate::process::{cargo, output};

/// What the core must not depend on, by any path: drivers, networks, runtimes, clocks' and random numbers' sources.
const NOT_IN_CORE: &[&str] = &[
    "axum",
    "getrandom",
    "hyper",
    "libsqlite3-sys",
    "mio",
    "pgvector",
    "rand",
    "redis",
    "reqwest",
    "rusqlite",
    "socket2",
    "sqlx",
    "sqlx-core",
    "tokio",
    "ureq",
];

const PROVIDERS: &[&str] = &["provider-alloydb", "provider-embedded", "provider-redis"];

/// Checks every rule.
pub fn check() -> Result<()> {
    let core = dependencies("memory-core")?;
    let mut broken: Vec<String> = core
        .iter()
        .filter(|name| {
            NOT_IN_CORE.contains(&name.as_str()) || name.starts_with("provider-") || *name == "orchestra-api"
        })
        .map(|name| format!("memory-core depends on {name}"))
        .collect();
    for library in PROVIDERS.iter().chain(&["cost-monitor", "embedders", "ground-truth", "migrate"]) {
        for name in dependencies(library)? {
            let sideways = name.starts_with("provider-") && name != *library;
            if sideways || name == "orchestra-api" || name == "memory-testkit" {
                broken.push(format!("{library} depends on {name}"));
            }
        }
    }
    if !broken.is_empty() {
        bail!("dependencies point down only (ARCHITECTURE.md):\n  {}", broken.join("\n  "));
    }
    eprintln!("layers: memory-core has {} dependencies, none of them a driver, a network or a runtime", core.len() - 1);
    Ok(())
}

/// The names of all crates that `package` is built with, itself included; those of its tests are not among them.
fn dependencies(package: &str) -> Result<Vec<String>> {
    let tree = output(cargo().args([
        "tree",
        "--locked",
        "--package",
        package,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    let mut names: Vec<String> = tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
