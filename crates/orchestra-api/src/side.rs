//! The memories of a configuration, as whoever moves them wants them: the store, and the whole of it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use memory_core::{Embedder, MemoryStore, Replica, Result};
use provider_alloydb::{AlloyDbMemoryProvider, AlloyDbReplica};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};

use crate::config::{MediumTermProvider, Settings};
use crate::state::tiers::{embedder, open_alloydb};

/// The memories of a configuration, open.
pub struct Opened {
    /// For those who use them.
    pub store: Arc<dyn MemoryStore>,
    /// For whoever moves them.
    pub replica: Arc<dyn Replica>,
    /// What makes their vectors.
    pub embedder: Arc<dyn Embedder>,
    provider: Provider,
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
            Ok(Opened { store, replica, embedder, provider: Provider::Embedded(file) })
        }
        MediumTermProvider::AlloyDb => {
            let dimensions = embedder.space().dimensions;
            let store = open_alloydb(settings, embedder.space()).await?.context("no database is set")?;
            let replica = AlloyDbReplica::connect(settings.alloydb(dimensions).await?).await?;
            let (as_store, as_replica) = (Arc::new(store.clone()), Arc::new(replica.clone()));
            let provider = Provider::AlloyDb(store, replica);
            Ok(Opened { store: as_store, replica: as_replica, embedder, provider })
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
