//! How many requests a tenant may make, and how many memories it may have.

use orchestra_api::identity::limits::RateLimit;
use serde_json::json;

use super::Api;

#[tokio::test]
async fn a_tenant_over_its_rate_is_told_when_to_try_again() {
    let keys = [("acme", "read,write"), ("acme", "read"), ("other", "read")];
    // Slow enough that nothing comes back while this runs.
    let (api, [key, same_tenant, other]) =
        Api::with(keys, |settings| settings.identity.rate = Some(RateLimit::new(0.01, Some(3)).unwrap())).await;
    for left in ["\"requests\";r=2;t=100", "\"requests\";r=1;t=200"] {
        let answer = api.get(&key, "/v1/memories").await;
        assert_eq!((answer.status, answer.header("ratelimit")), (200, Some(left)));
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=3;w=300"));
    }
    // A refused request counts: who is refused again and again is held back too.
    assert_eq!(api.post(&same_tenant, "/v1/memories", json!({"text": "t"})).await.problem(), (403, "access_denied"));
    for key in [&key, &same_tenant] {
        let answer = api.get(key, "/v1/memories").await;
        assert_eq!(answer.problem(), (429, "rate_limited"), "the keys of a tenant share its bucket");
        let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((90..=100).contains(&seconds), "{seconds}");
        assert!(answer.header("ratelimit").unwrap().starts_with("\"requests\";r=0;t="));
    }
    api.get(&other, "/v1/memories").await.ok(200);
    assert_eq!(api.get("", "/healthz").await.ok(200), json!({"status": "ok"}), "probes are not counted");
    assert_eq!(api.get("om_nonsense", "/v1/memories").await.status, 401, "who is nobody takes nobody's tokens");
}

#[tokio::test]
async fn without_a_limit_there_is_none() {
    let (api, [key]) = Api::new([("acme", "read")]).await;
    for _ in 0..200 {
        let answer = api.get(&key, "/v1/identity").await;
        assert_eq!((answer.status, answer.header("ratelimit")), (200, None));
    }
}

#[tokio::test]
async fn a_tenant_has_as_many_memories_as_its_quota() {
    let keys = [("acme", "read,write,admin"), ("other", "read,write")];
    let (api, [key, other]) = Api::with(keys, |settings| settings.identity.memories = Some(3)).await;
    let many = |count: usize| json!({"memories": vec![json!({"text": "one of many"}); count]});
    let answer = api.post(&key, "/v1/memories", many(4)).await;
    assert_eq!(answer.problem(), (403, "quota_exceeded"));
    assert!(answer.header("retry-after").is_none(), "waiting does not help");
    api.post(&key, "/v1/memories", many(2)).await.ok(201);
    let turns = json!({"messages": [{"text": "one"}, {"text": "two"}]});
    assert_eq!(api.post(&key, "/v1/sessions/s/messages", turns).await.problem(), (403, "quota_exceeded"));
    api.post(&key, "/v1/memories", json!({"text": "the third"})).await.ok(201);
    let fourth = || api.post(&key, "/v1/memories", json!({"text": "the fourth"}));
    assert_eq!(fourth().await.problem(), (403, "quota_exceeded"));
    assert_eq!(api.get(&key, "/v1/stats").await.ok(200)["store"]["memories"], 3, "nothing of a refused write is kept");
    api.post(&other, "/v1/memories", many(3)).await.ok(201);
    // What was forgotten makes room, as soon as the store is counted anew.
    api.post(&key, "/v1/memories/forget", json!({"all": true})).await.ok(200);
    let begun = std::time::Instant::now();
    while fourth().await.status != 201 {
        assert!(begun.elapsed() < super::DEADLINE, "no room was made");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
