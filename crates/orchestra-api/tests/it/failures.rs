//! What the server does when a part of it fails, panics, or the client goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Method;
use memory_core::{
    CacheEntryId, CacheLookup, CacheMark, CacheRequest, CacheStats, Candidates, Error, ForgetReceipt, ForgetRequest,
    InsertBatch, InsertReceipt, InvalidateRequest, ListRequest, Memory, MemoryId, MemoryPatch, MemoryStore,
    NewCacheEntry, Page, Result, Scope, SearchRequest, SemanticCache, StoreStats, TieredMemoryManager, UpdateReceipt,
    WriteToken,
};
use orchestra_api::config::{EmbedderSettings, Settings};
use orchestra_api::http::router;
use orchestra_api::state::AppState;

use crate::{Api, send};

/// A store that is out of order.
#[derive(Debug, Default)]
struct Broken {
    inserted: Arc<AtomicBool>,
}

fn failed(operation: &'static str) -> Error {
    Error::Backend { provider: "broken", operation, retryable: true, source: "connection to 10.0.0.7 lost".into() }
}

#[async_trait]
impl MemoryStore for Broken {
    /// Slow, but it works.
    async fn insert(&self, batch: InsertBatch) -> Result<InsertReceipt> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.inserted.store(true, Ordering::SeqCst);
        let items = batch
            .memories
            .iter()
            .map(|item| memory_core::InsertedItem { id: item.memory.id, status: memory_core::InsertStatus::Created });
        Ok(InsertReceipt {
            items: items.collect(),
            token: WriteToken("1".into()),
            replayed: false,
            degraded: Vec::new(),
        })
    }

    async fn get(&self, _: &Scope, _: MemoryId) -> Result<Option<Arc<Memory>>> {
        panic!("a bug in the store")
    }

    async fn turn_before(&self, _: &Scope, _: MemoryId) -> Result<Option<Arc<Memory>>> {
        Ok(None)
    }

    async fn update(&self, _: &Scope, _: MemoryId, _: MemoryPatch) -> Result<UpdateReceipt> {
        Err(failed("update"))
    }

    async fn history(&self, _: &Scope, _: MemoryId) -> Result<Vec<Memory>> {
        Err(Error::Unusable { provider: "broken", reason: "/data/memory.db is damaged".into(), source: None })
    }

    async fn forget(&self, _: &ForgetRequest) -> Result<ForgetReceipt> {
        Err(failed("forget"))
    }

    async fn list(&self, _: &ListRequest) -> Result<Page> {
        Err(failed("list"))
    }

    async fn search(&self, _: &SearchRequest) -> Result<Candidates> {
        Err(Error::NotYetVisible(WriteToken("99".into())))
    }

    async fn stats(&self, _: &Scope) -> Result<StoreStats> {
        Err(Error::Backend {
            provider: "broken",
            operation: "stats",
            retryable: false,
            source: "row 7 of memories".into(),
        })
    }

    async fn health(&self) -> Result<()> {
        Err(failed("health"))
    }
}

fn broken() -> (axum::Router, Arc<AtomicBool>) {
    let store = Broken::default();
    let inserted = store.inserted.clone();
    let manager = TieredMemoryManager::builder(chrono::Utc::now, || MemoryId::from(uuid::Uuid::now_v7()))
        .medium_term_provider(Arc::new(store))
        .embedder(Arc::new(embedders::StaticEmbedder::built_in()))
        .build()
        .unwrap();
    (router(AppState::new(manager, Settings::for_data("unused")).unwrap()), inserted)
}

#[tokio::test]
async fn a_failure_says_whether_to_try_again_and_no_more() {
    let (router, _) = broken();
    let id = "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d";
    let mut lines = Vec::new();
    for (method, uri, body) in [
        (Method::GET, format!("/v1/memories/{id}"), ""),
        (Method::PATCH, format!("/v1/memories/{id}"), "{\"importance\":1}"),
        (Method::GET, format!("/v1/memories/{id}/history"), ""),
        (Method::DELETE, format!("/v1/memories/{id}"), ""),
        (Method::GET, "/v1/memories".into(), ""),
        (Method::POST, "/v1/memories/search".into(), "{\"query\":\"q\",\"at_least\":\"99\"}"),
        (Method::GET, "/v1/stats".into(), ""),
        (Method::GET, "/readyz".into(), ""),
    ] {
        let answer = send(&router, method.clone(), &uri, &[], body).await;
        let retry = answer.header("retry-after").map(|after| format!(" (after {after} s)")).unwrap_or_default();
        lines.push(format!("{method} {uri}\n    {}{retry}", answer.problem()));
    }
    insta::assert_snapshot!(lines.join("\n"), @r"
    GET /v1/memories/0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d
        500 internal [-] the server failed; its log says why, under this request's id
    PATCH /v1/memories/0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d
        503 store_unavailable [-] the store does not answer now (after 1 s)
    GET /v1/memories/0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d/history
        503 store_unusable [-] the store cannot be used now; the server's log says why
    DELETE /v1/memories/0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d
        503 store_unavailable [-] the store does not answer now (after 1 s)
    GET /v1/memories
        503 store_unavailable [-] the store does not answer now (after 1 s)
    POST /v1/memories/search
        409 not_yet_visible [at_least] write 99 is not visible here yet (after 1 s)
    GET /v1/stats
        500 internal [-] the server failed; its log says why, under this request's id
    GET /readyz
        503 not_ready [-] the store does not answer; the server's log says why
    ");
    assert_eq!(send(&router, Method::GET, "/healthz", &[], "").await.status, 200, "the process lives all the same");
}

#[tokio::test]
async fn a_write_ends_even_when_the_client_goes_away() {
    let (router, inserted) = broken();
    let request = send(&router, Method::POST, "/v1/memories", &[], "{\"text\":\"t\"}");
    assert!(tokio::time::timeout(Duration::from_millis(10), request).await.is_err(), "the client gave up");
    for _ in 0..1000 {
        if inserted.load(Ordering::SeqCst) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the write was dropped with its client");
}

/// A double: an embedder that cannot be reached.
#[derive(Debug)]
struct AwayEmbedder(Arc<memory_core::EmbeddingSpace>);

#[async_trait]
impl memory_core::Embedder for AwayEmbedder {
    fn space(&self) -> &Arc<memory_core::EmbeddingSpace> {
        &self.0
    }

    async fn embed(&self, _: &[&str], _: memory_core::Purpose) -> Result<Vec<memory_core::Embedding>> {
        let model = self.0.model.clone();
        Err(Error::Embedder { model, reason: "away".into(), retryable: true, source: None })
    }
}

#[tokio::test]
async fn a_write_is_taken_without_the_embedder_and_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let config = provider_embedded::EmbeddedConfig::new(folder.path().join("memory.db"));
    let store = provider_embedded::EmbeddedProvider::open(config).await.unwrap();
    let space = memory_core::Embedder::space(&embedders::StaticEmbedder::built_in()).clone();
    let manager = TieredMemoryManager::builder(chrono::Utc::now, || MemoryId::from(uuid::Uuid::now_v7()))
        .medium_term_provider(Arc::new(store))
        .embedder(Arc::new(AwayEmbedder(space)))
        .build()
        .unwrap();
    let router = router(AppState::new(manager, Settings::for_data("unused")).unwrap());
    for body in ["{\"text\":\"the code is 4711\"}", "{\"memories\":[{\"text\":\"the door is red\"}]}"] {
        let answer = send(&router, Method::POST, "/v1/memories", &[], body).await.ok(201);
        assert_eq!(answer["degraded"], serde_json::json!(["embedder_unavailable"]));
    }
    let answer = send(&router, Method::POST, "/v1/memories/search", &[], "{\"query\":\"code\"}").await.ok(200);
    assert_eq!(answer["results"].as_array().map(Vec::len), Some(1), "it is found by its words");
}

/// A server of embeddings that takes calls and answers none holds a write up as long as the settings say.
#[tokio::test]
async fn a_write_waits_for_the_embedder_as_long_as_it_was_told_to() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let taken = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            kept.push(connection);
        }
    });
    let api = Api::with(|settings| {
        let (model, dimensions, send_dimensions) = ("m".into(), 8, false);
        settings.embedder = EmbedderSettings::OpenAi { base_url, model, dimensions, send_dimensions };
        settings.embedder_timeout = Duration::from_millis(50);
    })
    .await;
    let body = serde_json::json!({"text": "the code is 4711"});
    let write = api.post("/v1/memories", &body);
    // The server's own time for an attempt is half a minute, and it makes four.
    let write = tokio::time::timeout(Duration::from_secs(20), write).await.expect("it goes on without");
    assert_eq!(write.ok(201)["degraded"], serde_json::json!(["embedder_unavailable"]));
    taken.abort();
}

/// A cache that is away.
#[derive(Debug)]
struct AwayCache;

#[async_trait]
impl SemanticCache for AwayCache {
    async fn lookup(&self, _: &CacheRequest) -> Result<CacheLookup> {
        Err(failed("lookup"))
    }

    async fn mark(&self, _: &Scope) -> Result<CacheMark> {
        Err(failed("mark"))
    }

    async fn store_since(&self, _: NewCacheEntry, _: &CacheMark) -> Result<Option<CacheEntryId>> {
        Err(failed("store"))
    }

    async fn invalidate(&self, _: &InvalidateRequest) -> Result<u64> {
        Err(failed("invalidate"))
    }

    async fn stats(&self, _: &Scope) -> Result<CacheStats> {
        Err(failed("stats"))
    }
}

#[tokio::test]
async fn without_the_cache_the_operator_sees_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let config = provider_embedded::EmbeddedConfig::new(folder.path().join("memory.db"));
    let store = provider_embedded::EmbeddedProvider::open(config).await.unwrap();
    let manager = TieredMemoryManager::builder(chrono::Utc::now, || MemoryId::from(uuid::Uuid::now_v7()))
        .short_term_provider(Arc::new(AwayCache))
        .medium_term_provider(Arc::new(store))
        .embedder(Arc::new(embedders::StaticEmbedder::built_in()))
        .build()
        .unwrap();
    let router = router(AppState::new(manager, Settings::for_data("unused")).unwrap());
    send(&router, Method::POST, "/v1/memories", &[], "{\"text\":\"the code is 4711\"}").await.ok(201);
    let stats = send(&router, Method::GET, "/v1/stats", &[], "").await.ok(200);
    assert_eq!((&stats["store"]["memories"], &stats["cache"]), (&1.into(), &serde_json::Value::Null));
    assert_eq!(stats["degraded"], serde_json::json!(["cache_unavailable"]));
    let request = axum::http::Request::get("/metrics").body(axum::body::Body::empty()).unwrap();
    assert_eq!(tower::ServiceExt::oneshot(router, request).await.unwrap().status(), 200);
}
