//! The keys of a running server: who a request comes from.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use memory_core::Scope;
use secrecy::SecretString;

use super::audit::AuditLog;
use super::keyring::{self, KeyRing, Refusal};
use super::limits::{Buckets, Quota};
use super::{Identity, Need};
use crate::config::Settings;
use crate::error::{Problem, chain};

/// How often the keys file is looked at.
const POLL: Duration = Duration::from_secs(1);

/// Who may come in, and how much they may do.
#[derive(Debug)]
pub struct Gate {
    owner: Identity,
    loopback: bool,
    keys: Keys,
    buckets: Option<Buckets>,
    quota: Option<Quota>,
    audit: AuditLog,
}

impl Gate {
    /// The gate that the settings ask for.
    ///
    /// Keys are asked for when there is a keys file, and on an address that other machines reach unless the settings allow
    /// every caller there. Once they are asked for they are until the process ends, whatever becomes of the file.
    ///
    /// # Errors
    /// When the tenant of the settings is not acceptable, or the keys file or the audit file cannot be used.
    pub fn open(settings: &Settings) -> anyhow::Result<Self> {
        let loopback = settings.listen.ip().is_loopback();
        Ok(Self {
            owner: Identity::owner(Scope::tenant(settings.tenant.as_str())?),
            loopback,
            keys: Keys::open(settings.keys_file(), !loopback && !settings.allow_unauthenticated)?,
            buckets: settings.identity.rate.map(Buckets::new),
            quota: settings.identity.memories.map(Quota::new),
            audit: AuditLog::open(settings.identity.audit_file.as_deref())?,
        })
    }

    /// Whether a caller has to show a key.
    #[must_use]
    pub fn asks_for_keys(&self) -> bool {
        self.keys.required.load(Ordering::Relaxed)
    }

    /// The one who needs no key.
    #[must_use]
    pub fn owner(&self) -> &Identity {
        &self.owner
    }

    /// Who sends a request with these headers; `None` where the route needs nobody.
    ///
    /// # Errors
    /// A 401 when there is no key, or one that is not, or no longer, known.
    pub fn identify(&self, headers: &HeaderMap, need: Need) -> Result<Option<Identity>, Problem> {
        if need == Need::Nothing || matches!(need, Need::NothingOnLoopback(_)) && self.loopback {
            return Ok(None);
        }
        let ring = self.keys.current();
        if !self.asks_for_keys() {
            return Ok(Some(self.owner.clone()));
        }
        let key = bearer(headers)?;
        ring.identify(&key, chrono::Utc::now()).map(Some).map_err(|refusal| match refusal {
            Refusal::Unknown => {
                unauthenticated("invalid_key", "a key that is not known", "a key that `orchestra keys list` shows")
            }
            Refusal::Expired => {
                unauthenticated("expired_key", "a key that has expired", "a new one, of `orchestra keys create`")
            }
        })
    }

    /// The buckets of the rate limit, if there is one.
    #[must_use]
    pub fn buckets(&self) -> Option<&Buckets> {
        self.buckets.as_ref()
    }

    /// The quota of memories, if there is one.
    #[must_use]
    pub fn quota(&self) -> Option<&Quota> {
        self.quota.as_ref()
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }
}

/// The key of the one `Authorization` header.
fn bearer(headers: &HeaderMap) -> Result<SecretString, Problem> {
    let allowed = "Bearer and an API key, as in Bearer om_…";
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        let given = if headers.contains_key(header::AUTHORIZATION) { "the header twice" } else { "nothing" };
        return Err(unauthenticated("unauthenticated", given, allowed));
    };
    let key = value.to_str().ok().and_then(|value| value.split_once(' '));
    match key {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("Bearer") => Ok(key.trim().into()),
        // What was given is not told back: it may be a secret.
        _ => Err(unauthenticated("unauthenticated", "another scheme", allowed)),
    }
}

fn unauthenticated(code: &'static str, given: &str, allowed: &str) -> Problem {
    let challenge = match code {
        "unauthenticated" => "Bearer realm=\"orchestra\"",
        _ => "Bearer realm=\"orchestra\", error=\"invalid_token\"",
    };
    Problem::bad_argument(code, "Authorization", given, allowed)
        .with_status(StatusCode::UNAUTHORIZED)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// The keys in the file, as of at most [`POLL`] ago.
#[derive(Debug)]
struct Keys {
    path: PathBuf,
    required: AtomicBool,
    ring: RwLock<Arc<KeyRing>>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    file: Option<Stamp>,
}

/// Two files that differ differ here: each change puts another file in its place.
type Stamp = (Option<SystemTime>, u64, u64);

impl Keys {
    fn open(path: PathBuf, required: bool) -> anyhow::Result<Self> {
        // Stamped before it is read: a change in between is seen the next time.
        let seen = Mutex::new(Seen { at: Instant::now(), file: stamp(&path) });
        let ring = keyring::load(&path)?;
        let required = AtomicBool::new(required || ring.is_some());
        if ring.is_some() {
            warn_when_others_read(&path);
        }
        Ok(Self { path, required, ring: RwLock::new(Arc::new(ring.unwrap_or_default())), seen })
    }

    fn current(&self) -> Arc<KeyRing> {
        self.look();
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file anew if it is another one. While one request does, others go on with the keys there are.
    ///
    /// A file that went takes every key with it. One that cannot be read, as while somebody edits it, changes nothing.
    fn look(&self) {
        let Ok(mut seen) = self.seen.try_lock() else { return };
        if seen.at.elapsed() < POLL {
            return;
        }
        seen.at = Instant::now();
        let file = stamp(&self.path);
        if file == seen.file {
            return;
        }
        match keyring::load(&self.path) {
            Ok(ring) => {
                seen.file = file;
                if ring.is_some() {
                    self.required.store(true, Ordering::Relaxed);
                }
                let ring = ring.unwrap_or_default();
                tracing::info!(keys = ring.keys().len(), "keys read");
                *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
            }
            Err(error) => tracing::error!(causes = chain(&error), "keys not read; those of before still hold"),
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0;
    Some((metadata.modified().ok(), metadata.len(), number))
}

/// The file holds hashes and no key, yet says which tenants there are, and whoever may write it may come in.
fn warn_when_others_read(path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(path) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            tracing::warn!(mode = format!("{mode:o}"), "other users reach the keys file; chmod 600 keeps them out");
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}

#[cfg(test)]
mod tests {
    use super::super::keyring::NewKey;
    use super::*;

    fn new_key(path: &Path) -> SecretString {
        let tenant = Scope::tenant("acme").unwrap();
        let new = NewKey { name: String::new(), tenant, access: super::super::Access::ALL, expires_at: None };
        keyring::change(path, |ring| ring.create(new, chrono::Utc::now())).unwrap()
    }

    impl Keys {
        /// As if the file had not been looked at for a while.
        fn due(&self) -> &Self {
            self.seen.lock().unwrap().at = Instant::now().checked_sub(POLL).unwrap();
            self
        }

        fn knows(&self, key: &SecretString) -> bool {
            self.current().identify(key, chrono::Utc::now()).is_ok()
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_changes_nothing_and_one_that_went_takes_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(super::super::settings::KEYS_FILE);
        let first = new_key(&path);
        let keys = Keys::open(path.clone(), false).unwrap();
        assert!(keys.required.load(Ordering::Relaxed) && keys.knows(&first));
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, "{").unwrap();
        assert!(keys.due().knows(&first));
        std::fs::write(&path, text).unwrap();
        let second = new_key(&path);
        assert!(!keys.knows(&second), "the file is not looked at more often than that");
        assert!(keys.due().knows(&second) && keys.knows(&first));
        std::fs::remove_file(&path).unwrap();
        assert!(!keys.due().knows(&first));
        assert!(keys.required.load(Ordering::Relaxed));
    }

    #[test]
    fn a_key_is_asked_for_where_others_reach_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let asks = |listen: &str, allow_unauthenticated| {
            let mut settings = Settings::for_data(folder.path());
            settings.listen = listen.parse().unwrap();
            settings.allow_unauthenticated = allow_unauthenticated;
            Gate::open(&settings).unwrap().asks_for_keys()
        };
        assert!(asks("0.0.0.0:80", false) && asks("[::]:80", false) && asks("10.0.0.7:80", false));
        assert!(!asks("127.0.0.1:80", false) && !asks("[::1]:80", false) && !asks("0.0.0.0:80", true));
        new_key(&folder.path().join(super::super::settings::KEYS_FILE));
        assert!(asks("127.0.0.1:80", false) && asks("0.0.0.0:80", true), "where there are keys they are asked for");
    }

    #[test]
    fn a_route_that_is_open_on_loopback_is_closed_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Need::NothingOnLoopback(super::super::Permission::Read);
        new_key(&folder.path().join(super::super::settings::KEYS_FILE));
        let identify = |listen: &str| {
            let mut settings = Settings::for_data(folder.path());
            settings.listen = listen.parse().unwrap();
            Gate::open(&settings).unwrap().identify(&HeaderMap::new(), metrics)
        };
        assert_eq!(identify("127.0.0.1:0").unwrap(), None);
        assert_eq!(identify("0.0.0.0:0").unwrap_err().status(), StatusCode::UNAUTHORIZED);
    }
}
