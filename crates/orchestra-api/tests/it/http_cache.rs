//! `/v1/cache`.

use std::path::{Path, PathBuf};

use orchestra_api::config::{CacheEmbedderSettings, ShortTermProvider};
use serde_json::{Value, json};

use crate::Api;

async fn lookup(api: &Api, body: Value) -> Value {
    api.post("/v1/cache/lookup", &body).await.ok(200)
}

#[tokio::test]
async fn an_answer_is_filed_and_served_to_the_same_question_only() {
    let api = Api::new().await;
    let entry = json!({
        "prompt": "How do I turn on dark mode in the dashboard?", "response": "Open Settings.", "model": "m", "scope": {"user": "ann"},
        "ttl_seconds": 600, "tags": ["help"], "metadata": {"cost": 3},
    });
    let stored = api.post("/v1/cache/entries", &entry).await.ok(201);
    assert!(stored["id"].is_string() && stored["expires_at"].is_string());

    let ask =
        |prompt: &str, model: &str, user: &str| json!({"prompt": prompt, "model": model, "scope": {"user": user}});
    let hit = lookup(&api, ask("how do I turn on DARK MODE in the dashboard", "m", "ann")).await;
    assert_eq!(
        (&hit["hit"], &hit["kind"], &hit["response"]),
        (&json!(true), &json!("exact"), &json!("Open Settings."))
    );
    assert_eq!(
        (&hit["entry_id"], &hit["similarity"], &hit["metadata"]),
        (&stored["id"], &json!(1.0), &json!({"cost": 3}))
    );
    assert_eq!((&hit["depends_on"], &hit["tags"]), (&json!([]), &json!(["help"])));
    assert!(hit["age_seconds"].as_f64().unwrap() >= 0.0 && hit["took_ms"].is_number() && hit["expires_at"].is_string());

    let hit = lookup(&api, ask("How can I turn on dark mode in the dashboard?", "m", "ann")).await;
    assert_eq!((&hit["hit"], &hit["kind"]), (&json!(true), &json!("semantic")), "{hit:#}");

    let miss = lookup(&api, ask("How do I turn off dark mode in the dashboard?", "m", "ann")).await;
    assert_eq!(miss["hit"], false);
    assert_eq!(miss["near_miss"]["entry_id"], stored["id"]);
    assert!(miss["near_miss"]["refused"]["guard"].is_array(), "{miss:#}");
    let mut unguarded = ask("How do I turn off dark mode in the dashboard?", "m", "ann");
    unguarded["policy"] = json!("threshold");
    assert_eq!(lookup(&api, unguarded).await["hit"], true, "the caller chose to be without the guard");
    let mut strict = ask("How can I turn on dark mode in the dashboard?", "m", "ann");
    strict["threshold"] = json!(0.9999);
    let miss = lookup(&api, strict).await;
    assert!(miss["near_miss"]["refused"]["below_threshold"].is_object(), "{miss:#}");

    for (model, user) in [("other", "ann"), ("m", "bob")] {
        let miss = lookup(&api, ask("How do I turn on dark mode in the dashboard?", model, user)).await;
        assert_eq!((&miss["hit"], &miss["near_miss"]), (&json!(false), &json!(null)));
    }
}

#[tokio::test]
async fn a_correction_reaches_the_cache() {
    let api = Api::new().await;
    let id = api.remember(&json!({"text": "The office is in Lyon"})).await;
    let entry = json!({"prompt": "Where is the office?", "response": "In Lyon", "depends_on": [id]});
    api.post("/v1/cache/entries", &entry).await.ok(201);
    assert_eq!(lookup(&api, json!({"prompt": "Where is the office?"})).await["depends_on"], json!([id]));
    api.patch(&format!("/v1/memories/{id}"), &[], &json!({"text": "The office is in Lille"})).await.ok(200);
    assert_eq!(lookup(&api, json!({"prompt": "Where is the office?"})).await["hit"], false);
    api.post("/v1/cache/entries", &entry).await.ok(201);
    let receipt = api.delete(&format!("/v1/memories/{id}")).await.ok(200);
    assert_eq!(receipt["cache_entries"], 1);
    assert_eq!(lookup(&api, json!({"prompt": "Where is the office?"})).await["hit"], false);
}

#[tokio::test]
async fn an_answer_of_a_former_version_is_a_conflict() {
    let api = Api::new().await;
    let id = api.remember(&json!({"text": "The office is in Lyon"})).await;
    let made_of = |version: u64| json!({"prompt": "Where is the office?", "response": "In Lyon", "made_of": [{"id": id, "version": version}]});
    api.post("/v1/cache/entries", &made_of(1)).await.ok(201);
    assert_eq!(lookup(&api, json!({"prompt": "Where is the office?"})).await["depends_on"], json!([id]));
    api.patch(&format!("/v1/memories/{id}"), &[], &json!({"text": "The office is in Lille"})).await.ok(200);
    insta::assert_snapshot!(api.post("/v1/cache/entries", &made_of(1)).await.problem(), @"409 memories_changed [made_of] a memory that the answer was made of was changed or forgotten since; ask again");
    assert_eq!(lookup(&api, json!({"prompt": "Where is the office?"})).await["hit"], false);
    api.post("/v1/cache/entries", &made_of(2)).await.ok(201);
}

#[tokio::test]
async fn entries_are_removed_by_id_by_tag_by_memory_and_all() {
    let api = Api::new().await;
    let memory = api.remember(&json!({"text": "a source"})).await;
    let mut ids = Vec::new();
    for (prompt, tag) in
        [("first question", "x"), ("second question", "x"), ("third question", "y"), ("fourth question", "y")]
    {
        let depends_on = if prompt.starts_with("third") { vec![memory.clone()] } else { Vec::new() };
        let entry = json!({"prompt": prompt, "response": "r", "tags": [tag], "depends_on": depends_on, "scope": {"user": "ann"}});
        ids.push(api.post("/v1/cache/entries", &entry).await.ok(201)["id"].clone());
    }
    let invalidate = |body: Value| {
        let api = &api;
        async move { api.post("/v1/cache/invalidate", &body).await.ok(200) }
    };
    assert_eq!(invalidate(json!({"all": true, "dry_run": true})).await, json!({"removed": 4, "dry_run": true}));
    assert_eq!(invalidate(json!({"all": true, "scope": {"user": "bob"}})).await["removed"], 0);
    assert_eq!(invalidate(json!({"entry": ids[0]})).await, json!({"removed": 1, "dry_run": false}));
    assert_eq!(invalidate(json!({"tag": "x"})).await["removed"], 1);
    assert_eq!(invalidate(json!({"memories": [memory]})).await["removed"], 1);
    assert_eq!(invalidate(json!({"all": true})).await["removed"], 1);
}

#[tokio::test]
async fn without_a_cache_every_lookup_is_a_miss() {
    let api = Api::with(|settings| settings.short_term_provider = ShortTermProvider::None).await;
    let stored = api.post("/v1/cache/entries", &json!({"prompt": "p", "response": "r"})).await.ok(200);
    assert_eq!(stored, json!({"id": null, "expires_at": null}));
    assert_eq!(lookup(&api, json!({"prompt": "p"})).await["hit"], false);
    assert_eq!(api.get("/v1/stats").await.ok(200)["short_term_provider"], "none");
}

/// Where minilm-int8 is; a word on stderr where it is not, or a failure when `MEMORY_TEST_REQUIRE` names it.
fn minilm() -> Option<PathBuf> {
    let models = std::env::var_os("ORCHESTRA_MODELS").map(PathBuf::from);
    let models = models.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/assets"));
    let folder = models.join("minilm-int8");
    if folder.exists() {
        return Some(folder);
    }
    let required = std::env::var("MEMORY_TEST_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| ["minilm", "all"].contains(&name.trim())), "minilm-int8 is not there");
    eprintln!("skipped: minilm-int8 is not there; `cargo xtask assets minilm-int8` places it");
    None
}

#[tokio::test]
async fn the_transformer_serves_a_paraphrase_at_its_own_threshold() {
    let Some(folder) = minilm() else { return };
    let api = Api::with(|settings| {
        settings.cache_embedder = CacheEmbedderSettings::MiniLm(folder);
        settings.cache_threshold = 0.85;
    })
    .await;
    let stats = api.get("/v1/stats").await.ok(200);
    assert_eq!(stats["cache_embedder"], "minilm-int8@b2a68b34a45c/384");
    assert!(stats["embedder"].as_str().unwrap().starts_with("static-256@"), "memories keep their own model");
    api.post("/v1/cache/entries", &json!({"prompt": "How do I turn on dark mode?", "response": "In the settings."}))
        .await
        .ok(201);
    let asked = async |prompt: &str| api.post("/v1/cache/lookup", &json!({ "prompt": prompt })).await.ok(200);
    let served = asked("How can I turn on dark mode?").await;
    assert_eq!((&served["hit"], &served["response"]), (&json!(true), &json!("In the settings.")), "{served:#}");
    assert_eq!(asked("How do I turn off dark mode?").await["hit"], false);
    assert_eq!(asked("How do I bake bread?").await["hit"], false);
}
