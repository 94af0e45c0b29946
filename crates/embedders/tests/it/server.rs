//! A server that answers as a test tells it to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Dimensions of the vectors of [`vector`].
pub const DIMENSIONS: usize = 4;

/// A server on a free port; it ends with the value.
pub struct Server {
    /// Its address up to and with the version.
    pub base_url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub headers: HeaderMap,
    pub body: Value,
}

/// What the server answers.
pub struct Reply {
    pub status: u16,
    pub retry_after: Option<&'static str>,
    pub body: String,
    pub delay: Duration,
}

impl Reply {
    pub fn new(status: u16, body: impl ToString) -> Self {
        Self { status, retry_after: None, body: body.to_string(), delay: Duration::ZERO }
    }
}

impl Server {
    /// Answers each request with what `answer` makes of the number of requests before it and of its body.
    pub async fn start(answer: impl Fn(usize, &Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let answer = Arc::new(answer);
        let handler = {
            let seen = Arc::clone(&seen);
            move |headers: HeaderMap, body: Bytes| {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                async move {
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    let before = seen.lock().unwrap().len();
                    seen.lock().unwrap().push(Seen { headers, body: body.clone() });
                    let reply = answer(before, &body);
                    tokio::time::sleep(reply.delay).await;
                    let mut headers = HeaderMap::new();
                    if let Some(value) = reply.retry_after {
                        headers.insert("retry-after", value.parse().unwrap());
                    }
                    (StatusCode::from_u16(reply.status).unwrap(), headers, reply.body).into_response()
                }
            }
        };
        let router = Router::new().route("/v1/embeddings", post(handler));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base_url, seen, task }
    }

    /// A server that answers as it should, last text first.
    pub async fn working() -> Self {
        Self::start(|_, body| Reply::new(200, answer_to(body))).await
    }

    /// The requests that arrived.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The right answer to a request, last text first.
pub fn answer_to(request: &Value) -> Value {
    let texts = request["input"].as_array().unwrap();
    let items = texts.iter().enumerate().rev().map(
        |(index, text)| json!({ "object": "embedding", "index": index, "embedding": vector(text.as_str().unwrap()) }),
    );
    json!({ "object": "list", "data": items.collect::<Vec<_>>(), "model": request["model"], "usage": { "total_tokens": 1 } })
}

/// The vector of a text: its length in bytes, then 1.
pub fn vector(text: &str) -> [f32; DIMENSIONS] {
    [text.len() as f32, 1.0, 0.0, 0.0]
}
