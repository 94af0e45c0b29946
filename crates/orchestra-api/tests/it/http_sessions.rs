//! `/v1/sessions/{id}/messages`.

use serde_json::json;

use crate::{Api, texts};

#[tokio::test]
async fn the_turns_of_a_session_come_back_in_their_order() {
    let api = Api::new().await;
    let first = json!({"scope": {"user": "ann"}, "messages": [
        {"role": "user", "content": "Which colour shall we take?"},
        {"actor": "assistant", "text": "Blue or green?", "at": "2025-06-01T01:00:00Z", "metadata": {"model": "m"}},
    ]});
    let receipt = api.post("/v1/sessions/monday%2F1/messages", &first).await.ok(201);
    assert_eq!(receipt["items"].as_array().unwrap().len(), 2);
    let second = json!({"scope": {"user": "ann"}, "messages": [{"role": "user", "content": "The blue one"}]});
    api.post("/v1/sessions/monday%2F1/messages", &second).await.ok(201);
    api.post("/v1/sessions/tuesday/messages", &second).await.ok(201);
    let other_kind = json!({"text": "a note on monday", "scope": {"user": "ann", "session": "monday/1"}});
    api.remember(&other_kind).await;

    let page = api.get("/v1/sessions/monday%2F1/messages?user=ann&limit=2").await.ok(200);
    assert_eq!(texts(&page, "messages"), ["Which colour shall we take?", "Blue or green?"]);
    let message = &page["messages"][1];
    assert_eq!(
        (&message["kind"], &message["tier"], &message["actor"]),
        (&json!("message"), &json!("short_term"), &json!("assistant"))
    );
    assert_eq!(message["scope"], json!({"user": "ann", "session": "monday/1"}));
    assert_eq!(
        (&message["valid_from"], &message["metadata"]),
        (&json!("2025-06-01T01:00:00Z"), &json!({"model": "m"}))
    );
    assert!(page["messages"][0]["valid_from"].is_string(), "a turn without a time is said now");
    let uri = format!("/v1/sessions/monday%2F1/messages?user=ann&cursor={}", page["next"].as_str().unwrap());
    assert_eq!(texts(&api.get(&uri).await.ok(200), "messages"), ["The blue one"]);
    let newest = api.get("/v1/sessions/monday%2F1/messages?order=newest&limit=1").await.ok(200);
    assert_eq!(texts(&newest, "messages"), ["The blue one"]);
    assert_eq!(api.get("/v1/sessions/monday%2F1/messages?user=bob").await.ok(200)["messages"], json!([]));

    let dry = api.delete("/v1/sessions/monday%2F1/messages?dry_run=true").await.ok(200);
    assert_eq!((dry["forgotten"].as_array().unwrap().len(), &dry["dry_run"]), (3, &json!(true)));
    let receipt = api.delete("/v1/sessions/monday%2F1/messages?user=ann").await.ok(200);
    assert_eq!(receipt["forgotten"].as_array().unwrap().len(), 3);
    assert_eq!(api.get("/v1/sessions/monday%2F1/messages").await.ok(200)["messages"], json!([]));
    assert_eq!(
        texts(&api.get("/v1/memories?order=newest").await.ok(200), "memories"),
        ["a note on monday", "The blue one"]
    );
}

#[tokio::test]
async fn a_bad_turn_is_named_and_nothing_is_written() {
    let api = Api::new().await;
    let messages = json!({"messages": [{"text": "fine"}, {"text": ""}]});
    let answer = api.post("/v1/sessions/s/messages", &messages).await;
    assert!(answer.problem().starts_with("400 invalid [messages[1].text]"), "{}", answer.problem());
    assert_eq!(api.get("/v1/sessions/s/messages").await.ok(200)["messages"], json!([]));
}
