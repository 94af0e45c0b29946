//! What goes wrong is documented where it goes wrong.

use std::collections::BTreeSet;

use memory_core::Scope;
use orchestra_api::identity::keyring::{self, NewKey};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::examples::instance;
use crate::{Answer, Api, Operation, operations};

const BODY_BYTES: usize = 2_000;

/// Looks the refusal up where the document says with what the route refuses.
fn documented(operation: &Operation, answer: &Answer, seen: &mut BTreeSet<String>, instances: &mut Vec<Value>) {
    if answer.status < 400 {
        return;
    }
    let code = answer.body["code"].as_str().unwrap_or_else(|| panic!("{operation:?}: {answer:?}"));
    let described = &operation.described["responses"][answer.status.to_string()];
    let codes = described["x-codes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Operation { method, path, .. } = operation;
    assert!(codes.iter().any(|known| known == code), "{method} {path}: {} {code} is not documented", answer.status);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.headers["x-request-id"], answer.body["request_id"].as_str().unwrap());
    let (place, _) = operation.answer(answer.status).unwrap();
    instances.push(instance(place, format!("{method} {path} {code}"), &answer.body));
    seen.insert(format!("{} {code}", answer.status));
}

async fn misuse(api: &Api, operation: &Operation) -> Vec<Answer> {
    let Operation { method, .. } = operation;
    let path = operation.filled();
    let mut answers = vec![api.send(method, &path, &[("host", "example.com")], "{}").await];
    let uris = ["?limit=0", "?user=", "?user=%ff", "?user=a&user=a", "?tenant=x", "?cursor=AAAA", "?order=up"];
    for uri in uris.into_iter().chain(["?kind=dream", "?filter=%7B", "?dry_run=perhaps", ""]) {
        answers.push(api.send(method, &format!("{path}{uri}"), &[], "{\"text\": \"t\"}").await);
    }
    for id in ["nope", "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2cff", "%ff"] {
        answers.push(api.send(method, &operation.path.replace("{id}", id), &[], "{\"text\": \"t\"}").await);
    }
    if operation.body().is_none() {
        return answers;
    }
    let large = json!({"text": "x".repeat(BODY_BYTES)}).to_string();
    let bodies: [&[u8]; 8] = [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"{\"scope\":{\"tenant\":\"x\"}}",
        b"{\"scope\":{},\"scope\":{}}",
        b"\"\xff\"",
        large.as_bytes(),
    ];
    for body in bodies {
        answers.push(api.send(method, &path, &[], body.to_vec()).await);
    }
    let text = [("content-type", "text/plain")];
    answers.push(api.send(method, &path, &text, "{}").await);
    for (name, value) in
        [("if-match", "\"9\""), ("if-match", "x"), ("idempotency-key", ""), ("x-orchestra-writer", "me")]
    {
        answers.push(api.send(method, &path, &[(name, value)], "{\"text\": \"t\"}").await);
    }
    answers
}

/// Misuses every route, and gives the problems that came of it.
pub async fn refused() -> Vec<Value> {
    let (mut seen, mut instances) = (BTreeSet::new(), Vec::new());
    let api = Api::with(|settings| settings.limits.body_bytes = BODY_BYTES).await;
    let mut operations = operations();
    // What is deleted is missed afterwards.
    operations.sort_by_key(|operation| operation.method == "delete");
    let id = operations.iter().find(|operation| operation.path == "/v1/memories/{id}").unwrap().filled();
    let id = id.rsplit('/').next().unwrap();
    let again = [("idempotency-key", "once")];
    for (body, status) in [(json!({"text": "t", "id": id}), 201), (json!({"text": "another"}), 409)] {
        let answer = api.send("post", "/v1/memories", &again, body.to_string()).await;
        assert_eq!(answer.status, status);
    }
    for operation in &operations {
        for answer in misuse(&api, operation).await {
            documented(operation, &answer, &mut seen, &mut instances);
        }
    }
    let add = operations.iter().find(|operation| operation.described["operationId"] == "memories_add").unwrap();
    for body in [json!({"text": "t", "id": id}), json!({"text": "t", "embedding": {"model": "other", "values": [1]}})] {
        let answer = api.send("post", "/v1/memories", &[], body.to_string()).await;
        documented(add, &answer, &mut seen, &mut instances);
    }

    let mut keys = Vec::new();
    let api = Api::with(|settings| {
        let expired = "2020-01-01T00:00:00Z".parse().unwrap();
        for (access, expires_at) in [("admin", None), ("read", Some(expired))] {
            let tenant = Scope::tenant("acme").unwrap();
            let new = NewKey { name: "t".into(), tenant, access: access.parse().unwrap(), expires_at };
            keys.push(keyring::change(&settings.keys_file(), |ring| ring.create(new, chrono::Utc::now())).unwrap());
        }
    })
    .await;
    for operation in &operations {
        let mut headers: Vec<String> = keys.iter().map(|key| format!("Bearer {}", key.expose_secret())).collect();
        headers.extend(["".into(), "Bearer om_unknown".into()]);
        for authorization in &headers {
            let path = operation.filled();
            let answer = api.send(operation.method, &path, &[("authorization", authorization)], "{}").await;
            documented(operation, &answer, &mut seen, &mut instances);
        }
    }
    for expected in [
        "400 duplicate_field",
        "400 invalid",
        "400 invalid_cursor",
        "400 invalid_json",
        "400 invalid_utf8",
        "400 missing_field",
        "400 space_mismatch",
        "400 tenant_from_identity",
        "400 unknown_field",
        "401 expired_key",
        "401 invalid_key",
        "401 unauthenticated",
        "403 access_denied",
        "404 not_found",
        "410 forgotten",
        "412 version_conflict",
        "413 too_large",
        "415 unsupported_media_type",
        "421 wrong_host",
    ] {
        assert!(seen.contains(expected), "{expected} did not happen; what did: {seen:?}");
    }
    instances
}

#[tokio::test]
async fn every_refusal_is_documented_where_it_happens() {
    assert!(refused().await.len() > 200);
}
