//! The OpenAPI document of the interface, made of the route table, of the types on the wire, and of what each resource
//! says about its routes in its own `openapi.rs`.

mod operation;
mod parameter;
mod schemas;
mod text;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::StatusCode;
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::admission::Route;
use super::{
    ask, cache, consolidate, docs, feedback, memories, operations, rejections, replica, search, sessions, usage,
    working,
};
use crate::error::{Document, PROBLEM_JSON, codes};
use crate::identity::{Need, Permission};

pub use operation::Operation;
use operation::{Content, Resource};
pub use parameter::{
    Parameter, dry_run, if_match, kind_and_filter, memory_id, page, reject, rejection_key, scope, session_id,
    stream_name, user_and_agent, with_embeddings, writing,
};
use schemas::{Schemas, in_plain_words};

/// The memory of the examples.
pub const EXAMPLE_ID: &str = "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d";

/// The name of the one security scheme.
const API_KEY: &str = "apiKey";

/// The document of this program's routes.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| made_of(&super::table(), &resources()));
    &DOCUMENT
}

/// What there is, in the order in which it is shown. A route's own words are in the `openapi.rs` of its resource.
fn resources() -> Vec<Resource> {
    let resource = |name, about, operations| Resource { name, about, operations };
    let mut memory = memories::openapi::operations();
    memory.extend(search::openapi::operations());
    let mut answers = ask::openapi::operations();
    answers.extend(cache::openapi::operations());
    answers.extend(feedback::openapi::operations());
    let mut operator = operations::openapi::operations();
    operator.extend(usage::openapi::operations());
    vec![
        resource("Memories", "What is remembered: written, recalled, corrected, forgotten.", memory),
        resource("Sessions", "The turns of a conversation.", sessions::openapi::operations()),
        resource("Cache", "Answers that were given, for questions that mean the same.", answers),
        resource("Working memory", "A conversation that goes on.", working::openapi::operations()),
        resource("Rejections", "Values that are not written again.", rejections::openapi::operations()),
        resource("Consolidation", "What is said many times, put together.", consolidate::openapi::operations()),
        resource("Move", "The whole store, for whoever moves it.", replica::openapi::operations()),
        resource("Operations", "What the operator asks.", operator),
        resource("Documentation", "This interface.", docs::operations()),
    ]
}

fn made_of(table: &[Route], resources: &[Resource]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for resource in resources {
        for operation in &resource.operations {
            let Some(route) = table.iter().find(|route| route.operation == operation.route) else { continue };
            let described = described(route, resource.name, operation, &mut schemas);
            paths.entry(route.path).or_default().insert(route.method.as_str().to_lowercase(), described);
        }
    }
    let problem = schemas.answered.subschema_for::<Document<'static>>();
    debug_assert_eq!(problem.as_value()["$ref"], "#/components/schemas/Problem");
    let tags: Vec<Value> =
        resources.iter().map(|resource| json!({"name": resource.name, "description": resource.about})).collect();
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Orchestra Memory",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "One memory for AI agents: what happened, what is true, and the answers that were given.",
            "description": include_str!("openapi/about.md"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas.merged(),
            "headers": parameter::headers(),
            "securitySchemes": {API_KEY: {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "om_…",
                "description": "An API key, made by `orchestra keys create`. A server on its own machine asks for none \
                                until there is one.",
            }},
        },
    })
}

fn described(route: &Route, tag: &str, operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut described = json!({
        "operationId": operation.id(),
        "tags": [tag],
        "summary": operation.summary,
        "security": security(route.need),
        "responses": responses(route, operation, schemas),
    });
    if !operation.description.is_empty() {
        described["description"] = operation.description.into();
    }
    if !operation.parameters.is_empty() {
        let parameters = operation.parameters.iter().map(|parameter| parameter.document(&mut schemas.sent));
        described["parameters"] = parameters.collect();
    }
    if let Some(body) = &operation.body {
        described["requestBody"] = json!({"required": true, "content": content(body, &mut schemas.sent)});
    }
    described
}

/// What a caller shows. Beside each there is nothing: a server may ask for no keys.
fn security(need: Need) -> Value {
    match need {
        Need::Nothing => json!([]),
        Need::Identity => json!([{API_KEY: []}, {}]),
        Need::Permission(permission) | Need::NothingOnLoopback(permission) => {
            json!([{API_KEY: [permission.name()]}, {}])
        }
    }
}

fn content(content: &Content, generator: &mut SchemaGenerator) -> Value {
    let mut schema = (content.schema)(generator);
    in_plain_words(&mut schema);
    let mut described = json!({"schema": schema});
    if !content.examples.is_empty() {
        let examples = content.examples.iter().map(|(name, value)| {
            let name = name.to_string();
            (name.replace(' ', "_"), json!({"summary": name, "value": value}))
        });
        described["examples"] = Value::Object(examples.collect());
    }
    json!({content.media_type: described})
}

fn responses(route: &Route, operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut responses = Map::new();
    for answer in &operation.answers {
        let headers = std::iter::once("X-Request-Id").chain(answer.headers.iter().copied());
        let limited = asks_who(route.need).then_some("RateLimit");
        responses.insert(
            answer.status.as_str().into(),
            json!({
                "description": answer.about,
                "headers": header_references(headers.chain(limited)),
                "content": content(&answer.content, &mut schemas.answered),
            }),
        );
    }
    for (status, codes) in refusals(route, operation) {
        responses.insert(status.to_string(), refusal(status, &codes));
    }
    responses.sort_keys();
    Value::Object(responses)
}

fn asks_who(need: Need) -> bool {
    match need {
        Need::Nothing => false,
        Need::Identity | Need::Permission(_) | Need::NothingOnLoopback(_) => true,
    }
}

/// The codes with which a route refuses, by status.
fn refusals(route: &Route, operation: &Operation) -> BTreeMap<u16, Vec<&'static codes::Code>> {
    let mut names = operation::usual_refusals(operation, &route.method, asks_who(route.need));
    // Only what may change the store can find it full or needs a model's answer to be kept.
    if matches!(route.need, Need::Permission(Permission::Write)) && operation.body.is_some() {
        names.push("storage_full");
    }
    names.extend(&operation.refusals);
    names.sort_unstable();
    names.dedup();
    let mut by_status: BTreeMap<u16, Vec<&codes::Code>> = BTreeMap::new();
    for name in names {
        let code = codes::find(name).unwrap_or_else(|| panic!("{name} is not in error/codes.rs"));
        by_status.entry(code.status).or_default().push(code);
    }
    by_status
}

fn refusal(status: u16, codes: &[&codes::Code]) -> Value {
    let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error");
    let lines: Vec<String> = codes.iter().map(|code| format!("- `{}`: {}", code.name, code.meaning)).collect();
    let own = match status {
        401 | 403 => Some("WWW-Authenticate"),
        409 | 429 | 503 => Some("Retry-After"),
        _ => None,
    };
    json!({
        "description": format!("{title}\n\n{}", lines.join("\n")),
        "headers": header_references(std::iter::once("X-Request-Id").chain(own)),
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        "x-codes": codes.iter().map(|code| code.name).collect::<Vec<_>>(),
    })
}

fn header_references<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    let reference = |name: &str| (name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
    Value::Object(names.map(reference).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_documented_once_and_nothing_else_is() {
        let table = crate::http::table();
        let resources = resources();
        let said: Vec<&str> =
            resources.iter().flat_map(|resource| &resource.operations).map(|operation| operation.route).collect();
        for route in &table {
            let Route { method, path, operation, .. } = route;
            let times = said.iter().filter(|name| *name == operation).count();
            assert_eq!(
                times, 1,
                "{method} {path}: its resource's openapi.rs says {times} times what {operation:?} does"
            );
        }
        for name in said {
            assert!(table.iter().any(|route| route.operation == name), "there is no route {name:?}");
        }
    }
}
