//! What is derived, and what it was derived from.

use axum::http::Method;
use orchestra_api::import::Format;
use serde_json::{Value, json};

use super::{Home, ann, texts};

/// A turn of a conversation that will expire, from which consolidation keeps what lasts.
fn passing_turn(text: &str) -> Value {
    json!({"text": text, "kind": "message", "actor": "user", "ttl_seconds": 86_400.0,
        "scope": {"user": "ann", "session": "monday"}})
}

fn fact(text: &str) -> Value {
    json!({"text": text, "kind": "semantic", "scope": ann()})
}

#[tokio::test]
async fn claim_resolves_to_source() {
    for home in Home::all().await {
        let acme = &home.acme;
        for text in ["The kitchen light is blue", "The kitchen light is blue!", "The garage code is 77"] {
            home.write(acme, fact(text)).await;
        }
        home.write(acme, passing_turn("We talked for long. I am allergic to kitchen dust. Good night!")).await;
        home.import(Format::Markdown, "# Kitchen\n\n- The kitchen window sticks\n").await;
        home.consolidate(acme, &ann()).await;
        let arguments = json!({"query": "kitchen light dust window garage", "scope": ann(), "limit": 50});
        let injected = home.tool(acme, "recall", arguments).await;
        let claims = injected["structuredContent"]["results"].as_array().unwrap();
        let mut derived = 0;
        for claim in claims {
            let id = claim["id"].as_str().unwrap();
            assert!(injected["content"][0]["text"].as_str().unwrap().contains(id), "the prompt names {id}");
            let evidence = claim["evidence"].as_array().unwrap();
            if claim["origin"]["writer"] != "consolidation" {
                continue;
            }
            assert!(!evidence.is_empty(), "an orphan: {claim:#}");
            derived += 1;
            let mut said = Vec::new();
            for source in evidence {
                let path = format!("/v1/memories/{}", source.as_str().unwrap());
                said.push(home.get(acme, &path).await.ok(200)["text"].as_str().unwrap().to_owned());
            }
            let claim = claim["text"].as_str().unwrap();
            assert!(said.iter().any(|source| source.contains(claim)), "{claim:?} is said by none of {said:?}");
        }
        assert_eq!(derived, 2, "what was merged and what was promoted reached the prompt: {claims:#?}");
        assert!(claims.len() >= 4, "and what was written and imported: {claims:#?}");
    }
}

#[tokio::test]
async fn source_delete_reaches_derived() {
    for home in Home::all().await {
        let acme = &home.acme;
        let ask = |text: &str| json!({"prompt": text, "scope": ann()});
        let mut sources = Vec::new();
        for (light, allergy) in [("blue", "dust"), ("green", "wool")] {
            let fact_id = home.write(acme, fact(&format!("The {light} room is warm"))).await;
            home.write(acme, fact(&format!("The {light} room is warm!"))).await;
            let turn = home.write(acme, passing_turn(&format!("Oh dear. I am allergic to {allergy}. Bye!"))).await;
            let said = json!({"text": format!("Ann painted a room in {light}"), "scope": ann(), "evidence": [fact_id]});
            let by_hand = home.write(acme, said).await;
            let again = json!({"text": format!("Ann paints with {light}"), "scope": ann(), "evidence": [by_hand]});
            let second = home.write(acme, again).await;
            home.call(acme, Method::PATCH, &format!("/v1/memories/{second}"), &[], json!({"importance": 0.9}))
                .await
                .ok(200);
            let question = format!("Which room is {light}?");
            let cached = json!({"prompt": question, "response": light, "scope": ann(), "depends_on": [by_hand]});
            home.post(acme, "/v1/cache/entries", cached).await.ok(201);
            sources.push((light, allergy, fact_id, turn, by_hand, second, question));
        }
        home.consolidate(acme, &ann()).await;
        let derived_of = async |id: &str| -> Vec<String> {
            let all = home.everything(acme).await;
            let names = |memory: &&Value| memory["evidence"].as_array().unwrap().contains(&json!(id));
            all.iter().filter(names).map(|memory| memory["id"].as_str().unwrap().to_owned()).collect()
        };
        let (blue, green) = (&sources[0], &sources[1]);
        let (merged, promoted) = (derived_of(&blue.2).await, derived_of(&blue.3).await);
        assert_eq!((merged.len(), promoted.len()), (2, 1), "{}", home.store);
        let before = home.everything(acme).await;
        for id in [&blue.2, &blue.3] {
            home.call(acme, Method::DELETE, &format!("/v1/memories/{id}"), &[], Value::Null).await.ok(200);
        }
        // Kind by kind: merged, promoted, derived by hand, and what was derived from that, with its history.
        for id in merged.iter().chain(&promoted).chain([&blue.2, &blue.3, &blue.4, &blue.5]) {
            for path in [format!("/v1/memories/{id}"), format!("/v1/memories/{id}/history")] {
                assert_eq!(home.get(acme, &path).await.status, 404, "{} {path}", home.store);
            }
        }
        // Its words, its vector, and the answer that used it.
        for query in ["painted in blue", "Ann paints with blue", "allergic to dust"] {
            let found = home.found(acme, query, &ann()).await;
            let gone = texts(&found, "results")
                .into_iter()
                .filter(|text| text.contains("paint") && text.contains("blue") || text.contains("dust"));
            assert_eq!(gone.count(), 0, "{query}: {found:#}");
        }
        assert_eq!(home.post(acme, "/v1/cache/lookup", ask(&blue.6)).await.ok(200)["hit"], false);
        // The sibling and all that was derived from it, as they were.
        let after = home.everything(acme).await;
        let of_sibling = |all: &[Value]| -> Vec<Value> {
            all.iter()
                .filter(|memory| ["green", "wool"].iter().any(|word| memory.to_string().contains(word)))
                .cloned()
                .collect()
        };
        assert_eq!(of_sibling(&after), of_sibling(&before), "{}", home.store);
        assert!(of_sibling(&after).len() >= 6);
        assert_eq!(home.post(acme, "/v1/cache/lookup", ask(&green.6)).await.ok(200)["response"], "green");
        assert!(home.finds(acme, "Ann paints with green", "Ann paints with green").await);
    }
}

/// What is retained is what nobody derived. Brought into a memory that holds nothing else, it gives the same again.
#[tokio::test]
async fn rebuild_from_retained() {
    for home in Home::all().await {
        let acme = &home.acme;
        let [room, pet] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(|token| token.simple().to_string());
        home.write(acme, fact(&format!("The code of the room is {room}"))).await;
        home.write(acme, fact(&format!("The code of the room is {room}!"))).await;
        home.write(acme, passing_turn(&format!("Hello. I am allergic to {pet}. Bye!"))).await;
        home.consolidate(acme, &ann()).await;
        let derived = |all: &[Value]| -> Vec<(String, Vec<Value>)> {
            let is_derived = |memory: &&Value| memory["origin"]["path"].as_str().unwrap().starts_with("consolidation");
            let mut texts: Vec<_> = all
                .iter()
                .filter(is_derived)
                .map(|memory| {
                    (memory["text"].as_str().unwrap().to_owned(), memory["evidence"].as_array().unwrap().clone())
                })
                .collect();
            texts.sort_by(|one, other| one.0.cmp(&other.0));
            texts
        };
        let first = derived(&home.everything(acme).await);
        assert_eq!(first.len(), 2, "{}: {first:#?}", home.store);

        // Retained: every line but those that consolidation wrote.
        let export = home.export().await;
        let retained: String = export
            .lines()
            .filter(|line| {
                let memory: Value = serde_json::from_str(line).unwrap();
                memory["origin"]["writer"] != "consolidation"
            })
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(retained.lines().count(), export.lines().count() - 2);
        let mut fresh = Home::embedded().await;
        assert_eq!(fresh.import(Format::Orchestra, &retained).await.created, 3);
        let fresh_acme = fresh.acme.clone();
        assert!(derived(&fresh.everything(&fresh_acme).await).is_empty(), "nothing derived came along");
        fresh.consolidate(&fresh_acme, &ann()).await;
        fresh.restart().await;
        assert_eq!(derived(&fresh.everything(&fresh_acme).await), first, "{}", home.store);
        for (query, token) in [("what is the code of the room?", &room), ("what is Ann allergic to?", &pet)] {
            let prompt = fresh.prompt(&fresh_acme, query, 10).await;
            assert!(prompt.contains(token.as_str()), "{}: {prompt}", home.store);
        }
    }
}
