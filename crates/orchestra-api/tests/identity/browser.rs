//! Pages that call, answers that are compressed, and what every answer tells a browser.

use axum::http::Method;
use serde_json::json;

use super::{Api, send, send_raw};

const PAGE: &str = "https://app.example.com";

#[tokio::test]
async fn no_page_may_call_unless_its_origin_is_named() {
    let (closed, [key]) = Api::new([("acme", "read")]).await;
    let preflight = [
        ("origin", PAGE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let answer = send(&closed.router, Method::OPTIONS, "/v1/memories", &preflight, "").await;
    assert_eq!((answer.status / 100, answer.header("access-control-allow-origin")), (4, None));
    let bearer = format!("Bearer {key}");
    let from_page = |origin| [("authorization", bearer.as_str()), ("origin", origin)];
    let answer = send(&closed.router, Method::GET, "/v1/memories", &from_page(PAGE), "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));

    let (open, [key]) =
        Api::with([("acme", "read")], |settings| settings.identity.cors_origins = vec![PAGE.into()]).await;
    let answer = send(&open.router, Method::OPTIONS, "/v1/memories", &preflight, "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(PAGE)));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("authorization"));
    assert_eq!(answer.header("access-control-allow-credentials"), None, "no cookies");
    let bearer = format!("Bearer {key}");
    let from_page = |origin| [("authorization", bearer.as_str()), ("origin", origin)];
    let answer = send(&open.router, Method::GET, "/v1/memories", &from_page(PAGE), "").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    for other in ["https://evil.example", "https://app.example.com.evil.example", "null"] {
        let answer = send(&open.router, Method::GET, "/v1/memories", &from_page(other), "").await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{other}");
    }
    let without_key = send(&open.router, Method::GET, "/v1/memories", &[("origin", PAGE)], "").await;
    assert_eq!(without_key.status, 401, "an origin is no key");
    assert_eq!(without_key.header("access-control-allow-origin"), Some(PAGE), "and the page can read why");
}

#[tokio::test]
async fn answers_are_compressed_for_who_asks() {
    let (api, [key]) = Api::new([("acme", "read,write")]).await;
    let text = "a text that says the same again and again. ".repeat(200);
    api.post(&key, "/v1/memories", json!({"text": text})).await.ok(201);
    let bearer = format!("Bearer {key}");
    let get = async |encoding| {
        let headers = [("authorization", bearer.as_str()), ("accept-encoding", encoding)];
        send_raw(&api.router, Method::GET, "/v1/memories", &headers, "").await
    };
    let (plain_headers, _, plain) = get("identity").await;
    let (headers, status, packed) = get("gzip").await;
    assert_eq!((status, headers["content-encoding"].to_str().unwrap(), &packed[..2]), (200, "gzip", &[0x1f, 0x8b][..]));
    assert!(plain_headers.get("content-encoding").is_none() && packed.len() * 4 < plain.len());
    let headers = [("authorization", bearer.as_str()), ("accept-encoding", "gzip")];
    let small = send(&api.router, Method::GET, "/v1/identity", &headers, "").await;
    assert_eq!(small.header("content-encoding"), None, "what fits a packet is sent as it is");
}

#[tokio::test]
async fn every_answer_says_that_it_is_data() {
    let (api, [key]) = Api::new([("acme", "read")]).await;
    for (key, uri) in [(&*key, "/v1/memories"), ("", "/v1/memories"), ("", "/nowhere"), ("", "/healthz")] {
        let answer = api.get(key, uri).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{uri}");
        }
    }
}
