//! `/v1/sessions/{id}/working`.

use axum::http::Method;
use memory_testkit::services::{self, Service};
use orchestra_api::config::{MediumTermProvider, Settings, ShortTermProvider};
use serde_json::{Value, json};

use crate::{Answer, Api, send, texts};

const WORKING: &str = "/v1/sessions/monday%2F1/working";

fn said(messages: Value) -> Value {
    json!({"scope": {"user": "ann"}, "messages": messages})
}

fn contents(window: &Value) -> Vec<&str> {
    window["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect()
}

async fn append_keyed(api: &Api, key: &str, body: &Value) -> Answer {
    send(&api.router, Method::POST, WORKING, &[("idempotency-key", key)], body.to_string()).await
}

#[tokio::test]
async fn messages_are_appended_and_read_back_as_a_window() {
    let api = Api::new().await;
    let first = said(json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is my order?", "tokens": 7, "metadata": {"channel": "web"}},
    ]));
    let receipt = api.post(WORKING, &first).await.ok(201);
    assert_eq!(
        (&receipt["first"], &receipt["last"], &receipt["total"], &receipt["replayed"]),
        (&json!(1), &json!(2), &json!(2), &json!(false))
    );
    assert!(receipt["expires_at"].is_string(), "{receipt:#}");
    let second = said(json!([{"role": "tool", "content": "{\"state\": \"sent\"}", "tokens": 9}]));
    let first = append_keyed(&api, "call-1", &second).await.ok(201);
    let again = append_keyed(&api, "call-1", &second).await.ok(201);
    assert_eq!((&first["last"], &again["last"], &again["replayed"]), (&json!(3), &json!(3), &json!(true)));
    let other = append_keyed(&api, "call-1", &said(json!([{"role": "tool", "content": "else"}]))).await;
    assert!(other.problem().starts_with("409 idempotency_conflict [Idempotency-Key]"), "{}", other.problem());

    let window = api.get(&format!("{WORKING}?user=ann")).await.ok(200);
    assert_eq!(contents(&window), ["Be brief.", "Where is my order?", "{\"state\": \"sent\"}"]);
    let message = &window["messages"][1];
    assert_eq!((&message["sequence"], &message["role"]), (&json!(2), &json!("user")));
    assert_eq!((&message["tokens"], &message["metadata"]), (&json!(7), &json!({"channel": "web"})));
    assert!(message["appended_at"].is_string());
    assert_eq!((&window["total"], &window["truncated"]), (&json!(3), &json!(false)));
    for (query, expected) in [
        ("limit=1", &["{\"state\": \"sent\"}"][..]),
        ("max_tokens=16", &["Where is my order?", "{\"state\": \"sent\"}"]),
        ("max_tokens=8", &[]),
        ("after=1&limit=1", &["Where is my order?"]),
        ("after=3", &[]),
    ] {
        let window = api.get(&format!("{WORKING}?user=ann&{query}")).await.ok(200);
        assert_eq!(contents(&window), expected, "{query}");
        assert_eq!((&window["total"], &window["truncated"]), (&json!(3), &json!(true)), "{query}");
    }
    for other in ["", "?user=bob", "?user=ann&agent=bot"] {
        let window = api.get(&format!("{WORKING}{other}")).await.ok(200);
        assert_eq!((&window["total"], &window["expires_at"]), (&json!(0), &Value::Null), "all parts count: {other}");
    }
    assert_eq!(api.get("/v1/memories").await.ok(200)["memories"], json!([]), "nothing of it is a memory");
    assert_eq!(api.delete(&format!("{WORKING}?user=ann")).await.ok(200), json!({"cleared": 3}));
    assert_eq!(api.delete(&format!("{WORKING}?user=ann")).await.ok(200), json!({"cleared": 0}));
}

#[tokio::test]
async fn a_session_lives_as_long_as_it_is_told() {
    let api = Api::with(|settings| settings.session_ttl = std::time::Duration::from_secs(86_400)).await;
    let seconds = |receipt: &Value| {
        let ends: chrono::DateTime<chrono::Utc> = receipt["expires_at"].as_str().unwrap().parse().unwrap();
        (ends - chrono::Utc::now()).num_seconds()
    };
    let mut body = said(json!([{"role": "user", "content": "Hello"}]));
    assert!((86_300..=86_400).contains(&seconds(&api.post(WORKING, &body).await.ok(201))));
    body["ttl_seconds"] = json!(600);
    assert!((500..=600).contains(&seconds(&api.post(WORKING, &body).await.ok(201))));
}

#[tokio::test]
async fn what_is_promoted_is_a_memory_once() {
    let api = Api::new().await;
    let body = said(json!([
        {"role": "user", "content": "My sister lives in Lisbon", "metadata": {"channel": "web"}},
        {"role": "tool", "content": "{\"weather\": \"mild\"}"},
        {"role": "assistant", "content": "Lisbon is mild in May"},
    ]));
    api.post(WORKING, &body).await.ok(201);
    let promote = format!("{WORKING}/promote");
    let receipt = api.post(&promote, &json!({"scope": {"user": "ann"}})).await.ok(200);
    let taken: Vec<_> =
        receipt["promoted"].as_array().unwrap().iter().map(|one| (&one["sequence"], &one["status"])).collect();
    assert_eq!(taken, [(&json!(1), &json!("created")), (&json!(3), &json!("created"))]);
    assert_eq!(
        (&receipt["already"], &receipt["other_roles"], &receipt["too_long"]),
        (&json!(0), &json!(1), &json!([]))
    );

    let turns = api.get("/v1/sessions/monday%2F1/messages?user=ann").await.ok(200);
    assert_eq!(texts(&turns, "messages"), ["My sister lives in Lisbon", "Lisbon is mild in May"]);
    let turn = &turns["messages"][0];
    assert_eq!((&turn["id"], &turn["actor"]), (&receipt["promoted"][0]["id"], &json!("user")));
    assert_eq!((&turn["metadata"], &turn["origin"]["path"]), (&json!({"channel": "web"}), &json!("promotion")));
    let window = api.get(&format!("{WORKING}?user=ann")).await.ok(200);
    assert_eq!(turn["valid_from"], window["messages"][0]["appended_at"]);
    let search =
        json!({"query": "Where does the sister live?", "scope": {"user": "ann"}, "at_least": receipt["token"]});
    let found = api.post("/v1/memories/search", &search).await.ok(200);
    assert_eq!(texts(&found, "results")[0], "My sister lives in Lisbon");

    let again = api.post(&promote, &json!({"scope": {"user": "ann"}})).await.ok(200);
    assert_eq!((&again["promoted"], &again["already"]), (&json!([]), &json!(2)));
    let tools = api.post(&promote, &json!({"scope": {"user": "ann"}, "roles": ["tool"]})).await.ok(200);
    assert_eq!(tools["promoted"][0]["sequence"], 2);
    assert_eq!(api.get("/v1/memories").await.ok(200)["memories"].as_array().unwrap().len(), 3);
    let nobody = api.post(&promote, &json!({})).await.ok(200);
    assert_eq!((&nobody["promoted"], &nobody["token"]), (&json!([]), &Value::Null));
}

#[tokio::test]
async fn promotion_stays_within_the_quota() {
    let api = Api::with(|settings| settings.identity.memories = Some(2)).await;
    let body = said(json!([{"role": "user", "content": "One"}, {"role": "user", "content": "Two"}]));
    api.post(WORKING, &body).await.ok(201);
    api.remember(&json!({"text": "takes one place"})).await;
    let full = api.post(&format!("{WORKING}/promote"), &json!({"scope": {"user": "ann"}})).await;
    assert!(full.problem().starts_with("403 quota_exceeded"), "{}", full.problem());
    assert_eq!(api.get("/v1/memories").await.ok(200)["memories"].as_array().unwrap().len(), 1);
    let nothing = json!({"scope": {"user": "ann"}, "roles": ["tool"]});
    assert_eq!(api.post(&format!("{WORKING}/promote"), &nothing).await.ok(200)["other_roles"], 2);
}

#[tokio::test]
async fn forgetting_a_scope_ends_its_sessions() {
    let api = Api::new().await;
    api.post(WORKING, &said(json!([{"role": "user", "content": "The code is 4711"}]))).await.ok(201);
    let bobs = json!({"scope": {"user": "bob"}, "messages": [{"role": "user", "content": "Hello"}]});
    api.post(WORKING, &bobs).await.ok(201);
    let all = |dry_run: bool| json!({"scope": {"user": "ann"}, "all": true, "dry_run": dry_run});
    assert_eq!(api.post("/v1/memories/forget", &all(true)).await.ok(200)["working_messages"], 1);
    assert_eq!(api.get(&format!("{WORKING}?user=ann")).await.ok(200)["total"], 1);
    assert_eq!(api.post("/v1/memories/forget", &all(false)).await.ok(200)["working_messages"], 1);
    assert_eq!(api.get(&format!("{WORKING}?user=ann")).await.ok(200)["total"], 0);
    assert_eq!(api.get(&format!("{WORKING}?user=bob")).await.ok(200)["total"], 1);
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let api = Api::new().await;
    let user = |content: &str| json!({"role": "user", "content": content});
    let long = "x".repeat(256 * 1024 + 1);
    let post = |body: Value| (Method::POST, WORKING.to_owned(), body);
    let cases = [
        post(json!({})),
        post(json!({"messages": []})),
        post(json!({"messages": vec![user("x"); 101]})),
        post(json!({"messages": [user("fine"), user(" ")]})),
        post(json!({"messages": [{"role": "robot", "content": "x"}]})),
        post(json!({"messages": [{"content": "x"}]})),
        post(json!({"messages": [user(&long)]})),
        post(json!({"messages": [{"role": "user", "content": "x", "tokens": -1}]})),
        post(json!({"messages": [user("x")], "ttl_seconds": 0})),
        post(json!({"messages": [user("x")], "scope": {"session": "tuesday"}})),
        post(json!({"messages": [user("x")], "scope": {"tenant": "globex"}})),
        (Method::GET, format!("{WORKING}?limit=0"), json!(null)),
        (Method::GET, format!("{WORKING}?max_tokens=0"), json!(null)),
        (Method::GET, format!("{WORKING}?after=first"), json!(null)),
        (Method::GET, format!("{WORKING}?tenant=globex"), json!(null)),
        (Method::DELETE, format!("{WORKING}?session=tuesday"), json!(null)),
        (Method::POST, format!("{WORKING}/promote"), json!({"roles": []})),
        (Method::POST, format!("{WORKING}/promote"), json!({"roles": ["robot"]})),
    ];
    let mut lines = Vec::new();
    for (method, uri, body) in cases {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        lines.push(send(&api.router, method, &uri, &[], text).await.problem());
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    400 missing_field [messages] messages: given nothing, allowed: a value; the field is required
    400 invalid [messages] messages: given 0, allowed: 1 to 100 messages
    400 invalid [messages] messages: given 101, allowed: 1 to 100 messages
    400 invalid [messages[1].content] messages[1].content: given " ", allowed: a text that is not blank
    400 invalid [messages[0].role] messages[0].role: given robot, allowed: user, assistant, system, tool
    400 missing_field [messages[0].role] messages[0].role: given nothing, allowed: a value; the field is required
    413 too_large [messages[0].content] messages[0].content: given 262145 bytes, allowed: at most 262144 bytes
    400 invalid [messages[0].tokens] messages[0].tokens: given -1, allowed: a whole number, 0 or more
    400 invalid [ttl_seconds] ttl_seconds: given 0, allowed: more than 0, at most 315360000
    400 invalid [scope.session] scope.session: given a session, allowed: user and agent; the path names the session
    400 tenant_from_identity [scope.tenant] scope.tenant: given a tenant, allowed: user, agent and session; the tenant comes from the identity of the caller, never from an argument
    400 invalid [limit] limit: given 0, allowed: 1 to 1000
    400 invalid [max_tokens] max_tokens: given 0, allowed: at least 1
    400 invalid [after] after: given "first", allowed: the number of a message, or 0
    400 tenant_from_identity [tenant] tenant: given a tenant, allowed: user, agent and session; the tenant comes from the identity of the caller, never from an argument
    400 unknown_field [session] session: given an unknown parameter, allowed: user, agent
    400 invalid [roles] roles: given an empty list, allowed: at least one of user, assistant, system, tool
    400 invalid [roles[0]] roles[0]: given robot, allowed: user, assistant, system, tool
    "#);
    assert_eq!(api.get(WORKING).await.ok(200)["total"], 0, "nothing was written");
}

/// While Redis is away nothing of a session is acknowledged or made up, and everything else goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_sessions_wait_and_the_rest_goes_on() {
    let Some(mut redis) = services::private(Service::Redis) else { return };
    let api = on_redis(&redis.url()).await;
    let body = said(json!([{"role": "user", "content": "The code is 4711"}]));
    api.post(WORKING, &body).await.ok(201);
    redis.kill().unwrap();
    let window = format!("{WORKING}?user=ann");
    let promote = format!("{WORKING}/promote");
    for answer in [
        api.post(WORKING, &body).await,
        api.get(&window).await,
        api.delete(&window).await,
        api.post(&promote, &json!({"scope": {"user": "ann"}})).await,
    ] {
        assert!(answer.problem().starts_with("503 store_unavailable"), "{}", answer.problem());
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    api.remember(&json!({"text": "Ann is there", "scope": {"user": "ann"}})).await;
    let forgotten = api.post("/v1/memories/forget", &json!({"scope": {"user": "ann"}, "all": true})).await.ok(200);
    assert_eq!((forgotten["forgotten"].as_array().unwrap().len(), &forgotten["working_messages"]), (1, &json!(0)));
    let degraded = forgotten["degraded"].as_array().unwrap();
    assert!(degraded.contains(&json!("working_memory_pending")), "{forgotten:#}");

    redis.restart().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while api.post(WORKING, &body).await.status != 201 {
        assert!(std::time::Instant::now() < deadline, "Redis is back");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let again = api.post("/v1/memories/forget", &json!({"scope": {"user": "ann"}, "all": true})).await.ok(200);
    assert_eq!((&again["working_messages"], again.get("degraded")), (&json!(1), None), "{again:#}");
}

/// The memories in a folder of its own, the sessions on this Redis.
async fn on_redis(url: &str) -> Api {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orchestra.yaml");
    std::fs::write(folder.path().join("redis-url"), url).unwrap();
    let text = "data: data\nlisten: 127.0.0.1:0\ncache_embedder: static-256\nshort_term_provider: redis\n\
                redis:\n  url: {file: redis-url}\n";
    std::fs::write(&file, text).unwrap();
    let mut args = orchestra_api::config::ServerArgs::default();
    args.config = Some(file);
    let settings = Settings::from_args(&args).unwrap();
    assert_eq!(
        (settings.short_term_provider, settings.medium_term_provider),
        (ShortTermProvider::Redis, MediumTermProvider::Embedded)
    );
    let state = orchestra_api::state::AppState::open(&settings).await.unwrap();
    Api { router: orchestra_api::http::router(state), _folder: folder }
}
