//! Values that were rejected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use memory_core::{Clock as _, MemoryId, MemoryStore as _, Scope, TieredMemoryManager};
use memory_testkit::TestClock;
use orchestra_api::client::Client;
use orchestra_api::config::Settings;
use orchestra_api::http::router_for_owner;
use orchestra_api::import::Format;
use orchestra_api::state::AppState;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use serde_json::{Value, json};

use super::{Home, Who, ann, texts};

const VALUE: &str = "I live in Lisbon";
const NEIGHBOUR: &str = "I work in Lisbon";

/// Tries to walk the value back to trusted by every ordinary operation. Nothing of it may be stored.
async fn launder(home: &Home, who: &Who) {
    let refused = async |method: Method, path: &str, header: &[(&str, &str)], body: Value| {
        let answer = home.call(who, method, path, header, body).await;
        assert_eq!(answer.refusal().1, "value_rejected", "{} {path}: {answer:?}", home.store);
    };
    // Superseded by another value, which is restated as the original, and corroborated.
    let successor = home.write(who, json!({"text": "I live in Porto", "kind": "semantic", "scope": ann()})).await;
    refused(Method::PATCH, &format!("/v1/memories/{successor}"), &[], json!({"text": VALUE})).await;
    for (writer, evidence) in [("agent", json!([])), ("tool", json!([successor])), ("mcp", json!([successor]))] {
        let body = json!({"text": VALUE, "kind": "semantic", "scope": ann(), "evidence": evidence, "importance": 1.0});
        refused(Method::POST, "/v1/memories", &[("x-orchestra-writer", writer)], body).await;
    }
    let body = json!({"text": VALUE, "scope": {"user": "ann", "session": "another"}, "id": uuid::Uuid::now_v7()});
    refused(Method::POST, "/v1/memories", &[], body).await;
    let body = json!({"scope": ann(), "messages": [{"text": VALUE, "actor": "user"}]});
    refused(Method::POST, "/v1/sessions/monday/messages", &[], body).await;
    home.consolidate(who, &ann()).await;
    let all = home.everything(who).await;
    assert!(all.iter().all(|memory| memory["text"] != VALUE), "{}: {all:#?}", home.store);
    assert!(!home.finds(who, VALUE, VALUE).await);
    home.post(who, "/v1/memories/forget", json!({"ids": [successor], "scope": ann()})).await.ok(200);
}

async fn rejections(home: &Home, who: &Who) -> Vec<Value> {
    home.get(who, "/v1/rejections?user=ann").await.ok(200)["rejections"].as_array().unwrap().clone()
}

#[tokio::test]
async fn laundering_sequence() {
    for mut home in Home::all().await {
        let acme = home.acme.clone();
        let id = home.remember(&acme, VALUE).await;
        home.remember(&acme, NEIGHBOUR).await;
        home.reject(&acme, &[&id]).await;
        let rejected = rejections(&home, &acme).await;
        assert_eq!(rejected.len(), 1);
        launder(&home, &acme).await;
        home.restart().await;
        launder(&home, &acme).await;
        assert_eq!(home.get(&acme, &format!("/v1/memories/{id}")).await.status, 404, "the original is still inactive");
        assert_eq!(rejections(&home, &acme).await, rejected, "{}: its rejection is intact", home.store);
        assert!(home.finds(&acme, NEIGHBOUR, NEIGHBOUR).await, "the neighbour is recalled");
        // Only an administrator ends it, and then the value is one as any other.
        let path = format!("/v1/rejections/{}", rejected[0]["key"].as_str().unwrap());
        assert_eq!(home.call(&home.globex, Method::DELETE, &path, &[], Value::Null).await.ok(200)["lifted"], false);
        assert_eq!(home.call(&acme, Method::DELETE, &path, &[], Value::Null).await.ok(200)["lifted"], true);
        home.remember(&acme, VALUE).await;
        assert!(home.finds(&acme, VALUE, VALUE).await);
    }
}

/// On a clock of its own, years on. `a_rejection_survives_expiry_and_pruning` is the same of every store by itself.
#[tokio::test]
async fn survives_ttl_and_prune() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let settings = Settings::for_data(folder.path());
    let config = || EmbeddedConfig {
        clock: Arc::new(clock.clone()),
        sweep_every: Duration::from_millis(50),
        ..EmbeddedConfig::new(folder.path().join("memory.db"))
    };
    let open = async || {
        let store = EmbeddedProvider::open(config()).await.unwrap();
        let embedder = Arc::new(embedders::StaticEmbedder::built_in());
        let manager = TieredMemoryManager::builder(clock.clone(), || MemoryId::from(uuid::Uuid::now_v7()))
            .medium_term_provider(Arc::new(store.clone()))
            .short_term_provider(Arc::new(store.clone()))
            .embedder(embedder.clone())
            .cache_embedder(embedder)
            .build()
            .unwrap();
        let state = AppState::new(manager, settings.clone()).unwrap();
        (store, Client::local(router_for_owner(state)))
    };
    let (store, client) = open().await;
    let add = async |client: &Client, text: &str, expires_at: Option<&str>| {
        let body = json!({"text": text, "scope": ann(), "kind": "semantic", "expires_at": expires_at});
        client.post("/v1/memories", &body).await
    };
    let id = add(&client, VALUE, None).await.unwrap()["id"].clone();
    add(&client, NEIGHBOUR, None).await.unwrap();
    // Those of no user are outside of what was rejected.
    let soon = (clock.now() + chrono::TimeDelta::days(1)).to_rfc3339();
    add(&client, "I am in Lisbon today", Some(&soon)).await.unwrap();
    client.post("/v1/memories/forget", &json!({"ids": [id], "scope": ann(), "reject": true})).await.unwrap();
    clock.advance(Duration::from_secs(20 * 365 * 24 * 3600));
    // The sweep takes out of the file what has expired.
    let tenant = Scope::tenant("default").unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_swept = async || {
        let history = std::fs::read(folder.path().join("memory.db")).unwrap();
        !String::from_utf8_lossy(&history).contains("Lisbon today")
    };
    while !is_swept().await {
        assert!(Instant::now() < deadline, "the sweep did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.stats(&tenant).await.unwrap().memories, 1);
    client.post("/v1/consolidate", &json!({"scope": ann()})).await.unwrap();
    store.close().await.unwrap();
    drop((store, client));
    let (_store, client) = open().await;
    for text in [VALUE, "i live in LISBON!"] {
        let refused = add(&client, text, None).await.unwrap_err();
        assert_eq!(&*refused.code, "value_rejected");
        let body = json!({"text": text, "scope": ann()});
        let header = [("x-orchestra-writer", "import")];
        let imported = client.call(Method::POST, "/v1/memories", Some(&body), &header);
        assert_eq!(imported.await.unwrap()["status"], "refused_rejected");
    }
    let found = client.post("/v1/memories/search", &json!({"query": "Lisbon", "scope": ann()})).await.unwrap();
    assert_eq!(texts(&found, "results"), [NEIGHBOUR], "what was not rejected is recalled");
}

#[tokio::test]
async fn key_normalization_attack() {
    const SECRET: &str = "The vault code is tangerine 7";
    const PARAPHRASE: &str = "To open the vault, say tangerine and seven";
    for home in Home::all().await {
        let acme = &home.acme;
        let id = home.remember(acme, SECRET).await;
        home.reject(acme, &[&id]).await;
        for (attack, variant) in [
            ("look-alikes", "Тhе vаult соdе is tаngеrinе 7"),
            ("capital look-alikes", "ТНЕ VАULТ СОDЕ ІЅ ТАNGЕRІNЕ 7"),
            ("Greek look-alikes", "The νault cοde is tangerine 7"),
            ("full width", "Ｔｈｅ ｖａｕｌｔ ｃｏｄｅ is tangerine ７"),
            ("mathematical letters", "The 𝘃𝗮𝘂𝗹𝘁 𝗰𝗼𝗱𝗲 is tangerine 𝟕"),
            ("case", "THE VAULT CODE IS TANGERINE 7"),
            ("white space", "  The\tvault\u{a0}code\n\n is\u{3000}tangerine  7 "),
            ("punctuation", "The vault code is: \"tangerine\" (7)!"),
            ("invisible characters", "The v\u{200b}ault c\u{ad}ode is tan\u{2060}gerine 7\u{feff}"),
            ("tags", "The vault code is tangerine\u{e0073} 7"),
            ("direction", "\u{202e}The vault code is tangerine 7\u{202c}"),
            ("all at once", " ТHЕ\u{200b}\u{2003}ᴠａult—cοdе: is «TANGERINE» ⑦ "),
        ] {
            let refused = home.post(acme, "/v1/memories", json!({"text": variant, "scope": ann()})).await;
            if attack == "all at once" && refused.status == 201 {
                panic!("{}: {attack} was written", home.store);
            }
            assert_eq!(refused.refusal(), (409, "value_rejected", "text"), "{} {attack}", home.store);
        }
        // The other side of the line: what means the same in other words, and what only looks near.
        for passes in [PARAPHRASE, "The vault code is tangerine 8", "The code of the vault is tangerine 7"] {
            home.remember(acme, passes).await;
            assert!(home.finds(acme, passes, passes).await, "{} {passes}", home.store);
        }
    }
}

/// The product's extraction: sentences that last are kept out of turns, and conversations are imported.
async fn extract_again(home: &Home, who: &Who) -> Vec<Value> {
    for (session, text) in [
        ("monday", "Well. I live in Lisbon. I am allergic to dust. Bye!"),
        ("tuesday", "So. I LIVE in Lisbon! I always drink tea."),
    ] {
        let turn = json!({"text": text, "kind": "message", "actor": "user", "ttl_seconds": 86_400.0,
            "scope": {"user": "ann", "session": session}});
        home.write(who, turn).await;
    }
    let conversation = json!({"messages": [
        {"role": "user", "content": VALUE},
        {"role": "user", "content": "I have a brother"},
        {"role": "user", "content": "i live in  lisbon"},
    ]});
    let sent = home.import(Format::OpenaiChat, &format!("{conversation}\n")).await;
    assert_eq!((sent.created, sent.rejected), (1, 2), "{}: what was rejected is counted", home.store);
    home.consolidate(who, &ann()).await
}

#[tokio::test]
async fn reextraction_stays_inactive() {
    for home in Home::all().await {
        let acme = &home.acme;
        let id = home.write(acme, json!({"text": VALUE, "kind": "semantic", "scope": ann()})).await;
        home.reject(acme, &[&id]).await;
        let steps = extract_again(&home, acme).await;
        let all = home.everything(acme).await;
        let says = |text: &str| {
            all.iter().filter(|memory| memory["text"].as_str().unwrap().to_lowercase().starts_with(text)).count()
        };
        assert_eq!(says("i live in lisbon"), 0, "{}: {all:#?}", home.store);
        let promoted =
            |text: &str| steps.iter().find(|step| step["result"]["text"].as_str().unwrap().starts_with(text));
        assert_eq!(promoted("I am allergic").unwrap()["outcome"], "done", "{steps:#?}");
        assert_eq!(promoted("I always drink").unwrap()["outcome"], "done", "{steps:#?}");
        assert_eq!((says("i am allergic to dust"), says("i always drink tea"), says("i have a brother")), (1, 1, 1));
        for text in ["I am allergic to dust.", "I always drink tea.", "I have a brother"] {
            assert!(home.finds(acme, text, text).await, "{}: {text} is active", home.store);
        }
    }
}

/// Consulted: a write that carries the value is refused. Nothing lands on what was rejected, and nothing is hidden at a read.
#[tokio::test]
async fn no_second_memory_unit() {
    for home in Home::all().await {
        let acme = &home.acme;
        let id = home.write(acme, json!({"text": VALUE, "kind": "semantic", "scope": ann()})).await;
        // Closed long ago, in another session, in another spelling: the same value all the same.
        home.write(acme, json!({"text": "I live in Lisbon!", "scope": {"user": "ann", "session": "monday"}})).await;
        home.write(acme, json!({"text": "i LIVE in Lisbon", "scope": ann(), "valid_to": "2020-01-01T00:00:00Z"})).await;
        home.remember(acme, NEIGHBOUR).await;
        let path = format!("/v1/memories/{id}?reject=true&dry_run=true&user=ann");
        let trial = home.call(acme, Method::DELETE, &path, &[], Value::Null).await.ok(200);
        assert_eq!((trial["forgotten"].as_array().unwrap().len(), &trial["rejected"]), (3, &json!(1)), "{trial:#}");
        assert_eq!(home.everything(acme).await.len(), 4, "a dry run changes nothing");
        assert!(rejections(&home, acme).await.is_empty());
        let path = format!("/v1/memories/{id}?reject=true&user=ann");
        let receipt = home.call(acme, Method::DELETE, &path, &[], Value::Null).await.ok(200);
        assert_eq!(receipt["forgotten"].as_array().unwrap().len(), 3, "all that says it goes: {receipt:#}");
        let units = |all: &[Value]| -> Vec<String> {
            let carries = |memory: &&Value| {
                memory["text"].as_str().unwrap().to_lowercase().trim_end_matches(['!', '.']) == VALUE.to_lowercase()
            };
            all.iter().filter(carries).map(|memory| memory["id"].to_string()).collect()
        };
        let before = home.everything(acme).await;
        assert_eq!((before.len(), units(&before).len()), (1, 0), "{}", home.store);
        let answer = home.post(acme, "/v1/memories", json!({"text": VALUE, "scope": ann()})).await;
        assert_eq!(answer.refusal(), (409, "value_rejected", "text"), "consulted: the write is refused");
        extract_again(&home, acme).await;
        let after = home.everything(acme).await;
        // Two turns, which are the evidence, what was promoted out of them, and what was imported.
        assert_eq!((after.len(), units(&after).len()), (1 + 2 + 2 + 1, 0), "{}: {after:#?}", home.store);
        assert!(after.contains(&before[0]), "what is around it is as it was");
        assert!(home.finds(acme, NEIGHBOUR, NEIGHBOUR).await);
        let rejected = rejections(&home, acme).await;
        assert_eq!(rejected.len(), 1, "nothing was counted on it");
        assert!(!format!("{rejected:?}").to_lowercase().contains("lisbon"), "the list does not say it");
    }
}
