//! What turned out otherwise.

use axum::http::Method;
use orchestra_api::import::Format;
use serde_json::{Value, json};

use super::{Home, ann};

#[tokio::test]
async fn survives_reindex() {
    for mut home in Home::all().await {
        let acme = home.acme.clone();
        let fact = |text: &str| json!({"text": text, "kind": "semantic", "scope": ann()});
        // Former and later text, and how the one became the other.
        let cases = [
            ("replacement", "The dentist is Dr Moreau", Some("The dentist is Dr Ferrer")),
            ("polarity flip", "Ann eats mussels", Some("Ann does not eat mussels")),
            ("retraction", "Ann owns a sailing boat", None),
            ("partial supersession", "The course is on Monday in Nice", Some("The course is on Friday in Nice")),
            ("bounded validity", "Ann rents the loft", None),
        ];
        let mut ids = Vec::new();
        for (_, former, _) in &cases {
            let id = home.write(&acme, fact(former)).await;
            let cached =
                json!({"prompt": format!("{former}?"), "response": former, "scope": ann(), "depends_on": [id]});
            home.post(&acme, "/v1/cache/entries", cached).await.ok(201);
            ids.push(id);
        }
        for ((shape, former, later), id) in cases.iter().zip(&ids) {
            let path = format!("/v1/memories/{id}");
            match (*shape, later) {
                ("retraction", _) => drop(home.call(&acme, Method::DELETE, &path, &[], Value::Null).await.ok(200)),
                ("bounded validity", _) => {
                    let ended = json!({"valid_to": "2021-01-01T00:00:00Z"});
                    home.call(&acme, Method::PATCH, &path, &[], ended).await.ok(200);
                    home.write(&acme, fact("Ann rents the cellar")).await;
                }
                (_, Some(later)) => {
                    home.call(&acme, Method::PATCH, &path, &[], json!({"text": later})).await.ok(200);
                }
                _ => panic!("{shape} {former}"),
            }
        }
        home.consolidate(&acme, &ann()).await;
        home.restart().await;
        for ((shape, former, later), id) in cases.iter().zip(&ids) {
            let holds = later.or((*shape == "bounded validity").then_some("Ann rents the cellar"));
            assert!(!home.finds(&acme, former, former).await, "{} {shape}", home.store);
            if let Some(holds) = holds {
                assert!(home.finds(&acme, former, holds).await, "{} {shape}", home.store);
            }
            let history = home.get(&acme, &format!("/v1/memories/{id}/history")).await;
            if *shape == "retraction" {
                assert_eq!(history.status, 404);
            } else {
                let versions = history.ok(200)["versions"].as_array().unwrap().clone();
                assert_eq!((versions.len(), versions[0]["text"].as_str()), (2, Some(*former)), "{shape}");
            }
            let prompt = json!({"prompt": format!("{former}?"), "scope": ann()});
            assert_eq!(home.post(&acme, "/v1/cache/lookup", prompt).await.ok(200)["hit"], false, "{shape}");
        }
        // It was true then, and is found by who asks for then.
        let then = json!({"query": "what does Ann rent?", "scope": ann(), "valid_at": "2020-06-01T00:00:00Z"});
        assert!(home.post(&acme, "/v1/memories/search", then).await.ok(200).to_string().contains("rents the loft"));
    }
}

#[tokio::test]
async fn retraction_without_replacement() {
    for mut home in Home::all().await {
        let acme = home.acme.clone();
        let source = "{\"messages\": [{\"role\": \"user\", \"content\": \"I have a sister\"}, \
            {\"role\": \"user\", \"content\": \"I have a piano\"}]}\n";
        assert_eq!(home.import(Format::OpenaiChat, source).await.created, 2);
        home.write(&acme, json!({"text": "I have a sister", "kind": "semantic", "scope": ann()})).await;
        home.consolidate(&acme, &ann()).await;
        assert!(home.finds(&acme, "do I have a sister?", "I have a sister").await);
        // "I misspoke, I do not have a sister": by what it says, and with nothing in its place.
        let body = json!({"filter": {"text": "I have a sister"}, "scope": ann(), "reject": true});
        let receipt = home.post(&acme, "/v1/memories/forget", body).await.ok(200);
        assert_eq!(
            (receipt["forgotten"].as_array().unwrap().len(), &receipt["rejected"]),
            (2, &json!(1)),
            "{}",
            home.store
        );
        let sent = home.import(Format::OpenaiChat, source).await;
        assert_eq!((sent.created, sent.rejected + sent.refused_forgotten), (0, 1), "{}: {sent:?}", home.store);
        // The same turn under another name, as a copy of the conversation has it.
        let body = json!({"scope": ann(), "messages": [{"text": "I have a sister", "actor": "user"}]});
        assert_eq!(home.post(&acme, "/v1/sessions/copy/messages", body).await.refusal().1, "value_rejected");
        home.consolidate(&acme, &ann()).await;
        home.restart().await;
        let found = home.found(&acme, "do I have a sister?", &ann()).await;
        assert!(!found.to_string().contains("sister"), "{}: {found:#}", home.store);
        assert!(home.finds(&acme, "what do I have?", "I have a piano").await, "{}: the rest of the source", home.store);
        assert_eq!(home.everything(&acme).await.len(), 1, "nothing newer was needed");
    }
}
