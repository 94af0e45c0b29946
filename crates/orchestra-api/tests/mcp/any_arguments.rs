//! Whatever a model makes up, a tool answers or refuses, and never fails.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use super::Api;

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..2000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!("0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d")),
        Just(json!("2025-06-01T01:00:00Z")),
        Just(json!("../../v1/stats?limit=1#")),
        "(\\PC|[\n\r\u{0}%&=/]){0,12}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let key = prop_oneof![Just("user".to_owned()), Just("text".to_owned()), "[a-z]{0,4}"];
    leaf().prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..4).prop_map(|pairs| pairs.into_iter().collect()),
        ]
    })
}

#[test]
fn a_tool_answers_or_refuses_any_arguments() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = runtime.block_on(Api::new());
    let listed = runtime.block_on(api.rpc("tools/list", json!({})));
    // What each takes, of which every call gives some, and one that none takes.
    let tools: Vec<(String, Vec<String>)> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| {
            let names = tool["inputSchema"]["properties"].as_object().unwrap().keys().cloned();
            (tool["name"].as_str().unwrap().to_owned(), names.chain(["colour".to_owned()]).collect())
        })
        .collect();
    let (answered, refused) = (Cell::new(0), Cell::new(0));
    let call = (0..tools.len(), proptest::collection::vec((any::<prop::sample::Index>(), value()), 0..4));
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    let run = runner.run(&call, |(tool, given)| {
        let (name, known) = &tools[tool];
        let arguments: Map<String, Value> =
            given.into_iter().map(|(at, value)| (at.get(known).clone(), value)).collect();
        let result = runtime.block_on(api.tool(name, Value::Object(arguments.clone())));
        if result["isError"] == false {
            answered.set(answered.get() + 1);
            return Ok(());
        }
        refused.set(refused.get() + 1);
        let problem: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        let status = problem["status"].as_u64().unwrap();
        prop_assert!((400..500).contains(&status), "{name} {arguments:?}: {problem}");
        // A refusal is about an argument, never about a route that the arguments made up.
        prop_assert!(
            problem["code"] != "no_such_route" && problem["code"] != "method_not_allowed",
            "{arguments:?}: {problem}"
        );
        Ok(())
    });
    run.unwrap();
    // Far fewer than are to be expected of each (some 35 and 560), so that chance never decides.
    assert!(answered.get() > 5 && refused.get() > 200, "{} {}", answered.get(), refused.get());
}
