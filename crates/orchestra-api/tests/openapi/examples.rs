//! The examples of the document, sent to the interface.

use std::collections::BTreeSet;

use orchestra_api::http::document;
use serde_json::{Value, json};

use crate::{Api, Operation, operations};

/// What was sent or answered, and where the document describes it.
pub fn instance(place: impl Into<String>, what: impl Into<String>, value: &Value) -> Value {
    json!({"schema": place.into(), "what": what.into(), "value": value})
}

/// A memory in which the examples of a route find what they speak of.
async fn settled(route: &str) -> Api {
    let api = Api::with(|_| {}).await;
    let memory = document().pointer("/paths/~1v1~1memories~1{id}/get/parameters/0/example").unwrap();
    for (uri, body) in [
        (
            "/v1/memories",
            json!({"id": memory, "text": "Ann prefers the window seat", "kind": "semantic", "scope": {"user": "ann"},
                   "metadata": {"trip": "lisbon"}}),
        ),
        (
            "/v1/sessions/monday/messages",
            json!({"scope": {"user": "ann"}, "messages": [{"actor": "ann", "text": "Which seat did I book?"}]}),
        ),
        (
            "/v1/cache/entries",
            json!({"prompt": "When does the flight leave?", "response": "At 9:40.", "scope": {"user": "ann"}, "model": "m1",
                   "depends_on": [memory], "tags": ["travel"]}),
        ),
    ] {
        assert_eq!(api.send("post", uri, &[], body.to_string()).await.status, 201);
    }
    if route == "replica_write" {
        let body = json!({"epoch": 1, "writers": "mover"});
        assert_eq!(api.send("post", "/v1/replica/gate", &[], body.to_string()).await.status, 200);
    }
    if route.starts_with("replica_") && route != "replica_capture" {
        let body = json!({"stream": "to-green"});
        assert_eq!(api.send("post", "/v1/replica/streams", &[], body.to_string()).await.status, 200);
    }
    if route == "replica_changed" {
        let body = json!({"text": "Ann moved to Porto", "scope": {"user": "ann"}});
        assert_eq!(api.send("post", "/v1/memories", &[], body.to_string()).await.status, 201);
    }
    api
}

/// The requests of the examples: what each is called, and its body.
fn requests(operation: &Operation) -> Vec<(String, Option<&'static Value>)> {
    let name = operation.described["operationId"].as_str().unwrap();
    let Some(examples) = operation.body().and_then(|body| body["examples"].as_object()) else {
        return vec![(name.to_owned(), None)];
    };
    examples.iter().map(|(example, described)| (format!("{name}, {example}"), Some(&described["value"]))).collect()
}

/// The path with the examples of all parameters.
fn target(operation: &Operation) -> String {
    let encoded = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>()
    };
    let parameters = operation.parameters("query").into_iter().filter_map(|parameter| {
        let example = parameter.get("example")?;
        Some(format!("{}={}", parameter["name"].as_str().unwrap(), encoded(example)))
    });
    let query = parameters.collect::<Vec<_>>().join("&");
    if query.is_empty() { operation.filled() } else { format!("{}?{query}", operation.filled()) }
}

/// Sends every example and gives what was sent and answered.
pub async fn exchanged() -> Vec<Value> {
    let mut instances = Vec::new();
    for operation in operations() {
        for (name, body) in requests(&operation) {
            let api = settled(operation.described["operationId"].as_str().unwrap()).await;
            let text = body.map(Value::to_string).unwrap_or_default();
            let answer = api.send(operation.method, &target(&operation), &[], text).await;
            assert!((200..300).contains(&answer.status), "{name}: {} {:#}", answer.status, answer.body);
            assert!(answer.headers.contains_key("x-request-id"), "{name}");
            let described = &operation.described["responses"][answer.status.to_string()];
            assert!(described.is_object(), "{name}: {} is not in the document", answer.status);
            for header in ["etag", "location"] {
                let says =
                    described["headers"].as_object().unwrap().keys().any(|name| name.eq_ignore_ascii_case(header));
                let has = answer.headers.contains_key(header);
                assert!(says || !has, "{name}: {header} is not in the document");
                // A batch has no place of its own.
                assert!(has || !says || answer.body.get("items").is_some(), "{name}: {header} is not in the answer");
            }
            if let Some(body) = body {
                let place = format!("/paths/{}/{}", operation.path.replace('/', "~1"), operation.method);
                let place = format!("{place}/requestBody/content/application~1json/schema");
                instances.push(instance(place, format!("{name}, sent"), body));
            }
            let Some((place, content)) = operation.answer(answer.status) else {
                assert!(answer.body.is_string(), "{name} is answered with JSON that is not described");
                continue;
            };
            instances.push(instance(&place, format!("{name}, answered"), &answer.body));
            for (example, described) in content["examples"].as_object().into_iter().flatten() {
                instances.push(instance(&place, format!("{name}, the example {example}"), &described["value"]));
            }
        }
    }
    instances
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn every_example_is_accepted_and_answered_like_the_example_of_an_answer() {
    let exchanged = exchanged().await;
    let examples: Vec<&Value> =
        exchanged.iter().filter(|instance| instance["what"].as_str().unwrap().contains("the example")).collect();
    let answered: Vec<&Value> =
        exchanged.iter().filter(|instance| instance["what"].as_str().unwrap().ends_with(", answered")).collect();
    assert!(answered.len() > 25, "{}", answered.len());
    for answer in answered {
        if answer["schema"].as_str().unwrap().contains("openapi.json") {
            continue;
        }
        let alike = examples.iter().any(|example| {
            example["schema"] == answer["schema"] && members(&example["value"]) == members(&answer["value"])
        });
        assert!(alike, "{} has other members than each example: {:#}", answer["what"], answer["value"]);
    }
}
