//! The memories of a configuration, as whoever moves them wants them: the store, and the whole of it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use memory_core::{Embedder, MemoryStore, Replica, Result, SemanticCache};
use provider_alloydb::{AlloyDbMemoryProvider, AlloyDbReplica};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};

use crate::config::{MediumTermProvider, Settings, ShortTermProvider};
use crate::state::tiers::{cache_embedder, embedder, open_alloydb, open_redis};

/// The memories of a configuration, open.
pub struct Opened {
    /// For those who use them.
    pub store: Arc<dyn MemoryStore>,
    /// For whoever moves them.
    pub replica: Arc<dyn Replica>,
    /// What makes their vectors.
    pub embedder: Arc<dyn Embedder>,
    /// The cache of answers beside them.
    pub answers: Answers,
    provider: Provider,
}

/// The cache of answers of a configuration.
#[derive(Debug)]
pub enum Answers {
    /// It names none.
    None,
    /// It is in a file that a server of the configuration has open.
    Elsewhere,
    /// This one.
    Cache {
        /// The cache. A Redis need not be there.
        cache: Arc<dyn SemanticCache>,
        /// What it compares questions by, where other configurations may name the same cache: the model, and how alike two must be.
        by: Option<String>,
    },
}

enum Provider {
    Embedded(EmbeddedProvider),
    AlloyDb(AlloyDbMemoryProvider, AlloyDbReplica),
}

/// Where the memories of a configuration are, to tell two apart.
///
/// # Errors
/// When the database's settings or its secrets cannot be read.
pub async fn place(settings: &Settings) -> Result<String> {
    Ok(match settings.medium_term_provider {
        MediumTermProvider::Embedded => {
            let file = settings.database();
            let folder = file.parent().and_then(|folder| folder.canonicalize().ok());
            folder.as_deref().unwrap_or(Path::new(&file)).display().to_string()
        }
        MediumTermProvider::AlloyDb => {
            let config = settings.alloydb(1).await?;
            format!("{}:{}/{}", config.host, config.port, config.database)
        }
    })
}

/// Opens the memories of a configuration. Makes the data folder of the embedded provider if need be.
///
/// # Errors
/// When the file is open in another process, the database cannot be reached or its user may not move the memory, or the embedder
/// is not set up.
pub async fn open(settings: &Settings) -> anyhow::Result<Opened> {
    let embedder = embedder(settings).await?;
    match settings.medium_term_provider {
        MediumTermProvider::Embedded => {
            std::fs::create_dir_all(&settings.data)
                .with_context(|| format!("cannot make the data folder {}", settings.data.display()))?;
            let mut config = EmbeddedConfig::new(settings.database());
            config.max_size_bytes = settings.limits.data_bytes;
            let file = EmbeddedProvider::open(config).await?;
            let (store, replica) = (Arc::new(file.clone()), Arc::new(file.clone()));
            let answers = match settings.short_term_provider {
                ShortTermProvider::Embedded => Answers::Cache { cache: Arc::new(file.clone()), by: None },
                _ => answers(settings, &embedder).await?,
            };
            Ok(Opened { store, replica, embedder, answers, provider: Provider::Embedded(file) })
        }
        MediumTermProvider::AlloyDb => {
            let dimensions = embedder.space().dimensions;
            let store = open_alloydb(settings, embedder.space()).await?.context("no database is set")?;
            let replica = AlloyDbReplica::connect(settings.alloydb(dimensions).await?).await?;
            let (as_store, as_replica) = (Arc::new(store.clone()), Arc::new(replica.clone()));
            let provider = Provider::AlloyDb(store, replica);
            let answers = answers(settings, &embedder).await?;
            Ok(Opened { store: as_store, replica: as_replica, embedder, answers, provider })
        }
    }
}

/// The cache of answers that is not in the file of the memories.
async fn answers(settings: &Settings, of_memories: &Arc<dyn Embedder>) -> anyhow::Result<Answers> {
    match settings.short_term_provider {
        ShortTermProvider::None => Ok(Answers::None),
        ShortTermProvider::Embedded => Ok(Answers::Elsewhere),
        ShortTermProvider::Redis => {
            let (choice, of_memories) = (settings.cache_embedder.clone(), of_memories.clone());
            let embedder = tokio::task::spawn_blocking(move || cache_embedder(&choice, of_memories)).await;
            let embedder = embedder.context("the cache's embedder cannot be set up")??;
            let redis = open_redis(settings, embedder.space()).await?;
            let by = Some(format!("{} at {}", embedder.space(), settings.cache_threshold));
            Ok(redis.map_or(Answers::None, |redis| Answers::Cache { cache: Arc::new(redis), by }))
        }
    }
}

impl Opened {
    /// Closes the store, and releases a file for another process.
    ///
    /// # Errors
    /// When the file cannot be put in order. What was acknowledged is safe even then.
    pub async fn close(self) -> anyhow::Result<()> {
        match self.provider {
            Provider::Embedded(file) => file.close().await?,
            Provider::AlloyDb(store, replica) => {
                replica.close().await;
                store.close().await;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("store", &self.store).finish_non_exhaustive()
    }
}
