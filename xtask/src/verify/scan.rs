//! Looks for key material where none may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Deployment;
use super::check::Verdict;
use crate::process::{output, root};

/// Files larger than this are models and fixtures, not text that somebody wrote.
const MOST_BYTES: u64 = 4 << 20;

/// What git tracks.
pub fn repository(_: &mut Deployment) -> Result<Verdict> {
    let Ok(listed) = output(Command::new("git").args(["ls-files", "-z"])) else {
        return Ok(Verdict::Skipped("this is no checkout of git".into()));
    };
    let files: Vec<PathBuf> =
        listed.split('\0').filter(|name| !name.is_empty()).map(|name| root().join(name)).collect();
    found(&files, &[])
}

/// What a deployment keeps outside of its secrets, and how its process was started.
pub fn deployment(deployment: &mut Deployment) -> Result<Verdict> {
    let Some(local) = &deployment.local else {
        return Ok(Verdict::Skipped("the state of the deployment is not on this machine".into()));
    };
    let secrets: Vec<String> = fs::read_dir(local.secret(""))?
        .map(|entry| Ok(fs::read_to_string(entry?.path())?.trim().to_owned()))
        .collect::<Result<_>>()?;
    let mut files = Vec::new();
    list(local.folder(), &local.secret(""), &mut files)?;
    // The records of servers hold passwords of their own, and are their owner's alone.
    let (records, files): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.extension().is_some_and(|extension| extension == "standing"));
    if let Some(open) = records.iter().find(|record| !is_owners(record)) {
        return Ok(Verdict::Fail(format!("others can read {}", open.display())));
    }
    if let Some(line) = local.command_line()
        && secrets.iter().any(|secret| line.contains(secret.as_str()))
    {
        return Ok(Verdict::Fail("a secret is among the arguments of the server's process".into()));
    }
    found(&files, &secrets)
}

fn found(files: &[PathBuf], secrets: &[String]) -> Result<Verdict> {
    let mut found = BTreeSet::new();
    let mut read = 0;
    for file in files {
        if fs::metadata(file).is_ok_and(|file| file.len() > MOST_BYTES || !file.is_file()) {
            continue;
        }
        let Ok(text) = fs::read(file) else { continue };
        let text = String::from_utf8_lossy(&text);
        read += 1;
        if let Some(kind) = key_material(&text) {
            found.insert(format!("{kind} in {}", shown(file)));
        }
        if secrets.iter().any(|secret| !secret.is_empty() && text.contains(secret.as_str())) {
            found.insert(format!("a secret of the deployment in {}", shown(file)));
        }
    }
    let seen = found.into_iter().collect::<Vec<_>>();
    Ok(if seen.is_empty() {
        Verdict::Pass(format!("{read} files read, none in them"))
    } else {
        Verdict::Fail(seen.join(", "))
    })
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

/// The kind of key that a text holds, if any.
fn key_material(text: &str) -> Option<&'static str> {
    // Put together here, so that this file does not hold what it looks for.
    let begins = ["-----BEGIN", " "].concat();
    let pem = text
        .split(&begins)
        .skip(1)
        .any(|rest| rest.lines().next().is_some_and(|line| line.contains("PRIVATE KEY-----")));
    let token = |prefix: &str, least: usize| {
        text.match_indices(prefix).any(|(at, _)| {
            let rest = &text[at + prefix.len()..];
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).count() >= least
        })
    };
    let own = text.match_indices("om_").any(|(at, _)| {
        let rest: String = text[at + 3..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        rest.split_once('_').is_some_and(|(prefix, secret)| prefix.len() == 8 && secret.len() >= 40)
    });
    [
        (pem, "a private key"),
        (text.contains(&["\"private_key", "_id\""].concat()), "a service account's key"),
        (token(&["AI", "za"].concat(), 35), "a Google API key"),
        (token(&["ya", "29."].concat(), 30), "a Google access token"),
        (token(&["gh", "p_"].concat(), 36), "a GitHub token"),
        (own, "an API key of this server"),
    ]
    .into_iter()
    .find_map(|(is_there, kind)| is_there.then_some(kind))
}

/// Checks a Cargo.lock: every package comes from the registry, with a checksum, and none is banned by deny.toml. For where
/// cargo-deny is not installed.
pub fn lock(lock: &str, deny: &str) -> Verdict {
    let banned: Vec<&str> = deny.split("crate = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let (mut count, mut wrong) = (0, Vec::new());
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
            line.map(|value| value.trim_end_matches('"'))
        };
        let name = field("name").unwrap_or_default();
        count += 1;
        let source = field("source");
        let is_foreign = source.is_some_and(|source| source != "registry+https://github.com/rust-lang/crates.io-index");
        if is_foreign || (source.is_some() && field("checksum").is_none()) || banned.contains(&name) {
            wrong.push(name.to_owned());
        }
    }
    let seen = format!(
        "{count} packages of Cargo.lock, by source, checksum and bans; cargo-deny, which knows licences, is not installed"
    );
    if wrong.is_empty() { Verdict::Pass(seen) } else { Verdict::Fail(format!("not allowed: {}", wrong.join(", "))) }
}

fn list(folder: &Path, but: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}: cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.starts_with(but) {
            continue;
        }
        if path.is_dir() { list(&path, but, files)? } else { files.push(path) }
    }
    Ok(())
}

#[cfg(unix)]
fn is_owners(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(file).is_ok_and(|file| file.permissions().mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_owners(_: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_what_only_names_them() {
        let pem = ["-----BEGIN", " RSA PRIVATE KEY-----\nMIIE"].concat();
        let own = format!("om_0123abcd_{}", "x".repeat(43));
        let google = format!("{}{}", ["AI", "za"].concat(), "y".repeat(35));
        assert_eq!(key_material(&pem), Some("a private key"));
        assert_eq!(key_material(&own), Some("an API key of this server"));
        assert_eq!(key_material(&google), Some("a Google API key"));
        let harmless = "a key is om_<prefix>_<secret>; om_3f9a01bc_…; -----BEGIN CERTIFICATE-----; private_key";
        assert_eq!(key_material(harmless), None);
    }

    #[test]
    fn a_package_from_elsewhere_or_banned_is_told() {
        let package = |name: &str, source: &str| {
            format!("[[package]]\nname = \"{name}\"\nsource = \"{source}\"\nchecksum = \"1\"\n")
        };
        let index = "registry+https://github.com/rust-lang/crates.io-index";
        let deny = "deny = [\n{ crate = \"openssl-sys\" },\n]";
        assert!(matches!(lock(&package("a", index), deny), Verdict::Pass(_)));
        for (name, source) in [("a", "git+https://example.com/a"), ("openssl-sys", index)] {
            assert_eq!(lock(&package(name, source), deny), Verdict::Fail(format!("not allowed: {name}")));
        }
        let unchecked = format!("[[package]]\nname = \"b\"\nsource = \"{index}\"\n");
        assert_eq!(lock(&unchecked, deny), Verdict::Fail("not allowed: b".into()));
    }
}
