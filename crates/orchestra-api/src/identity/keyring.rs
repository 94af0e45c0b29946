//! The file of API keys: JSON that only its owner reads, written whole or not at all.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memory_core::{Scope, Timestamp};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::key::{self, KeyHash};
use super::{Access, Identity};

const VERSION: u32 = 1;

/// The keys of a server, by their prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRing {
    version: u32,
    keys: BTreeMap<String, Key>,
}

impl Default for KeyRing {
    fn default() -> Self {
        Self { version: VERSION, keys: BTreeMap::new() }
    }
}

/// What is kept of a key. The key is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What the operator calls it.
    pub name: String,
    /// The tenant that it speaks for.
    pub tenant: String,
    /// What it may do.
    pub scopes: Access,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused; never where this is `None`.
    pub expires_at: Option<Timestamp>,
    /// When its secret was last replaced.
    pub rotated_at: Option<Timestamp>,
    hash: KeyHash,
    /// The secrets before it that still hold.
    former: Vec<Former>,
}

/// A secret that was replaced and holds a while longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Former {
    hash: KeyHash,
    valid_until: Timestamp,
}

/// A key that is to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What the operator calls it.
    pub name: String,
    /// The tenant that it speaks for.
    pub tenant: Scope,
    /// What it may do.
    pub access: Access,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is none, it was revoked, its time after a rotation is over, or the secret is another.
    Unknown,
    /// It has expired.
    Expired,
}

/// Why the file of keys was not read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The file, or the folder it is in, cannot be read or written.
    #[error("keys file {}: cannot {operation}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The file is not what we write.
    #[error("keys file {}: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such key.
    #[error("no key has the prefix {0:?}")]
    NoSuchKey(String),
    /// There are no random bits.
    #[error(transparent)]
    Random(#[from] key::NoRandomBits),
}

impl KeyRing {
    /// The keys with their prefixes, oldest first.
    #[must_use]
    pub fn keys(&self) -> Vec<(&str, &Key)> {
        let mut keys: Vec<_> = self.keys.iter().map(|(prefix, key)| (prefix.as_str(), key)).collect();
        keys.sort_by_key(|(_, key)| key.created_at);
        keys
    }

    /// The key of a prefix.
    #[must_use]
    pub fn key(&self, prefix: &str) -> Option<&Key> {
        self.keys.get(prefix)
    }

    /// Who shows `key` at the moment `now`.
    ///
    /// # Errors
    /// Why nobody does.
    pub fn identify(&self, key: &SecretString, now: Timestamp) -> Result<Identity, Refusal> {
        let prefix = key::prefix(key).ok_or(Refusal::Unknown)?;
        let kept = self.keys.get(prefix).ok_or(Refusal::Unknown)?;
        let shown = KeyHash::of(key);
        // Every hash is looked at, whichever one fits.
        let former =
            kept.former.iter().fold(false, |found, former| found | (former.hash == shown && now < former.valid_until));
        if !(kept.hash == shown) & !former {
            return Err(Refusal::Unknown);
        }
        if kept.expires_at.is_some_and(|end| end <= now) {
            return Err(Refusal::Expired);
        }
        let tenant = Scope::tenant(kept.tenant.as_str()).map_err(|_| Refusal::Unknown)?;
        Ok(Identity { tenant, name: kept.name.clone(), key: Some(prefix.to_owned()), access: kept.scopes })
    }

    /// Makes a key and gives its text, which is kept nowhere.
    ///
    /// # Errors
    /// [`KeysError::Random`].
    pub fn create(&mut self, new: NewKey, now: Timestamp) -> Result<SecretString, KeysError> {
        let (text, prefix) = loop {
            let text = key::generate()?;
            match key::prefix(&text).map(str::to_owned) {
                Some(prefix) if !self.keys.contains_key(&prefix) => break (text, prefix),
                _ => {}
            }
        };
        let key = Key {
            name: new.name,
            tenant: new.tenant.tenant_name().to_owned(),
            scopes: new.access,
            created_at: now,
            expires_at: new.expires_at,
            rotated_at: None,
            hash: KeyHash::of(&text),
            former: Vec::new(),
        };
        self.keys.insert(prefix, key);
        Ok(text)
    }

    /// Replaces the secret of a key and gives the new text. The secrets that hold now go on for `overlap`, at most.
    ///
    /// # Errors
    /// [`KeysError::NoSuchKey`], [`KeysError::Random`].
    pub fn rotate(&mut self, prefix: &str, overlap: Duration, now: Timestamp) -> Result<SecretString, KeysError> {
        let key = self.keys.get_mut(prefix).ok_or_else(|| KeysError::NoSuchKey(prefix.to_owned()))?;
        let text = key::generate_under(prefix)?;
        let ends = chrono::Duration::from_std(overlap).ok().and_then(|overlap| now.checked_add_signed(overlap));
        let valid_until = ends.unwrap_or(Timestamp::MAX_UTC);
        for former in &mut key.former {
            former.valid_until = former.valid_until.min(valid_until);
        }
        key.former.push(Former { hash: key.hash, valid_until });
        key.former.retain(|former| now < former.valid_until);
        key.hash = KeyHash::of(&text);
        key.rotated_at = Some(now);
        Ok(text)
    }

    /// Takes a key out, and gives what was kept of it.
    ///
    /// # Errors
    /// [`KeysError::NoSuchKey`].
    pub fn revoke(&mut self, prefix: &str) -> Result<Key, KeysError> {
        self.keys.remove(prefix).ok_or_else(|| KeysError::NoSuchKey(prefix.to_owned()))
    }
}

/// The keys in the file; `None` when there is no file.
///
/// # Errors
/// [`KeysError::File`], [`KeysError::Broken`].
pub fn load(path: &Path) -> Result<Option<KeyRing>, KeysError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeysError::File { path: path.to_owned(), operation: "read", source }),
    };
    let broken = |reason| KeysError::Broken { path: path.to_owned(), reason };
    // What a parser says may quote the file: the place is enough.
    let ring: KeyRing = serde_json::from_slice(&text)
        .map_err(|error| broken(format!("not a list of keys, at line {} column {}", error.line(), error.column())))?;
    if ring.version != VERSION {
        return Err(broken(format!("its version is {}, this program reads {VERSION}", ring.version)));
    }
    match ring.keys.iter().find(|(_, key)| Scope::tenant(key.tenant.as_str()).is_err()) {
        Some((prefix, _)) => Err(broken(format!("the tenant of {prefix} is not acceptable"))),
        None => Ok(Some(ring)),
    }
}

/// Changes the file of keys, one change at a time. A reader sees the file before it or after it. Nothing is written when
/// `change` fails.
///
/// # Errors
/// [`KeysError::File`], [`KeysError::Broken`], and what `change` says.
pub fn change<T>(path: &Path, change: impl FnOnce(&mut KeyRing) -> Result<T, KeysError>) -> Result<T, KeysError> {
    let failed = |operation| move |source| KeysError::File { path: path.to_owned(), operation, source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_private_folder(folder).map_err(failed("make its folder"))?;
    // Beside the file and not the file itself, which is another one after each change.
    let lock = std::fs::File::create(path.with_extension("lock")).map_err(failed("make its lock"))?;
    lock.lock().map_err(failed("lock"))?;
    let mut ring = load(path)?.unwrap_or_default();
    let changed = change(&mut ring)?;
    let text = serde_json::to_string_pretty(&ring).map_err(std::io::Error::other).map_err(failed("write"))?;
    // A temporary file is readable by its owner only, and stays so under its new name.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed("write"))?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed("write"))?;
    file.persist(path).map_err(|error| failed("write")(error.error))?;
    Ok(changed)
}

fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests;
