//! The provider: settings, connection, breaker and counters behind one handle.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memory_core::{CachePolicy, Result, Timestamp};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};
use tracing::{info, warn};

use crate::breaker::Breaker;
use crate::config::RedisConfig;
use crate::connection::{Link, Meanwhile, verdict};
use crate::error::{backend, unanswered};
use crate::index::{Capabilities, Indexes, is_refusal};
use crate::keys::Keys;
use crate::repeats::Repeats;
use crate::tenants::Tenants;

/// The semantic cache on Redis. Clones share the connection.
#[derive(Clone)]
pub struct RedisSemanticCacheProvider {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub config: RedisConfig,
    pub indexes: Arc<Indexes>,
    pub keys: Keys,
    pub tenants: Tenants,
    pub repeats: Repeats,
    /// This process's name among those that compute answers.
    pub holder: String,
    link: Link,
    breaker: Breaker,
    capabilities: Capabilities,
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
    /// - [`Error::Invalid`](memory_core::Error::Invalid), naming the setting, before any I/O.
    /// - [`Error::Unusable`](memory_core::Error::Unusable) when the server has no vector search, or an index
    ///   that differs from the schema: the message shows the difference, and whether [`rebuild`](Self::rebuild) helps.
    /// - [`Error::Backend`](memory_core::Error::Backend) when the server cannot be reached.
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        let schema = config.validate()?;
        let keys = Keys::new(&schema, config.shards, &config.space);
        let indexes = Arc::new(Indexes::new(schema, keys.clone()));
        let link = Link::new(&config, indexes.clone())?;
        let capabilities = indexes.probe(&mut link.to_probe().await?).await?;
        link.connect().await?;
        let breaker = Breaker::new(config.breaker_failures, config.breaker_pause);
        let (tenants, repeats) = (Tenants::default(), Repeats::new(config.repeat_bytes));
        let holder = uuid::Uuid::now_v7().simple().to_string();
        Ok(Self {
            inner: Arc::new(Inner { config, indexes, keys, tenants, repeats, holder, link, breaker, capabilities }),
        })
    }

    /// What the server can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.inner.capabilities
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
    /// [`Error::Backend`](memory_core::Error::Backend) when Redis fails.
    pub async fn clear(&self) -> Result<()> {
        for shard in self.inner.keys.shards() {
            self.remove_all(shard).await?;
        }
        Ok(())
    }

    /// Removes the index with every entry, for good: this handle is used up.
    ///
    /// # Errors
    /// [`Error::Backend`](memory_core::Error::Backend) when Redis fails.
    pub async fn drop_index(self) -> Result<()> {
        self.clear().await?;
        for shard in self.inner.keys.shards() {
            let (index, mark) = (self.inner.keys.index(shard), self.inner.keys.mark(shard));
            self.call("drop_index", self.inner.config.write_deadline, Guarded::No, async |mut connection| {
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

    /// Runs one call within its limit, and learns from how it went.
    pub(crate) async fn call<T, F>(
        &self,
        operation: &'static str,
        limit: Duration,
        guarded: Guarded,
        run: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let Inner { breaker, link, .. } = &*self.inner;
        if guarded == Guarded::Yes && !breaker.admits(Instant::now()) {
            return Err(unanswered(operation, "redis did not answer before; it is asked again in a moment"));
        }
        let Some((connection, number)) = link.connection() else {
            return Err(unanswered(operation, "not connected; connecting goes on in the background"));
        };
        match tokio::time::timeout(limit, run(connection)).await {
            Ok(answer) => {
                let verdict = answer.as_ref().err().and_then(verdict);
                if let Some(meanwhile) = verdict {
                    link.renew(number, meanwhile);
                }
                if verdict == Some(Meanwhile::None) {
                    if breaker.failed(Instant::now()) {
                        warn!(operation, "the connection to redis is lost");
                    }
                } else if breaker.succeeded() {
                    info!(operation, "redis answers again");
                }
                answer.map_err(|error| backend(operation, error))
            }
            Err(elapsed) => {
                // A server that is gone without a word is noticed here only: after enough of these, connect again.
                if breaker.failed(Instant::now()) {
                    warn!(operation, ?limit, "redis is too slow and is left alone for a while");
                    link.renew(number, Meanwhile::Former);
                }
                Err(unanswered(operation, elapsed))
            }
        }
    }

    /// Asks something of the index. Servers say in words of their own that it is gone, flushed or dropped by someone:
    /// whatever they refuse, it is looked after.
    pub(crate) async fn ask_index(&self, operation: &'static str, command: Cmd) -> Result<Value> {
        let answer = self
            .call(operation, self.inner.config.write_deadline, Guarded::No, async |mut connection| {
                match command.query_async::<Value>(&mut connection).await {
                    Err(error) if is_refusal(&error) => Ok(Err(error)),
                    answer => answer.map(Ok),
                }
            })
            .await?;
        answer.map_err(|error| {
            self.look_after_the_index();
            backend(operation, error)
        })
    }

    /// Makes sure of the index, in the background.
    pub(crate) fn look_after_the_index(&self) {
        if let Some((_, number)) = self.inner.link.connection() {
            self.inner.link.renew(number, Meanwhile::Former);
        }
    }
}

impl fmt::Debug for RedisSemanticCacheProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSemanticCacheProvider")
            .field("config", &self.inner.config)
            .field("capabilities", &self.inner.capabilities)
            .finish_non_exhaustive()
    }
}
