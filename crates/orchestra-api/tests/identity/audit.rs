//! What is written down about writes and deletions.

use axum::http::Method;
use orchestra_api::http::needs;
use orchestra_api::identity::{Need, Permission};
use serde_json::{Value, json};

use super::{Api, prefix, send};

const TEXT: &str = "the vault opens with marzipan";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn every_write_and_deletion_leaves_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let keys = [("acme", "read,write"), ("other", "read")];
    let (api, [key, reader]) = Api::with(keys, |settings| settings.identity.audit_file = Some(file.clone())).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("x-request-id", "request-1")];
    let body = json!({"text": TEXT, "scope": {"user": "ann"}}).to_string();
    let id = send(&api.router, Method::POST, "/v1/memories", &headers, body).await.ok(201)["id"].clone();
    let uri = format!("/v1/memories/{}", id.as_str().unwrap());
    api.call(&key, Method::PATCH, &uri, json!({"importance": 0.9})).await.ok(200);
    let entry = json!({"prompt": TEXT, "response": TEXT, "tags": ["marzipan"]});
    let entry = api.post(&key, "/v1/cache/entries", entry).await.ok(201)["id"].clone();
    api.post(&key, "/v1/cache/invalidate", json!({"entry": entry})).await.ok(200);
    api.call(&key, Method::DELETE, &format!("{uri}?dry_run=true"), Value::Null).await.ok(200);
    api.call(&key, Method::DELETE, &uri, Value::Null).await.ok(200);
    assert_eq!(api.post(&key, "/v1/memories", json!({"text": ""})).await.status, 400);
    assert_eq!(api.post(&key, "/v1/memories/forget", json!({"all": true})).await.status, 403);
    // Reads leave none, and neither does who may not write.
    api.post(&key, "/v1/memories/search", json!({"query": TEXT})).await.ok(200);
    api.get(&reader, "/v1/memories").await.ok(200);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("marzipan") && !text.contains(key.rsplit('_').next().unwrap()), "{text}");
    let told: Vec<Value> = lines(&text)
        .into_iter()
        .map(|line| {
            assert_eq!((&line["tenant"], &line["key"]), (&json!("acme"), &json!(prefix(&key))));
            assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')));
            json!([line["operation"], line["ids"], line["status"]])
        })
        .collect();
    assert_eq!(
        json!(told),
        json!([
            ["memories.add", [id], 201],
            ["memories.update", [id], 200],
            ["cache.store", [entry], 201],
            ["cache.invalidate", [entry], 200],
            ["memories.delete", [id], 200],
            ["memories.delete", [id], 200],
            ["memories.add", [], 400],
            ["memories.forget", [], 403],
        ])
    );
    let told = lines(&text);
    assert_eq!((&told[0]["request_id"], told[1]["request_id"].as_str().map(str::len)), (&json!("request-1"), Some(36)));
    assert_eq!((&told[4]["dry_run"], told[5].get("dry_run")), (&json!(true), None));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn no_route_that_writes_is_without_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let (api, [key]) =
        Api::with([("acme", "read,write")], |settings| settings.identity.audit_file = Some(file.clone())).await;
    let (mut written, mut operations) = (0, std::collections::BTreeSet::new());
    for (method, pattern, need) in needs() {
        api.call(&key, method, &pattern.replace("{id}", "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d"), json!({})).await;
        written += usize::from(matches!(need, Need::Permission(Permission::Write | Permission::Admin)));
        let told = lines(&std::fs::read_to_string(&file).unwrap());
        assert_eq!(told.len(), written, "{pattern}");
        operations.extend(told.last().map(|line| line["operation"].to_string()));
    }
    assert!(written >= 8 && operations.len() == written, "each has a name of its own: {operations:?}");
}

/// What a move changed leaves a line, and what it read does not: it reads everything, again and again.
#[tokio::test]
async fn what_a_move_changes_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let (api, [key]) =
        Api::with([("acme", "move")], |settings| settings.identity.audit_file = Some(file.clone())).await;
    for uri in ["/v1/replica/items", "/v1/replica/gate", "/v1/replica/size"] {
        api.get(&key, uri).await.ok(200);
    }
    api.post(&key, "/v1/replica/streams", json!({"stream": "to-green"})).await.ok(200);
    api.get(&key, "/v1/replica/streams/to-green/changes").await.ok(200);
    api.post(&key, "/v1/replica/gate", json!({"epoch": 1, "writers": "mover"})).await.ok(200);
    api.post(&key, "/v1/replica/items", json!({"epoch": 1, "items": []})).await.ok(200);
    api.call(&key, Method::DELETE, "/v1/replica/streams/to-green", Value::Null).await.ok(200);
    let told: Vec<Value> = lines(&std::fs::read_to_string(&file).unwrap())
        .into_iter()
        .map(|line| json!([line["operation"], line["status"]]))
        .collect();
    let expected = ["replica.capture", "replica.set_gate", "replica.write", "replica.release"];
    assert_eq!(told, expected.map(|operation| json!([operation, 200])));
}

#[tokio::test]
async fn a_request_id_that_is_not_sane_is_replaced() {
    let (api, [key]) = Api::new([("acme", "read")]).await;
    let bearer = format!("Bearer {key}");
    let echoed = async |id: &str| {
        let headers = [("authorization", bearer.as_str()), ("x-request-id", id)];
        let answer = send(&api.router, Method::GET, "/v1/memories?limit=0", &headers, "").await;
        assert_eq!(answer.problem(), (400, "invalid"));
        answer.header("x-request-id").unwrap().to_owned()
    };
    for sane in ["abc-1", "0af7651916cd43dd8448eb211c80319c", "svc:a/b@host+1=2.3_4"] {
        assert_eq!(echoed(sane).await, sane);
    }
    for other in ["", "a b", "a\tb", "\"}{\"", "a,b", "<script>", &"x".repeat(129)] {
        assert_eq!(echoed(other).await.len(), 36, "{other:?}");
    }
}
