//! Secrets: where one is, and how it is read. None is in `Debug`, in an error or in what `config show` prints.

use std::fmt;
use std::path::{Path, PathBuf};

use memory_core::{Error, Result};
use secrecy::SecretString;
use serde_json::json;

use super::secret_manager;

/// A secret, or where it is.
#[derive(Clone)]
pub enum Secret {
    /// The secret itself.
    Direct(SecretString),
    /// In this environment variable.
    Env(String),
    /// In this file, without the newline at its end.
    File(PathBuf),
    /// In Secret Manager, as `projects/P/secrets/S/versions/V`.
    SecretManager(String),
}

impl Secret {
    pub(super) const ALLOWED: &str =
        "the secret, {env: NAME}, {file: PATH} or {secret_manager: projects/P/secrets/S/versions/V}";

    /// Reads a flow mapping for what it is, and every other text for the secret itself.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let reference = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let reference = reference.and_then(|entry| entry.split_once(": "));
        let Some((kind, place)) = reference.map(|(kind, place)| (kind.trim(), place.trim())) else {
            return Ok(Self::Direct(text.into()));
        };
        Self::reference(kind, place).unwrap_or_else(|| Ok(Self::Direct(text.into())))
    }

    /// A reference of this kind; none when there is no such kind. A refusal is what is allowed.
    pub(super) fn reference(kind: &str, place: &str) -> Option<Result<Self, String>> {
        Some(match kind {
            "env" if place.is_empty() || place.contains(['=', '\0']) => Err("{env: NAME}".into()),
            "env" => Ok(Self::Env(place.into())),
            "file" if place.is_empty() => Err("{file: PATH}".into()),
            "file" => Ok(Self::File(place.into())),
            "secret_manager" if secret_manager::is_version(place) => Ok(Self::SecretManager(place.into())),
            "secret_manager" => Err("{secret_manager: projects/P/secrets/S/versions/V}".into()),
            _ => return None,
        })
    }

    /// The secret. `field` is who asks, for errors; `secret_manager_url` is where Secret Manager is.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not there, [`Error::Backend`] when Secret Manager does not give it.
    pub async fn read(&self, field: &str, secret_manager_url: &str) -> Result<SecretString> {
        match self {
            Self::Direct(secret) => Ok(secret.clone()),
            Self::Env(name) => of_variable(field, name),
            Self::File(path) => of_file(field, path),
            Self::SecretManager(version) => secret_manager::access(secret_manager_url, version).await,
        }
    }

    /// Checks that it is there, unless it is in Secret Manager.
    pub(super) fn check_here(&self, field: &str) -> Result<()> {
        match self {
            Self::Direct(_) | Self::SecretManager(_) => Ok(()),
            Self::Env(name) => of_variable(field, name).map(drop),
            Self::File(path) => of_file(field, path).map(drop),
        }
    }

    /// What is unwise about where it is. `in_file` says that it stands in the configuration file.
    pub(super) fn warning(&self, in_file: bool) -> Option<String> {
        match self {
            Self::Direct(_) if in_file => {
                Some("the secret itself is in the file; {env: NAME} or {file: PATH} keeps it out".into())
            }
            Self::File(path) if others_read(path) => {
                Some(format!("other users of this machine can read {}; chmod 600 helps", path.display()))
            }
            _ => None,
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Direct(_) => json!("***"),
            Self::Env(name) => json!({"env": name}),
            Self::File(path) => json!({"file": path.display().to_string()}),
            Self::SecretManager(version) => json!({"secret_manager": version}),
        }
    }
}

fn of_variable(field: &str, name: &str) -> Result<SecretString> {
    match std::env::var(name) {
        Ok(secret) if !secret.is_empty() => Ok(secret.into()),
        _ => Err(Error::invalid(field, format!("{{env: {name}}}"), "a variable that is set, and is text")),
    }
}

fn of_file(field: &str, path: &Path) -> Result<SecretString> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::invalid(field, format!("{{file: {}}}", path.display()), format!("a file of text: {error}"))
    })?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    Ok(secret.strip_suffix('\r').unwrap_or(secret).into())
}

#[cfg(unix)]
fn others_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn others_read(_: &Path) -> bool {
    false
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_json())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_reference_is_told_from_a_secret() {
        let shown = |text: &str| Secret::parse(text).map(|secret| format!("{secret:?}"));
        assert_eq!(shown("{env: NAME}"), Ok("{\"env\":\"NAME\"}".into()));
        assert_eq!(shown("{file: /run/password}"), Ok("{\"file\":\"/run/password\"}".into()));
        let version = "projects/p/secrets/s/versions/latest";
        assert_eq!(
            shown(&format!("{{secret_manager: {version}}}")),
            Ok(format!("{{\"secret_manager\":\"{version}\"}}"))
        );
        for itself in ["hunter2", "{hunter2}", "{a: b}"] {
            assert_eq!(shown(itself), Ok("\"***\"".into()), "{itself}");
        }
        let error = shown("{secret_manager: projects/p}").unwrap_err();
        assert_eq!(error, "{secret_manager: projects/P/secrets/S/versions/V}");
    }

    #[tokio::test]
    async fn a_file_gives_its_text_without_the_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (text, secret) in [("a b\n", "a b"), ("a\n\n", "a\n"), ("a\r\n", "a"), ("a", "a")] {
            std::fs::write(&path, text).unwrap();
            let read = Secret::File(path.clone()).read("redis.password", "").await.unwrap();
            assert_eq!(read.expose_secret(), secret);
        }
        let error = Secret::File(folder.path().join("absent")).check_here("redis.password").unwrap_err().to_string();
        assert!(error.starts_with("redis.password: given {file: "), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_read_is_warned_of() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "hunter2").unwrap();
        let warned = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Secret::File(path.clone()).warning(true).is_some()
        };
        assert_eq!((warned(0o644), warned(0o600)), (true, false));
    }
}
