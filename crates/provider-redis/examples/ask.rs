//! The smallest use: file an answer, and ask again in the same words, in other words, and for something else.

use std::sync::Arc;

use embedders::StaticEmbedder;
use memory_core::{
    CacheLookup, CacheRequest, Compatibility, Embedder as _, Filter, Metadata, NewCacheEntry, Purpose, Scope,
    SemanticCache as _,
};
use provider_redis::{RedisConfig, RedisSemanticCacheProvider};
use serde_json::json;

#[tokio::main]
async fn main() -> memory_core::Result<()> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    let embedder = Arc::new(StaticEmbedder::built_in());
    let cache = RedisSemanticCacheProvider::connect(RedisConfig::new(url, embedder.space().clone())).await?;
    let scope = Scope::tenant("acme")?.with_user("ann")?;
    let fingerprint = Compatibility { model: Some("a-model".into()), ..Compatibility::default() }.fingerprint();
    let embed = async |prompt: &str| {
        Ok::<_, memory_core::Error>(embedder.embed(&[prompt], Purpose::Query).await?.into_iter().next())
    };

    let prompt = "How do I turn on dark mode?";
    cache
        .store(NewCacheEntry {
            scope: scope.clone(),
            prompt: prompt.into(),
            response: "Under Settings, Appearance.".into(),
            fingerprint,
            embedding: embed(prompt).await?,
            depends_on: Vec::new(),
            tags: vec!["help".into()],
            metadata: Metadata::from_iter([("product".to_owned(), "app".into())]),
            ttl: cache.ttl(),
            sliding: false,
        })
        .await?;
    for asked in [
        "how do I turn on dark mode",
        "How can I turn on the dark mode?",
        "How do I turn off dark mode?",
        "Where is my invoice?",
    ] {
        let request = CacheRequest {
            scope: scope.clone(),
            prompt: asked.into(),
            fingerprint,
            embedding: embed(asked).await?,
            policy: cache.policy(),
            // Only answers that were filed for the app.
            filter: Some(Filter::from_json(&json!({"metadata.product": "app"}))?),
        };
        match cache.lookup(&request).await? {
            CacheLookup::Hit(hit) => {
                println!("{asked}\n  {:?} {:.2}: {}", hit.kind, hit.similarity, hit.entry.response)
            }
            CacheLookup::Miss(Some(near)) => println!("{asked}\n  miss, {:.2}: {:?}", near.similarity, near.refused),
            CacheLookup::Miss(None) => println!("{asked}\n  miss"),
        }
    }
    Ok(())
}
