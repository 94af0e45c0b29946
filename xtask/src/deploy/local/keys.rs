//! The secrets of a local deployment: files that only their owner reads.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use uuid::Uuid;

use super::Local;

/// What the server connects to the database as.
pub const APP_ROLE: &str = "orchestra_server";
/// The tenant of the deployment's own key, and another one, whose key must see nothing of it.
const TENANTS: [(&str, &str); 2] = [("api_key", "deployment"), ("other_api_key", "neighbour")];

impl Local {
    /// The file of a secret.
    pub fn secret(&self, name: &str) -> PathBuf {
        self.path("secrets").join(name)
    }

    /// Makes the secrets that are not there yet.
    pub(super) fn make_secrets(&self) -> Result<()> {
        make_folder(&self.path("secrets"))?;
        make_folder(&self.data())?;
        let password = self.secret("app_password");
        if !password.exists() {
            // 244 random bits of the operating system.
            write_secret(&password, &format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))?;
        }
        Ok(())
    }

    /// Makes an API key for each tenant that has none.
    pub(super) fn make_keys(&self) -> Result<()> {
        let file = self.keys_file();
        for (name, tenant) in TENANTS {
            let kept = self.secret(name);
            if kept.exists() {
                continue;
            }
            let scopes = ["--scopes", "read,write", "--keys-file", &file];
            let made = self
                .orchestra(&[&["keys", "create", "--tenant", tenant, "--name", tenant], &scopes[..]].concat(), &[])?;
            write_secret(&kept, made.trim())?;
        }
        Ok(())
    }

    /// Whether every key was made.
    pub(super) fn has_keys(&self) -> bool {
        TENANTS.iter().all(|(name, _)| self.secret(name).exists()) && Path::new(&self.keys_file()).exists()
    }

    /// The file of the keys' hashes, which the server reads.
    pub(super) fn keys_file(&self) -> String {
        self.data().join("keys.json").display().to_string()
    }
}

/// Writes a secret to a new file that only its owner reads; it is there whole or not at all.
fn write_secret(file: &Path, secret: &str) -> Result<()> {
    let part = file.with_extension("part");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&part).and_then(|mut part| part.write_all(secret.as_bytes()));
    written.and_then(|()| fs::rename(&part, file)).with_context(|| format!("{}: cannot be written", file.display()))
}

/// A folder that only its owner enters.
fn make_folder(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(|| format!("{}: cannot be made", folder.display()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_its_owners_alone() {
        let file = std::env::temp_dir().join(format!("xtask-secret-{}", std::process::id()));
        write_secret(&file, "hidden").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&file).unwrap(), "hidden");
        fs::remove_file(&file).unwrap();
    }
}
