//! What the document says is what there is.

use std::collections::BTreeSet;

use orchestra_api::config::Settings;
use orchestra_api::http::{document, needs};
use orchestra_api::identity::Need;
use serde_json::{Value, json};

use crate::{Api, operations};

fn nothing_else(_: &mut Settings) {}

#[test]
fn it_has_the_routes_of_the_table_with_their_needs_and_no_others() {
    let shown = |need: Need| match need {
        Need::Nothing => json!([]),
        Need::Identity => json!([{"apiKey": []}, {}]),
        Need::NothingOnLoopback(permission) | Need::Permission(permission) => {
            json!([{"apiKey": [permission.name()]}, {}])
        }
    };
    let routes: BTreeSet<String> = needs()
        .into_iter()
        .map(|(method, path, need)| format!("{} {path} {}", method.as_str().to_lowercase(), shown(need)))
        .collect();
    let described: BTreeSet<String> = operations()
        .iter()
        .map(|operation| format!("{} {} {}", operation.method, operation.path, operation.described["security"]))
        .collect();
    assert_eq!(routes, described);
}

#[test]
fn every_operation_can_be_called_by_a_name_of_its_own_and_is_explained() {
    let mut names = BTreeSet::new();
    for operation in operations() {
        let described = operation.described;
        assert!(names.insert(described["operationId"].as_str().unwrap()), "{operation:?} has another's name");
        assert!(described["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{operation:?}");
        if let Some(body) = operation.body() {
            assert!(body["examples"].as_object().is_some_and(|examples| !examples.is_empty()), "{operation:?}");
        }
    }
    assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document()["info"]["license"]["identifier"], "Apache-2.0");
}

/// Every member of every schema says what it is.
#[test]
fn every_member_is_explained() {
    fn visit(place: &str, schema: &Value) {
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}.{name}");
            let explained = member.get("description").is_some() || member.get("const").is_some();
            // The members of a variant are explained by the variant.
            assert!(explained || place.contains("Refused"), "{place} has no doc comment");
            visit(&place, member);
        }
        for part in ["anyOf", "oneOf"] {
            schema[part].as_array().into_iter().flatten().for_each(|one| visit(place, one));
        }
        if let Some(items) = schema.get("items") {
            visit(place, items);
        }
    }
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        visit(name, schema);
    }
}

#[tokio::test]
async fn its_parameters_are_those_that_a_route_takes() {
    let api = Api::with(nothing_else).await;
    for operation in operations() {
        // A route that reads no query ignores one: a probe's, and those that take all they need in the body.
        let reads = ["get", "delete", "patch"].contains(&operation.method);
        if !reads || operation.described["security"] == json!([]) {
            continue;
        }
        let uri = format!("{}?colour=red", operation.filled());
        let answer = api.send(operation.method, &uri, &[], "{\"text\": \"t\"}").await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("unknown_field")), "{operation:?}");
        let mut taken: Vec<&str> = answer.body["allowed"].as_str().unwrap().split(", ").collect();
        let mut described: Vec<&str> =
            operation.parameters("query").iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
        if described.is_empty() {
            described.push("no parameters");
        }
        taken.sort_unstable();
        described.sort_unstable();
        assert_eq!(described, taken, "{} {}", operation.method, operation.path);
    }
}

#[tokio::test]
async fn its_fields_are_those_that_a_route_takes() {
    let api = Api::with(nothing_else).await;
    for operation in operations() {
        let Some(body) = operation.body() else { continue };
        let schema = &body["schema"];
        let first = schema["anyOf"].get(0).unwrap_or(schema)["$ref"].as_str().unwrap();
        let properties = document().pointer(&format!("{}/properties", &first[1..])).unwrap().as_object().unwrap();
        let described: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        let answer = api.send(operation.method, &operation.filled(), &[], "{\"colour\": 1}").await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("unknown_field")), "{operation:?}");
        let allowed = answer.body["allowed"].as_str().unwrap().replace(" or ", ", ");
        let taken: BTreeSet<&str> = allowed.split(", ").collect();
        assert_eq!(described, taken, "{} {}", operation.method, operation.path);
    }
}
