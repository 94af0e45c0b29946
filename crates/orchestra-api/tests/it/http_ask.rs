//! `POST /v1/ask`, the answer that is filed for it, and `POST /v1/cache/feedback`.

use orchestra_api::config::ShortTermProvider;
use serde_json::{Value, json};

use super::http_recall::{say, with_working_memory};
use crate::{Api, texts};

const QUESTION: &str = "When is the launch?";

async fn ask(api: &Api) -> Value {
    api.post("/v1/ask", &json!({"prompt": QUESTION, "model": "m", "scope": {"user": "ann"}})).await.ok(200)
}

async fn with_a_launch() -> (Api, String) {
    let api = Api::new().await;
    let id = api.remember(&json!({"text": "The launch is in May", "scope": {"user": "ann"}})).await;
    (api, id)
}

#[tokio::test]
async fn an_answer_is_filed_with_the_memories_it_was_made_of() {
    let (api, id) = with_a_launch().await;
    let open = ask(&api).await;
    assert_eq!((&open["hit"], &open["near_miss"], &open["degraded"]), (&json!(false), &json!(null), &json!([])));
    assert_eq!(texts(&open, "results"), ["The launch is in May"]);
    let answer = json!({"fill": open["fill"], "response": "In May.", "ttl_seconds": 600, "tags": ["plans"]});
    let stored = api.post("/v1/cache/entries", &answer).await.ok(201);
    let hit = ask(&api).await;
    assert_eq!((&hit["hit"], &hit["kind"], &hit["response"]), (&json!(true), &json!("exact"), &json!("In May.")));
    assert_eq!((&hit["entry_id"], &hit["depends_on"], &hit["tags"]), (&stored["id"], &json!([id]), &json!(["plans"])));
    let other = json!({"prompt": QUESTION, "model": "another", "scope": {"user": "ann"}});
    assert_eq!(api.post("/v1/ask", &other).await.ok(200)["hit"], false, "another model is another answer");
    api.patch(&format!("/v1/memories/{id}"), &[], &json!({"text": "The launch is in June"})).await.ok(200);
    let open = ask(&api).await;
    assert_eq!(texts(&open, "results"), ["The launch is in June"]);

    api.delete(&format!("/v1/memories/{id}")).await.ok(200);
    let late = api.post("/v1/cache/entries", &json!({"fill": open["fill"], "response": "In June."})).await;
    assert_eq!(
        late.problem(),
        "409 memories_changed [fill] a memory that the answer was made of was changed or forgotten since; ask again"
    );
    assert_eq!(ask(&api).await["hit"], false);
}

#[tokio::test]
async fn a_fill_says_all_that_it_says() {
    let (api, _) = with_a_launch().await;
    let fill = ask(&api).await["fill"].clone();
    let mut problems = Vec::new();
    for body in [
        json!({"fill": "e30", "response": "r"}),
        json!({"fill": "%", "response": "r"}),
        json!({"fill": fill, "response": " "}),
        json!({"fill": fill, "response": "r", "prompt": "another"}),
        json!({"fill": fill, "response": "r", "scope": {"user": "bob"}}),
        json!({"response": "r"}),
    ] {
        problems.push(api.post("/v1/cache/entries", &body).await.problem());
    }
    for body in [json!({"prompt": " "}), json!({"prompt": "q", "limit": 257}), json!({"prompt": "q", "deadline_ms": 0})]
    {
        problems.push(api.post("/v1/ask", &body).await.problem());
    }
    insta::assert_snapshot!(problems.join("\n"), @r#"
    400 invalid [fill] fill: given what is none, allowed: the fill of an answer of POST /v1/ask, unchanged
    400 invalid [fill] fill: given what is none, allowed: the fill of an answer of POST /v1/ask, unchanged
    400 invalid [response] response: given " ", allowed: a text that is not blank
    400 invalid [prompt] prompt: given a value, allowed: nothing beside fill, which says it
    400 invalid [scope] scope: given a value, allowed: nothing beside fill, which says it
    400 missing_field [prompt] prompt: given nothing, allowed: a value; the field is required
    400 invalid [prompt] prompt: given " ", allowed: a text that is not blank
    400 invalid [limit] limit: given 257, allowed: 1 to 256
    400 invalid [deadline_ms] deadline_ms: given 0, allowed: 1 to 60000, in milliseconds
    "#);
}

#[tokio::test]
async fn what_was_said_in_the_conversation_is_in_no_answer_that_is_kept() {
    let (api, provider) = with_working_memory(false).await;
    say(&provider, "monday", "The launch is in May").await;
    let scope = json!({"user": "ann", "session": "monday"});
    let open = api.post("/v1/ask", &json!({"prompt": QUESTION, "scope": scope})).await.ok(200);
    assert_eq!(open["results"], json!([]));
    assert_eq!(
        api.post("/v1/memories/search", &json!({"query": QUESTION, "scope": scope})).await.ok(200)["results"][0]["from"],
        "working"
    );
}

#[tokio::test]
async fn without_a_cache_a_question_is_always_open() {
    let api = Api::with(|settings| settings.short_term_provider = ShortTermProvider::None).await;
    api.remember(&json!({"text": "The launch is in May", "scope": {"user": "ann"}})).await;
    let open = ask(&api).await;
    assert_eq!(texts(&open, "results"), ["The launch is in May"]);
    let stored = api.post("/v1/cache/entries", &json!({"fill": open["fill"], "response": "In May."})).await.ok(200);
    assert_eq!(stored, json!({"id": null, "expires_at": null}));
}

#[tokio::test]
async fn an_answer_that_was_wrong_is_gone_at_once() {
    let api = Api::new().await;
    let entry = json!({"prompt": QUESTION, "response": "In May.", "scope": {"user": "ann"}});
    let id = api.post("/v1/cache/entries", &entry).await.ok(201)["id"].clone();
    let lookup = json!({"prompt": QUESTION, "scope": {"user": "ann"}});
    let say = |verdict: &str, user: &str| json!({"entry": id, "verdict": verdict, "scope": {"user": user}});
    let feedback = |body: Value| {
        let api = &api;
        async move { api.post("/v1/cache/feedback", &body).await.ok(200) }
    };
    assert_eq!(feedback(say("right", "ann")).await, json!({"verdict": "right", "removed": 0}));
    assert_eq!(feedback(say("wrong", "bob")).await, json!({"verdict": "wrong", "removed": 0}), "another's scope");
    assert_eq!(api.post("/v1/cache/lookup", &lookup).await.ok(200)["hit"], true);
    assert_eq!(feedback(say("wrong", "ann")).await, json!({"verdict": "wrong", "removed": 1}));
    assert_eq!(api.post("/v1/cache/lookup", &lookup).await.ok(200)["hit"], false);
    assert_eq!(feedback(say("wrong", "ann")).await["removed"], 0, "said again it changes nothing");
    let answer = api.post("/v1/cache/feedback", &say("unsure", "ann")).await;
    assert!(answer.problem().starts_with("400 invalid [verdict] "), "{}", answer.problem());
}
