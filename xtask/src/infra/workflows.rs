//! The workflows of GitHub: their syntax, their shell, and what is unsafe in them, without a network.

use std::process::Command;

use anyhow::{Result, bail, ensure};

use super::files;
use super::tools::{left_out, python};
use crate::process::{root, run};

const REQUIREMENTS: &str = include_str!("workflows.txt");

/// Checks them.
pub fn check() -> Result<()> {
    let workflows = files(".github/workflows", "yml")?;
    for path in &workflows {
        pinned(path, &std::fs::read_to_string(root().join(path))?)?;
    }
    let programs = match python("workflows", REQUIREMENTS) {
        Ok(programs) => programs,
        Err(error) => return left_out("actionlint", &format!("{error:#}")),
    };
    // Named, so that it is always the same one that reads the scripts.
    let mut actionlint = Command::new(programs.join("actionlint"));
    run(actionlint.arg("-shellcheck").arg(programs.join("shellcheck")).args(["-pyflakes", ""]).args(&workflows))?;
    let mut zizmor = Command::new(programs.join("zizmor"));
    run(zizmor.args(["--offline", "--quiet", "--no-progress", "--persona=pedantic", ".github"]))?;
    eprintln!("workflows: {} are well formed and safe", workflows.len());
    Ok(())
}

/// Each action is named by a commit, and says beside it which version that is: a tag can come to mean other code.
fn pinned(path: &str, text: &str) -> Result<()> {
    for line in text.lines().map(|line| line.trim().trim_start_matches("- ")) {
        let Some(action) = line.strip_prefix("uses: ") else { continue };
        let Some((commit, version)) = action.split_once('@').and_then(|(_, rest)| rest.split_once(" # v")) else {
            bail!("{path}: {action} is not named as in owner/action@COMMIT # v1.2.3");
        };
        let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(is_commit && version.contains('.'), "{path}: {action} is not named by a commit and its version");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_named_by_a_commit_and_its_version() {
        let commit = "3d3c42e5aac5ba805825da76410c181273ba90b1";
        assert!(pinned("w", &format!("      - uses: actions/checkout@{commit} # v7.0.1\n      - run: uses\n")).is_ok());
        for wrong in ["actions/checkout@v7", &format!("actions/checkout@{commit}"), "actions/checkout@main # v7.0.1"] {
            assert!(pinned("w", &format!("      - uses: {wrong}\n")).is_err(), "{wrong}");
        }
    }
}
