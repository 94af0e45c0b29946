//! Stats, health, and what every answer has.

use axum::http::Method;
use serde_json::json;

use crate::{Api, send};

#[tokio::test]
async fn stats_count_what_a_scope_holds() {
    let api = Api::new().await;
    for user in ["ann", "ann", "bob"] {
        api.remember(&json!({"text": format!("a memory of {user}"), "scope": {"user": user}})).await;
    }
    let stats = api.get("/v1/stats").await.ok(200);
    assert_eq!(stats["store"]["memories"], 3);
    assert!(stats["store"]["disk_bytes"].as_u64().unwrap() > 0);
    assert_eq!(stats["cache"]["entries"], 0);
    assert!(stats["embedder"].as_str().unwrap().starts_with("static-256@"));
    assert!((stats["cache_threshold"].as_f64().unwrap() - 0.9).abs() < 1e-6);
    assert_eq!((&stats["medium_term_provider"], &stats["long_term_enabled"]), (&json!("embedded"), &json!(true)));
    assert_eq!(api.get("/v1/stats?user=ann").await.ok(200)["store"]["memories"], 2);
}

#[tokio::test]
async fn the_process_lives_and_the_store_answers() {
    let api = Api::new().await;
    assert_eq!(api.get("/healthz").await.ok(200), json!({"status": "ok"}));
    let tier = json!({"provider": "embedded", "status": "ready"});
    let ready = json!({"status": "ready", "short_term": tier, "medium_term": tier});
    assert_eq!(api.get("/readyz").await.ok(200), ready);
}

#[tokio::test]
async fn a_request_keeps_its_id_or_gets_one() {
    let api = Api::new().await;
    let answer = send(&api.router, Method::GET, "/healthz", &[("x-request-id", "abc-1")], "").await;
    assert_eq!(answer.header("x-request-id"), Some("abc-1"));
    let made = api.get("/v1/nowhere").await;
    assert_eq!(made.header("x-request-id").map(str::len), Some(36));
    let too_long = "x".repeat(129);
    let answer = send(&api.router, Method::GET, "/healthz", &[("x-request-id", &too_long)], "").await;
    assert_eq!(answer.header("x-request-id").map(str::len), Some(36));
}

#[tokio::test]
async fn without_long_term_memory_facts_are_refused() {
    let api = Api::with(|settings| settings.long_term_enabled = false).await;
    let answer = api.post("/v1/memories", &json!({"text": "a fact", "kind": "semantic"})).await;
    assert!(answer.problem().starts_with("400 invalid [kind]"), "{}", answer.problem());
    api.remember(&json!({"text": "an event"})).await;
}

#[tokio::test]
async fn a_name_that_was_made_to_point_here_is_refused() {
    let api = Api::new().await;
    for (host, status) in
        [("localhost:7070", 200), ("127.0.0.1", 200), ("[::1]:7070", 200), ("evil.example", 421), ("", 421)]
    {
        let answer = send(&api.router, Method::GET, "/v1/memories", &[("host", host)], "").await;
        assert_eq!(answer.status, status, "{host}: {:#}", answer.body);
    }
    let answer = send(&api.router, Method::GET, "/v1/memories", &[("host", "evil.example")], "").await;
    assert!(answer.problem().starts_with("421 wrong_host [Host]"), "{}", answer.problem());
    let open = Api::with(|settings| settings.allow_unauthenticated = true).await;
    assert_eq!(send(&open.router, Method::GET, "/v1/memories", &[("host", "memory.example")], "").await.status, 200);
}

#[tokio::test]
async fn requests_are_measured_by_route_and_never_by_what_they_say() {
    assert!(orchestra_api::metrics::install(), "before the memory is opened");
    let api = Api::new().await;
    let id = api.remember(&json!({"text": "a word that is in no metric", "scope": {"user": "nobody-knows"}})).await;
    api.get(&format!("/v1/memories/{id}?user=nobody-knows")).await.ok(200);
    api.get(&format!("/v1/memories/{}", uuid::Uuid::now_v7())).await.problem();
    api.get("/v1/no/such/route").await.problem();
    send(&api.router, Method::from_bytes(b"BREW").unwrap(), "/v1/memories", &[], "").await.problem();
    let verdict = json!({"entry": id, "verdict": "wrong"});
    api.post("/v1/cache/feedback", &verdict).await.ok(200);
    let request = axum::http::Request::get("/metrics").body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(api.router.clone(), request).await.unwrap();
    assert_eq!(response.headers()["content-type"], orchestra_api::metrics::CONTENT_TYPE);
    let text = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = std::str::from_utf8(&text).unwrap();
    for line in [
        r#"orchestra_http_requests_total{method="POST",route="/v1/memories",status="201"}"#,
        r#"orchestra_http_requests_total{method="GET",route="/v1/memories/{id}",status="404"}"#,
        r#"orchestra_http_requests_total{method="GET",route="none",status="404"}"#,
        r#"orchestra_http_requests_total{method="other",route="/v1/memories",status="405"}"#,
        r#"orchestra_http_request_seconds_bucket{method="GET",route="/v1/memories/{id}",le="+Inf"}"#,
        r#"orchestra_cache_feedback_total{verdict="wrong"} "#,
        r#"medium_term_provider="embedded""#,
        "process_resident_memory_bytes ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("nobody-knows") && !text.contains(&id) && !text.contains("no metric"), "{text}");
}
