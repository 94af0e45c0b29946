//! How a provider is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use memory_core::cache::DEFAULT_TTL;
use memory_core::manager::DEFAULT_CACHE_THRESHOLD;
use memory_core::{CacheMode, CachePolicy, Clock, EmbeddingSpace, Error, Result, Timestamp};
use secrecy::SecretString;

use crate::credentials::CredentialsProvider;
use crate::schema::IndexSchema;
use crate::topology::Node;

/// How to open a [`RedisSemanticCacheProvider`](crate::RedisSemanticCacheProvider). Begin with [`new`](Self::new) and
/// change what differs. `Debug` hides the URL, which may hold a password, and the password.
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisConfig {
    /// `redis://` or, with TLS, `rediss://`.
    pub url: SecretString,
    /// Whether `url` is a node of a cluster, or the address that one is found by. The other nodes are found through it.
    /// Choose [`shards`](Self::shards) then.
    pub cluster: bool,
    /// Further nodes to find the cluster by when that of `url` is gone, as `host:port`. Login and TLS are as for `url`.
    pub nodes: Vec<String>,
    /// The space of the vectors in the index. Vectors of another are refused.
    pub space: Arc<EmbeddingSpace>,
    /// The index; one that fits [`space`](Self::space) and [`expected_entries`](Self::expected_entries) unless given.
    pub index_schema: Option<IndexSchema>,
    /// How many entries there will be at once; 100,000 unless told otherwise. Up to 30,000 all are compared; more
    /// are searched through a graph, which costs a store ten times as much.
    pub expected_entries: u64,
    /// The least cosine similarity of a semantic hit, 0.85 unless told otherwise. It goes into
    /// [`policy`](Self::policy); what counts in a lookup is the policy of the request.
    pub threshold: f32,
    /// How long an entry is to live, one hour unless told otherwise. What counts is the time in the entry.
    pub ttl: Duration,
    /// The ACL user; the URL's unless given.
    pub username: Option<String>,
    /// The password; the URL's unless given.
    pub password: Option<SecretString>,
    /// Asked for user and password before each connection is made, in place of the three above; for tokens that expire.
    pub credentials: Option<Arc<dyn CredentialsProvider>>,
    /// The certificate authority of a `rediss://` server, as PEM; those of the system unless given.
    pub ca_file: Option<PathBuf>,
    /// How long a lookup may take before it is a miss; 50 ms unless told otherwise.
    pub deadline: Duration,
    /// How long anything else may take: stores, invalidations, counts; 1 s unless told otherwise.
    pub write_deadline: Duration,
    /// How many bytes of this process's memory hold answers that were asked for lately, so that a repeat needs neither a
    /// vector nor Redis; 64 MiB unless told otherwise, 0 for none. A repeat is served for at most 10 ms after Redis was
    /// last asked something for the tenant; an invalidation takes as long, so that none outlives it.
    pub repeat_bytes: u64,
    /// Over how many slots of a cluster tenants are spread; 1 unless told otherwise, for a cluster 16 to 64. Everything
    /// of a tenant is in one slot. Changing it is beginning with an empty cache.
    pub shards: u16,
    /// After how many failures in a row lookups and stores are refused at once; 5 unless told otherwise.
    pub breaker_failures: u32,
    /// For how long; then one call is let through to see. 250 ms unless told otherwise.
    pub breaker_pause: Duration,
    /// Tells the time, for expiry and for when an entry was filed.
    pub clock: Arc<dyn Clock>,
}

impl RedisConfig {
    /// The defaults, with the system's clock.
    #[must_use]
    pub fn new(url: impl Into<String>, space: Arc<EmbeddingSpace>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            cluster: false,
            nodes: Vec::new(),
            space,
            index_schema: None,
            expected_entries: 100_000,
            threshold: DEFAULT_CACHE_THRESHOLD,
            ttl: DEFAULT_TTL,
            username: None,
            password: None,
            credentials: None,
            ca_file: None,
            deadline: Duration::from_millis(50),
            write_deadline: Duration::from_secs(1),
            repeat_bytes: 64 * 1024 * 1024,
            shards: 1,
            breaker_failures: 5,
            breaker_pause: Duration::from_millis(250),
            clock: Arc::new(|| Timestamp::from(SystemTime::now())),
        }
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What a semantic hit must pass by these settings: the threshold and the guard.
    #[must_use]
    pub fn policy(&self) -> CachePolicy {
        CachePolicy { threshold: self.threshold, mode: CacheMode::Guarded }
    }

    /// Checks every setting, and gives the index.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the setting.
    pub(crate) fn validate(&self) -> Result<IndexSchema> {
        if !(-1.0..=1.0).contains(&self.threshold) {
            return Err(Error::invalid("threshold", self.threshold, "-1.0 to 1.0, a cosine similarity"));
        }
        let times = [
            ("ttl", self.ttl),
            ("deadline", self.deadline),
            ("write_deadline", self.write_deadline),
            ("breaker_pause", self.breaker_pause),
        ];
        if let Some((name, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            return Err(Error::invalid(name, "0 s", "more than 0 s"));
        }
        if !(1..=1000).contains(&self.shards) {
            return Err(Error::invalid("shards", self.shards, "1 to 1000"));
        }
        if !self.nodes.is_empty() && !self.cluster {
            return Err(Error::invalid("nodes", self.nodes.len(), "none, unless `cluster` is set"));
        }
        if let Some(at) = self.nodes.iter().position(|address| Node::parse(address).is_none()) {
            // What is no address is not shown: it may be a URL with a password.
            return Err(Error::invalid(format!("nodes[{at}]"), "what is no address", "host:port"));
        }
        if self.breaker_failures == 0 {
            return Err(Error::invalid("breaker_failures", 0, "at least 1"));
        }
        let dimensions = self.space.dimensions;
        let schema = self.index_schema.clone();
        let schema = schema.unwrap_or_else(|| IndexSchema::sized(dimensions, self.expected_entries));
        schema.validate()?;
        if schema.vector.dimensions != dimensions {
            let allowed = format!("{dimensions}, the dimensions of {}", self.space);
            return Err(Error::invalid("index_schema.fields.dims", schema.vector.dimensions, allowed));
        }
        Ok(schema)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &self.url)
            .field("cluster", &self.cluster)
            .field("space", &self.space.to_string())
            .field("index_schema", &self.index_schema)
            .field("threshold", &self.threshold)
            .field("ttl", &self.ttl)
            .field("username", &self.username)
            .field("deadline", &self.deadline)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RedisConfig {
        RedisConfig::new("redis://:hunter2@127.0.0.1", Arc::new(EmbeddingSpace::new("m", "1", 8).unwrap()))
    }

    #[test]
    fn passwords_stay_out_of_debug() {
        let mut config = config();
        config.password = Some(SecretString::from("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn settings_are_checked() {
        assert!(config().validate().is_ok());
        let with = |change: fn(&mut RedisConfig)| {
            let mut config = config();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        insta::assert_snapshot!(
            [
                with(|config| config.threshold = f32::NAN),
                with(|config| config.deadline = Duration::ZERO),
                with(|config| config.shards = 0),
                with(|config| config.nodes = vec!["a:1".into()]),
                with(|config| (config.cluster, config.nodes) = (true, vec!["redis://:hunter2@a:1".into()])),
                with(|config| config.breaker_failures = 0),
                with(|config| config.index_schema = Some(IndexSchema::sized(9, 1))),
            ].join("\n"),
            @"
        threshold: given NaN, allowed: -1.0 to 1.0, a cosine similarity
        deadline: given 0 s, allowed: more than 0 s
        shards: given 0, allowed: 1 to 1000
        nodes: given 1, allowed: none, unless `cluster` is set
        nodes[0]: given what is no address, allowed: host:port
        breaker_failures: given 0, allowed: at least 1
        index_schema.fields.dims: given 9, allowed: 8, the dimensions of m@1/8
        "
        );
    }
}
