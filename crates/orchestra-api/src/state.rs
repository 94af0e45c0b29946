//! What every request shares: the tiers, the settings, and the tenant that the server speaks for.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use embedders::{MiniLmEmbedder, OpenAiConfig, OpenAiEmbedder, StaticEmbedder};
use memory_core::{CacheMode, CachePolicy, Embedder, MemoryId, MemoryStore, Scope, SemanticCache, TieredMemoryManager};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{CacheEmbedderSettings, EmbedderSettings, MediumTermProvider, Settings, ShortTermProvider};

/// How many requests are worked on at once; more wait for their turn.
const MAX_IN_FLIGHT: u32 = 512;

/// What every request shares. A clone shares the same.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    manager: TieredMemoryManager,
    settings: Settings,
    tenant: Scope,
    started: Instant,
    in_flight: Arc<Semaphore>,
    provider: Option<EmbeddedProvider>,
}

impl AppState {
    /// Opens the providers that the settings name and puts the tiers together. Makes the data folder if need be.
    ///
    /// # Errors
    /// When the folder cannot be made, the file in it is not a memory or is open in another process, or the embedder is
    /// not set up.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let data = &settings.data;
        make_private_folder(data).with_context(|| format!("cannot make the data folder {}", data.display()))?;
        let embedder = embedder(&settings.embedder)?;
        // Reading a model takes a while, which is as long as opening the memory.
        let (cache_embedder, memories_embedder) = (settings.cache_embedder.clone(), embedder.clone());
        let cache_embedder =
            tokio::task::spawn_blocking(move || self::cache_embedder(&cache_embedder, memories_embedder));
        let MediumTermProvider::Embedded = settings.medium_term_provider;
        let mut config = EmbeddedConfig::new(settings.database());
        config.max_size_bytes = settings.limits.data_bytes;
        let provider = EmbeddedProvider::open(config).await?;
        let cache_embedder = cache_embedder.await.context("the cache's embedder cannot be set up")??;
        let (space, threshold) = (cache_embedder.space(), settings.cache_threshold);
        tracing::info!(cache_embedder = %space, threshold, "cache embedder chosen");
        let store: Arc<dyn MemoryStore> = Arc::new(provider.clone());
        let mut manager = TieredMemoryManager::builder(chrono::Utc::now, || MemoryId::from(uuid::Uuid::now_v7()))
            .medium_term_provider(store)
            .long_term_enabled(settings.long_term_enabled)
            .embedder(embedder)
            .cache_embedder(cache_embedder)
            .cache_policy(CachePolicy { threshold: settings.cache_threshold, mode: CacheMode::default() })
            .cache_ttl(settings.cache_ttl);
        if settings.short_term_provider == ShortTermProvider::Embedded {
            let cache: Arc<dyn SemanticCache> = Arc::new(provider.clone());
            manager = manager.short_term_provider(cache);
        }
        Self::assemble(manager.build()?, settings.clone(), Some(provider))
    }

    /// The state over tiers that the caller put together.
    ///
    /// # Errors
    /// When the settings name a tenant that is not acceptable.
    pub fn new(manager: TieredMemoryManager, settings: Settings) -> anyhow::Result<Self> {
        Self::assemble(manager, settings, None)
    }

    fn assemble(
        manager: TieredMemoryManager,
        settings: Settings,
        provider: Option<EmbeddedProvider>,
    ) -> anyhow::Result<Self> {
        let tenant = Scope::tenant(settings.tenant.as_str())?;
        let in_flight = Arc::new(Semaphore::new(MAX_IN_FLIGHT as usize));
        Ok(Self(Arc::new(Shared { manager, settings, tenant, started: Instant::now(), in_flight, provider })))
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

    /// The whole of the tenant that the server speaks for.
    #[must_use]
    pub fn tenant(&self) -> &Scope {
        &self.0.tenant
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

    /// Waits until no request is worked on, at most `grace`, takes no more, and closes the provider.
    ///
    /// # Errors
    /// When the provider cannot put its files in order. What was acknowledged is safe even then.
    pub async fn close(&self, grace: Duration) -> anyhow::Result<()> {
        let drained = tokio::time::timeout(grace, self.0.in_flight.acquire_many(MAX_IN_FLIGHT)).await;
        if drained.is_err() {
            let in_flight = MAX_IN_FLIGHT as usize - self.0.in_flight.available_permits();
            tracing::warn!(in_flight, "requests cut off at the end of the grace period");
        }
        self.0.in_flight.close();
        if let Some(provider) = &self.0.provider {
            provider.close().await?;
        }
        Ok(())
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

fn embedder(settings: &EmbedderSettings) -> anyhow::Result<Arc<dyn Embedder>> {
    Ok(match settings {
        EmbedderSettings::BuiltIn => Arc::new(StaticEmbedder::built_in()),
        EmbedderSettings::OpenAi { base_url, model, dimensions, send_dimensions, api_key } => {
            let mut config = OpenAiConfig::new(model, *dimensions);
            config.base_url.clone_from(base_url);
            config.send_dimensions = *send_dimensions;
            config.api_key.clone_from(api_key);
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
