//! A stand-in for a server that speaks OpenAI's embeddings interface, which can go away, hang, be slow and refuse. Its
//! vectors are made of the words alone: the same text always has the same one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How many values a vector has.
pub const DIMENSIONS: usize = 64;
/// How long its port may be taken by another when it comes back.
const PATIENCE: Duration = Duration::from_secs(30);

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Slow(Duration),
    Hangs,
    Refuses,
}

/// The stand-in. It ends when this is dropped.
pub struct StandInEmbedder {
    address: SocketAddr,
    mood: watch::Sender<Mood>,
    task: Option<JoinHandle<()>>,
}

impl StandInEmbedder {
    pub async fn start() -> Self {
        let mut embedder =
            Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), mood: watch::Sender::new(Mood::Well), task: None };
        embedder.come_back().await;
        embedder
    }

    /// What `embedder_url` is.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Ends every connection and refuses new ones.
    pub async fn go_away(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // Its socket is closed when the task is gone, which ends as cancelled.
            let _ = task.await;
        }
    }

    /// Answers again, at the same address.
    pub async fn come_back(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "the stand-in's port is taken: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        self.address = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/embeddings", post(embeddings)).with_state(self.mood.subscribe());
        self.task = Some(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
    }

    /// Takes requests and answers none, until it is well again.
    pub fn hang(&self) {
        self.mood.send_replace(Mood::Hangs);
    }

    pub fn slow_down(&self, by: Duration) {
        self.mood.send_replace(Mood::Slow(by));
    }

    pub fn refuse(&self) {
        self.mood.send_replace(Mood::Refuses);
    }

    pub fn recover(&self) {
        self.mood.send_replace(Mood::Well);
    }
}

impl Drop for StandInEmbedder {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn embeddings(
    State(mut mood): State<watch::Receiver<Mood>>,
    Json(request): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    let now = *mood.borrow();
    match now {
        Mood::Well => {}
        Mood::Slow(by) => tokio::time::sleep(by).await,
        Mood::Hangs => {
            // An error is the end of the campaign.
            let _ = mood.wait_for(|mood| *mood != Mood::Hangs).await;
        }
        Mood::Refuses => return Err(StatusCode::SERVICE_UNAVAILABLE),
    }
    let texts = request["input"].as_array().ok_or(StatusCode::BAD_REQUEST)?;
    let data = texts.iter().enumerate().map(|(index, text)| {
        json!({"object": "embedding", "index": index, "embedding": vector(text.as_str().unwrap_or_default())})
    });
    Ok(Json(json!({"object": "list", "model": request["model"], "data": data.collect::<Vec<_>>()})))
}

/// Each word adds to one place.
fn vector(text: &str) -> Vec<f32> {
    let mut values = vec![0.0; DIMENSIONS];
    values[0] = 0.1;
    for word in text.split_whitespace() {
        let hash = blake3::hash(word.to_lowercase().as_bytes());
        values[usize::from(hash.as_bytes()[0]) % DIMENSIONS] += 1.0;
    }
    values
}
