//! Services that are away when the server starts, or go while it runs.

use std::time::Instant;

use orchestra_api::config::Settings;
use orchestra_api::error::chain;
use orchestra_api::state::AppState;
use serde_json::{Value, json};

use crate::client::{Client, PATIENCE, texts, until};
use crate::setup::Setup;

async fn short_term(client: &Client) -> Value {
    client.get("/readyz").await.ok(200)["short_term"].clone()
}

async fn is_hit(client: &Client) -> bool {
    client.post("/v1/cache/lookup", json!({"prompt": "Who is there?"})).await.ok(200)["hit"] == true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_the_server_starts_and_every_lookup_is_a_miss() {
    let Some(mut setup) = Setup::redis_over_embedded().await else { return };
    setup.redis.as_mut().unwrap().kill().unwrap();
    let server = setup.serve("acme").await;
    let client = &server.client;
    assert_eq!(short_term(client).await, json!({"provider": "redis", "status": "away"}));
    assert!(!is_hit(client).await);
    client.post("/v1/memories", json!({"text": "Ann is there"})).await.ok(201);
    let found = client.post("/v1/memories/search", json!({"query": "Ann"})).await.ok(200);
    assert_eq!(texts(&found, "results"), ["Ann is there"]);

    setup.redis.as_mut().unwrap().restart().unwrap();
    until("Redis is found again", async || short_term(client).await["status"] == "ready").await;
    client.post("/v1/cache/entries", json!({"prompt": "Who is there?", "response": "Ann"})).await.ok(201);
    assert!(is_hit(client).await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_late_is_waited_for_and_one_that_never_comes_is_told() {
    let Some(mut setup) = Setup::postgres_without_cache().await else { return };
    setup.postgres.as_mut().unwrap().kill().unwrap();
    let impatient = Settings::from_args(&setup.args().with("startup_patience_seconds", "0")).unwrap();
    let error = AppState::open(&impatient).await.unwrap_err();
    let told = chain(error.as_ref());
    assert!(told.contains("cannot be reached") && told.contains("startup_patience_seconds"), "{told}");

    // The provider itself waits that long for a connection; here it is the start that is to be patient.
    let args = setup.args().with("alloydb.acquire_timeout_ms", "1000");
    let patient = Settings::from_args(&args).unwrap();
    let mut postgres = setup.postgres.take().unwrap();
    let nobody = tokio::net::TcpListener::bind(("127.0.0.1", postgres.port())).await.unwrap();
    let opening = tokio::spawn(async move { AppState::open(&patient).await.map(|state| (state, patient)) });
    for _ in 0..2 {
        let tried = tokio::time::timeout(PATIENCE, nobody.accept()).await;
        drop(tried.unwrap().unwrap());
    }
    drop(nobody);
    let postgres = tokio::task::spawn_blocking(move || postgres.restart().map(|()| postgres)).await.unwrap().unwrap();
    let (state, settings) = opening.await.unwrap().unwrap();
    state.readiness().await.unwrap();
    state.close(settings.shutdown_grace).await.unwrap();
    setup.postgres = Some(postgres);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_the_schema_is_refused_at_once() {
    let Some(setup) = Setup::bare_postgres().await else { return };
    let settings = Settings::from_args(&setup.args()).unwrap();
    let began = Instant::now();
    let error = AppState::open(&settings).await.unwrap_err();
    assert!(began.elapsed() < settings.startup_patience, "nobody waits for what time does not change");
    let told = chain(error.as_ref());
    assert!(told.contains("`orchestra db status`") && told.contains("orchestra_app"), "{told}");
}
