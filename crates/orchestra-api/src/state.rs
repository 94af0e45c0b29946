//! What every request shares: the tiers, the settings, and the gate that it came in by.

pub mod trial;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use embedders::{MiniLmEmbedder, OpenAiConfig, OpenAiEmbedder, StaticEmbedder};
use memory_core::{
    CacheMode, CachePolicy, Embedder, EmbeddingSpace, MemoryId, MemoryStore, Result, Scope, SemanticCache,
    TieredMemoryManager, WorkingMemory,
};
use provider_alloydb::AlloyDbMemoryProvider;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use provider_redis::RedisSemanticCacheProvider;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::background::{self, Background};
use crate::brake::{BrakedEmbedder, BudgetBrake};
use crate::config::{CacheEmbedderSettings, EmbedderSettings, MediumTermProvider, Settings, ShortTermProvider};
use crate::error::chain;
use crate::identity::gate::Gate;
use crate::metrics::lag::Lag;
use crate::observed::{ObservedCache, ObservedEmbedder, ObservedStore, ObservedWorkingMemory};
use crate::traces;
use crate::usage::UsageLog;

/// How many requests are worked on at once; more wait for their turn.
const MAX_IN_FLIGHT: u32 = 512;
/// How long a start waits for Redis, so that where it is there the first requests find it connected.
const REDIS_PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two attempts to reach the database at a start.
const PAUSE: Duration = Duration::from_millis(250);

/// What every request shares. A clone shares the same.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    manager: TieredMemoryManager,
    settings: Settings,
    gate: Gate,
    usage: Arc<UsageLog>,
    brake: Arc<BudgetBrake>,
    started: Instant,
    in_flight: Arc<Semaphore>,
    providers: Providers,
    background: Mutex<Option<Background>>,
}

/// What was opened for the tiers.
#[derive(Debug, Default)]
struct Providers {
    embedded: Option<EmbeddedProvider>,
    redis: Option<RedisSemanticCacheProvider>,
    alloydb: Option<AlloyDbMemoryProvider>,
}

impl AppState {
    /// Opens the providers that the settings name and puts the tiers together. Makes the data folder if need be.
    ///
    /// Redis is connected to in the background: while it is away every lookup is a miss. The database of the memories is
    /// waited for as long as the settings say.
    ///
    /// # Errors
    /// When the folder cannot be made, the file in it is not a memory or is open in another process, a secret is not
    /// there, the database cannot be used or is not there in time, or the embedder is not set up.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let data = &settings.data;
        make_private_folder(data).with_context(|| format!("cannot make the data folder {}", data.display()))?;
        let is_paid = matches!(settings.embedder, EmbedderSettings::OpenAi { .. });
        let brake = Arc::new(BudgetBrake::new(settings.brake_file.clone(), is_paid));
        if let Err(error) = brake.look() {
            tracing::warn!(%error, "the budget's brake cannot be read; until it can, none is in force");
        }
        let mut embedder = embedder(settings).await?;
        if is_paid {
            embedder = Arc::new(BrakedEmbedder::new(embedder, brake.clone()));
        }
        // Reading a model takes a while, which is as long as opening the memory.
        let (cache_embedder, memories_embedder) = (settings.cache_embedder.clone(), embedder.clone());
        let cache_embedder =
            tokio::task::spawn_blocking(move || self::cache_embedder(&cache_embedder, memories_embedder));
        let embedded = open_embedded(settings).await?;
        let alloydb = open_alloydb(settings, embedder.space()).await?;
        let cache_embedder = cache_embedder.await.context("the cache's embedder cannot be set up")??;
        let (space, threshold) = (cache_embedder.space(), settings.cache_threshold);
        tracing::info!(cache_embedder = %space, threshold, "cache embedder chosen");
        let redis = open_redis(settings, space).await?;
        let providers = Providers { embedded, redis, alloydb };
        let store = providers.store().context("no provider of memories is set")?;
        let lag = Lag { store: store.clone(), follower: None, database: providers.alloydb.clone() };
        let mut manager = TieredMemoryManager::builder(chrono::Utc::now, || MemoryId::from(uuid::Uuid::now_v7()))
            .medium_term_provider(store)
            .long_term_enabled(settings.long_term_enabled)
            .timer(tokio::time::sleep)
            .embedder_patience(settings.embedder_timeout)
            .embedder(Arc::new(ObservedEmbedder::new(embedder, "memories")))
            .cache_embedder(Arc::new(ObservedEmbedder::new(cache_embedder, "cache")))
            .cache_policy(CachePolicy { threshold: settings.cache_threshold, mode: CacheMode::default() })
            .cache_ttl(settings.cache_ttl);
        if let Some(cache) = providers.cache(settings.short_term_provider) {
            manager = manager.short_term_provider(cache);
        }
        if let Some(working) = providers.working_memory() {
            manager = manager.working_memory(working);
        }
        let manager = manager.build()?;
        let usage = Arc::new(UsageLog::open(&settings.usage)?);
        let is_elsewhere = settings.short_term_provider != ShortTermProvider::Embedded;
        let follows_as = is_elsewhere.then_some(settings.cache_follower.as_str());
        let background = background::spawn(&manager, follows_as, lag, &usage, &brake);
        Self::assemble(manager, settings.clone(), providers, usage, brake, Some(background))
    }

    /// The state over tiers that the caller put together.
    ///
    /// # Errors
    /// When the settings name a tenant that is not acceptable, or the keys file or the audit file cannot be used.
    pub fn new(manager: TieredMemoryManager, settings: Settings) -> anyhow::Result<Self> {
        let usage = Arc::new(UsageLog::open(&settings.usage)?);
        let brake = Arc::new(BudgetBrake::new(None, false));
        Self::assemble(manager, settings, Providers::default(), usage, brake, None)
    }

    fn assemble(
        manager: TieredMemoryManager,
        settings: Settings,
        providers: Providers,
        usage: Arc<UsageLog>,
        brake: Arc<BudgetBrake>,
        background: Option<Background>,
    ) -> anyhow::Result<Self> {
        let gate = Gate::open(&settings)?;
        let in_flight = Arc::new(Semaphore::new(MAX_IN_FLIGHT as usize));
        Ok(Self(Arc::new(Shared {
            manager,
            settings,
            gate,
            usage,
            brake,
            started: Instant::now(),
            in_flight,
            providers,
            background: Mutex::new(background),
        })))
    }

    /// The tiers.
    #[must_use]
    pub fn manager(&self) -> &TieredMemoryManager {
        &self.0.manager
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The whole of the tenant of a caller that needs no key. A handler takes the tenant from the caller's
    /// [`Identity`](crate::identity::Identity) and not from here.
    #[must_use]
    pub fn tenant(&self) -> &Scope {
        &self.gate().owner().tenant
    }

    /// Who may come in.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// What a budget that is nearly spent asks for.
    #[must_use]
    pub fn brake(&self) -> &BudgetBrake {
        &self.0.brake
    }

    /// What tenants used.
    #[must_use]
    pub fn usage(&self) -> &UsageLog {
        &self.0.usage
    }

    /// The database of the memories, where they are in one.
    pub(crate) fn database(&self) -> Option<&AlloyDbMemoryProvider> {
        self.0.providers.alloydb.as_ref()
    }

    /// How each tier is now.
    ///
    /// # Errors
    /// As [`MemoryStore::health`]: without the durable store nothing can be done. Without the cache everything can.
    pub async fn readiness(&self) -> Result<Readiness> {
        self.manager().health().await?;
        let Settings { short_term_provider, medium_term_provider, .. } = self.settings();
        let short_term = match &self.0.providers.redis {
            _ if *short_term_provider == ShortTermProvider::None => TierStatus::Off,
            Some(redis) if !redis.health().connected => TierStatus::Away,
            _ => TierStatus::Ready,
        };
        Ok(Readiness {
            status: TierStatus::Ready,
            short_term: TierReadiness { provider: short_term_provider.name(), status: short_term },
            medium_term: TierReadiness { provider: medium_term_provider.name(), status: TierStatus::Ready },
        })
    }

    /// How long the state has been open.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// A turn to work on a request; none after [`close`](Self::close) began.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.0.in_flight.clone().acquire_owned().await.ok()
    }

    /// Waits until no request is worked on, at most `grace`, takes no more, and closes the providers.
    ///
    /// # Errors
    /// When the embedded provider cannot put its files in order. What was acknowledged is safe even then.
    pub async fn close(&self, grace: Duration) -> anyhow::Result<()> {
        let drained = tokio::time::timeout(grace, self.0.in_flight.acquire_many(MAX_IN_FLIGHT)).await;
        if drained.is_err() {
            let in_flight = MAX_IN_FLIGHT as usize - self.0.in_flight.available_permits();
            tracing::warn!(in_flight, "requests cut off at the end of the grace period");
        }
        self.0.in_flight.close();
        drop(self.0.background.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.0.usage.end_window(chrono::Utc::now());
        if let Err(error) = self.0.usage.write() {
            tracing::error!(%error, "the last usage events were not written");
        }
        let Providers { embedded, redis: _, alloydb } = &self.0.providers;
        if let Some(alloydb) = alloydb {
            alloydb.close().await;
        }
        // Redis has nothing to put in order: its connection ends with the last clone.
        if let Some(embedded) = embedded {
            embedded.close().await?;
        }
        Ok(())
    }
}

impl Providers {
    fn store(&self) -> Option<Arc<dyn MemoryStore>> {
        let (store, system): (Arc<dyn MemoryStore>, _) = match (&self.alloydb, &self.embedded) {
            (Some(alloydb), _) => (Arc::new(alloydb.clone()), "postgresql"),
            (None, Some(embedded)) => (Arc::new(embedded.clone()), "sqlite"),
            (None, None) => return None,
        };
        Some(Arc::new(ObservedStore::new(store, system)))
    }

    /// The messages of sessions: on the Redis of the cache, else in the file where there is one.
    fn working_memory(&self) -> Option<Arc<dyn WorkingMemory>> {
        let (working, system): (Arc<dyn WorkingMemory>, _) = match (&self.redis, &self.embedded) {
            (Some(redis), _) => (Arc::new(redis.working_memory()), "redis"),
            (None, Some(embedded)) => (Arc::new(embedded.clone()), "sqlite"),
            (None, None) => return None,
        };
        Some(Arc::new(ObservedWorkingMemory::new(working, system)))
    }

    fn cache(&self, provider: ShortTermProvider) -> Option<Arc<dyn SemanticCache>> {
        let (cache, system): (Arc<dyn SemanticCache>, _) = match (provider, &self.redis, &self.embedded) {
            (ShortTermProvider::Redis, Some(redis), _) => (Arc::new(redis.clone()), "redis"),
            (ShortTermProvider::Embedded, _, Some(embedded)) => (Arc::new(embedded.clone()), "sqlite"),
            _ => return None,
        };
        Some(Arc::new(ObservedCache::new(cache, system)))
    }
}

/// How a tier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TierStatus {
    /// It answers.
    Ready,
    /// It does not; it is connected to again in the background.
    Away,
    /// The settings name none.
    Off,
}

/// How the server is: what `/readyz` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Readiness {
    /// Whether requests can be sent.
    pub status: TierStatus,
    /// The semantic cache.
    pub short_term: TierReadiness,
    /// The memories.
    pub medium_term: TierReadiness,
}

/// How one tier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct TierReadiness {
    /// Who provides it.
    pub provider: &'static str,
    /// How it is.
    pub status: TierStatus,
}

/// The file in the data folder, where a tier is in it.
async fn open_embedded(settings: &Settings) -> Result<Option<EmbeddedProvider>> {
    let is_used = settings.short_term_provider == ShortTermProvider::Embedded
        || settings.medium_term_provider == MediumTermProvider::Embedded;
    if !is_used {
        return Ok(None);
    }
    let mut config = EmbeddedConfig::new(settings.database());
    config.max_size_bytes = settings.limits.data_bytes;
    EmbeddedProvider::open(config).await.map(Some)
}

/// The cache on Redis, which need not be there.
async fn open_redis(settings: &Settings, space: &EmbeddingSpace) -> Result<Option<RedisSemanticCacheProvider>> {
    if settings.short_term_provider != ShortTermProvider::Redis {
        return Ok(None);
    }
    let redis = RedisSemanticCacheProvider::connect_lazily(settings.redis(Arc::new(space.clone())).await?)?;
    let began = Instant::now();
    while !redis.health().connected && began.elapsed() < REDIS_PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(Some(redis))
}

/// The database of the memories, when it is there in time.
pub(crate) async fn open_alloydb(
    settings: &Settings,
    space: &EmbeddingSpace,
) -> anyhow::Result<Option<AlloyDbMemoryProvider>> {
    if settings.medium_term_provider != MediumTermProvider::AlloyDb {
        return Ok(None);
    }
    let config = settings.alloydb(space.dimensions).await?;
    let began = Instant::now();
    loop {
        match AlloyDbMemoryProvider::connect(config.clone()).await {
            Ok(provider) => return Ok(Some(provider)),
            Err(error) if error.is_retryable() && began.elapsed() + PAUSE < settings.startup_patience => {
                tracing::warn!(causes = chain(&error), "database not there yet");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) if error.is_retryable() => {
                let waited = began.elapsed().as_secs();
                let said = format!(
                    "the database of the memories cannot be reached, after {waited} s; startup_patience_seconds is how \
                     long a start waits for it"
                );
                return Err(anyhow::Error::from(error).context(said));
            }
            Err(error) => {
                let said = "the database of the memories cannot be used; `orchestra db status` shows what it lacks";
                return Err(anyhow::Error::from(error).context(said));
            }
        }
    }
}

/// Makes a folder that only its owner reads; what people tell an agent is nobody else's business.
fn make_private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

pub(crate) async fn embedder(settings: &Settings) -> anyhow::Result<Arc<dyn Embedder>> {
    Ok(match &settings.embedder {
        EmbedderSettings::BuiltIn => Arc::new(StaticEmbedder::built_in()),
        EmbedderSettings::OpenAi { base_url, model, dimensions, send_dimensions } => {
            let mut config = OpenAiConfig::new(model, *dimensions);
            config.base_url.clone_from(base_url);
            config.send_dimensions = *send_dimensions;
            config.api_key = settings.embedder_api_key().await?;
            config.trace_headers = traces::TRACE_HEADERS;
            Arc::new(OpenAiEmbedder::from_config(config).context("the embedder cannot be set up")?)
        }
    })
}

fn cache_embedder(
    settings: &CacheEmbedderSettings,
    of_memories: Arc<dyn Embedder>,
) -> memory_core::Result<Arc<dyn Embedder>> {
    Ok(match settings {
        CacheEmbedderSettings::OfMemories => of_memories,
        CacheEmbedderSettings::BuiltIn => Arc::new(StaticEmbedder::built_in()),
        CacheEmbedderSettings::MiniLm(folder) => Arc::new(MiniLmEmbedder::open(folder)?),
    })
}
