//! Keys: their scopes, their end, their replacement, their revocation, and how they are shown.

use std::time::Duration;

use axum::http::Method;
use chrono::Utc;
use orchestra_api::http::needs;
use orchestra_api::identity::keyring;
use orchestra_api::identity::{Need, Permission};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{Api, new_key, new_key_until, prefix, send};

/// A path of a pattern.
fn path(pattern: &str) -> String {
    pattern.replace("{id}", "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d")
}

#[tokio::test]
async fn no_route_but_the_probes_and_the_document_answers_without_a_key() {
    let (api, [key]) = Api::new([("acme", "read,write,admin,move")]).await;
    for (method, pattern, need) in needs() {
        let answer = api.call("", method.clone(), &path(pattern), json!({})).await;
        // The server listens on a loopback address.
        if matches!(need, Need::Nothing | Need::NothingOnLoopback(_)) {
            assert_eq!(answer.status, 200, "{pattern}");
            continue;
        }
        assert_eq!(answer.problem(), (401, "unauthenticated"), "{method} {pattern}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"orchestra\""));
        // The control: with a key the same request gets to the handler, whatever that says of it.
        let answer = api.call(&key, method.clone(), &path(pattern), json!({})).await;
        assert!(![401, 403, 405].contains(&answer.status), "{method} {pattern}: {:#}", answer.body);
    }
    let open = needs().into_iter().filter(|(_, _, need)| *need == Need::Nothing);
    let open: Vec<&str> = open.map(|(_, pattern, _)| pattern).collect();
    assert_eq!(open, ["/openapi.json", "/docs", "/healthz", "/readyz"]);
    assert_eq!(api.get("", "/v1/nowhere").await.status, 404, "what is not there is nobody's secret");
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_and_no_more() {
    let keys = [("acme", "read"), ("acme", "write"), ("acme", "admin"), ("acme", "move")];
    let (api, keys) = Api::new(keys).await;
    for (method, pattern, need) in needs() {
        for (permission, key) in Permission::ALL.into_iter().zip(&keys) {
            let answer = api.call(key, method.clone(), &path(pattern), json!({})).await;
            let allowed = match need {
                Need::Permission(needed) => needed == permission,
                _ => true,
            };
            assert_eq!(answer.status != 403, allowed, "{permission:?} {method} {pattern}: {:#}", answer.body);
            if !allowed {
                assert_eq!(answer.problem(), (403, "access_denied"));
                assert!(answer.header("www-authenticate").unwrap().contains("insufficient_scope"));
            }
        }
    }
}

#[tokio::test]
async fn forgetting_a_whole_scope_is_the_admins() {
    let (api, [key, admin]) = Api::new([("acme", "read,write"), ("acme", "read,write,admin")]).await;
    let id = api.post(&key, "/v1/memories", json!({"text": "keep me"})).await.ok(201)["id"].clone();
    api.post(&key, "/v1/memories", json!({"text": "and me"})).await.ok(201);
    let all = json!({"all": true});
    assert_eq!(api.post(&key, "/v1/memories/forget", all.clone()).await.problem(), (403, "access_denied"));
    assert_eq!(api.post(&key, "/v1/memories/forget", json!({"ids": [id]})).await.ok(200)["forgotten"], json!([id]));
    assert_eq!(api.post(&admin, "/v1/memories/forget", all).await.ok(200)["forgotten"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_the_processes_is_the_admins() {
    let (api, [key, admin]) = Api::new([("acme", "read,write"), ("acme", "read,admin")]).await;
    api.post(&key, "/v1/memories", json!({"text": "a memory"})).await.ok(201);
    let (seen, all) = (api.get(&key, "/v1/stats").await.ok(200), api.get(&admin, "/v1/stats").await.ok(200));
    for pointer in ["/store/disk_bytes", "/store/index_bytes", "/cache/misses", "/uptime_seconds"] {
        assert_eq!(
            (seen.pointer(pointer), all.pointer(pointer).unwrap().is_number()),
            (Some(&Value::Null), true),
            "{pointer}"
        );
    }
    assert_eq!((&seen["store"]["memories"], &seen["tenant"]), (&json!(1), &json!("acme")));
}

#[tokio::test]
async fn a_key_is_shown_in_one_way() {
    let (api, [key]) = Api::new([("acme", "read")]).await;
    for header in [format!("Bearer {key}"), format!("bearer {key}"), format!("BEARER  {key} ")] {
        let answer = send(&api.router, Method::GET, "/v1/memories", &[("authorization", &header)], "").await;
        assert_eq!(answer.status, 200, "{header}");
    }
    let changed = format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    for (header, code) in [
        (key.clone(), "unauthenticated"),
        (format!("Basic {key}"), "unauthenticated"),
        (format!("Bearer{key}"), "unauthenticated"),
        ("Bearer ".into(), "invalid_key"),
        ("Bearer om_".into(), "invalid_key"),
        (format!("Bearer {}", key.to_uppercase()), "invalid_key"),
        (format!("Bearer {key}{key}"), "invalid_key"),
        (format!("Bearer {changed}"), "invalid_key"),
    ] {
        let answer = send(&api.router, Method::GET, "/v1/memories", &[("authorization", &header)], "").await;
        assert_eq!(answer.problem(), (401, code), "{header}");
        let secret = key.rsplit('_').next().unwrap();
        assert!(!answer.body.to_string().contains(&secret[..16]), "a secret is not told back: {:#}", answer.body);
    }
    let (once, uri) = (format!("Bearer {key}"), format!("/v1/memories?api_key={key}"));
    let twice = [("authorization", once.as_str()), ("authorization", once.as_str())];
    assert_eq!(send(&api.router, Method::GET, "/v1/memories", &twice, "").await.problem(), (401, "unauthenticated"));
    assert_eq!(api.get("", &uri).await.problem(), (401, "unauthenticated"), "URLs are logged and kept");
    let cookie = format!("authorization=Bearer {key}; om={key}");
    let answer = send(&api.router, Method::GET, "/v1/memories", &[("cookie", &cookie), ("x-api-key", &key)], "").await;
    assert_eq!(answer.problem(), (401, "unauthenticated"));
}

#[tokio::test]
async fn an_expired_key_is_refused() {
    let (api, [lasting]) = Api::new([("acme", "read")]).await;
    let past = new_key_until(&api.keys_file(), "acme", "read", Some(Utc::now() - chrono::Duration::seconds(1)));
    let soon = new_key_until(&api.keys_file(), "acme", "read", Some(Utc::now() + chrono::Duration::hours(1)));
    api.until(&soon, 200).await;
    let answer = api.get(&past, "/v1/memories").await;
    assert_eq!(answer.problem(), (401, "expired_key"));
    assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
    api.get(&lasting, "/v1/memories").await.ok(200);
}

#[tokio::test]
async fn rotation_leaves_the_old_key_for_the_overlap() {
    let (api, [old, sibling]) = Api::new([("acme", "read"), ("acme", "read")]).await;
    let rotate = |overlap: u64| {
        let rotated = keyring::change(&api.keys_file(), |ring| {
            ring.rotate(prefix(&old), Duration::from_secs(overlap), Utc::now())
        });
        rotated.unwrap().expose_secret().to_owned()
    };
    let new = rotate(3600);
    api.until(&new, 200).await;
    api.get(&old, "/v1/memories").await.ok(200);
    let newest = rotate(0);
    api.until(&newest, 200).await;
    for gone in [&old, &new] {
        assert_eq!(api.get(gone, "/v1/memories").await.problem(), (401, "invalid_key"));
    }
    assert_eq!(api.get(&newest, "/v1/identity").await.ok(200)["key"], prefix(&old), "the prefix stays");
    api.get(&sibling, "/v1/memories").await.ok(200);
}

#[tokio::test]
async fn a_revoked_key_is_refused_while_the_server_runs() {
    let (api, [key, sibling]) = Api::new([("acme", "read"), ("acme", "read")]).await;
    api.get(&key, "/v1/memories").await.ok(200);
    keyring::change(&api.keys_file(), |ring| ring.revoke(prefix(&key)).map(drop)).unwrap();
    assert_eq!(api.until(&key, 401).await.problem(), (401, "invalid_key"));
    api.get(&sibling, "/v1/memories").await.ok(200);
    // A file that is gone takes every key with it, and does not open the server.
    let text = std::fs::read(api.keys_file()).unwrap();
    std::fs::remove_file(api.keys_file()).unwrap();
    api.until(&sibling, 401).await;
    assert_eq!(api.get("", "/v1/memories").await.problem(), (401, "unauthenticated"));
    std::fs::write(api.keys_file(), text).unwrap();
    api.until(&sibling, 200).await;
}

#[tokio::test]
async fn a_first_key_closes_a_server_that_asked_for_none() {
    let (api, []) = Api::new([]).await;
    assert_eq!(
        api.get("", "/v1/identity").await.ok(200),
        json!({
            "tenant": "default", "name": "owner", "key": null, "scopes": ["read", "write", "admin", "move"],
        })
    );
    let key = new_key(&api.keys_file(), "acme", "read");
    api.until("", 401).await;
    assert_eq!(api.get(&key, "/v1/identity").await.ok(200)["tenant"], "acme");
}

#[tokio::test]
async fn lifting_a_rejection_takes_an_administrator() {
    let (api, [writer, admin]) = Api::new([("acme", "read,write"), ("acme", "admin")]).await;
    let body = json!({"text": "Ann has a sister"});
    let id = api.post(&writer, "/v1/memories", body.clone()).await.ok(201)["id"].clone();
    let forget = json!({"ids": [id], "reject": true});
    assert_eq!(api.post(&writer, "/v1/memories/forget", forget).await.ok(200)["rejected"], 1);
    let rejection = api.get(&writer, "/v1/rejections").await.ok(200)["rejections"][0].clone();
    assert_eq!(rejection["rejected_by"], prefix(&writer), "as the audit log names the key");
    let path = format!("/v1/rejections/{}", rejection["key"].as_str().unwrap());
    assert_eq!(api.call(&writer, Method::DELETE, &path, Value::Null).await.problem(), (403, "access_denied"));
    assert_eq!(api.post(&writer, "/v1/memories", body.clone()).await.problem(), (409, "value_rejected"));
    // The route needs `write` like every other that changes something.
    assert_eq!(api.call(&admin, Method::DELETE, &path, Value::Null).await.problem(), (403, "access_denied"));
    let (other, [both]) = Api::new([("acme", "write,admin")]).await;
    assert_eq!(other.call(&both, Method::DELETE, &path, Value::Null).await.ok(200)["lifted"], false);
}
