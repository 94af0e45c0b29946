//! `tenant_from_identity`: the tenant is the key's, whatever a request says.

use axum::http::Method;
use orchestra_api::client::encode;
use orchestra_api::http::needs;
use orchestra_api::identity::{Need, Permission};
use serde_json::{Value, json};

use super::{Api, send};

const ALL: &str = "read,write,admin";
const SECRET: &str = "the vault opens with marzipan";

/// Names under which a tenant could be smuggled in, and what would name the other one, or all of them.
const NAMES: [&str; 5] = ["tenant", "tenant_id", "scope.tenant", "Tenant", "scope[tenant]"];
const VALUES: [&str; 4] = ["victim", "*", "", "victim/../acme"];

const HEADERS: [&str; 7] =
    ["x-tenant", "x-tenant-id", "x-orchestra-tenant", "tenant", "x-scope", "x-forwarded-user", "forwarded"];

/// What the victim has, and what the attacker tries to get at.
struct Victim {
    memory: String,
    entry: String,
}

async fn settle(api: &Api, key: &str) -> Victim {
    let body = json!({"text": SECRET, "scope": {"user": "ann", "agent": "bot", "session": "s1"}, "metadata": {"tenant": "acme"}});
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "shared-key")];
    let answer = send(&api.router, Method::POST, "/v1/memories", &headers, body.to_string()).await;
    let memory = answer.ok(201)["id"].as_str().unwrap().to_owned();
    let turn = json!({"scope": {"user": "ann", "agent": "bot"}, "messages": [{"text": SECRET, "role": "user"}]});
    api.post(key, "/v1/sessions/s1/messages", turn).await.ok(201);
    let message = json!({"scope": {"user": "ann", "agent": "bot"}, "messages": [{"content": SECRET, "role": "user"}]});
    api.post(key, "/v1/sessions/s1/working", message).await.ok(201);
    let entry = json!({"prompt": "how does the vault open?", "response": SECRET, "scope": {"user": "ann"},
        "depends_on": [memory], "tags": ["vault"]});
    let entry = api.post(key, "/v1/cache/entries", entry).await.ok(201)["id"].as_str().unwrap().to_owned();
    Victim { memory, entry }
}

/// What the victim sees of its own: the control of every refusal.
async fn stands(api: &Api, key: &str, victim: &Victim) {
    let of_ann = json!({"query": "how does the vault open?", "scope": {"user": "ann"}});
    let found = api.post(key, "/v1/memories/search", of_ann).await.ok(200);
    assert!(found.to_string().contains(SECRET), "{found:#}");
    let asked = json!({"prompt": "how does the vault open?", "scope": {"user": "ann"}});
    assert_eq!(api.post(key, "/v1/cache/lookup", asked).await.ok(200)["response"], SECRET);
    assert_eq!(api.get(key, &format!("/v1/memories/{}", victim.memory)).await.ok(200)["version"], 1);
    let turns = api.get(key, "/v1/sessions/s1/messages?user=ann&agent=bot").await.ok(200);
    assert_eq!(turns["messages"].as_array().unwrap().len(), 1);
    let window = api.get(key, "/v1/sessions/s1/working?user=ann&agent=bot").await.ok(200);
    assert_eq!(window["messages"][0]["content"], SECRET);
    assert_eq!(api.get(key, "/v1/stats").await.ok(200)["store"]["memories"], 2);
}

/// A body that the route accepts and that asks for as much as it can.
fn body(method: &Method, pattern: &str, victim: &Victim) -> Value {
    match (method.as_str(), pattern) {
        ("POST", "/v1/memories") => json!({"text": "mine", "evidence": [], "metadata": {"tenant": "victim"}}),
        ("POST", "/v1/memories/search") => {
            json!({"query": "how does the vault open?", "limit": 100, "also": [{"user": "ann"}]})
        }
        ("POST", "/v1/memories/forget") => json!({"ids": [victim.memory]}),
        ("PATCH", _) => json!({"text": "changed"}),
        ("POST", "/v1/sessions/{id}/messages") => json!({"messages": [{"text": "mine"}]}),
        ("POST", "/v1/sessions/{id}/working") => json!({"messages": [{"role": "user", "content": "mine"}]}),
        ("POST", "/v1/sessions/{id}/working/promote") => json!({"roles": ["user", "assistant", "system", "tool"]}),
        ("POST", "/v1/cache/lookup" | "/v1/ask") => {
            json!({"prompt": "how does the vault open?", "threshold": -1.0, "policy": "threshold"})
        }
        ("POST", "/v1/cache/entries") => {
            json!({"prompt": "p", "response": "mine", "depends_on": [victim.memory], "tags": ["vault"]})
        }
        ("POST", "/v1/cache/invalidate") => json!({"entry": victim.entry}),
        ("POST", "/v1/cache/feedback") => json!({"entry": victim.entry, "verdict": "wrong"}),
        _ => Value::Null,
    }
}

fn path(pattern: &str, victim: &Victim) -> String {
    let id = if pattern.contains("sessions") { "s1" } else { &victim.memory };
    pattern.replace("{id}", id)
}

/// A request that tries to be somebody else.
struct Attempt {
    uri: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Value,
}

/// The request as it is meant, and with a tenant in every place that there is.
fn attempts(method: &Method, uri: &str, body: &Value) -> Vec<Attempt> {
    let attempt = |uri: String, body: Value| Attempt { uri, headers: vec![], body };
    let with =
        |header: (&'static str, &'static str)| Attempt { uri: uri.into(), headers: vec![header], body: body.clone() };
    let mut attempts = vec![attempt(uri.into(), body.clone())];
    for value in VALUES {
        for name in NAMES {
            let query = format!("{uri}?{}={}", encode(name), encode(value));
            attempts.push(attempt(query, body.clone()));
            if let Value::Object(fields) = body {
                let inserted = |name: &str, value: Value| {
                    let mut fields = fields.clone();
                    fields.insert(name.into(), value);
                    attempt(uri.into(), fields.into())
                };
                attempts.push(inserted(name, value.into()));
                attempts.push(inserted("scope", json!({"user": "ann", name: value})));
            }
        }
        attempts.extend(HEADERS.map(|name| with((name, value))));
    }
    for parts in [
        "user=ann",
        "user=ann&agent=bot",
        "user=ann&agent=bot&session=s1",
        "user=%2A",
        "user=victim%2Fann",
        "cursor=0",
        "cursor=18446744073709551615",
    ] {
        attempts.push(attempt(format!("{uri}?{parts}"), body.clone()));
    }
    if *method == Method::POST {
        // The victim's own idempotency key, which must not replay the victim's receipt.
        attempts.push(with(("idempotency-key", "shared-key")));
    }
    attempts
}

#[tokio::test]
async fn tenant_from_identity() {
    let (api, [attacker, owner]) = Api::new([("acme", ALL), ("victim", ALL)]).await;
    let victim = settle(&api, &owner).await;
    stands(&api, &owner, &victim).await;
    let (mut refused, mut confined) = (0, 0);
    let bearer = format!("Bearer {attacker}");
    for (method, pattern, need) in needs() {
        if need == Need::Nothing {
            continue;
        }
        // The whole store is no tenant's: whoever may do everything in theirs may do nothing there.
        if need == Need::Permission(Permission::Move) {
            let answer = api.call(&attacker, method, &path(pattern, &victim), json!({})).await;
            assert_eq!(answer.problem(), (403, "access_denied"), "{pattern}");
            continue;
        }
        for Attempt { uri, headers, body: sent } in
            attempts(&method, &path(pattern, &victim), &body(&method, pattern, &victim))
        {
            let mut all: Vec<(&str, &str)> = vec![("authorization", &bearer)];
            all.extend(&headers);
            let text = if sent.is_null() { String::new() } else { sent.to_string() };
            let answer = send(&api.router, method.clone(), &uri, &all, text).await;
            let said = answer.body.to_string();
            let shown = || format!("{method} {uri} {headers:?} {sent}: {} {said}", answer.status);
            assert!(!said.contains("marzipan"), "the victim's text: {}", shown());
            assert!(answer.status < 500 && answer.status != 401 && answer.status != 403, "{}", shown());
            assert!(answer.body["replayed"] != json!(true), "the victim's receipt: {}", shown());
            assert!(answer.body["cleared"].as_u64().unwrap_or(0) == 0, "the victim's session: {}", shown());
            assert!(answer.body["promoted"].as_array().is_none_or(Vec::is_empty), "the victim's words: {}", shown());
            assert!(answer.body["removed"].as_u64().unwrap_or(0) == 0, "the victim's entry: {}", shown());
            assert!(answer.body["forgotten"].as_array().is_none_or(Vec::is_empty), "the victim's memory: {}", shown());
            assert!(answer.body["memory"].is_null(), "changed the victim's memory: {}", shown());
            // A POST has its arguments in its body and looks at no query.
            let names_tenant = if method == Method::POST {
                sent.get("tenant").is_some() || sent["scope"].get("tenant").is_some()
            } else {
                uri.contains("?tenant=") || sent.get("tenant").is_some()
            };
            if names_tenant {
                assert_eq!((answer.status, &answer.body["code"]), (400, &json!("tenant_from_identity")), "{}", shown());
            }
            if answer.status < 300 {
                confined += 1
            } else {
                refused += 1
            }
            // What was written is the attacker's own; it goes, so that the next attempt begins with nothing to find.
            let writes = ["/v1/memories", "/v1/sessions/{id}/messages", "/v1/sessions/{id}/working"];
            if method == Method::POST && writes.contains(&pattern) {
                api.post(&attacker, "/v1/memories/forget", json!({"all": true})).await.ok(200);
            }
        }
    }
    assert!(refused > 300 && confined > 100, "one-sided: {refused} refused, {confined} confined");
    stands(&api, &owner, &victim).await;
}

#[tokio::test]
async fn nothing_that_selects_many_reaches_another_tenant() {
    let (api, [attacker, owner]) = Api::new([("acme", ALL), ("victim", ALL)]).await;
    let victim = settle(&api, &owner).await;
    let mine =
        api.post(&attacker, "/v1/memories", json!({"text": "mine alone", "scope": {"user": "ann"}})).await.ok(201);
    for filter in [
        json!({"metadata.tenant": "acme"}),
        json!({"tenant": "victim"}),
        json!({"scope.tenant": "victim"}),
        json!({"kind": {"exists": true}}),
        json!({"or": [{"kind": "message"}, {"kind": "episodic"}]}),
        json!({"not": {"tenant": "acme"}}),
    ] {
        let uri = format!("/v1/memories?filter={}", encode(&filter.to_string()));
        let listed = api.get(&attacker, &uri).await;
        assert!(!listed.body.to_string().contains("marzipan") && listed.status < 500, "{filter}: {:#}", listed.body);
        let asked = json!({"query": SECRET, "filter": filter, "limit": 100});
        let found = api.post(&attacker, "/v1/memories/search", asked).await;
        assert!(!found.body.to_string().contains("vault"), "{filter}: {:#}", found.body);
    }
    let everything = api.get(&attacker, "/v1/memories").await.ok(200);
    assert_eq!(everything["memories"].as_array().unwrap().len(), 1, "its own is found: {everything:#}");
    for selection in [json!({"tag": "vault"}), json!({"memories": [victim.memory]}), json!({"all": true})] {
        assert_eq!(api.post(&attacker, "/v1/cache/invalidate", selection).await.ok(200)["removed"], 0);
    }
    let forgotten = api.post(&attacker, "/v1/memories/forget", json!({"all": true})).await.ok(200);
    assert_eq!(forgotten["forgotten"], json!([mine["id"]]));
    // An answer that rests on a memory of another tenant does not go with that memory, and says nothing about it.
    let leech = json!({"prompt": "leech", "response": "r", "depends_on": [victim.memory]});
    api.post(&attacker, "/v1/cache/entries", leech).await;
    stands(&api, &owner, &victim).await;
    let emptied = api.post(&owner, "/v1/memories/forget", json!({"all": true})).await.ok(200);
    assert_eq!(emptied["forgotten"].as_array().unwrap().len(), 2, "the owner reaches all of its own");
}

#[tokio::test]
async fn the_settings_tenant_is_nobodys_who_shows_a_key() {
    let (api, [key]) = Api::with([("acme", ALL)], |settings| settings.tenant = "house".into()).await;
    assert_eq!(api.get(&key, "/v1/stats").await.ok(200)["tenant"], "acme");
    let (open, []) = Api::with([], |settings| settings.tenant = "house".into()).await;
    assert_eq!(open.get("", "/v1/stats").await.ok(200)["tenant"], "house");
    // A key where none is asked for is not looked at: it opens nothing that was closed.
    assert_eq!(open.get(&key, "/v1/stats").await.ok(200)["tenant"], "house");
}

#[tokio::test]
async fn a_tool_speaks_for_the_tenant_of_the_key() {
    let (api, [attacker, owner, reader]) = Api::new([("acme", ALL), ("victim", ALL), ("victim", "read")]).await;
    let call = async |key: &str, name: &str, arguments: Value| {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        });
        let params = json!({"name": name, "arguments": arguments, "_meta": meta});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
        let bearer = format!("Bearer {key}");
        let mut headers = vec![
            ("host", "localhost"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", name),
        ];
        if !key.is_empty() {
            headers.push(("authorization", &bearer));
        }
        send(&api.router, Method::POST, "/mcp", &headers, message).await
    };
    assert_eq!(call("", "stats", json!({})).await.problem(), (401, "unauthenticated"));
    let written = call(&owner, "remember", json!({"text": "the cake is of marzipan"})).await.ok(200);
    assert_eq!(written["result"]["isError"], false, "{written:#}");
    let recalled = async |key: &str| call(key, "recall", json!({"query": "marzipan"})).await.ok(200).to_string();
    assert!(recalled(&owner).await.contains("the cake"), "the control");
    assert!(recalled(&reader).await.contains("the cake"), "the control");
    assert!(!recalled(&attacker).await.contains("the cake"));
    let refused = call(&reader, "remember", json!({"text": "not mine to write"})).await.ok(200);
    assert!(refused.to_string().contains("access_denied"), "{refused:#}");
    let widened = call(&attacker, "recall", json!({"query": "marzipan", "tenant": "victim"})).await.ok(200);
    assert!(widened.to_string().contains("tenant_from_identity"), "{widened:#}");
}
