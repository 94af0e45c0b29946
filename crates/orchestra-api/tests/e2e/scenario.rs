//! What an agent does in a day, the same on every set-up.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, texts, until};
use crate::setup::Setup;

pub async fn run(setup: &Setup) {
    let server = setup.serve("acme").await;
    let client = &server.client;
    until("every tier is ready", async || {
        let tiers = client.get("/readyz").await.ok(200);
        tiers["short_term"]["status"] != "away" && tiers["medium_term"]["status"] == "ready"
    })
    .await;
    let kept = a_memory_is_written_recalled_changed_and_forgotten(client).await;
    pages_follow_one_another(client).await;
    a_write_is_seen_by_the_search_that_asks_for_it(client).await;
    one_key_has_one_effect(client).await;
    a_session_keeps_its_turns(client).await;
    if setup.keeps_sessions {
        a_conversation_goes_on_and_is_kept(client).await;
    } else {
        let window = client.get("/v1/sessions/friday/working").await;
        assert_eq!(window.problem(501), "no_working_memory");
    }
    if setup.caches {
        an_answer_is_served_to_its_question_only(client).await;
        a_correction_reaches_the_cache(client).await;
    } else {
        let lookup = client.post("/v1/cache/lookup", json!({"prompt": "Where is the office?"})).await.ok(200);
        assert_eq!(lookup["hit"], false);
    }
    server.stop().await;
    another_tenant_sees_nothing(setup, &kept).await;
    let server = setup.serve("acme").await;
    let memory = server.client.get(&kept).await.ok(200);
    assert_eq!(memory["text"], "Ann likes black tea", "what was acknowledged is there after a restart");
    if setup.keeps_sessions {
        let window = server.client.get("/v1/sessions/friday/working?user=ann").await.ok(200);
        assert_eq!(window["messages"][0]["content"], "Still there?");
    }
    server.stop().await;
}

/// Gives the path of a memory that is left.
async fn a_memory_is_written_recalled_changed_and_forgotten(client: &Client) -> String {
    let body = json!({"text": "Ann likes green tea", "scope": {"user": "ann"}, "kind": "semantic", "metadata": {"topic": "drinks"}});
    let added = client.post("/v1/memories", body).await.ok(201);
    let path = format!("/v1/memories/{}", added["id"].as_str().unwrap());
    let gone = json!({"text": "Ann's flight to Lisbon leaves at 9:40", "scope": {"user": "ann"}});
    let gone = client.post("/v1/memories", gone).await.ok(201);
    client.post("/v1/memories", json!({"text": "Bob likes coffee", "scope": {"user": "bob"}})).await.ok(201);

    let found = recall(client, "What does Ann like to drink?", json!({"user": "ann"})).await;
    assert_eq!(texts(&found, "results")[0], "Ann likes green tea");
    assert!(!texts(&found, "results").contains(&"Bob likes coffee"), "{found:#}");

    let read = client.get(&path).await;
    assert_eq!(read.etag.as_deref(), Some("\"1\""));
    assert_eq!(read.ok(200)["metadata"], json!({"topic": "drinks"}));
    let change = Some(json!({"text": "Ann likes black tea"}));
    let changed = client.send(Method::PATCH, &path, &[("if-match", "\"1\"")], change.clone()).await;
    assert_eq!(changed.etag.as_deref(), Some("\"2\""));
    changed.ok(200);
    let stale = client.send(Method::PATCH, &path, &[("if-match", "\"1\"")], change).await;
    assert_eq!(stale.problem(412), "version_conflict");
    let history = client.get(&format!("{path}/history")).await.ok(200);
    assert_eq!(texts(&history, "versions"), ["Ann likes green tea", "Ann likes black tea"]);

    let forgotten = format!("/v1/memories/{}", gone["id"].as_str().unwrap());
    assert_eq!(client.delete(&forgotten).await.ok(200)["forgotten"], json!([gone["id"]]));
    assert_eq!(client.get(&forgotten).await.problem(404), "not_found");
    let again = json!({"text": "the flight", "id": gone["id"]});
    assert_eq!(client.post("/v1/memories", again).await.problem(410), "forgotten");
    path
}

async fn recall(client: &Client, query: &str, scope: Value) -> Value {
    client.post("/v1/memories/search", json!({"query": query, "scope": scope})).await.ok(200)
}

async fn pages_follow_one_another(client: &Client) {
    for letter in ["a", "b", "c", "d", "e"] {
        client.post("/v1/memories", json!({"text": letter, "scope": {"user": "letters"}})).await.ok(201);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/memories?user=letters&limit=2".to_owned();
    loop {
        let page = client.get(&path).await.ok(200);
        seen.extend(texts(&page, "memories").into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/memories?user=letters&limit=2&cursor={next}");
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
}

async fn a_write_is_seen_by_the_search_that_asks_for_it(client: &Client) {
    for at in 0..20 {
        let text = format!("The parcel number {at} is in the cellar");
        let added = client.post("/v1/memories", json!({"text": text, "scope": {"user": "parcels"}})).await.ok(201);
        let search = json!({"query": text, "scope": {"user": "parcels"}, "limit": 50, "at_least": added["token"]});
        let found = client.post("/v1/memories/search", search).await.ok(200);
        assert!(texts(&found, "results").contains(&&*text), "{found:#}");
    }
}

async fn one_key_has_one_effect(client: &Client) {
    let write = async |text: &str| {
        let body = Some(json!({"text": text, "scope": {"user": "keys"}}));
        client.send(Method::POST, "/v1/memories", &[("idempotency-key", "key-1")], body).await
    };
    let first = write("once").await.ok(201);
    let replayed = write("once").await.ok(201);
    assert_eq!((&replayed["id"], &replayed["replayed"]), (&first["id"], &json!(true)));
    assert_eq!(write("twice").await.problem(409), "idempotency_conflict");
    assert_eq!(texts(&client.get("/v1/memories?user=keys").await.ok(200), "memories"), ["once"]);
}

async fn a_session_keeps_its_turns(client: &Client) {
    let turns = json!({"scope": {"user": "ann"}, "messages": [
        {"role": "user", "content": "Which colour shall we take?"},
        {"role": "assistant", "content": "Blue or green?"},
    ]});
    client.post("/v1/sessions/monday/messages", turns).await.ok(201);
    let turn = json!({"scope": {"user": "ann"}, "messages": [{"role": "user", "content": "The blue one"}]});
    client.post("/v1/sessions/monday/messages", turn).await.ok(201);
    let page = client.get("/v1/sessions/monday/messages?user=ann").await.ok(200);
    assert_eq!(texts(&page, "messages"), ["Which colour shall we take?", "Blue or green?", "The blue one"]);
    let receipt = client.delete("/v1/sessions/monday/messages?user=ann").await.ok(200);
    assert_eq!(receipt["forgotten"].as_array().unwrap().len(), 3);
    let page = client.get("/v1/sessions/monday/messages?user=ann").await.ok(200);
    assert_eq!(page["messages"], json!([]));
}

async fn a_conversation_goes_on_and_is_kept(client: &Client) {
    let path = "/v1/sessions/friday/working";
    let append = async |role: &str, content: &str, key: &str| {
        let body = json!({"scope": {"user": "dora"}, "messages": [{"role": role, "content": content}]});
        client.send(Method::POST, path, &[("idempotency-key", key)], Some(body)).await.ok(201)
    };
    let said =
        [("system", "Be brief."), ("user", "My desk is on the third floor"), ("assistant", "Noted: third floor")];
    for (at, (role, content)) in said.into_iter().enumerate() {
        assert_eq!(append(role, content, &at.to_string()).await["last"], at + 1);
    }
    let replayed = append("user", said[1].1, "1").await;
    assert_eq!((&replayed["last"], &replayed["replayed"]), (&json!(2), &json!(true)));
    let window = client.get(&format!("{path}?user=dora&limit=2")).await.ok(200);
    let shown: Vec<_> = window["messages"].as_array().unwrap().iter().map(|message| &message["content"]).collect();
    assert_eq!(shown, [said[1].1, said[2].1]);
    assert_eq!((&window["total"], &window["truncated"]), (&json!(3), &json!(true)));
    assert_eq!(client.get(&format!("{path}?user=ann")).await.ok(200)["total"], 0);

    let promote = async || client.post(&format!("{path}/promote"), json!({"scope": {"user": "dora"}})).await.ok(200);
    let receipt = promote().await;
    assert_eq!(receipt["promoted"].as_array().unwrap().len(), 2, "{receipt:#}");
    let search = json!({"query": "Which floor?", "scope": {"user": "dora"}, "at_least": receipt["token"]});
    let found = client.post("/v1/memories/search", search).await.ok(200);
    let mut kept = texts(&found, "results");
    kept.sort_unstable();
    assert_eq!(kept, [said[1].1, said[2].1]);
    until("a second promotion finds what the first one wrote", async || {
        let again = promote().await;
        again["already"] == 2 && again["promoted"] == json!([])
    })
    .await;

    let all = json!({"scope": {"user": "dora"}, "all": true});
    let forgotten = client.post("/v1/memories/forget", all).await.ok(200);
    assert_eq!((forgotten["forgotten"].as_array().unwrap().len(), &forgotten["working_messages"]), (2, &json!(3)));
    assert_eq!(client.get(&format!("{path}?user=dora")).await.ok(200)["total"], 0);
    // Another server of another tenant looks for this one.
    let body = json!({"scope": {"user": "ann"}, "messages": [{"role": "user", "content": "Still there?"}]});
    client.post(path, body).await.ok(201);
}

async fn lookup(client: &Client, prompt: &str, user: &str) -> Value {
    let body = json!({"prompt": prompt, "model": "m", "scope": {"user": user}});
    client.post("/v1/cache/lookup", body).await.ok(200)
}

async fn an_answer_is_served_to_its_question_only(client: &Client) {
    let entry = json!({
        "prompt": "How do I turn on dark mode in the dashboard?", "response": "Open Settings.", "model": "m",
        "scope": {"user": "ann"},
    });
    let stored = client.post("/v1/cache/entries", entry).await.ok(201);
    assert!(stored["id"].is_string(), "{stored:#}");
    let exact = lookup(client, "how do I turn on DARK MODE in the dashboard", "ann").await;
    assert_eq!((&exact["kind"], &exact["response"]), (&json!("exact"), &json!("Open Settings.")), "{exact:#}");
    let similar = lookup(client, "How can I turn on dark mode in the dashboard?", "ann").await;
    assert_eq!((&similar["hit"], &similar["kind"]), (&json!(true), &json!("semantic")), "{similar:#}");
    let opposite = lookup(client, "How do I turn off dark mode in the dashboard?", "ann").await;
    assert_eq!(opposite["hit"], false, "{opposite:#}");
    let others = lookup(client, "How do I turn on dark mode in the dashboard?", "bob").await;
    assert_eq!(others["hit"], false, "{others:#}");
    let removed = client.post("/v1/cache/invalidate", json!({"entry": stored["id"], "scope": {"user": "ann"}})).await;
    assert_eq!(removed.ok(200)["removed"], 1);
    let after = lookup(client, "How do I turn on dark mode in the dashboard?", "ann").await;
    assert_eq!(after["hit"], false, "{after:#}");
}

async fn a_correction_reaches_the_cache(client: &Client) {
    let memory = json!({"text": "The office is in Lyon", "scope": {"user": "ann"}});
    let id = client.post("/v1/memories", memory).await.ok(201)["id"].clone();
    let path = format!("/v1/memories/{}", id.as_str().unwrap());
    let question = "Where is the office?";
    // A follower that comes to the former correction only now takes what was filed since along: then it is filed again.
    let file = async || {
        for _ in 0..3 {
            let entry = json!({"prompt": question, "response": "In Lyon", "model": "m", "scope": {"user": "ann"}, "depends_on": [id]});
            client.post("/v1/cache/entries", entry).await.ok(201);
            if lookup(client, question, "ann").await["depends_on"] == json!([id]) {
                return;
            }
        }
        panic!("an answer that is filed is not found");
    };
    file().await;
    client.send(Method::PATCH, &path, &[], Some(json!({"text": "The office is in Lille"}))).await.ok(200);
    assert_eq!(lookup(client, question, "ann").await["hit"], false, "the memory was updated");
    file().await;
    // Whoever comes first removes it: the call that forgets, which counts it, or the follower.
    let removed = client.delete(&path).await.ok(200)["cache_entries"].as_u64().unwrap();
    assert!(removed <= 1, "{removed}");
    assert_eq!(lookup(client, question, "ann").await["hit"], false, "the memory was forgotten");
}

async fn another_tenant_sees_nothing(setup: &Setup, memory: &str) {
    let server = setup.serve("globex").await;
    let client = &server.client;
    assert_eq!(client.get(memory).await.problem(404), "not_found");
    assert_eq!(client.get("/v1/memories").await.ok(200)["memories"], json!([]));
    assert_eq!(recall(client, "What does Ann like to drink?", json!({})).await["results"], json!([]));
    let change = Some(json!({"text": "Ann likes nothing"}));
    assert_eq!(client.send(Method::PATCH, memory, &[], change).await.problem(404), "not_found");
    assert_eq!(client.delete(memory).await.ok(200)["forgotten"], json!([]));
    if setup.keeps_sessions {
        assert_eq!(client.get("/v1/sessions/friday/working?user=ann").await.ok(200)["total"], 0);
        assert_eq!(client.post("/v1/memories/forget", json!({"all": true})).await.ok(200)["working_messages"], 0);
    }
    server.stop().await;
}
