//! What was forgotten, on every path that could bring it back.

use axum::http::Method;
use orchestra_api::import::Format;
use serde_json::{Value, json};

use super::{Home, ann};

#[tokio::test]
async fn absent_after_reindex_and_restart() {
    for mut home in Home::all().await {
        let acme = home.acme.clone();
        let token = format!("tok{}", uuid::Uuid::new_v4().simple());
        let (secret, sibling) = (format!("The spare key {token} is at Tom's"), "The spare bulbs are at Kim's");
        let batch = json!({"memories": [{"text": secret, "scope": ann()}, {"text": sibling, "scope": ann()}]});
        let items = home.post(&acme, "/v1/memories", batch).await.ok(201)["items"].clone();
        let [id, other] = [0, 1].map(|at| items[at]["id"].as_str().unwrap().to_owned());
        let patch = json!({"metadata": {"where": token}});
        home.call(&acme, Method::PATCH, &format!("/v1/memories/{id}"), &[], patch).await.ok(200);
        let derived = json!({"text": format!("Tom has {token}"), "scope": ann(), "evidence": [id]});
        home.write(&acme, derived).await;
        let cached =
            json!({"prompt": "where is the spare key?", "response": secret, "scope": ann(), "depends_on": [id]});
        home.post(&acme, "/v1/cache/entries", cached).await.ok(201);
        // Settled, and in the prompt.
        home.consolidate(&acme, &ann()).await;
        assert!(home.prompt(&acme, "where is the spare key?", 10).await.contains(&token));
        let known = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);

        let body = json!({"ids": [id], "scope": ann()});
        let receipt = home.post(&acme, "/v1/memories/forget", body).await.ok(200);
        assert_eq!(
            (receipt["forgotten"].as_array().unwrap().len(), receipt["derived"].as_array().unwrap().len()),
            (1, 1)
        );
        home.consolidate(&acme, &ann()).await;
        let (file, is_embedded, gone) = (home.file(), home.store == "embedded", token.clone());
        // The vectors and words of a file are made anew from its rows when it is opened; the file itself holds nothing of it.
        home.restart_after(|_| {
            if is_embedded {
                let bytes = std::fs::read(file).unwrap();
                let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
                assert!(!holds(&gone) && holds(sibling), "of what is in the file");
            }
        })
        .await;

        let export = home.export().await;
        assert!(!export.contains(&token) && export.contains(sibling), "{}: {export}", home.store);
        let search = |more: Value| {
            let mut body = json!({"query": format!("spare key {token} at Tom's"), "scope": ann(), "limit": 50});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        for more in [
            json!({}),
            json!({"as_of": known}),
            json!({"strategy": "rrf"}),
            json!({"also": [{}, {"user": "bob"}]}),
            json!({"valid_at": known}),
        ] {
            let found = home.post(&acme, "/v1/memories/search", search(more.clone())).await.ok(200);
            let said = found["results"].to_string();
            assert!(!said.contains(&token) && said.contains(sibling), "{} {more}: {found:#}", home.store);
        }
        let filtered = search(json!({"filter": {"metadata.where": token}}));
        assert_eq!(home.post(&acme, "/v1/memories/search", filtered).await.ok(200)["results"], json!([]));
        for path in [format!("/v1/memories/{id}"), format!("/v1/memories/{id}/history")] {
            assert_eq!(home.get(&acme, &path).await.status, 404);
        }
        for prompt in ["where is the spare key?", "where is that spare key?"] {
            let body = json!({"prompt": prompt, "scope": ann()});
            assert_eq!(home.post(&acme, "/v1/cache/lookup", body).await.ok(200)["hit"], false, "{}", home.store);
        }
        let prompt = home.prompt(&acme, "where is the spare key?", 10).await;
        assert!(!prompt.contains(&token) && prompt.contains(sibling), "{prompt}");
        for (tool, arguments) in [("list", json!({})), ("history", json!({"id": id})), ("get", json!({"id": id}))] {
            assert!(!home.tool(&acme, tool, arguments).await.to_string().contains(&token), "{tool}");
        }
        assert_eq!(home.get(&acme, &format!("/v1/memories/{other}")).await.ok(200)["text"], sibling);
        let lines = home.audit();
        let line = lines.iter().find(|line| line["operation"] == "memories.forget" && line["status"] == 200).unwrap();
        assert!(line["ids"].as_array().unwrap().contains(&json!(id)), "{line}");
        assert!(!format!("{lines:?}").contains(&token), "the audit log says who and what, and not what it said");
    }
}

#[tokio::test]
async fn absent_from_shared_copies() {
    for home in Home::all().await {
        let acme = &home.acme;
        let token = format!("tok{}", uuid::Uuid::new_v4().simple());
        let text = format!("The meeting is in room {token}");
        let original = home.write(acme, json!({"text": text, "kind": "semantic", "scope": ann()})).await;
        home.write(acme, json!({"text": format!("{text}!"), "kind": "semantic", "scope": ann()})).await;
        // Shared with another user, with an agent, with everybody, and from there on.
        let mut copies = Vec::new();
        for scope in [json!({"user": "bob"}), json!({"agent": "planner"}), json!({})] {
            copies.push(home.write(acme, json!({"text": text, "scope": scope, "evidence": [original]})).await);
        }
        let onwards = json!({"text": text, "scope": {"user": "kim"}, "evidence": [copies[0]]});
        copies.push(home.write(acme, onwards).await);
        home.write(acme, json!({"text": "Bob brings the cake", "scope": {"user": "bob"}})).await;
        home.write(acme, json!({"text": "The meeting has tea", "scope": {"user": "bob"}})).await;
        home.consolidate(acme, &ann()).await;
        let backup = home.export().await;
        assert!(backup.matches(&token).count() >= 6);
        for scope in [json!({"user": "bob"}), json!({"agent": "planner"}), json!({"user": "kim"})] {
            assert!(home.found(acme, &text, &scope).await.to_string().contains(&token), "shared with {scope}");
        }

        // The value of the original, in Ann's scope, with everything that was made of it.
        let receipt = home.reject(acme, &[&original]).await;
        let gone = receipt.to_string();
        assert!(copies.iter().all(|copy| gone.contains(copy)), "{}: {receipt:#}", home.store);
        let is_absent = async || {
            for scope in [ann(), json!({"user": "bob"}), json!({"agent": "planner"}), json!({"user": "kim"}), json!({})]
            {
                let found = home.found(acme, &text, &scope).await;
                assert!(!found.to_string().contains(&token), "{} {scope}: {found:#}", home.store);
            }
            assert!(!home.export().await.contains(&token), "{}", home.store);
        };
        is_absent().await;
        // The backup from before, as it is, and as one that gives the memories other ids.
        let sent = home.import(Format::Orchestra, &backup).await;
        assert_eq!(sent.created, 0, "{}: {sent:?}", home.store);
        let renamed: String = backup
            .lines()
            .map(|line| {
                let mut memory: Value = serde_json::from_str(line).unwrap();
                memory["id"] = json!(uuid::Uuid::now_v7());
                format!("{memory}\n")
            })
            .filter(|line| line.contains(&token))
            .collect();
        let sent = home.import(Format::Orchestra, &renamed).await;
        assert_eq!(sent.created, 0, "{}: {sent:?}", home.store);
        assert!(sent.rejected + sent.refused_forgotten >= 6, "{}: {sent:?}", home.store);
        home.consolidate(acme, &ann()).await;
        is_absent().await;
        let bobs = home.found(acme, "what does the meeting have?", &json!({"user": "bob"})).await;
        assert!(
            ["Bob brings the cake", "The meeting has tea"].iter().all(|own| bobs.to_string().contains(own)),
            "{bobs:#}"
        );
    }
}
