//! Whose memory it is.

use axum::http::Method;
use serde_json::{Value, json};

use super::{Home, ann, texts};

const SECRET: &str = "The vault opens with marzipan";
const QUESTION: &str = "what does the vault open with?";

#[tokio::test]
async fn cross_tenant_absent() {
    for home in Home::all().await {
        let id = home.remember(&home.acme, SECRET).await;
        let cached = json!({"prompt": QUESTION, "response": SECRET, "scope": ann(), "depends_on": [id]});
        home.post(&home.acme, "/v1/cache/entries", cached).await.ok(201);
        for (who, scope, sees) in [
            (&home.acme, ann(), true),
            (&home.globex, ann(), false),
            (&home.globex, json!({}), false),
            (&home.acme, json!({"user": "bob"}), false),
        ] {
            let found = home.found(who, SECRET, &scope).await;
            assert_eq!(found.to_string().contains(SECRET), sees, "{} {scope}: {found:#}", home.store);
            let prompt = home.tool(who, "recall", json!({"query": SECRET, "scope": scope})).await;
            assert_eq!(prompt.to_string().contains(SECRET), sees, "{}", home.store);
            let look_up = json!({"prompt": QUESTION, "scope": scope});
            let cached = home.post(who, "/v1/cache/lookup", look_up).await.ok(200);
            assert_eq!(cached["hit"], sees, "{} {cached:#}", home.store);
        }
        for path in ["/v1/memories", &format!("/v1/memories/{id}"), &format!("/v1/memories/{id}/history")] {
            assert!(home.get(&home.acme, path).await.ok(200).to_string().contains(SECRET), "{path}");
            assert!(!home.get(&home.globex, path).await.body.to_string().contains("marzipan"), "{path}");
        }
    }
}

/// `tests/identity/tenant.rs` tries every route with every way to name a tenant; here is what the others see of it.
#[tokio::test]
async fn caller_cannot_widen() {
    for home in Home::all().await {
        let theirs = home.remember(&home.globex, SECRET).await;
        let own = home.remember(&home.acme, "The garage opens with a code").await;
        let victim = home.globex.tenant.as_str();
        for name in [victim, "*", "", "%25", "null"] {
            let named = json!({"user": "ann", "tenant": name});
            for (method, path, body) in [
                (Method::POST, "/v1/memories/search", json!({"query": SECRET, "scope": named})),
                (Method::POST, "/v1/memories", json!({"text": "intruder", "scope": named})),
                (Method::POST, "/v1/memories", json!({"text": "intruder", "tenant": name})),
                (Method::POST, "/v1/memories/forget", json!({"all": true, "scope": named})),
                (Method::POST, "/v1/memories/forget", json!({"all": true, "scope": named, "reject": true})),
                (Method::POST, "/v1/consolidate", json!({"scope": named})),
                (Method::POST, "/v1/cache/lookup", json!({"prompt": QUESTION, "scope": named})),
                (Method::GET, &format!("/v1/memories?tenant={name}"), Value::Null),
                (Method::GET, &format!("/v1/rejections?tenant={name}"), Value::Null),
                (Method::PATCH, &format!("/v1/memories/{theirs}?tenant={name}"), json!({"text": "intruder"})),
                (Method::DELETE, &format!("/v1/memories/{theirs}?tenant={name}"), Value::Null),
            ] {
                let answer = home.call(&home.acme, method, path, &[], body.clone()).await;
                assert_eq!(answer.refusal().1, "tenant_from_identity", "{path} {body}: {answer:?}");
            }
            let arguments = json!({"query": SECRET, "scope": named});
            let refused = home.tool(&home.acme, "recall", arguments).await;
            assert_eq!(refused["isError"], true);
            assert!(!refused.to_string().contains("marzipan"));
            let header = [("x-tenant", name), ("x-orchestra-tenant", name)];
            let page = home.call(&home.acme, Method::GET, "/v1/memories", &header, Value::Null).await.ok(200);
            assert_eq!(texts(&page, "memories"), ["The garage opens with a code"], "{}", home.store);
        }
        // By id, without naming anybody: confined.
        for (method, body) in [(Method::GET, Value::Null), (Method::PATCH, json!({"text": "intruder"}))] {
            let path = format!("/v1/memories/{theirs}");
            assert_eq!(home.call(&home.acme, method, &path, &[], body).await.status, 404);
        }
        let path = format!("/v1/memories/{theirs}?reject=true");
        let receipt = home.call(&home.acme, Method::DELETE, &path, &[], Value::Null).await.ok(200);
        assert_eq!((&receipt["forgotten"], &receipt["rejected"]), (&json!([]), &json!(0)));
        assert_eq!(texts(&json!({"all": home.everything(&home.globex).await}), "all"), [SECRET], "{}", home.store);
        assert!(home.get(&home.acme, &format!("/v1/memories/{own}")).await.status == 200);
    }
}

#[tokio::test]
async fn background_respects_boundary() {
    for mut home in Home::all().await {
        let fact = |text: &str, user: &str| json!({"text": text, "kind": "semantic", "scope": {"user": user}});
        let mut of = Vec::new();
        for (who, user) in [(&home.acme, "ann"), (&home.acme, "bob"), (&home.globex, "ann")] {
            let mut ids = Vec::new();
            for text in ["The kitchen light is blue", "The kitchen light is blue!"] {
                ids.push(home.write(who, fact(text, user)).await);
            }
            let cached = json!({"prompt": "which light?", "response": format!("{user} of {}", who.tenant),
                "scope": {"user": user}, "depends_on": ids});
            home.post(who, "/v1/cache/entries", cached).await.ok(201);
            of.push((who.clone(), user, ids));
        }
        let before = home.everything(&home.globex).await;
        // Over the whole tenant at once.
        let steps = home.consolidate(&home.acme, &json!({})).await;
        assert_eq!(steps.iter().filter(|step| step["action"] == "merge").count(), 2, "{}: {steps:#?}", home.store);
        assert_eq!(home.everything(&home.globex).await, before, "another tenant's memory is as it was");
        home.consolidate(&home.globex, &json!({})).await;
        home.restart().await;
        for (who, user, ids) in &of {
            let found = home.found(who, "which light is in the kitchen?", &json!({"user": user})).await;
            let results = found["results"].as_array().unwrap();
            assert_eq!(results.len(), 1, "{}: its own, and what was derived from that: {found:#}", home.store);
            let mut evidence: Vec<&str> =
                results[0]["evidence"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
            evidence.sort_unstable();
            let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            ids.sort_unstable();
            assert_eq!(evidence, ids, "{}: nothing of another scope is in it", home.store);
            // Its sources were closed, so the answer that used them is gone; a new one is served to nobody else.
            let prompt = json!({"prompt": "which light?", "scope": {"user": user}});
            assert_eq!(home.post(who, "/v1/cache/lookup", prompt.clone()).await.ok(200)["hit"], false);
            let said = format!("{user} of {} again", who.tenant);
            let cached = json!({"prompt": "which light?", "response": said, "scope": {"user": user}});
            home.post(who, "/v1/cache/entries", cached).await.ok(201);
            assert_eq!(home.post(who, "/v1/cache/lookup", prompt).await.ok(200)["response"], said.as_str());
        }
        for (who, user, _) in &of {
            let prompt = json!({"prompt": "which light?", "scope": {"user": user}});
            let answer = home.post(who, "/v1/cache/lookup", prompt).await.ok(200);
            assert_eq!(answer["response"], format!("{user} of {} again", who.tenant).as_str(), "{}", home.store);
        }
    }
}
