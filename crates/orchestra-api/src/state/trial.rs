//! Whether the providers that the settings name can be used, tried one by one.

use std::sync::Arc;

use anyhow::Context;
use memory_core::{Embedder, Purpose};
use provider_alloydb::AlloyDbMemoryProvider;
use provider_redis::RedisSemanticCacheProvider;

use crate::config::{EmbedderSettings, MediumTermProvider, Settings, ShortTermProvider};
use crate::error::chain;

/// How one part did.
#[derive(Debug)]
pub struct Trial {
    /// The part: an embedder or a tier.
    pub part: &'static str,
    /// Who provides it.
    pub provider: &'static str,
    /// What it is, or why it cannot be used.
    pub outcome: Result<String, String>,
}

/// Tries the embedders and the tiers. The data folder is looked at and not opened: a server may have it open.
pub async fn try_providers(settings: &Settings) -> Vec<Trial> {
    let embedder = try_embedder(super::tiers::embedder(settings).await).await;
    let of_memories = match &embedder {
        Ok(embedder) => embedder.clone(),
        // Only to say how the cache's own does.
        Err(_) => Arc::new(embedders::StaticEmbedder::built_in()) as Arc<dyn Embedder>,
    };
    let (choice, memories) = (settings.cache_embedder.clone(), of_memories.clone());
    let cache = tokio::task::spawn_blocking(move || super::tiers::cache_embedder(&choice, memories)).await;
    let cache = cache.context("the model was not read").and_then(|cache| cache.map_err(anyhow::Error::from));
    let cache_space = cache.as_ref().map_or_else(|_| of_memories.space().clone(), |cache| cache.space().clone());
    let provider = match settings.embedder {
        EmbedderSettings::BuiltIn => "builtin",
        EmbedderSettings::MiniLm(_) => "in process",
        EmbedderSettings::OpenAi { .. } => "openai",
    };
    let moves = match &settings.moves {
        Some(moves) => Some(trial("move", "record", crate::moving::tried(settings, moves).await)),
        None => None,
    };
    let space = |embedder: anyhow::Result<Arc<dyn Embedder>>| embedder.map(|embedder| embedder.space().to_string());
    let mut trials = vec![
        trial("embedder", provider, space(embedder)),
        trial("cache embedder", "in process", space(cache)),
        trial("short term", settings.short_term_provider.name(), try_cache(settings, cache_space).await),
        trial(
            "medium term",
            settings.medium_term_provider.name(),
            try_store(settings, of_memories.space().dimensions).await,
        ),
    ];
    trials.extend(moves);
    trials
}

fn trial(part: &'static str, provider: &'static str, outcome: anyhow::Result<String>) -> Trial {
    Trial { part, provider, outcome: outcome.map_err(|error| chain(error.as_ref())) }
}

async fn try_embedder(embedder: anyhow::Result<Arc<dyn Embedder>>) -> anyhow::Result<Arc<dyn Embedder>> {
    let embedder = embedder?;
    embedder.embed(&["Is anybody there?"], Purpose::Query).await?;
    Ok(embedder)
}

async fn try_cache(settings: &Settings, space: Arc<memory_core::EmbeddingSpace>) -> anyhow::Result<String> {
    match settings.short_term_provider {
        ShortTermProvider::None => Ok("every lookup is a miss".into()),
        ShortTermProvider::Embedded => look_at_folder(settings),
        ShortTermProvider::Redis => {
            RedisSemanticCacheProvider::connect(settings.redis(space).await?).await?;
            Ok("connected, and the index is there".into())
        }
    }
}

async fn try_store(settings: &Settings, dimensions: usize) -> anyhow::Result<String> {
    match settings.medium_term_provider {
        MediumTermProvider::Embedded => look_at_folder(settings),
        MediumTermProvider::AlloyDb => {
            let mut config = settings.alloydb(dimensions).await?;
            config.sweep_every = None;
            let to = format!("connected to {}, port {}, database {}", config.host, config.port, config.database);
            AlloyDbMemoryProvider::connect(config).await?.close().await;
            Ok(to)
        }
    }
}

fn look_at_folder(settings: &Settings) -> anyhow::Result<String> {
    let data = settings.data.display();
    match std::fs::metadata(&settings.data) {
        Ok(folder) if folder.is_dir() => Ok(format!("in {data}")),
        Ok(_) => anyhow::bail!("{data} is no folder"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(format!("{data} is made at the first start")),
        Err(error) => Err(error).context(format!("{data} cannot be looked at")),
    }
}
