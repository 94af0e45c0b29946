//! The tiers of a store, open: its providers, its embedders, and what runs beside the requests for them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use embedders::{MiniLmEmbedder, OpenAiConfig, OpenAiEmbedder, StaticEmbedder};
use memory_core::{
    CacheMode, CachePolicy, Embedder, EmbeddingSpace, MemoryId, MemoryStore, Result, SemanticCache,
    TieredMemoryManager, WorkingMemory,
};
use provider_alloydb::AlloyDbMemoryProvider;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use provider_redis::RedisSemanticCacheProvider;

use crate::background::{self, Background};
use crate::brake::{BrakedEmbedder, BudgetBrake};
use crate::config::{CacheEmbedderSettings, EmbedderSettings, MediumTermProvider, Settings, ShortTermProvider};
use crate::error::chain;
use crate::metrics::lag::Lag;
use crate::moving::Side;
use crate::moving::sessions::MovedSessions;
use crate::moving::store::MovedStore;
use crate::observed::{ObservedCache, ObservedEmbedder, ObservedStore, ObservedWorkingMemory};
use crate::traces;

/// How long a start waits for Redis, so that where it is there the first requests find it connected.
const REDIS_PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two attempts to reach the database at a start.
const PAUSE: Duration = Duration::from_millis(250);

/// The tiers of a store.
#[derive(Debug)]
pub(crate) struct Tiers {
    /// What requests call.
    pub manager: TieredMemoryManager,
    /// What they were opened by.
    pub settings: Settings,
    providers: Providers,
    sessions: Option<Arc<dyn WorkingMemory>>,
    background: Mutex<Option<Background>>,
}

/// What was opened for the tiers.
#[derive(Debug, Default)]
struct Providers {
    embedded: Option<EmbeddedProvider>,
    redis: Option<RedisSemanticCacheProvider>,
    alloydb: Option<AlloyDbMemoryProvider>,
}

impl Tiers {
    /// Opens the providers that the settings name and puts the tiers together. Makes the data folder if need be. `side` says
    /// which store of a move they are, where there is one.
    pub async fn open(settings: &Settings, brake: &Arc<BudgetBrake>, side: Option<Side>) -> anyhow::Result<Self> {
        let data = &settings.data;
        make_private_folder(data).with_context(|| format!("cannot make the data folder {}", data.display()))?;
        let is_paid = is_paid(settings);
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
        let mut store = providers.store().context("no provider of memories is set")?;
        if let Some(side) = &side {
            store = Arc::new(MovedStore::new(store, side.clone()));
        }
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
        let sessions = providers.working_memory();
        if let Some(own) = sessions.clone() {
            manager = manager.working_memory(match &side {
                Some(side) => Arc::new(MovedSessions::new(own, side.clone())),
                None => own,
            });
        }
        let manager = manager.build()?;
        let is_elsewhere = settings.short_term_provider != ShortTermProvider::Embedded;
        let follows_as = is_elsewhere.then_some(settings.cache_follower.as_str());
        let brake = is_paid.then(|| brake.clone());
        let background = background::spawn(&manager, follows_as, lag, brake, side);
        Ok(Self { manager, settings: settings.clone(), providers, sessions, background: Mutex::new(Some(background)) })
    }

    /// Tiers that the caller put together.
    pub fn of(manager: TieredMemoryManager, settings: Settings) -> Self {
        Self { manager, settings, providers: Providers::default(), sessions: None, background: Mutex::default() }
    }

    /// The sessions that are held here, whichever store is in use.
    pub fn sessions(&self) -> Option<&Arc<dyn WorkingMemory>> {
        self.sessions.as_ref()
    }

    /// The database of the memories, where they are in one.
    pub fn database(&self) -> Option<&AlloyDbMemoryProvider> {
        self.providers.alloydb.as_ref()
    }

    /// The Redis of the cache, where it is on one.
    pub fn redis(&self) -> Option<&RedisSemanticCacheProvider> {
        self.providers.redis.as_ref()
    }

    /// Ends what runs beside the requests, and closes the providers.
    pub async fn close(&self) -> anyhow::Result<()> {
        drop(self.background.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Providers { embedded, redis: _, alloydb } = &self.providers;
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

/// Whether somebody has to be paid for what the memories' embedder does.
pub(crate) fn is_paid(settings: &Settings) -> bool {
    matches!(settings.embedder, EmbedderSettings::OpenAi { .. })
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
pub(crate) async fn open_redis(
    settings: &Settings,
    space: &EmbeddingSpace,
) -> Result<Option<RedisSemanticCacheProvider>> {
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
        EmbedderSettings::MiniLm(folder) => {
            let folder = folder.clone();
            let opened = tokio::task::spawn_blocking(move || MiniLmEmbedder::open(folder)).await;
            Arc::new(opened.context("the model was not read")??)
        }
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

pub(crate) fn cache_embedder(
    settings: &CacheEmbedderSettings,
    of_memories: Arc<dyn Embedder>,
) -> memory_core::Result<Arc<dyn Embedder>> {
    Ok(match settings {
        CacheEmbedderSettings::OfMemories => of_memories,
        CacheEmbedderSettings::BuiltIn => Arc::new(StaticEmbedder::built_in()),
        CacheEmbedderSettings::MiniLm(folder) => Arc::new(MiniLmEmbedder::open(folder)?),
    })
}
