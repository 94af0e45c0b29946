//! The smallest use: remember two things, and recall the one that answers.

use std::sync::Arc;

use embedders::StaticEmbedder;
use memory_core::{
    Draft, MemoryId, Origin, RecallRequest, RememberRequest, Scope, TieredMemoryManager, Timestamp, Writer,
};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};

#[tokio::main]
async fn main() -> memory_core::Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let provider = EmbeddedProvider::open(EmbeddedConfig::new(folder.path().join("memory.db"))).await?;
    let clock = || Timestamp::from(std::time::SystemTime::now());
    let memory = TieredMemoryManager::builder(clock, || MemoryId::from(uuid::Uuid::now_v7()))
        .medium_term_provider(Arc::new(provider.clone()))
        .short_term_provider(Arc::new(provider.clone()))
        .embedder(Arc::new(StaticEmbedder::built_in()))
        .build()?;

    let scope = Scope::tenant("acme")?.with_user("ann")?;
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
    provider.close().await
}
