//! The OpenAPI document against the interface that it describes, with tools and a client that others wrote.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod document;
mod examples;
#[path = "../mcp/packages.rs"]
mod packages;
mod page;
#[path = "../it/process.rs"]
#[expect(dead_code, reason = "the tests of the server use all of it")]
mod process;
mod python;
mod refusals;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use orchestra_api::config::Settings;
use orchestra_api::http::{document, router};
use orchestra_api::state::AppState;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

/// A route as the document describes it.
#[derive(Debug, Clone, Copy)]
struct Operation {
    path: &'static str,
    method: &'static str,
    described: &'static Value,
}

/// Every route of the document.
fn operations() -> Vec<Operation> {
    let paths = document()["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&'static String, &'static Value)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, described)| Operation { path, method, described })
    };
    paths.iter().flat_map(of_path).collect()
}

impl Operation {
    /// The parameters that stand in `place`.
    fn parameters(&self, place: &str) -> Vec<&'static Value> {
        let all = self.described["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|parameter| parameter["in"] == place).collect()
    }

    /// The path, with the examples of its parameters in it.
    fn filled(&self) -> String {
        self.parameters("path").into_iter().fold(self.path.to_owned(), |path, parameter| {
            path.replace(
                &format!("{{{}}}", parameter["name"].as_str().unwrap()),
                parameter["example"].as_str().unwrap(),
            )
        })
    }

    /// The body as JSON, if it takes one.
    fn body(&self) -> Option<&'static Value> {
        self.described["requestBody"]["content"].get("application/json")
    }

    /// Where in the document an answer's JSON is described.
    fn answer(&self, status: u16) -> Option<(String, &'static Value)> {
        let content = self.described["responses"].get(status.to_string())?["content"].as_object()?;
        let (media_type, described) = content.iter().find(|(media_type, _)| media_type.ends_with("json"))?;
        let escaped = |text: &str| text.replace('~', "~0").replace('/', "~1");
        let place = ["paths", &escaped(self.path), self.method, "responses", &status.to_string(), "content"].join("/");
        Some((format!("/{place}/{}/schema", escaped(media_type)), described))
    }
}

/// The router over a memory of its own.
struct Api {
    router: Router,
    _folder: TempDir,
}

/// An answer; what is no JSON is a text.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Api {
    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::for_data(folder.path());
        change(&mut settings);
        let state = AppState::open(&settings).await.unwrap();
        Self { router: router(state), _folder: folder }
    }

    async fn send(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method.to_uppercase().as_str()).uri(uri);
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}
