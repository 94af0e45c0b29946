//! Whether a memory that was moved answers through its tiers: the cache on Redis, which begins empty, in front of Postgres.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use embedders::StaticEmbedder;
use memory_core::{
    CacheLookup, Compatibility, Fingerprint, ForgetRequest, NewCacheEntry, RecallRequest, Scope, Selection,
    TieredMemoryManager,
};
use memory_testkit::services::{self, Service};
use provider_redis::{RedisConfig, RedisSemanticCacheProvider};

use super::memories::{Memories, id_of};
use super::stores::{Postgres, space};

/// Recalls memories, files an answer about each, gets it from the cache, and forgets them. Gives how many that were.
pub async fn answer(green: &Postgres, memories: &Memories, numbers: &[usize]) -> Result<usize> {
    let server = services::private(Service::Redis).context("there is no Redis")?;
    let cache = RedisSemanticCacheProvider::connect(RedisConfig::new(server.url(), space())).await?;
    let manager = TieredMemoryManager::builder(chrono::Utc::now, || uuid::Uuid::now_v7().into())
        .short_term_provider(Arc::new(cache))
        .medium_term_provider(Arc::new(green.store.clone()))
        .long_term_enabled(true)
        .embedder(Arc::new(StaticEmbedder::built_in()))
        .build()?;
    for &number in numbers {
        let (scope, id, prompt) = (memories.scope(number)?, id_of(number), memories.text(number, 1));
        let report = manager.recall(RecallRequest::new(scope.clone(), prompt.clone())).await?;
        let is_found = report.memories.iter().any(|recalled| recalled.memory.id == id);
        ensure!(is_found, "memory {number} was not recalled on green");
        let fingerprint = Compatibility { model: Some("bench".into()), ..Compatibility::default() }.fingerprint();
        ensure!(!is_hit(&manager, &scope, &prompt, fingerprint).await?, "the cache of green holds an answer already");
        let entry = NewCacheEntry {
            scope: scope.clone(),
            prompt: prompt.clone(),
            response: "an answer".into(),
            fingerprint,
            embedding: None,
            depends_on: vec![id],
            tags: Vec::new(),
            metadata: memory_core::Metadata::new(),
            ttl: std::time::Duration::from_secs(60),
            sliding: false,
        };
        manager.cache_store(entry).await?.context("the answer was not filed")?;
        ensure!(is_hit(&manager, &scope, &prompt, fingerprint).await?, "the answer was not served");
        let selection = Selection::Ids(vec![id]);
        manager.forget(&ForgetRequest { scope: scope.clone(), selection, dry_run: false }).await?;
        ensure!(!is_hit(&manager, &scope, &prompt, fingerprint).await?, "the answer outlived its memory");
    }
    Ok(numbers.len())
}

async fn is_hit(manager: &TieredMemoryManager, scope: &Scope, prompt: &str, fingerprint: Fingerprint) -> Result<bool> {
    let lookup = manager.cache_lookup(scope, prompt, fingerprint, None).await?;
    Ok(!matches!(lookup, CacheLookup::Miss(_)))
}
