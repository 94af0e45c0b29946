//! `POST /v1/memories/search`: working memory, the deadline, the budget, and what the server's settings say.

use std::sync::Arc;
use std::time::Duration;

use embedders::StaticEmbedder;
use memory_core::{
    AppendRequest, MemoryId, MemoryStore, NewMessage, Role, Scope, SemanticCache, TieredMemoryManager, WorkingMemory,
};
use orchestra_api::config::Settings;
use orchestra_api::http::router;
use orchestra_api::state::AppState;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use serde_json::{Value, json};

use crate::{Api, texts};

/// The router over tiers with a working memory, whose timer is over at once where it is asked to be.
pub async fn with_working_memory(over_at_once: bool) -> (Api, EmbeddedProvider) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::for_data(folder.path());
    let provider = EmbeddedProvider::open(EmbeddedConfig::new(settings.database())).await.unwrap();
    let timer = move |_: Duration| async move {
        if !over_at_once {
            std::future::pending::<()>().await;
        }
    };
    let store: Arc<dyn MemoryStore> = Arc::new(provider.clone());
    let cache: Arc<dyn SemanticCache> = Arc::new(provider.clone());
    let manager = TieredMemoryManager::builder(chrono::Utc::now, || MemoryId::from(uuid::Uuid::now_v7()))
        .short_term_provider(cache)
        .working_memory(Arc::new(provider.clone()))
        .medium_term_provider(store)
        .embedder(Arc::new(StaticEmbedder::built_in()))
        .timer(timer)
        .build()
        .unwrap();
    let state = AppState::new(manager, settings).unwrap();
    (Api { router: router(state), _folder: folder }, provider)
}

pub async fn say(provider: &EmbeddedProvider, session: &str, content: &str) {
    let scope = Scope::tenant("default").unwrap().with_user("ann").unwrap().with_session(session).unwrap();
    let messages = vec![NewMessage::new(Role::User, content)];
    provider.append(AppendRequest::new(scope, messages)).await.unwrap();
}

async fn search(api: &Api, body: Value) -> Value {
    api.post("/v1/memories/search", &body).await.ok(200)
}

#[tokio::test]
async fn the_conversation_that_goes_on_is_searched_too() {
    let (api, provider) = with_working_memory(false).await;
    say(&provider, "monday", "We meet at the old harbour").await;
    say(&provider, "monday", "The harbour café opens at noon").await;
    let stored = json!({"text": "The harbour has two piers", "scope": {"user": "ann", "session": "monday"}});
    api.remember(&stored).await;
    let copy =
        json!({"messages": [{"role": "user", "content": "we meet at the OLD harbour"}], "scope": {"user": "ann"}});
    api.post("/v1/sessions/monday/messages", &copy).await.ok(201);

    let monday = json!({"user": "ann", "session": "monday"});
    let found = search(&api, json!({"query": "harbour", "scope": monday, "deadline_ms": 60000})).await;
    let mut from: Vec<(&str, &str)> = texts(&found, "results").into_iter().zip(members(&found, "from")).collect();
    from.sort_unstable();
    assert_eq!(
        from,
        [
            ("The harbour café opens at noon", "working"),
            ("The harbour has two piers", "persistent"),
            ("we meet at the OLD harbour", "persistent"),
        ]
    );
    assert_eq!((&found["degraded"], &found["arms"][2]["arm"]), (&json!([]), &json!("working")));
    let said = found["results"].as_array().unwrap().iter().find(|result| result["from"] == "working").unwrap();
    assert_eq!((&said["tier"], &said["actor"], &said["scope"]), (&json!("short_term"), &json!("user"), &monday));
    let found = search(&api, json!({"query": "harbour", "scope": {"user": "ann"}})).await;
    assert!(members(&found, "from").iter().all(|from| *from == "persistent"));
}

/// The explanation, a reason in each line.
fn reasons(found: &Value) -> String {
    let lines = found["explanation"].as_array().unwrap().iter().map(Value::to_string);
    lines.collect::<Vec<_>>().join("\n")
}

fn members<'a>(found: &'a Value, member: &str) -> Vec<&'a str> {
    found["results"].as_array().unwrap().iter().map(|result| result[member].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_is_late_is_named() {
    let (api, _) = with_working_memory(true).await;
    api.remember(&json!({"text": "The harbour has two piers", "scope": {"user": "ann"}})).await;
    let found = search(&api, json!({"query": "harbour", "scope": {"user": "ann"}, "deadline_ms": 1})).await;
    assert_eq!(found["results"], json!([]), "the search goes to another thread, and no time is given to it");
    assert_eq!(found["degraded"], json!(["persistent_unavailable", "deadline_exceeded"]));
    for (given, problem) in [
        (json!(0), "400 invalid [deadline_ms] deadline_ms: given 0, allowed: 1 to 60000, in milliseconds"),
        (json!(60001), "400 invalid [deadline_ms] deadline_ms: given 60001, allowed: 1 to 60000, in milliseconds"),
    ] {
        let answer = api.post("/v1/memories/search", &json!({"query": "harbour", "deadline_ms": given})).await;
        assert_eq!(answer.problem(), problem);
    }
}

#[tokio::test]
async fn a_budget_of_tokens_binds_beside_the_limit() {
    let api = Api::new().await;
    for text in ["the harbour", "an old harbour town", &format!("harbour {}", "and a pier ".repeat(100))] {
        api.remember(&json!({"text": text})).await;
    }
    let all = search(&api, json!({"query": "harbour"})).await;
    assert_eq!((texts(&all, "results").len(), &all["left_out"]), (3, &json!(0)));
    let few = search(&api, json!({"query": "harbour", "max_tokens": 20})).await;
    assert_eq!((texts(&few, "results").len(), &few["left_out"]), (2, &json!(1)));
    assert!(few["tokens"].as_u64().unwrap() <= 20 && all["tokens"].as_u64().unwrap() > 100);
    let answer = api.post("/v1/memories/search", &json!({"query": "harbour", "max_tokens": 0})).await;
    assert_eq!(answer.problem(), "400 invalid [max_tokens] max_tokens: given 0, allowed: at least 1");
}

#[tokio::test]
async fn a_request_that_names_no_weights_has_the_servers() {
    let api = Api::with(|settings| {
        settings.recall.weights.recency = 0.25;
        settings.recall.weights.importance = 0.5;
    })
    .await;
    for (text, importance) in [("the harbour is old", 0.1), ("the harbour is new", 0.9)] {
        api.remember(&json!({"text": text, "importance": importance})).await;
    }
    let found = search(&api, json!({"query": "harbour"})).await;
    assert_eq!((&found["strategy"]["recency"], &found["strategy"]["importance"]), (&json!(0.25), &json!(0.5)));
    assert_eq!(texts(&found, "results")[0], "the harbour is new");
    let own = json!({"query": "harbour", "strategy": {"strategy": "weighted", "importance": 0.0}});
    let found = search(&api, own).await;
    assert_eq!((&found["strategy"]["recency"], &found["strategy"]["importance"]), (&json!(0.25), &json!(0.0)));

    let api = Api::with(|settings| settings.recall.rrf = true).await;
    assert_eq!(search(&api, json!({"query": "harbour"})).await["strategy"]["strategy"], "rrf");
    assert_eq!(
        search(&api, json!({"query": "harbour", "strategy": "weighted"})).await["strategy"]["strategy"],
        "weighted"
    );
}

#[tokio::test]
async fn an_answer_explains_its_results_and_why_there_are_no_more() {
    let api = Api::with(|settings| {
        settings.recall.weights.recency = 0.1;
        settings.recall.weights.importance = 0.2;
    })
    .await;
    for memory in [
        json!({"text": "Ann sails from the harbour", "actor": "Ann", "importance": 0.5}),
        json!({"text": "ann sails from the HARBOUR", "actor": "Ann", "importance": 0.1}),
        json!({"text": "The harbour is closed", "valid_to": "2020-01-01T00:00:00Z"}),
        json!({"text": format!("The harbour {}", "and a pier ".repeat(100)), "kind": "semantic"}),
    ] {
        api.remember(&memory).await;
    }
    let ask = json!({"query": "Does Ann sail from the harbour?", "explain": true, "max_tokens": 50});
    let found = search(&api, ask).await;
    let result = &found["results"][0];
    let why = result["why"].as_object().unwrap();
    let mut parts: Vec<&str> = why.keys().map(String::as_str).collect();
    parts.sort_unstable();
    assert_eq!(
        parts,
        ["actor_bonus", "bm25", "bm25_in_context", "dense_rank", "importance", "lexical_rank", "recency", "similarity"]
    );
    assert_eq!((&result["from"], &result["tier"]), (&json!("persistent"), &json!("medium_term")));
    assert_eq!((&why["dense_rank"], &why["lexical_rank"], &why["importance"]), (&json!(1), &json!(1), &json!(0.1)));
    assert!((why["recency"].as_f64().unwrap() - 0.1).abs() < 0.001, "{why:#?}");
    insta::assert_snapshot!(reasons(&found), @r#"
    {"code":"ended","detail":"1 memory had ended, by valid_to; a filter on valid_to or valid_at finds what had","memories":1}
    {"code":"repeated","detail":"1 memory with the text of another result of its scope","memories":1}
    {"code":"over_budget","detail":"1 memory did not fit into max_tokens","memories":1}
    "#);
    let found = search(&api, json!({"query": "harbour", "explain": true, "filter": {"actor": "Bob"}})).await;
    insta::assert_snapshot!(reasons(&found), @r#"{"code":"excluded_by_filter","detail":"the filter leaves 0 of 4 memories in this scope","in_scope":4,"matching":0}"#);
    let found = search(&api, json!({"query": "harbour", "explain": true, "scope": {"user": "bob"}})).await;
    insta::assert_snapshot!(reasons(&found), @r#"{"code":"nothing_in_scope","detail":"the store holds nothing in this scope"}"#);
    assert!(search(&api, json!({"query": "harbour"})).await.get("explanation").is_none());
    let full = search(&api, json!({"query": "harbour", "explain": true, "limit": 1})).await;
    assert_eq!(full["explanation"], json!([]), "nothing is missing");
}
