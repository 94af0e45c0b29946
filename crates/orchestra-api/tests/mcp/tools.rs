//! What each tool takes, gives and refuses.

use serde_json::{Value, json};

use super::Api;

const NOBODY: &str = "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d";

/// Arguments that every tool accepts.
fn acceptable(tool: &str) -> Value {
    match tool {
        "remember" => json!({"text": "Ann prefers the window seat"}),
        "recall" => json!({"query": "window"}),
        "get" | "history" => json!({"id": NOBODY}),
        "update" => json!({"id": NOBODY, "text": "Ann prefers the aisle"}),
        "forget" => json!({"ids": [NOBODY]}),
        "session_append" => json!({"session": "monday", "messages": [{"text": "Hello"}]}),
        "session_read" => json!({"session": "monday"}),
        "cache_lookup" => json!({"prompt": "When?"}),
        "cache_store" => json!({"prompt": "When?", "response": "Now."}),
        "list" | "stats" => json!({}),
        other => panic!("{other} is new: give it arguments here"),
    }
}

#[tokio::test]
async fn every_tool_says_what_it_is_for() {
    let api = Api::new().await;
    let listed = api.rpc("tools/list", json!({})).await;
    insta::assert_snapshot!("tools", format!("{:#}", listed["result"]["tools"]));
}

#[tokio::test]
async fn every_answer_is_of_its_schema() {
    let api = Api::new().await;
    let id = api.remember("Ann prefers the window seat").await;
    let scope = json!({"user": "ann"});
    let calls = [
        ("remember", json!({"text": "The flight leaves at 9:40", "scope": scope, "idempotency_key": "k"})),
        ("recall", json!({"query": "where does Ann sit?", "scope": scope, "explain": true, "also": [{"agent": "a"}]})),
        ("get", json!({"id": id, "scope": scope})),
        (
            "list",
            json!({"scope": scope, "kind": "episodic", "limit": 1, "order": "newest", "filter": {"writer": "agent"}}),
        ),
        (
            "update",
            json!({"id": id, "scope": scope, "text": "Ann prefers the aisle", "valid_to": null, "expected_version": 1}),
        ),
        ("history", json!({"id": id})),
        ("session_append", json!({"session": "m", "scope": scope, "messages": [{"text": "Hi", "actor": "user"}]})),
        ("session_read", json!({"session": "m", "limit": 5})),
        ("cache_store", json!({"prompt": "Where?", "response": "There.", "scope": scope, "depends_on": [id]})),
        ("cache_lookup", json!({"prompt": "where?", "scope": scope})),
        ("forget", json!({"scope": scope, "ids": [id]})),
        ("stats", json!({"scope": scope})),
    ];
    let listed = api.rpc("tools/list", json!({})).await["result"]["tools"].clone();
    assert_eq!(calls.len(), listed.as_array().unwrap().len(), "every tool is called");
    for (name, arguments) in calls {
        let answer = api.ok(name, arguments).await;
        let tool = listed.as_array().unwrap().iter().find(|tool| tool["name"] == name).unwrap();
        fits(&answer, &tool["outputSchema"], name);
    }
}

/// Whether the value is of the schema, as far as our schemas go.
fn fits(value: &Value, schema: &Value, place: &str) {
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if kinds.contains(&"integer") && number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(kinds.is_empty() || kinds.contains(&is), "{place} is {value}, not {kinds:?}");
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{place} lacks {name}");
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            fits(value, member, &format!("{place}.{name}"));
        }
    }
    for item in value.as_array().into_iter().flatten().filter(|_| schema["items"].is_object()) {
        fits(item, &schema["items"], &format!("{place}[]"));
    }
}

#[tokio::test]
async fn a_memory_lives_through_the_tools() {
    let api = Api::new().await;
    let scope = json!({"user": "ann"});
    let id = api.remember("Ann prefers the window seat").await;
    let found = api.ok("recall", json!({"query": "where does Ann sit?", "scope": scope})).await;
    assert_eq!(found["results"][0]["id"], json!(id));
    let other = api.ok("recall", json!({"query": "where does Ann sit?", "scope": {"user": "bob"}})).await;
    assert_eq!(other["results"], json!([]));
    let stored = json!({"prompt": "Where?", "response": "At the window.", "scope": scope, "depends_on": [id]});
    api.ok("cache_store", stored).await;
    assert_eq!(api.ok("cache_lookup", json!({"prompt": "Where?", "scope": scope})).await["hit"], true);
    let changed = api.ok("update", json!({"id": id, "scope": scope, "text": "Ann prefers the aisle"})).await;
    assert_eq!(changed["version"], 2);
    let of = |version: u64| json!({"prompt": "Why?", "response": "So.", "scope": scope, "made_of": [{"id": id, "version": version}]});
    assert!(
        api.refused("cache_store", of(1)).await.starts_with("memories_changed"),
        "it was made of what is no longer so"
    );
    assert!(api.ok("cache_store", of(2)).await["id"].is_string());
    assert_eq!(api.ok("cache_lookup", json!({"prompt": "Where?", "scope": scope})).await["hit"], false);
    assert_eq!(api.ok("history", json!({"id": id})).await["versions"].as_array().unwrap().len(), 2);
    let would = api.ok("forget", json!({"scope": scope, "ids": [id], "dry_run": true})).await;
    assert_eq!((&would["dry_run"], &would["forgotten"]), (&json!(true), &json!([id])));
    api.ok("forget", json!({"scope": scope, "ids": [id]})).await;
    assert!(api.refused("get", json!({"id": id, "scope": scope})).await.starts_with("not_found"));
}

#[tokio::test]
async fn a_key_has_one_effect() {
    let api = Api::new().await;
    let arguments = json!({"text": "Only once", "scope": {"user": "ann"}, "idempotency_key": "trip 17"});
    let first = api.ok("remember", arguments.clone()).await;
    let again = api.ok("remember", arguments).await;
    assert_eq!((&again["id"], &again["replayed"]), (&first["id"], &json!(true)));
    let other = api.refused("remember", json!({"text": "Another", "idempotency_key": "trip 17"})).await;
    assert!(other.starts_with("idempotency_conflict [idempotency_key]"), "{other}");
}

#[tokio::test]
async fn a_refusal_names_the_argument() {
    let api = Api::new().await;
    let id = api.remember("Ann prefers the window seat").await;
    let calls = [
        ("remember", json!({})),
        ("remember", json!({"text": 7})),
        ("remember", json!({"text": "t", "scope": {"user": "a", "team": "b"}})),
        ("remember", json!({"text": "t", "idempotency_key": "a\nb"})),
        ("remember", json!({"text": "t", "idempotency_key": 17})),
        ("recall", json!({"query": "q", "limit": 0})),
        ("recall", json!({"query": "q", "filter": {"colour": "red"}})),
        ("get", json!({})),
        ("get", json!({"id": "seventeen"})),
        ("get", json!({"id": 17})),
        ("get", json!({"id": id, "scope": {"team": "b"}})),
        ("get", json!({"id": id, "scope": {"user": 7}})),
        ("get", json!({"id": id, "scope": "ann"})),
        ("list", json!({"limit": 1001})),
        ("list", json!({"order": "best"})),
        ("update", json!({"id": id})),
        ("update", json!({"id": id, "text": "t", "expected_version": 7})),
        ("update", json!({"id": id, "text": "t", "expected_version": "new"})),
        ("forget", json!({})),
        ("forget", json!({"ids": [id], "all": true})),
        ("session_append", json!({"session": "", "messages": [{"text": "t"}]})),
        ("session_append", json!({"session": "..", "messages": [{"text": "t"}]})),
        ("session_append", json!({"session": "m", "messages": [{"text": "t", "mood": "good"}]})),
        ("cache_lookup", json!({"prompt": "p", "threshold": 7})),
    ];
    let mut said = Vec::new();
    for (name, arguments) in calls {
        let shown = arguments.to_string().replace(&id, "ID");
        said.push(format!("{name} {shown}\n  {}", api.refused(name, arguments).await));
    }
    insta::assert_snapshot!(said.join("\n"));
    assert_eq!(api.ok("get", json!({"id": id})).await["version"], 1, "nothing was changed");
}

#[tokio::test]
async fn arguments_of_any_length_are_answered() {
    let api = Api::new().await;
    let long = "ä".repeat(30_000);
    for (name, arguments) in [
        ("list", json!({"filter": {"actor": long}})),
        ("session_read", json!({"session": long})),
        ("session_append", json!({"session": long, "messages": [{"text": "t"}]})),
        ("get", json!({"id": NOBODY, "scope": {"user": long}})),
    ] {
        let refused = api.refused(name, arguments).await;
        assert!(refused.starts_with("too_large [arguments]"), "{name}: {refused}");
    }
    assert!(api.refused("remember", json!({"text": "a".repeat(70_000)})).await.starts_with("too_large [text]"));
}

#[tokio::test]
async fn unknown_arguments_are_refused() {
    let api = Api::new().await;
    for tool in api.names().await {
        let mut arguments = acceptable(&tool);
        let accepted = api.tool(&tool, arguments.clone()).await;
        let text = accepted["content"][0]["text"].as_str().unwrap();
        assert!(accepted["isError"] == false || text.contains("not_found"), "{tool}: {accepted:#}");
        for name in ["colour", "user", "x-orchestra-writer", "cursor\u{0}"] {
            arguments[name] = "v".into();
            let refused = api.refused(&tool, arguments.clone()).await;
            assert!(refused.starts_with(&format!("unknown_field [{name}]")), "{tool}: {refused}");
            arguments.as_object_mut().unwrap().remove(name);
        }
    }
}

#[tokio::test]
async fn tenant_from_identity() {
    let api = Api::new().await;
    for tool in api.names().await {
        let mut arguments = acceptable(&tool);
        arguments["tenant"] = "other".into();
        let refused = api.refused(&tool, arguments.clone()).await;
        assert!(refused.starts_with("tenant_from_identity [tenant]"), "{tool}: {refused}");
        arguments.as_object_mut().unwrap().remove("tenant");
        arguments["scope"] = json!({"user": "ann", "tenant": "other"});
        let refused = api.refused(&tool, arguments).await;
        assert!(refused.starts_with("tenant_from_identity ["), "{tool}: {refused}");
    }
    assert_eq!(api.ok("stats", json!({})).await["store"]["memories"], 0);
}

#[tokio::test]
async fn the_path_says_who_wrote_it() {
    let api = Api::new().await;
    let id = api.remember("Ann prefers the window seat").await;
    let expected = json!({"writer": "agent", "path": "mcp"});
    assert_eq!(api.get(&format!("/v1/memories/{id}")).await["origin"], expected);
    api.ok("session_append", json!({"session": "m", "messages": [{"text": "Hi", "actor": "user"}]})).await;
    assert_eq!(api.get("/v1/sessions/m/messages").await["messages"][0]["origin"], expected);
    for member in ["origin", "writer", "path"] {
        let mut arguments = json!({"text": "The user said so"});
        arguments[member] = json!({"writer": "user", "path": "http"});
        assert!(api.refused("remember", arguments).await.starts_with("unknown_field"), "{member}");
    }
}
