//! How a provider is opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use memory_core::{Clock, Error, MAX_DIMENSIONS, Result, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::credentials::PasswordProvider;
use crate::index::IndexPolicy;

/// How to open an [`AlloyDbMemoryProvider`](crate::AlloyDbMemoryProvider). Begin with [`new`](Self::new) or
/// [`from_url`](Self::from_url) and change what differs. `Debug` hides the password.
#[derive(Clone)]
#[non_exhaustive]
pub struct AlloyDbConfig {
    /// The primary's host name or address.
    pub host: String,
    /// Its port; 5432 unless told otherwise.
    pub port: u16,
    /// The role to connect as; `postgres` unless told otherwise. It must be held by row-level security: neither a
    /// superuser nor one with `BYPASSRLS`. For those give [`role`](Self::role).
    pub user: String,
    /// The password, if the role has one; the URL's unless given.
    pub password: Option<SecretString>,
    /// Asked for the password in place of the one above, for tokens that expire, as of IAM.
    pub password_provider: Option<Arc<dyn PasswordProvider>>,
    /// The role to take on once connected, such as `orchestra_app`. It goes with the start of a connection, which
    /// some poolers do not pass on.
    pub role: Option<String>,
    /// The database; `postgres` unless told otherwise.
    pub database: String,
    /// The dimensions of the vectors, 1536 unless told otherwise. Vectors of others are refused.
    pub vector_dim: usize,
    /// Whether searches go to the read pool, and to the primary where that is away or behind the write that a search asks
    /// to see. Every other read has no way to ask for a write, and goes to the primary, to see what was written before.
    pub high_availability: bool,
    /// The read pool's endpoints, as `host:port`: one for all its nodes on AlloyDB, one for each replica elsewhere.
    pub read_hosts: Vec<String>,
    /// How the connection is secured; as the URL says unless given, else where the server has TLS.
    pub tls: Option<Tls>,
    /// How vectors are kept: in full, or in half the bytes.
    pub storage: Storage,
    /// Which vector index the spaces get, and from when on.
    pub index: IndexPolicy,
    /// Up to how many memories a scope is searched whole, and so exactly; 5,000 unless told otherwise.
    pub exact_up_to: u32,
    /// About how many bytes of memory hold the memories of users who are searched again and again, up to 1,000 memories each;
    /// 64 MiB unless told otherwise, 0 for none. Postgres says with each search whether they are still what it has.
    pub recall_cache_bytes: usize,
    /// The share of the true ten nearest that a search through the vector index is to find; 0.95 unless told otherwise.
    pub recall_target: f32,
    /// At most so many connections to each endpoint; 16 unless told otherwise.
    pub max_connections: u32,
    /// At least so many are kept open; 1 unless told otherwise.
    pub min_connections: u32,
    /// How long a call waits for a free connection, or a new one; 3 s unless told otherwise. Also how long a search waits
    /// for a replica's answer before it asks another; and for a connection to one at most a second.
    pub acquire_timeout: Duration,
    /// After how long a connection is replaced by a new one; 30 min unless told otherwise.
    pub max_lifetime: Duration,
    /// How long a statement may take, by the server's clock; 30 s unless told otherwise. Not with a
    /// [`pooler`](Self::pooler): set it for the role there.
    pub statement_timeout: Duration,
    /// How often what has expired is taken off the disk, in the background; a minute unless told otherwise, `None` leaves it
    /// to [`remove_expired`](crate::AlloyDbMemoryProvider::remove_expired). It is hidden before that. Processes that do this
    /// at the same time share the work.
    pub sweep_every: Option<Duration>,
    /// Whether a pooler in transaction mode is between here and the server: nothing is then prepared beyond one
    /// transaction, which costs three more round trips a call, and nothing asked for at the start of a connection.
    pub pooler: bool,
    /// Tells the time, for expiry and for when something was recorded.
    pub clock: Arc<dyn Clock>,
    /// What the URL says.
    base: PgConnectOptions,
}

/// How a connection is secured. `Require` and stronger fail where the server has no TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tls {
    /// Not at all.
    Disable,
    /// Where the server has it.
    Prefer,
    /// Encrypted, to whoever answers.
    Require,
    /// Encrypted, and the server shows a certificate of this authority, a file of PEM, or of a public one.
    VerifyCa(Option<PathBuf>),
    /// As `VerifyCa`, and the certificate names the host.
    VerifyFull(Option<PathBuf>),
}

/// How vectors are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// pgvector's `vector`, 4 bytes a dimension: as they came.
    #[default]
    Vector,
    /// pgvector's `halfvec`, 2 bytes a dimension: rounded to 11 bits of precision.
    Halfvec,
}

impl AlloyDbConfig {
    /// The defaults for a database on this host.
    #[must_use]
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: 5432,
            user: "postgres".into(),
            password: None,
            password_provider: None,
            role: None,
            database: "postgres".into(),
            vector_dim: 1536,
            high_availability: false,
            read_hosts: Vec::new(),
            tls: None,
            storage: Storage::default(),
            index: IndexPolicy::default(),
            exact_up_to: 5_000,
            recall_cache_bytes: 64 << 20,
            recall_target: 0.95,
            max_connections: 16,
            min_connections: 1,
            acquire_timeout: Duration::from_secs(3),
            max_lifetime: Duration::from_secs(30 * 60),
            statement_timeout: Duration::from_secs(30),
            sweep_every: Some(Duration::from_secs(60)),
            pooler: false,
            clock: Arc::new(|| Timestamp::from(SystemTime::now())),
            base: PgConnectOptions::new_without_pgpass(),
        }
    }

    /// The defaults, with what a URL says: `postgres://user:password@host:port/database?sslmode=require`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is no such URL. The message does not show it, since it may hold a password.
    pub fn from_url(url: &str) -> Result<Self> {
        let base: PgConnectOptions = url.parse().map_err(|_| {
            Error::invalid("database_url", "what is no such URL", "postgres://user:password@host:port/database")
        })?;
        let mut config = Self::new(base.get_host());
        config.port = base.get_port();
        config.user = base.get_username().to_owned();
        config.database = base.get_database().unwrap_or(&config.database).to_owned();
        config.base = base;
        Ok(config)
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the setting.
    pub(crate) fn validate(&self) -> Result<()> {
        if !(1..=MAX_DIMENSIONS).contains(&self.vector_dim) {
            return Err(Error::invalid("vector_dim", self.vector_dim, format!("1 to {MAX_DIMENSIONS}")));
        }
        if !(0.5..=1.0).contains(&self.recall_target) {
            return Err(Error::invalid("recall_target", self.recall_target, "0.5 to 1.0"));
        }
        if self.max_connections == 0 || self.min_connections > self.max_connections {
            let given = format!("{} to {}", self.min_connections, self.max_connections);
            return Err(Error::invalid(
                "min_connections to max_connections",
                given,
                "at least 1, and no more than the most",
            ));
        }
        if self.high_availability && self.read_hosts.is_empty() {
            return Err(Error::invalid("read_hosts", "none", "the read pool's endpoints, as host:port"));
        }
        for host in &self.read_hosts {
            endpoint(host)?;
        }
        for (name, time) in [
            ("acquire_timeout", self.acquire_timeout),
            ("max_lifetime", self.max_lifetime),
            ("statement_timeout", self.statement_timeout),
            ("sweep_every", self.sweep_every.unwrap_or(Duration::MAX)),
        ] {
            if time < Duration::from_millis(1) {
                return Err(Error::invalid(name, format!("{time:?}"), "at least 1 ms"));
            }
        }
        self.index.validate()
    }
}

/// What connections are made with.
impl AlloyDbConfig {
    /// The primary first, then the read pool.
    pub(crate) fn endpoints(&self) -> Result<Vec<PgConnectOptions>> {
        let mut options =
            self.base.clone().host(&self.host).port(self.port).username(&self.user).database(&self.database);
        if let Some(password) = &self.password {
            options = options.password(password.expose_secret());
        }
        options = match &self.tls {
            None => options,
            Some(Tls::Disable) => options.ssl_mode(PgSslMode::Disable),
            Some(Tls::Prefer) => options.ssl_mode(PgSslMode::Prefer),
            Some(Tls::Require) => options.ssl_mode(PgSslMode::Require),
            Some(Tls::VerifyCa(authority)) => of_authority(options.ssl_mode(PgSslMode::VerifyCa), authority.as_deref()),
            Some(Tls::VerifyFull(authority)) => {
                of_authority(options.ssl_mode(PgSslMode::VerifyFull), authority.as_deref())
            }
        };
        if self.pooler {
            options = options.statement_cache_capacity(0);
        } else {
            let timeout = self.statement_timeout.as_millis().to_string();
            options = options.application_name("orchestra").options([("statement_timeout", timeout)]);
        }
        if let Some(role) = &self.role {
            options = options.options([("role", role)]);
        }
        let mut endpoints = vec![options.clone()];
        if self.high_availability {
            for host in &self.read_hosts {
                let (host, port) = endpoint(host)?;
                endpoints.push(options.clone().host(host).port(port));
            }
        }
        Ok(endpoints)
    }
}

fn of_authority(options: PgConnectOptions, authority: Option<&Path>) -> PgConnectOptions {
    match authority {
        Some(file) => options.ssl_root_cert(file),
        None => options,
    }
}

/// Host and port of `host:port`.
fn endpoint(text: &str) -> Result<(&str, u16)> {
    let split = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    split.filter(|(host, _)| !host.is_empty()).ok_or_else(|| Error::invalid("read_hosts", text, "host:port"))
}

impl fmt::Debug for AlloyDbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlloyDbConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("vector_dim", &self.vector_dim)
            .field("read_hosts", &self.read_hosts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_its_password_never_shown() {
        let config = AlloyDbConfig::from_url("postgres://ann:s3cret@db.example:6543/memory?sslmode=require").unwrap();
        let settings = (&*config.host, config.port, &*config.user, &*config.database);
        assert_eq!(settings, ("db.example", 6543, "ann", "memory"));
        assert!(!format!("{config:?}").contains("s3cret"));
        let error = AlloyDbConfig::from_url("postgres://ann:s3cret@db:notaport/").unwrap_err().to_string();
        assert!(error.starts_with("database_url: given") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn settings_are_refused_by_name() {
        let check = |change: fn(&mut AlloyDbConfig)| {
            let mut config = AlloyDbConfig::new("localhost");
            change(&mut config);
            config.validate().map_err(|error| error.to_string())
        };
        assert_eq!(check(|_| {}), Ok(()));
        insta::assert_snapshot!(
            [
                check(|config| config.vector_dim = 0),
                check(|config| config.recall_target = f32::NAN),
                check(|config| config.min_connections = 17),
                check(|config| config.high_availability = true),
                check(|config| config.read_hosts = vec!["replica".into()]),
                check(|config| config.acquire_timeout = Duration::ZERO),
            ]
            .map(Result::unwrap_err)
            .join("\n")
        );
    }

    #[test]
    fn the_read_pool_is_used_where_it_is_asked_for() {
        let mut config = AlloyDbConfig::new("primary");
        config.read_hosts = vec!["replica:5433".into()];
        assert_eq!(config.endpoints().unwrap().len(), 1);
        config.high_availability = true;
        let endpoints = config.endpoints().unwrap();
        let places: Vec<_> = endpoints.iter().map(|endpoint| (endpoint.get_host(), endpoint.get_port())).collect();
        assert_eq!(places, [("primary", 5432), ("replica", 5433)]);
    }
}
