//! What a caller can get wrong: each a clear error with the field named and the proper status, and nothing lost.

use axum::body::Body;
use axum::http::Method;
use embedders::StaticEmbedder;
use memory_core::Embedder;
use serde_json::{Value, json};

use crate::{Api, send};

/// One line for each case: what was sent, and the problem that came back.
async fn refused(api: &Api, cases: Vec<(&str, Method, &str, String)>) -> String {
    // Another revision of the built-in model is no other answer.
    let space = StaticEmbedder::built_in().space().to_string();
    let mut lines = Vec::new();
    for (name, method, uri, body) in cases {
        let answer = send(&api.router, method, uri, &[], body).await;
        assert!((400..500).contains(&answer.status), "{name}: {:#}", answer.body);
        assert_eq!(answer.body["type"], "about:blank");
        lines.push(format!("{name}\n    {}", answer.problem().replace(&space, "<space>")));
    }
    lines.join("\n")
}

fn posts(uri: &'static str, cases: Vec<(&'static str, String)>) -> Vec<(&'static str, Method, &'static str, String)> {
    cases.into_iter().map(|(name, body)| (name, Method::POST, uri, body)).collect()
}

fn values(at_0: &str, rest: usize) -> String {
    format!("[{at_0}{}]", ",0.5".repeat(rest))
}

#[tokio::test]
async fn bad_memories() {
    let api = Api::new().await;
    let add = |extra: &str| format!("{{\"text\":\"t\",{extra}}}");
    let deep = format!("{{\"text\":\"t\",\"metadata\":{}1{}}}", "{\"a\":".repeat(200), "}".repeat(200));
    let cases = vec![
        ("no body", String::new()),
        ("not JSON", "text=hello".into()),
        ("cut off", "{\"text\":\"hel".into()),
        ("a list", "[]".into()),
        ("a list of the fields", "[\"t\",{},null,null,null,null,null,[],null,null,null,null,null]".into()),
        ("a scope as a list", add("\"scope\":[\"ann\",null,null]")),
        ("a memory as a list", "{\"memories\":[[\"t\"]]}".into()),
        ("two values", "{\"text\":\"t\"} {}".into()),
        ("no text", "{}".into()),
        ("empty text", "{\"text\":\"\"}".into()),
        ("blank text", "{\"text\":\" \\n\\t\"}".into()),
        ("text null", "{\"text\":null}".into()),
        ("text a number", "{\"text\":7}".into()),
        ("text over 64 KiB", json!({"text": "x".repeat(65_537)}).to_string()),
        ("text of 10 MB", json!({"text": "x".repeat(10_000_000)}).to_string()),
        ("unknown field", add("\"txt\":1")),
        ("unknown scope field", add("\"scope\":{\"team\":\"a\"}")),
        ("tenant in the scope", add("\"scope\":{\"tenant\":\"a\"}")),
        ("tenant at the top", add("\"tenant\":\"a\"")),
        ("empty user", add("\"scope\":{\"user\":\"\"}")),
        ("control character in user", add("\"scope\":{\"user\":\"a\\u0000\"}")),
        ("user over 256 bytes", json!({"text": "t", "scope": {"user": "x".repeat(257)}}).to_string()),
        ("text twice", "{\"text\":\"a\",\"text\":\"b\"}".into()),
        ("metadata key twice", add("\"metadata\":{\"a\":{\"b\":1,\"b\":2}}")),
        ("metadata a list", add("\"metadata\":[1]")),
        ("metadata over 16 KiB", json!({"text": "t", "metadata": {"a": "x".repeat(17_000)}}).to_string()),
        ("metadata nested 200 deep", deep),
        ("number out of range", add("\"metadata\":{\"n\":1e999}")),
        ("id not a UUID", add("\"id\":\"17\"")),
        ("kind unknown", add("\"kind\":\"dream\"")),
        ("importance 2", add("\"importance\":2")),
        ("importance text", add("\"importance\":\"high\"")),
        ("evidence not an id", add("\"evidence\":[\"x\"]")),
        ("valid_from not a time", add("\"valid_from\":\"yesterday\"")),
        (
            "valid_to before valid_from",
            add("\"valid_from\":\"2025-06-02T00:00:00Z\",\"valid_to\":\"2025-06-01T00:00:00Z\""),
        ),
        ("ttl 0", add("\"ttl_seconds\":0")),
        ("ttl negative", add("\"ttl_seconds\":-1")),
        ("ttl 1e300", add("\"ttl_seconds\":1e300")),
        ("ttl and expires_at", add("\"ttl_seconds\":5,\"expires_at\":\"2999-01-01T00:00:00Z\"")),
        ("vector NaN", add(&format!("\"embedding\":{}", values("NaN", 255)))),
        ("vector Infinity", add(&format!("\"embedding\":{}", values("Infinity", 255)))),
        ("vector 1e999", add(&format!("\"embedding\":{}", values("1e999", 255)))),
        ("vector over f32", add(&format!("\"embedding\":{}", values("1e300", 255)))),
        ("vector a text inside", add(&format!("\"embedding\":{}", values("\"a\"", 255)))),
        ("vector null inside", add(&format!("\"embedding\":{}", values("null", 255)))),
        ("vector too short", add("\"embedding\":[1,2,3]")),
        ("vector empty", add("\"embedding\":[]")),
        ("vector all zeros", add(&format!("\"embedding\":[0{}]", ",0".repeat(255)))),
        ("vector a text", add("\"embedding\":\"AAAA\"")),
        ("vector without values", add("\"embedding\":{\"model\":\"static-256\"}")),
        ("vector of another model", add("\"embedding\":{\"model\":\"gpt\",\"values\":[1]}")),
        ("vector with a dimension field", add("\"embedding\":{\"model\":\"static-256\",\"values\":[1],\"dims\":1}")),
        ("no memories", "{\"memories\":[]}".into()),
        ("memories null", "{\"memories\":null}".into()),
        ("memories a text", "{\"memories\":\"a\"}".into()),
        ("1001 memories", json!({"memories": vec![json!({"text": "t"}); 1001]}).to_string()),
        ("memories and text", "{\"memories\":[{\"text\":\"a\"}],\"text\":\"b\"}".into()),
        (
            "a bad one among memories",
            "{\"memories\":[{\"text\":\"a\"},{\"text\":\"b\",\"scope\":{\"usr\":\"x\"}}]}".into(),
        ),
        ("an empty one among memories", "{\"memories\":[{\"text\":\"a\"},{\"text\":\"\"}]}".into()),
        ("a bad ttl among memories", "{\"memories\":[{\"text\":\"a\"},{\"text\":\"b\",\"ttl_seconds\":-1}]}".into()),
        (
            "one id twice",
            json!({"memories": vec![json!({"text": "t", "id": "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d"}); 2]})
                .to_string(),
        ),
    ];
    insta::assert_snapshot!("bad_memories", refused(&api, posts("/v1/memories", cases)).await);
    assert_eq!(api.get("/v1/memories").await.ok(200)["memories"], json!([]), "nothing was written");
}

#[tokio::test]
async fn bad_searches() {
    let api = Api::new().await;
    let ask = |extra: &str| format!("{{\"query\":\"q\",{extra}}}");
    let deep_filter = format!("{{\"query\":\"q\",\"filter\":{}{{}}{}}}", "{\"not\":".repeat(20), "}".repeat(20));
    let cases = vec![
        ("no query", "{}".into()),
        ("empty query", "{\"query\":\"\"}".into()),
        ("query over 8 KiB", json!({"query": "x".repeat(8193)}).to_string()),
        ("limit 0", ask("\"limit\":0")),
        ("limit 10^9", ask("\"limit\":1000000000")),
        ("limit 10^30", ask("\"limit\":1000000000000000000000000000000")),
        ("limit -1", ask("\"limit\":-1")),
        ("limit ten", ask("\"limit\":\"ten\"")),
        ("limit 1.5", ask("\"limit\":1.5")),
        ("filter a text", ask("\"filter\":\"kind\"")),
        ("filter of an unknown field", ask("\"filter\":{\"colour\":\"red\"}")),
        ("filter with an unknown operator", ask("\"filter\":{\"importance\":{\"over\":0.5}}")),
        ("filter of the wrong type", ask("\"filter\":{\"importance\":\"high\"}")),
        ("filter with a bad kind", ask("\"filter\":{\"kind\":\"dream\"}")),
        ("filter with a bad time", ask("\"filter\":{\"recorded_at\":{\"gt\":\"yesterday\"}}")),
        ("filter key twice", ask("\"filter\":{\"kind\":\"semantic\",\"kind\":\"episodic\"}")),
        ("filter too deep", deep_filter),
        ("filter on the tenant", ask("\"filter\":{\"tenant\":\"other\"}")),
        ("strategy unknown", ask("\"strategy\":\"magic\"")),
        ("strategy a number", ask("\"strategy\":1")),
        ("strategy with an unknown weight", ask("\"strategy\":{\"strategy\":\"weighted\",\"luck\":1}")),
        ("strategy with a weight of 2", ask("\"strategy\":{\"strategy\":\"weighted\",\"dense\":2}")),
        ("rrf with a weight", ask("\"strategy\":{\"strategy\":\"rrf\",\"dense\":0.5}")),
        ("weighted with k", ask("\"strategy\":{\"strategy\":\"weighted\",\"k\":5}")),
        ("strategy object without a name", ask("\"strategy\":{\"dense\":0.5}")),
        ("vector too short", ask("\"embedding\":[1]")),
        ("explain yes", ask("\"explain\":\"yes\"")),
        ("a token that no write gave", ask("\"at_least\":\"soon\"")),
        ("tenant in the scope", ask("\"scope\":{\"tenant\":\"other\"}")),
        ("tenant in another scope", ask("\"also\":[{\"user\":\"ann\"},{\"tenant\":\"other\"}]")),
        ("another scope without a name", ask("\"also\":[{\"user\":\"\"}]")),
        ("too many other scopes", ask(&format!("\"also\":{}", json!(vec![json!({"user": "ann"}); 32])))),
        ("as of a time that is none", ask("\"as_of\":\"yesterday\"")),
        ("valid at a time that is none", ask("\"valid_at\":5")),
    ];
    insta::assert_snapshot!("bad_searches", refused(&api, posts("/v1/memories/search", cases)).await);
}

#[tokio::test]
async fn bad_urls_and_patches() {
    let api = Api::new().await;
    let id = api.remember(&json!({"text": "stays as it is"})).await;
    let one = format!("/v1/memories/{id}");
    let get = |name, uri| (name, Method::GET, uri, String::new());
    let patch = |name, body: &str| (name, Method::PATCH, one.as_str(), body.to_owned());
    let cases = vec![
        get("id not a UUID", "/v1/memories/17"),
        get("id not UTF-8", "/v1/memories/%ff"),
        get("id of nothing", "/v1/memories/0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d"),
        get("history of nothing", "/v1/memories/0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d/history"),
        get("limit 0", "/v1/memories?limit=0"),
        get("limit 10^9", "/v1/memories?limit=1000000000"),
        get("limit -1", "/v1/memories?limit=-1"),
        get("limit ten", "/v1/memories?limit=ten"),
        get("unknown parameter", "/v1/memories?usr=ann"),
        get("tenant parameter", "/v1/memories?tenant=other"),
        get("parameter twice", "/v1/memories?user=a&user=b"),
        get("parameter not UTF-8", "/v1/memories?user=%ff"),
        get("parameter half encoded", "/v1/memories?user=%f"),
        get("empty user", "/v1/memories?user="),
        get("kind unknown", "/v1/memories?kind=dream"),
        get("order unknown", "/v1/memories?order=best"),
        get("cursor not a number", "/v1/memories?cursor=abc"),
        get("with_embeddings 1", "/v1/memories?with_embeddings=1"),
        get("filter not JSON", "/v1/memories?filter=kind"),
        get("filter a list", "/v1/memories?filter=%5B%5D"),
        get("filter of an unknown field", "/v1/memories?filter=%7B%22colour%22:1%7D"),
        get("filter key twice", "/v1/memories?filter=%7B%22actor%22:%22a%22,%22actor%22:%22b%22%7D"),
        get("session with a control character", "/v1/sessions/%01/messages"),
        get("session parameter on a session", "/v1/sessions/s/messages?session=t"),
        get("no such route", "/v2/memories"),
        get("no such method", "/v1/memories/search/"),
        ("method not allowed", Method::PUT, "/v1/memories", "{}".into()),
        patch("patch of nothing", "{}"),
        patch("patch of an unknown field", "{\"kind\":\"semantic\"}"),
        patch("patch to an empty text", "{\"text\":\"\"}"),
        patch("patch to no text", "{\"text\":null}"),
        patch("patch to no metadata", "{\"metadata\":null}"),
        patch("patch to importance 2", "{\"importance\":2}"),
        patch("patch to a bad time", "{\"expires_at\":\"soon\"}"),
        patch("patch to a vector alone", &format!("{{\"embedding\":{}}}", values("1", 255))),
    ];
    insta::assert_snapshot!("bad_urls_and_patches", refused(&api, cases).await);
    let answer = api.patch(&one, &[("if-match", "latest")], &json!({"importance": 1})).await;
    assert!(answer.problem().starts_with("400 invalid [If-Match]"), "{}", answer.problem());
    let memory = api.get(&one).await.ok(200);
    assert_eq!((&memory["text"], &memory["version"]), (&json!("stays as it is"), &json!(1)));
    let answer = send(&api.router, Method::PUT, "/v1/memories", &[], "{}").await;
    let allow = answer.header("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("POST") && !allow.contains("PUT"), "{allow}");
}

#[tokio::test]
async fn bad_selections_sessions_and_cache_requests() {
    let api = Api::new().await;
    api.remember(&json!({"text": "stays"})).await;
    let mut cases = posts(
        "/v1/memories/forget",
        vec![
            ("forget without a selection", "{}".into()),
            ("forget all: false", "{\"all\":false}".into()),
            ("forget ids and all", "{\"ids\":[\"0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d\"],\"all\":true}".into()),
            ("forget no ids", "{\"ids\":[]}".into()),
            ("forget by an empty filter", "{\"filter\":{}}".into()),
            ("forget by a bad filter", "{\"filter\":{\"colour\":1}}".into()),
            ("forget a bad id", "{\"ids\":[\"x\"]}".into()),
        ],
    );
    cases.extend(posts(
        "/v1/sessions/s/messages",
        vec![
            ("no messages", "{\"messages\":[]}".into()),
            ("message without text", "{\"messages\":[{\"role\":\"user\"}]}".into()),
            ("message with text and content", "{\"messages\":[{\"text\":\"a\",\"content\":\"b\"}]}".into()),
            (
                "message with content parts",
                "{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}]}".into(),
            ),
            ("message at no time", "{\"messages\":[{\"text\":\"a\",\"at\":\"noon\"}]}".into()),
            ("a session in the scope", "{\"scope\":{\"session\":\"t\"},\"messages\":[{\"text\":\"a\"}]}".into()),
        ],
    ));
    cases.extend(posts(
        "/v1/cache/lookup",
        vec![
            ("lookup without a prompt", "{}".into()),
            ("lookup of a blank prompt", "{\"prompt\":\" \"}".into()),
            ("lookup of a long prompt", json!({"prompt": "x".repeat(65_537)}).to_string()),
            ("lookup with threshold 2", "{\"prompt\":\"p\",\"threshold\":2}".into()),
            ("lookup with an unknown policy", "{\"prompt\":\"p\",\"policy\":\"hope\"}".into()),
            ("lookup with a response", "{\"prompt\":\"p\",\"response\":\"r\"}".into()),
        ],
    ));
    cases.extend(posts(
        "/v1/cache/entries",
        vec![
            ("entry without a response", "{\"prompt\":\"p\"}".into()),
            ("entry with an empty response", "{\"prompt\":\"p\",\"response\":\"\"}".into()),
            ("entry with ttl 0", "{\"prompt\":\"p\",\"response\":\"r\",\"ttl_seconds\":0}".into()),
            ("entry with a ttl of 11 years", "{\"prompt\":\"p\",\"response\":\"r\",\"ttl_seconds\":346896000}".into()),
            ("entry with an empty tag", "{\"prompt\":\"p\",\"response\":\"r\",\"tags\":[\"\"]}".into()),
            ("entry that depends on no id", "{\"prompt\":\"p\",\"response\":\"r\",\"depends_on\":[\"x\"]}".into()),
            (
                "entry with a repeated key in tools",
                "{\"prompt\":\"p\",\"response\":\"r\",\"tools\":[{\"a\":1,\"a\":2}]}".into(),
            ),
        ],
    ));
    cases.extend(posts(
        "/v1/cache/invalidate",
        vec![
            ("invalidate without a selection", "{}".into()),
            ("invalidate by tag and all", "{\"tag\":\"x\",\"all\":true}".into()),
            ("invalidate by no memories", "{\"memories\":[]}".into()),
        ],
    ));
    insta::assert_snapshot!("bad_selections_sessions_and_cache_requests", refused(&api, cases).await);
    assert_eq!(api.get("/v1/memories").await.ok(200)["memories"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_refused() {
    let api = Api::new().await;
    for body in [&b"{\"text\":\"caf\xe9\"}"[..], b"\xff\xfe{\x00}\x00", b"{\"text\":\"\xed\xa0\x80\"}"] {
        let answer = send(&api.router, Method::POST, "/v1/memories", &[], Body::from(body)).await;
        assert!(
            answer.problem().starts_with("400 invalid_utf8 [body] the body is not UTF-8: the byte at offset"),
            "{}",
            answer.problem()
        );
    }
    let answer = send(&api.router, Method::POST, "/v1/memories", &[], "{\"text\":\"\\ud800\"}").await;
    assert!(answer.problem().starts_with("400 invalid_json [text]"), "{}", answer.problem());
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_names_it() {
    let api = Api::with(|settings| settings.limits.body_bytes = 4096).await;
    let body = json!({"text": "x".repeat(5000)}).to_string();
    let answer = send(&api.router, Method::POST, "/v1/memories", &[], body).await;
    assert!(
        answer.problem().starts_with("413 too_large [body] body: given 5011 bytes, allowed: at most 4096 bytes"),
        "{}",
        answer.problem()
    );
    // The default limit, from the other side: a text over its own limit in a body under the body's.
    let answer = Api::new().await.post("/v1/memories", &json!({"text": "x".repeat(1_000_000)})).await;
    assert!(answer.problem().starts_with("413 too_large [text]"), "{}", answer.problem());
}

#[tokio::test]
async fn another_content_type_is_415() {
    let api = Api::new().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""] {
        let answer =
            send(&api.router, Method::POST, "/v1/memories", &[("content-type", content_type)], "{\"text\":\"t\"}")
                .await;
        assert!(answer.problem().starts_with("415 unsupported_media_type [Content-Type]"), "{}", answer.problem());
    }
    for content_type in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"] {
        let answer =
            send(&api.router, Method::POST, "/v1/memories", &[("content-type", content_type)], "{\"text\":\"t\"}")
                .await;
        assert_eq!(answer.status, 201);
    }
}

#[tokio::test]
async fn a_bad_idempotency_key_is_refused() {
    let api = Api::new().await;
    for key in ["", &"k".repeat(256)] {
        let answer =
            send(&api.router, Method::POST, "/v1/memories", &[("idempotency-key", key)], "{\"text\":\"t\"}").await;
        assert!(answer.problem().starts_with("400 invalid [Idempotency-Key]"), "{}", answer.problem());
    }
}

#[tokio::test]
async fn a_problem_has_every_part() {
    let api = Api::new().await;
    let answer = api.post("/v1/memories/search", &json!({"query": "q", "limit": 0})).await;
    let expected: Value = json!({
        "type": "about:blank", "title": "Bad Request", "status": 400, "code": "invalid",
        "detail": "limit: given 0, allowed: a whole number from 1 to 1000",
        "field": "limit", "given": "0", "allowed": "a whole number from 1 to 1000",
        "request_id": answer.header("x-request-id"),
    });
    assert_eq!(answer.ok(400), expected);
}

/// What a route with a body is told in its URL is neither taken nor passed over.
#[tokio::test]
async fn no_route_with_a_body_passes_over_a_parameter() {
    let api = Api::new().await;
    let routes = [
        ("/v1/memories", json!({"text": "t"})),
        ("/v1/memories/search", json!({"query": "t"})),
        ("/v1/memories/forget", json!({"all": true})),
        ("/v1/sessions/s/messages", json!({"messages": [{"text": "t"}]})),
        ("/v1/sessions/s/working", json!({"messages": [{"role": "user", "content": "t"}]})),
        ("/v1/sessions/s/working/promote", json!({})),
        ("/v1/cache/lookup", json!({"prompt": "p"})),
        ("/v1/cache/entries", json!({"prompt": "p", "response": "r"})),
        ("/v1/cache/invalidate", json!({"all": true})),
        ("/v1/cache/feedback", json!({"entry": "x"})),
        ("/v1/ask", json!({"prompt": "p"})),
        ("/v1/consolidate", json!({})),
        ("/v1/replica/gate", json!({"epoch": 1, "writers": "mover"})),
        ("/v1/replica/items", json!({"epoch": 0, "items": []})),
        ("/v1/replica/items/read", json!({"keys": []})),
        ("/v1/replica/search", json!({"scope": {"tenant": "a"}, "text": "t"})),
        ("/v1/replica/look", json!({"scope": {"tenant": "a"}, "id": "00000000-0000-0000-0000-000000000001"})),
        ("/v1/replica/embed", json!({"texts": []})),
        ("/v1/replica/streams", json!({"stream": "s"})),
        ("/v1/replica/streams/s/acknowledge", json!({"position": "1"})),
    ];
    for (route, body) in &routes {
        let answer = send(&api.router, Method::POST, &format!("{route}?dry_run=true"), &[], body.to_string()).await;
        let allowed = "400 unknown_field [dry_run] dry_run: given an unknown parameter, allowed: no parameters";
        assert_eq!(answer.problem(), allowed, "{route}");
    }
    let tenant = send(&api.router, Method::POST, "/v1/memories?tenant=b", &[], routes[0].1.to_string()).await;
    assert_eq!(tenant.status, 400);
    let posts = orchestra_api::http::needs().into_iter().filter(|(method, ..)| method == Method::POST).count();
    assert_eq!(posts, routes.len(), "every such route is here");
    assert_eq!(api.get("/v1/stats").await.ok(200)["store"]["memories"], 0);
}
