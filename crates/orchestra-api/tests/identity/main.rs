//! Who may call the server, what they may do, how much, and what is written down about it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod audit;
mod browser;
mod keys;
mod limits;
mod server;
mod tenant;
mod usage;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use memory_core::Scope;
use orchestra_api::config::Settings;
use orchestra_api::http::router;
use orchestra_api::identity::keyring::{self, NewKey};
use orchestra_api::state::AppState;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

/// How long a change of the keys file may take to count.
const DEADLINE: Duration = Duration::from_secs(20);

/// The router over a memory of its own, whose callers show keys.
struct Api {
    router: Router,
    state: AppState,
    folder: TempDir,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Api {
    /// One key for each tenant and list of scopes.
    async fn new<const N: usize>(keys: [(&str, &str); N]) -> (Self, [String; N]) {
        Self::with(keys, |_| {}).await
    }

    async fn with<const N: usize>(keys: [(&str, &str); N], change: impl FnOnce(&mut Settings)) -> (Self, [String; N]) {
        let folder = tempfile::tempdir().unwrap();
        let keys = keys.map(|(tenant, scopes)| new_key(&keys_file(folder.path()), tenant, scopes));
        let mut settings = Settings::for_data(folder.path());
        change(&mut settings);
        let state = AppState::open(&settings).await.unwrap();
        (Self { router: router(state.clone()), state, folder }, keys)
    }

    fn keys_file(&self) -> PathBuf {
        keys_file(self.folder.path())
    }

    async fn call(&self, key: &str, method: Method, uri: &str, body: Value) -> Answer {
        let authorization = format!("Bearer {key}");
        let headers = if key.is_empty() { vec![] } else { vec![("authorization", authorization.as_str())] };
        send(&self.router, method, uri, &headers, if body.is_null() { String::new() } else { body.to_string() }).await
    }

    async fn get(&self, key: &str, uri: &str) -> Answer {
        self.call(key, Method::GET, uri, Value::Null).await
    }

    async fn post(&self, key: &str, uri: &str, body: Value) -> Answer {
        self.call(key, Method::POST, uri, body).await
    }

    /// Asks until the answer is as expected: a change of the keys file counts within about a second.
    async fn until(&self, key: &str, status: u16) -> Answer {
        let begun = Instant::now();
        loop {
            let answer = self.get(key, "/v1/memories").await;
            if answer.status == status {
                return answer;
            }
            assert!(begun.elapsed() < DEADLINE, "still {}, not {status}: {:#}", answer.status, answer.body);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn keys_file(data: &Path) -> PathBuf {
    data.join("keys.json")
}

/// Makes a key without an end.
fn new_key(file: &Path, tenant: &str, scopes: &str) -> String {
    new_key_until(file, tenant, scopes, None)
}

fn new_key_until(file: &Path, tenant: &str, scopes: &str, expires_at: Option<memory_core::Timestamp>) -> String {
    let new = NewKey {
        name: tenant.into(),
        tenant: Scope::tenant(tenant).unwrap(),
        access: scopes.parse().unwrap(),
        expires_at,
    };
    let key: SecretString = keyring::change(file, |ring| ring.create(new, chrono::Utc::now())).unwrap();
    key.expose_secret().to_owned()
}

fn prefix(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

/// Sends a request, as JSON unless `headers` say otherwise.
async fn send(router: &Router, method: Method, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let (headers, status, bytes) = send_raw(router, method, uri, headers, body).await;
    // What is measured is no JSON.
    let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) };
    Answer { status, headers, body }
}

async fn send_raw(
    router: &Router,
    method: Method,
    uri: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (HeaderMap, u16, Vec<u8>) {
    let mut request = Request::builder().method(method).uri(uri);
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (parts.headers, parts.status.as_u16(), bytes.to_vec())
}

impl Answer {
    /// The body of an answer of this status.
    #[track_caller]
    fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// The status and the code of a problem.
    #[track_caller]
    fn problem(&self) -> (u16, &str) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{:#}", self.body);
        assert_eq!(self.body["request_id"].as_str(), self.header("x-request-id"), "a problem names its request");
        (self.status, self.body["code"].as_str().unwrap())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
