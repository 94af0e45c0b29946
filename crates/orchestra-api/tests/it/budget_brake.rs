//! The budget's brake: what the server does while it is on, and that it ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use memory_core::brake::{Brake, CACHE_STEP};
use orchestra_api::config::{CacheEmbedderSettings, EmbedderSettings};
use serde_json::{Value, json};

use crate::{Api, texts};

/// Stands in for the embedder that has to be paid for: every text has the same vector. Its URL, and how many it embedded.
async fn paid_embedder() -> (String, Arc<AtomicUsize>) {
    async fn embed(State(paid): State<Arc<AtomicUsize>>, Json(asked): Json<Value>) -> Json<Value> {
        let texts = asked["input"].as_array().unwrap();
        paid.fetch_add(texts.len(), Ordering::SeqCst);
        let data: Vec<Value> = (0..texts.len()).map(|index| json!({"index": index, "embedding": [0.6, 0.8]})).collect();
        Json(json!({"object": "list", "data": data, "model": "m"}))
    }
    let paid = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let app = Router::new().route("/v1/embeddings", post(embed)).with_state(paid.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, paid)
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn stats(api: &Api) -> Value {
    api.get("/v1/stats").await.ok(200)
}

#[tokio::test]
async fn while_the_brake_is_on_nothing_is_paid_for_and_what_waited_is_made_up_for() {
    let (base_url, paid) = paid_embedder().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("brake.json");
    let api = Api::with(|settings| {
        let (model, dimensions, send_dimensions) = ("m".into(), 2, false);
        settings.embedder = EmbedderSettings::OpenAi { base_url, model, dimensions, send_dimensions };
        settings.cache_embedder = CacheEmbedderSettings::BuiltIn;
        settings.brake_file = Some(file.clone());
    })
    .await;
    let usual = stats(&api).await["cache_threshold"].as_f64().unwrap();
    let write = async |text: &str| api.post("/v1/memories", &json!({"text": text})).await.ok(201)["degraded"].clone();
    assert_eq!((write("Ann lives in Porto").await, paid.load(Ordering::SeqCst)), (Value::Null, 1));
    api.post("/v1/consolidate", &json!({})).await.ok(200);

    let all = Brake { tighten_cache: true, slow_consolidation: true, refuse_embedding: true };
    std::fs::write(&file, all.text()).unwrap();
    until("the brake is on", async || stats(&api).await["brake"]["refuse_embedding"] == true).await;
    let before = paid.load(Ordering::SeqCst);
    assert_eq!(stats(&api).await["brake"], json!(all));
    let tightened = stats(&api).await["cache_threshold"].as_f64().unwrap();
    assert!((usual - tightened - f64::from(CACHE_STEP)).abs() < 1e-6, "{usual} and {tightened}");
    assert_eq!(write("Ann drinks tea").await, json!(["embedder_unavailable"]));
    let found = api.post("/v1/memories/search", &json!({"query": "tea"})).await.ok(200);
    assert_eq!(
        (texts(&found, "results"), &found["degraded"]),
        (vec!["Ann drinks tea"], &json!(["embedder_unavailable"]))
    );
    let refused = api.post("/v1/consolidate", &json!({})).await;
    assert!(refused.problem().starts_with("503 budget_brake [-] consolidation is slowed"), "{}", refused.problem());
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 3000);
    api.post("/v1/consolidate", &json!({"dry_run": true})).await.ok(200);
    assert_eq!(paid.load(Ordering::SeqCst), before, "nothing was paid for");

    // What cannot be read changes nothing; what is lifted ends at once.
    let embedding_alone = Brake { refuse_embedding: true, ..Brake::default() };
    std::fs::write(&file, embedding_alone.text()).unwrap();
    until("the cache is as usual", async || stats(&api).await["cache_threshold"].as_f64() == Some(usual)).await;
    let refused = api.post("/v1/consolidate", &json!({})).await;
    assert!(refused.problem().starts_with("503 budget_brake [-] consolidation would"), "{}", refused.problem());
    std::fs::remove_file(&file).unwrap();
    until("the brake is off", async || stats(&api).await["brake"]["refuse_embedding"] == false).await;
    api.post("/v1/consolidate", &json!({})).await.ok(200);
    assert_eq!(write("Ann has a dog").await, Value::Null);
    until("what waited is embedded", async || stats(&api).await["store"]["without_embedding"] == 0).await;
    assert_eq!(paid.load(Ordering::SeqCst), before + 2);
}

#[tokio::test]
async fn an_embedder_that_costs_nothing_goes_on_and_the_cache_answers_more() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("brake.json");
    let on = Brake { tighten_cache: true, refuse_embedding: true, ..Brake::default() };
    std::fs::write(&file, on.text()).unwrap();
    // It holds from the first request on.
    let api = Api::with(|settings| {
        settings.brake_file = Some(file.clone());
        settings.cache_threshold = 0.93;
    })
    .await;
    let written = api.post("/v1/memories", &json!({"text": "Ann lives in Porto"})).await.ok(201);
    assert_eq!(written["degraded"], Value::Null);
    api.post("/v1/consolidate", &json!({})).await.ok(200);
    let entry = json!({"prompt": "How do I turn on dark mode?", "response": "In the settings"});
    api.post("/v1/cache/entries", &entry).await.ok(201);
    let lookup = async |body: Value| api.post("/v1/cache/lookup", &body).await.ok(200)["hit"].clone();
    // A similarity of 0.91, between the usual threshold and the tightened one.
    let question = "turn on dark mode";
    assert_eq!(lookup(json!({"prompt": question})).await, true);
    let named = json!({"prompt": question, "threshold": 0.93});
    assert_eq!(lookup(named).await, false, "who names a threshold gets that one");
    std::fs::remove_file(&file).unwrap();
    until("it is a miss as usual", async || lookup(json!({"prompt": question})).await == false).await;
}
