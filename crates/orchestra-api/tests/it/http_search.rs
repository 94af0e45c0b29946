//! `POST /v1/memories/search`.

use serde_json::{Value, json};

use crate::{Api, texts};

async fn with_memories() -> Api {
    let api = Api::new().await;
    let memories = json!({"memories": [
        {"text": "Ann plays the cello in an orchestra", "scope": {"user": "ann"}, "actor": "Ann", "metadata": {"topic": "music"}},
        {"text": "The dentist appointment is on 4 May", "scope": {"user": "ann"}, "metadata": {"topic": "health"}, "kind": "semantic"},
        {"text": "Bob repairs old bicycles", "scope": {"user": "bob"}, "actor": "Bob"},
    ]});
    api.post("/v1/memories", &memories).await.ok(201);
    api
}

async fn search(api: &Api, body: Value) -> Value {
    api.post("/v1/memories/search", &body).await.ok(200)
}

#[tokio::test]
async fn the_memory_that_answers_comes_first() {
    let api = with_memories().await;
    let found =
        search(&api, json!({"query": "Which instrument does Ann play?", "scope": {"user": "ann"}, "limit": 1})).await;
    assert_eq!(texts(&found, "results"), ["Ann plays the cello in an orchestra"]);
    let first = &found["results"][0];
    assert_eq!((&first["tier"], &first["scope"]), (&json!("medium_term"), &json!({"user": "ann"})));
    assert!(first["score"].is_number() && first.get("why").is_none() && first.get("embedding").is_none());
    assert_eq!((&found["strategy"]["strategy"], &found["strategy"]["dense"]), (&json!("weighted"), &json!(0.5)));
    assert_eq!(found["arms"].as_array().unwrap().len(), 2);
    assert_eq!(found["degraded"], json!([]));
    assert!(found["took_ms"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn scope_and_filter_hold() {
    let api = with_memories().await;
    let found = search(&api, json!({"query": "Ann, the dentist and Bob", "scope": {"user": "bob"}})).await;
    assert_eq!(texts(&found, "results"), ["Bob repairs old bicycles"]);
    let found =
        search(&api, json!({"query": "Ann, the dentist and Bob", "filter": {"metadata.topic": "health"}})).await;
    assert_eq!(texts(&found, "results"), ["The dentist appointment is on 4 May"]);
}

#[tokio::test]
async fn the_strategy_is_the_callers_choice_and_is_told() {
    let api = with_memories().await;
    for (given, told) in [
        (json!("rrf"), json!({"strategy": "rrf", "k": 60.0})),
        (json!({"strategy": "rrf", "k": 10}), json!({"strategy": "rrf", "k": 10.0})),
        (
            json!({"strategy": "weighted", "dense": 0.25}),
            json!({"strategy": "weighted", "dense": 0.25, "importance": 0.0, "recency": 0.0, "recency_half_life_days": 30.0}),
        ),
    ] {
        let found = search(&api, json!({"query": "cello", "strategy": given, "explain": true})).await;
        for (part, value) in told.as_object().unwrap() {
            assert_eq!(&found["strategy"][part], value, "{found:#}");
        }
        let why = &found["results"][0]["why"];
        assert!(
            why["similarity"].is_number() && why["bm25"].as_f64().unwrap() > 0.0 && why["lexical_rank"] == 1,
            "{why:#}"
        );
    }
}

#[tokio::test]
async fn a_write_is_seen_by_the_read_that_carries_its_token() {
    let api = Api::new().await;
    let added = api.post("/v1/memories", &json!({"text": "Carol keeps bees"})).await.ok(201);
    let found = search(&api, json!({"query": "bees", "at_least": added["token"]})).await;
    assert_eq!(texts(&found, "results"), ["Carol keeps bees"]);
}

#[tokio::test]
async fn an_expired_memory_is_not_found() {
    let api = Api::new().await;
    api.remember(&json!({"text": "the code is 1234", "ttl_seconds": 0.05})).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(search(&api, json!({"query": "what is the code"})).await["results"], json!([]));
    assert_eq!(api.get("/v1/memories").await.ok(200)["memories"], json!([]));
}

#[tokio::test]
async fn several_scopes_are_searched_as_one() {
    let api = with_memories().await;
    let query = json!({"query": "Ann, the dentist and Bob", "scope": {"user": "ann"}, "also": [{"user": "bob"}, {"user": "ann"}]});
    assert_eq!(texts(&search(&api, query).await, "results").len(), 3);
}

#[tokio::test]
async fn what_was_known_and_what_was_true_at_a_time_is_found() {
    let api = Api::new().await;
    let added = api.remember(&json!({"text": "Ann lives in Lisbon", "valid_from": "2020-01-01T00:00:00Z"})).await;
    let path = format!("/v1/memories/{added}");
    let recorded_at = api.get(&path).await.ok(200)["recorded_at"].clone();
    api.patch(&path, &[], &json!({"text": "Ann lives in Porto"})).await.ok(200);
    let ask = |name: &str, time: &Value| json!({"query": "Where does Ann live?", name: time, "filter": {"kind": {"exists": true}}});
    let found = search(&api, ask("as_of", &recorded_at)).await;
    assert_eq!(texts(&found, "results"), ["Ann lives in Lisbon"]);
    assert!(found["results"][0]["superseded_at"].is_string(), "{found:#}");
    assert_eq!(
        texts(&search(&api, ask("as_of", &json!("2999-01-01T00:00:00Z"))).await, "results"),
        ["Ann lives in Porto"]
    );
    assert_eq!(search(&api, ask("as_of", &json!("2019-06-01T00:00:00Z"))).await["results"], json!([]));
    assert_eq!(
        texts(&search(&api, ask("valid_at", &json!("2020-01-01T00:00:00Z"))).await, "results"),
        ["Ann lives in Porto"]
    );
    assert_eq!(search(&api, ask("valid_at", &json!("2019-06-01T00:00:00Z"))).await["results"], json!([]));
}
