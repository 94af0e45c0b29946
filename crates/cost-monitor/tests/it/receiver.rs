//! A webhook that keeps what it is sent, and can refuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::task::AbortHandle;

#[derive(Clone, Default)]
struct Kept {
    /// What is answered first, before everything is taken.
    refusals: Arc<Mutex<Vec<StatusCode>>>,
    taken: Arc<Mutex<Vec<(HeaderMap, String)>>>,
}

/// The webhook. It ends with this.
pub struct Receiver {
    pub url: String,
    kept: Kept,
    serving: AbortHandle,
}

impl Receiver {
    pub async fn start(refusals: &[StatusCode]) -> Self {
        let kept = Kept { refusals: Arc::new(Mutex::new(refusals.iter().rev().copied().collect())), ..Kept::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let app = Router::new().route("/hook", post(take)).with_state(kept.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }).abort_handle();
        Self { url, kept, serving }
    }

    pub fn taken(&self) -> Vec<(HeaderMap, String)> {
        self.kept.taken.lock().unwrap().clone()
    }

    /// The watcher's settings that name it as the one channel.
    pub fn settings(&self) -> String {
        format!("channels:\n- {{kind: webhook, name: hook, url: '{}'}}\n", self.url)
    }

    /// How often each key came.
    pub fn keys(&self) -> BTreeMap<String, usize> {
        let mut keys = BTreeMap::new();
        for (headers, _) in self.taken() {
            *keys.entry(headers["idempotency-key"].to_str().unwrap().to_owned()).or_default() += 1;
        }
        keys
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if let Some(refusal) = kept.refusals.lock().unwrap().pop() {
        return refusal;
    }
    kept.taken.lock().unwrap().push((headers, String::from_utf8(body.to_vec()).unwrap()));
    StatusCode::OK
}
