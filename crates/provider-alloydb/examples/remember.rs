//! The smallest use: bring a database to the schema, remember two things, and recall the one that answers.

use std::sync::Arc;

use embedders::StaticEmbedder;
use memory_core::{
    Draft, Embedder as _, MemoryId, Origin, RecallRequest, RememberRequest, Scope, TieredMemoryManager, Timestamp,
    Writer,
};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, migrate};

#[tokio::main]
async fn main() -> memory_core::Result<()> {
    let url = std::env::var("DATABASE_URL").unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".into());
    let mut config = AlloyDbConfig::from_url(&url)?;
    migrate(&config, |_| {}).await?;

    let embedder = Arc::new(StaticEmbedder::built_in());
    // The owner of a development database is a superuser, whom row-level security does not hold.
    config.role = Some("orchestra_app".into());
    config.vector_dim = embedder.space().dimensions;
    let provider = AlloyDbMemoryProvider::connect(config).await?;
    let clock = || Timestamp::from(std::time::SystemTime::now());
    let memory = TieredMemoryManager::builder(clock, || MemoryId::from(uuid::Uuid::now_v7()))
        .medium_term_provider(Arc::new(provider.clone()))
        .embedder(embedder)
        .build()?;

    let scope = Scope::tenant("example")?.with_user("ann")?;
    let drafts = ["Ann's sister moved to Lisbon in May", "Ann takes her coffee without sugar"];
    memory
        .remember(RememberRequest {
            drafts: drafts.map(|text| Draft::new(scope.clone(), text)).into(),
            origin: Origin::new(Writer::User, "example"),
            idempotency: None,
        })
        .await?;
    let report = memory.recall(RecallRequest::new(scope, "Where does Ann's sister live?")).await?;
    for recalled in report.memories {
        println!("{:.2}  {}", recalled.score, recalled.memory.text);
    }
    provider.close().await;
    Ok(())
}
