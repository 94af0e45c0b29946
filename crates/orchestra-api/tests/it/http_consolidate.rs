//! `POST /v1/consolidate`.

use serde_json::{Value, json};

use crate::{Api, texts};

async fn with_facts() -> Api {
    let api = Api::new().await;
    let fact = |text: &str, day: &str| {
        let at = format!("2025-06-{day}T00:00:00Z");
        json!({"text": text, "scope": {"user": "maya"}, "kind": "semantic", "valid_from": at})
    };
    let memories = json!({"memories": [
        fact("Maya prefers the window seat", "01"),
        fact("Maya prefers the window seat.", "02"),
        fact("Maya lives in Lisbon", "03"),
        fact("Maya lives in Porto", "04"),
        fact("Maya visited Rome", "05"),
    ]});
    api.post("/v1/memories", &memories).await.ok(201);
    api
}

fn steps(report: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let steps = report["steps"].as_array().unwrap().iter();
    steps.map(|step| (text(&step["action"]), text(&step["outcome"]), text(&step["result"]["text"]))).collect()
}

#[tokio::test]
async fn a_plan_is_shown_and_then_carried_out() {
    let api = with_facts().await;
    let planned = api.post("/v1/consolidate", &json!({"scope": {"user": "maya"}, "dry_run": true})).await.ok(200);
    let expected = |outcome: &str| {
        [("supersede", "Maya lives in Porto"), ("merge", "Maya prefers the window seat.")]
            .map(|(action, text)| (action.to_owned(), outcome.to_owned(), text.to_owned()))
    };
    assert_eq!(steps(&planned), expected("planned"));
    assert_eq!((&planned["dry_run"], &planned["next"], &planned["token"]), (&json!(true), &json!(null), &json!(null)));
    assert_eq!(api.get("/v1/stats?user=maya").await.ok(200)["store"]["memories"], 5);

    let done = api.post("/v1/consolidate", &json!({"scope": {"user": "maya"}})).await.ok(200);
    assert_eq!(steps(&done), expected("done"));
    assert_eq!(done["steps"][1]["evidence"].as_array().unwrap().len(), 2);
    assert_eq!(done["steps"][0]["reason"], "a later statement differs in name: \"Lisbon\" against \"Porto\"");
    let body = json!({"query": "Where does Maya live and sit?", "scope": {"user": "maya"}, "at_least": done["token"]});
    let found = api.post("/v1/memories/search", &body).await.ok(200);
    let mut found = texts(&found, "results");
    found.sort_unstable();
    assert_eq!(found, ["Maya lives in Porto", "Maya prefers the window seat.", "Maya visited Rome"]);
    let body = json!({"query": "Where does Maya live?", "scope": {"user": "maya"}, "valid_at": "2025-06-03T12:00:00Z"});
    let found = api.post("/v1/memories/search", &body).await.ok(200);
    assert!(texts(&found, "results").contains(&"Maya lives in Lisbon"), "{found}");
    let again = api.post("/v1/consolidate", &json!({"scope": {"user": "maya"}})).await.ok(200);
    assert_eq!((steps(&again), &again["token"]), (vec![], &json!(null)));
}

#[tokio::test]
async fn runs_are_bounded_and_go_on() {
    let api = with_facts().await;
    let mut body = json!({"limit": 2});
    let mut visited = 0;
    loop {
        let report = api.post("/v1/consolidate", &body).await.ok(200);
        assert!(report["visited"].as_u64().unwrap() <= 2);
        visited += report["visited"].as_u64().unwrap();
        if report["next"].is_null() {
            break;
        }
        body["cursor"] = report["next"].clone();
    }
    assert_eq!(visited, 6, "the five, and what was made of two of them");
}

#[tokio::test]
async fn the_tenant_and_the_numbers_are_not_the_callers() {
    let api = Api::new().await;
    let refused = api.post("/v1/consolidate", &json!({"scope": {"tenant": "other"}})).await;
    assert_eq!((refused.status, &refused.body["code"]), (400, &json!("tenant_from_identity")));
    for (field, body) in
        [("limit", json!({"limit": 0})), ("speed", json!({"speed": 1})), ("cursor", json!({"cursor": "-1"}))]
    {
        let refused = api.post("/v1/consolidate", &body).await;
        assert_eq!((refused.status, &refused.body["field"]), (400, &json!(field)), "{refused:?}");
    }
}
