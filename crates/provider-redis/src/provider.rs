//! The provider: settings, connections and counters behind one handle.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(doc)]
use memory_core::Error;
use memory_core::{CachePolicy, Result, Timestamp};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};
use tracing::{info, warn};

use crate::config::RedisConfig;
use crate::connection::{Common, Link, Meanwhile, Verdict, verdict};
use crate::error::{backend, unanswered};
use crate::index::{Capabilities, Indexes, is_refusal};
use crate::keys::{Keys, Shard};
use crate::metrics::Outcome;
use crate::repeats::Repeats;
use crate::tenants::Tenants;
use crate::verdicts::Verdicts;

/// The semantic cache on Redis. Clones share the connection.
#[derive(Clone)]
pub struct RedisSemanticCacheProvider {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub config: RedisConfig,
    pub keys: Keys,
    pub tenants: Tenants,
    pub repeats: Repeats,
    pub verdicts: Verdicts,
    /// This process's name among those that compute answers.
    pub holder: String,
    pub common: Arc<Common>,
    /// One, or in a cluster one for each shard.
    links: Vec<Link>,
}

/// How a provider's connections are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether the server, in a cluster each node, is connected and can be used.
    pub connected: bool,
    /// Whether calls, in a cluster those to some shard, are refused for a moment because none was answered.
    pub breaker_open: bool,
    /// Why something is not connected or cannot be used, without secrets.
    pub last_error: Option<String>,
}

/// Whether a call asks the breaker first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarded {
    /// It does: the caller can go on without.
    Yes,
    /// It is tried whatever happened before: a correction must reach the cache or be known not to have.
    No,
}

impl RedisSemanticCacheProvider {
    /// Connects, finds out what the server can do, and makes the index if it is not there.
    ///
    /// # Errors
    /// - [`Error::Invalid`], naming the setting, before any I/O.
    /// - [`Error::Unusable`] when the server has no vector search or does not index what the schema asks for, or has an
    ///   index that differs from the schema: the message shows the difference, and whether [`rebuild`](Self::rebuild)
    ///   helps.
    /// - [`Error::Backend`] when the server, or in a cluster one of the nodes, cannot be reached.
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        let provider = Self::new(config)?;
        for link in &provider.inner.links {
            link.connect().await?;
        }
        Ok(provider)
    }

    /// The same without waiting for the server: it is connected to in the background, as soon as it is there. Until then
    /// a call is a retryable error, which the manager treats as a miss. A server that cannot be used, for what
    /// [`connect`](Self::connect) says is [`Error::Unusable`], makes every call that error, until it can be used.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Unusable`] when a setting is wrong by itself.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn connect_lazily(config: RedisConfig) -> Result<Self> {
        let provider = Self::new(config)?;
        for link in &provider.inner.links {
            link.connect_in_background();
        }
        Ok(provider)
    }

    fn new(config: RedisConfig) -> Result<Self> {
        let schema = config.validate()?;
        let keys = Keys::new(&schema, config.shards, &config.space);
        let common = Common::new(&config, Indexes::new(schema, keys.clone()))?;
        let links = common.links(&config);
        let (tenants, repeats) = (Tenants::default(), Repeats::new(config.repeat_bytes));
        let verdicts = Verdicts::new();
        let holder = uuid::Uuid::now_v7().simple().to_string();
        Ok(Self { inner: Arc::new(Inner { config, keys, tenants, repeats, verdicts, holder, common, links }) })
    }

    /// What the server can do; `None` until one was reached that can be written to.
    #[must_use]
    pub fn capabilities(&self) -> Option<Capabilities> {
        self.inner.common.indexes.capabilities()
    }

    /// How things are now, for a page that says whether this process is ready. Asks nobody.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut health = Health { connected: true, breaker_open: false, last_error: None };
        for (connected, breaker_open, failure) in self.inner.links.iter().map(Link::health) {
            health.connected &= connected;
            health.breaker_open |= breaker_open;
            health.last_error = health.last_error.or(failure);
        }
        health
    }

    /// What a semantic hit must pass by the provider's settings.
    #[must_use]
    pub fn policy(&self) -> CachePolicy {
        self.inner.config.policy()
    }

    /// How long an entry is to live by the provider's settings.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.inner.config.ttl
    }

    /// Removes the index with every entry. The cache is empty then and goes on: the index is made again.
    ///
    /// # Errors
    /// [`Error::Backend`] when Redis fails.
    pub async fn clear(&self) -> Result<()> {
        for shard in self.inner.keys.shards() {
            self.remove_all(shard).await?;
        }
        Ok(())
    }

    /// Removes the index with every entry, for good: this handle is used up.
    ///
    /// # Errors
    /// [`Error::Backend`] when Redis fails.
    pub async fn drop_index(self) -> Result<()> {
        self.clear().await?;
        for shard in self.inner.keys.shards() {
            let (index, mark) = (self.inner.keys.index(shard), self.inner.keys.mark(shard));
            self.call(shard, "drop_index", self.inner.config.write_deadline, Guarded::No, async |mut connection| {
                // By its alias too; that goes with it.
                redis::cmd("FT.DROPINDEX").arg(index).exec_async(&mut connection).await?;
                redis::cmd("UNLINK").arg(mark).exec_async(&mut connection).await
            })
            .await?;
        }
        Ok(())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.config.clock.now()
    }

    /// Runs one call to where a shard is, within its limit, and learns from how it went.
    pub(crate) async fn call<T, F>(
        &self,
        shard: Shard,
        operation: &'static str,
        limit: Duration,
        guarded: Guarded,
        run: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let link = self.link(shard);
        let metrics = &self.inner.common.metrics;
        let began = Instant::now();
        if guarded == Guarded::Yes && !link.admits(began) {
            metrics.call(operation, Outcome::BreakerOpen, None);
            return Err(unanswered(operation, "redis did not answer before; it is asked again in a moment"));
        }
        let (connection, number) =
            link.connection(operation).inspect_err(|_| metrics.call(operation, Outcome::NotConnected, None))?;
        let answer = tokio::time::timeout(limit, run(connection)).await;
        let took = began.elapsed();
        let Ok(answer) = answer else {
            metrics.call(operation, Outcome::Timeout, Some(took));
            // A server that is gone without a word is noticed here only: after enough of these, connect again.
            if link.unanswered(began + took) {
                warn!(operation, ?limit, "redis is too slow and is left alone for a while");
                link.renew(number, Meanwhile::Former);
            }
            return Err(unanswered(operation, format!("no answer within {limit:?}")));
        };
        let verdict = answer.as_ref().err().map_or(Verdict::There, verdict);
        let outcome = match (&answer, verdict) {
            (Ok(_), _) => Outcome::Ok,
            (Err(_), Verdict::Lost) => Outcome::Lost,
            (Err(_), _) => Outcome::ServerError,
        };
        metrics.call(operation, outcome, Some(took));
        match verdict {
            Verdict::There => {}
            Verdict::Elsewhere | Verdict::NotReady => link.renew(number, Meanwhile::Former),
            Verdict::Lost => link.renew(number, Meanwhile::None),
        }
        match verdict {
            Verdict::There | Verdict::Elsewhere if link.answered() => info!(operation, "redis answers again"),
            Verdict::NotReady | Verdict::Lost if link.unanswered(began + took) => {
                warn!(operation, ?verdict, "redis is left alone for a while");
            }
            _ => {}
        }
        answer.map_err(|error| backend(operation, error))
    }

    /// Asks something of the index. Servers say in words of their own that it is gone, flushed or dropped by someone:
    /// whatever they refuse, it is looked after.
    pub(crate) async fn ask_index(&self, shard: Shard, operation: &'static str, command: Cmd) -> Result<Value> {
        let answer =
            self.call(shard, operation, self.inner.config.write_deadline, Guarded::No, async |mut connection| {
                match command.query_async::<Value>(&mut connection).await {
                    Err(error) if is_refusal(&error) => Ok(Err(error)),
                    answer => answer.map(Ok),
                }
            })
            .await?;
        answer.map_err(|error| {
            self.look_after_the_index(shard);
            backend(operation, error)
        })
    }

    /// Makes sure of the index of a shard, in the background.
    pub(crate) fn look_after_the_index(&self, shard: Shard) {
        self.link(shard).look_after_the_indexes();
    }

    fn link(&self, shard: Shard) -> &Link {
        let links = &self.inner.links;
        &links[shard.number() % links.len()]
    }
}

impl fmt::Debug for RedisSemanticCacheProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSemanticCacheProvider")
            .field("config", &self.inner.config)
            .field("capabilities", &self.capabilities())
            .finish_non_exhaustive()
    }
}
