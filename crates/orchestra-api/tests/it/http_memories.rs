//! `/v1/memories`.

use axum::http::Method;
use serde_json::json;

use crate::{Api, send, texts};

#[tokio::test]
async fn a_memory_is_written_read_changed_and_forgotten() {
    let api = Api::new().await;
    let body = json!({
        "text": "Ann likes green tea", "scope": {"user": "ann", "agent": "helper"}, "kind": "semantic", "actor": "Ann",
        "metadata": {"topic": "drinks", "cups": 2.5}, "importance": 0.75, "valid_from": "2025-06-01T01:00:00Z",
    });
    let answer = api.post("/v1/memories", &body).await;
    let location = answer.header("location").unwrap().to_owned();
    let added = answer.ok(201);
    assert_eq!((&added["status"], &added["replayed"]), (&json!("created"), &json!(false)));
    assert!(added["token"].is_string());
    assert_eq!(location, format!("/v1/memories/{}", added["id"].as_str().unwrap()));

    let answer = api.get(&location).await;
    assert_eq!(answer.header("etag"), Some("\"1\""));
    let mut memory = answer.ok(200);
    memory["id"] = json!("…");
    assert!(memory["recorded_at"].is_string());
    memory["recorded_at"] = json!("…");
    assert_eq!(
        memory,
        json!({
            "id": "…", "version": 1, "scope": {"user": "ann", "agent": "helper"}, "kind": "semantic", "tier": "long_term",
            "text": "Ann likes green tea", "actor": "Ann", "metadata": {"topic": "drinks", "cups": 2.5}, "importance": 0.75,
            "origin": {"writer": "agent", "path": "http"}, "evidence": [], "valid_from": "2025-06-01T01:00:00Z",
            "valid_to": null, "recorded_at": "…", "superseded_at": null, "expires_at": null,
        })
    );

    let answer = api
        .patch(
            &location,
            &[("if-match", "\"1\"")],
            &json!({"text": "Ann likes black tea", "expires_at": "2999-01-01T00:00:00Z"}),
        )
        .await;
    assert_eq!(answer.header("etag"), Some("\"2\""));
    let updated = answer.ok(200);
    assert_eq!(
        (&updated["text"], &updated["version"], &updated["importance"]),
        (&json!("Ann likes black tea"), &json!(2), &json!(0.75))
    );
    assert!(updated["token"].is_string());
    let stale = api.patch(&location, &[("if-match", "\"1\"")], &json!({"importance": 1})).await;
    assert!(stale.problem().starts_with("412 version_conflict [If-Match]"), "{}", stale.problem());
    let updated = api.patch(&location, &[], &json!({"expires_at": null})).await.ok(200);
    assert_eq!((&updated["expires_at"], &updated["version"]), (&json!(null), &json!(3)));

    let history = api.get(&format!("{location}/history")).await.ok(200);
    assert_eq!(texts(&history, "versions"), ["Ann likes green tea", "Ann likes black tea", "Ann likes black tea"]);

    let dry = api.delete(&format!("{location}?dry_run=true")).await.ok(200);
    assert_eq!((&dry["forgotten"], &dry["dry_run"]), (&json!([added["id"]]), &json!(true)));
    assert_eq!(api.get(&location).await.status, 200);
    let receipt = api.delete(&location).await.ok(200);
    assert_eq!((&receipt["forgotten"], &receipt["dry_run"]), (&json!([added["id"]]), &json!(false)));
    assert!(api.get(&location).await.problem().starts_with("404 not_found"));
    assert!(api.get(&format!("{location}/history")).await.problem().starts_with("404 not_found"));
    assert_eq!(api.delete(&location).await.ok(200)["forgotten"], json!([]), "forgetting twice is no error");
    let again = json!({"text": "Ann likes green tea", "id": added["id"]});
    assert!(api.post("/v1/memories", &again).await.problem().starts_with("410 forgotten [id]"));
}

#[tokio::test]
async fn a_batch_is_written_whole_or_not_at_all() {
    let api = Api::new().await;
    let batch = json!({"memories": [{"text": "one"}, {"text": "two", "ttl_seconds": 3600}, {"text": "three"}]});
    let receipt = api.post("/v1/memories", &batch).await.ok(201);
    assert_eq!(receipt["items"].as_array().unwrap().len(), 3);
    assert!(receipt["items"].as_array().unwrap().iter().all(|item| item["status"] == "created"));
    let bad = json!({"memories": [{"text": "four"}, {"text": " "}]});
    assert!(api.post("/v1/memories", &bad).await.problem().starts_with("400 invalid [memories[1].text]"));
    let page = api.get("/v1/memories").await.ok(200);
    assert_eq!(texts(&page, "memories"), ["one", "two", "three"]);
    assert_eq!(page["next"], json!(null));
    assert!(page["memories"][1]["expires_at"].is_string());
}

#[tokio::test]
async fn pages_follow_one_another() {
    let api = Api::new().await;
    for text in ["a", "b", "c", "d", "e"] {
        let kind = if text < "c" { "semantic" } else { "episodic" };
        api.remember(&json!({"text": text, "kind": kind, "scope": {"user": "ann"}, "metadata": {"letter": text}}))
            .await;
    }
    let mut seen = Vec::new();
    let mut uri = "/v1/memories?limit=2&order=newest".to_owned();
    loop {
        let page = api.get(&uri).await.ok(200);
        seen.extend(texts(&page, "memories").into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => uri = format!("/v1/memories?limit=2&order=newest&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["e", "d", "c", "b", "a"]);
    let found = |uri: &'static str| async { texts(&api.get(uri).await.ok(200), "memories").join("") };
    assert_eq!(found("/v1/memories?kind=semantic").await, "ab");
    assert_eq!(found("/v1/memories?user=ann&filter=%7B%22metadata.letter%22:%7B%22gte%22:%22b%22%7D%7D").await, "bcde");
    assert_eq!(
        found("/v1/memories?kind=episodic&filter={%22metadata.letter%22:{%22in%22:[%22a%22,%22d%22]}}").await,
        "d"
    );
    assert_eq!(found("/v1/memories?user=bob").await, "");
}

#[tokio::test]
async fn a_scope_of_another_user_sees_nothing() {
    let api = Api::new().await;
    let id = api.remember(&json!({"text": "a secret", "scope": {"user": "ann"}})).await;
    assert_eq!(api.get(&format!("/v1/memories/{id}?user=ann")).await.status, 200);
    assert_eq!(api.get(&format!("/v1/memories/{id}?user=bob")).await.status, 404);
    assert_eq!(api.patch(&format!("/v1/memories/{id}?user=bob"), &[], &json!({"importance": 1})).await.status, 404);
    assert_eq!(api.delete(&format!("/v1/memories/{id}?user=bob")).await.ok(200)["forgotten"], json!([]));
    assert_eq!(api.get(&format!("/v1/memories/{id}")).await.status, 200);
}

#[tokio::test]
async fn one_key_has_one_effect() {
    let api = Api::new().await;
    let key = [("idempotency-key", "k-1")];
    let body = json!({"text": "written once"}).to_string();
    let all = (0..8).map(|_| {
        let (router, body) = (api.router.clone(), body.clone());
        tokio::spawn(async move { send(&router, Method::POST, "/v1/memories", &key, body).await.ok(201) })
    });
    let mut answers = Vec::new();
    for answer in all.collect::<Vec<_>>() {
        answers.push(answer.await.unwrap());
    }
    assert!(answers.iter().all(|answer| answer["id"] == answers[0]["id"]), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer["replayed"] == false).count(), 1);
    assert_eq!(api.get("/v1/memories").await.ok(200)["memories"].as_array().unwrap().len(), 1);

    let other = json!({"text": "another body"}).to_string();
    let conflict = send(&api.router, Method::POST, "/v1/memories", &key, other).await;
    assert!(conflict.problem().starts_with("409 idempotency_conflict [Idempotency-Key]"), "{}", conflict.problem());
    let elsewhere = json!({"messages": [{"text": "written once"}]}).to_string();
    let conflict = send(&api.router, Method::POST, "/v1/sessions/s/messages", &key, elsewhere).await;
    assert_eq!(conflict.status, 409);
}

#[tokio::test]
async fn the_callers_own_id_is_kept() {
    let api = Api::new().await;
    let id = "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d";
    let body = json!({"text": "mine", "id": id});
    assert_eq!(api.post("/v1/memories", &body).await.ok(201)["status"], "created");
    assert_eq!(api.post("/v1/memories", &body).await.ok(201)["status"], "unchanged");
    let taken = api.post("/v1/memories", &json!({"text": "another", "id": id})).await;
    assert!(taken.problem().starts_with("409 id_taken [id]"), "{}", taken.problem());
}

#[tokio::test]
async fn the_path_assigns_the_writer_and_a_header_only_lowers_it() {
    let api = Api::new().await;
    for (header, writer) in
        [(None, "agent"), (Some("agent"), "agent"), (Some("tool"), "tool"), (Some("import"), "import")]
    {
        let headers: Vec<_> = header.map(|header| ("x-orchestra-writer", header)).into_iter().collect();
        let body = json!({"text": format!("by {header:?}")}).to_string();
        let added = send(&api.router, Method::POST, "/v1/memories", &headers, body).await.ok(201);
        let memory = api.get(&format!("/v1/memories/{}", added["id"].as_str().unwrap())).await.ok(200);
        assert_eq!(memory["origin"], json!({"writer": writer, "path": "http"}));
    }
    for header in ["user", "consolidation", "root"] {
        let answer =
            send(&api.router, Method::POST, "/v1/memories", &[("x-orchestra-writer", header)], "{\"text\":\"x\"}")
                .await;
        assert!(answer.problem().starts_with("400 invalid [X-Orchestra-Writer]"), "{}", answer.problem());
    }
}

#[tokio::test]
async fn a_vector_comes_and_goes_with_its_model() {
    let api = Api::new().await;
    let id = api.remember(&json!({"text": "Ann plays the cello"})).await;
    let page = api.get("/v1/memories?with_embeddings=true").await.ok(200);
    let embedding = &page["memories"][0]["embedding"];
    let model = embedding["model"].as_str().unwrap();
    assert!(model.starts_with("static-256@"), "{model}");
    let values = embedding["values"].as_array().unwrap();
    assert!(api.get("/v1/memories").await.ok(200)["memories"][0].get("embedding").is_none());
    for (given, status) in [
        (json!(values), 201),
        (json!({"model": "static-256", "values": values}), 201),
        (json!({"model": model, "values": values}), 201),
        (json!({"model": "static-256@other/256", "values": values}), 400),
        (json!({"model": "gpt", "values": values}), 400),
    ] {
        let answer = api.post("/v1/memories", &json!({"text": "the same vector", "embedding": given})).await;
        assert_eq!(answer.status, status, "{:#}", answer.body);
        if status == 400 {
            assert!(answer.problem().starts_with("400 space_mismatch [embedding]"), "{}", answer.problem());
        }
    }
    let search = json!({"query": "zzz", "embedding": values, "limit": 1, "explain": true});
    let found = api.post("/v1/memories/search", &search).await.ok(200);
    assert!(found["results"][0]["why"]["similarity"].as_f64().unwrap() > 0.999, "{found:#}");
    let patch = json!({"text": "Ann plays the viola", "embedding": {"model": "gpt", "values": values}});
    assert_eq!(api.patch(&format!("/v1/memories/{id}"), &[], &patch).await.status, 400);
}

#[tokio::test]
async fn forgetting_takes_exactly_what_was_selected() {
    let api = Api::new().await;
    let mut ids = Vec::new();
    for (text, user, topic) in [("one", "ann", "x"), ("two", "ann", "y"), ("three", "bob", "x"), ("four", "bob", "y")] {
        ids.push(api.remember(&json!({"text": text, "scope": {"user": user}, "metadata": {"topic": topic}})).await);
    }
    let forget = |body: serde_json::Value| {
        let api = &api;
        async move { api.post("/v1/memories/forget", &body).await.ok(200) }
    };
    let dry = forget(json!({"all": true, "dry_run": true})).await;
    assert_eq!((dry["forgotten"].as_array().unwrap().len(), &dry["token"]), (4, &json!(null)));
    let receipt = forget(json!({"scope": {"user": "ann"}, "ids": [ids[0], ids[2]]})).await;
    assert_eq!(receipt["forgotten"], json!([ids[0]]), "bob's is out of scope");
    let receipt = forget(json!({"filter": {"metadata.topic": "y"}})).await;
    assert_eq!(receipt["forgotten"].as_array().unwrap().len(), 2);
    assert_eq!(texts(&api.get("/v1/memories").await.ok(200), "memories"), ["three"]);
    forget(json!({"all": true})).await;
    assert_eq!(api.get("/v1/memories").await.ok(200)["memories"], json!([]));
}

#[tokio::test]
async fn what_was_forgotten_does_not_come_back_by_import() {
    let api = Api::new().await;
    let id = api.remember(&json!({"text": "my old address", "scope": {"user": "ann"}})).await;
    api.delete(&format!("/v1/memories/{id}")).await.ok(200);
    let body = json!({"memories": [{"text": "my old address", "scope": {"user": "ann"}}, {"text": "new", "scope": {"user": "ann"}}]});
    let receipt =
        send(&api.router, Method::POST, "/v1/memories", &[("x-orchestra-writer", "import")], body.to_string())
            .await
            .ok(201);
    let statuses: Vec<_> = receipt["items"].as_array().unwrap().iter().map(|item| item["status"].clone()).collect();
    assert_eq!(statuses, ["refused_forgotten", "created"]);
}

#[tokio::test]
async fn the_speaker_and_the_date_are_read_from_metadata_where_they_are_not_given() {
    let api = Api::new().await;
    let metadata = json!({"speaker": "Caroline", "session_date": "1:56 pm on 8 May, 2023", "dia_id": "D1:3"});
    let hinted = api.post("/v1/memories", &json!({"text": "I moved", "metadata": metadata})).await.ok(201);
    let given = json!({"text": "I moved", "metadata": metadata, "actor": "Ann", "valid_from": "2020-01-01T00:00:00Z"});
    let given = api.post("/v1/memories", &given).await.ok(201);
    for (added, actor, valid_from) in
        [(hinted, "Caroline", "2023-05-08T13:56:00Z"), (given, "Ann", "2020-01-01T00:00:00Z")]
    {
        let memory = api.get(&format!("/v1/memories/{}", added["id"].as_str().unwrap())).await.ok(200);
        assert_eq!((&memory["actor"], &memory["valid_from"]), (&json!(actor), &json!(valid_from)));
        assert_eq!(memory["metadata"], metadata, "the metadata stays as it is");
    }
}
