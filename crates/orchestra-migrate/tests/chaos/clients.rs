//! Clients over HTTP that write, change, forget and read while everything is killed. Each has memories of its own and sends a request
//! again until it is answered, so that it always knows what they are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use memory_core::MemoryId;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::account::{Account, Known};
use memory_testkit::random::Random;

/// How many there are.
pub const CLIENTS: u64 = 4;
/// The longest pause between two requests.
const PAUSE: Duration = Duration::from_millis(60);
/// The pause before a request is sent again.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a request may go unanswered, whatever is killed.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// Clients that run until they are told to end.
pub struct Clients {
    running: JoinSet<Done>,
    is_over: Arc<AtomicBool>,
}

/// What clients did.
#[derive(Debug, Default)]
pub struct Done {
    pub account: Account,
    /// Acknowledged writes, changes and deletions; reads.
    pub writes: usize,
    pub reads: usize,
    /// Refused for a switch and sent to the other server.
    pub fenced: usize,
    /// Without an answer, or with one of a failure, and sent again.
    pub in_doubt: usize,
    /// The longest that a request went unacknowledged.
    pub longest: Duration,
    /// What nobody can expect.
    pub violations: Vec<String>,
}

struct Client {
    http: reqwest::Client,
    urls: Arc<[Mutex<String>; 2]>,
    random: Random,
    user: String,
    /// The server that acknowledged last.
    server: usize,
    written: usize,
    /// Its memories that are there.
    there: Vec<MemoryId>,
    done: Done,
}

impl Clients {
    /// Starts clients; each first writes so many memories, and this waits until they have: to the first server, or any where both answer
    /// from what is in use.
    pub async fn start(seed: u64, urls: &Arc<[Mutex<String>; 2]>, any_server: bool, memories: usize) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut beginning = JoinSet::new();
        for number in 0..CLIENTS {
            let mut client = Client {
                http: reqwest::Client::builder().timeout(ANSWER).build().unwrap(),
                urls: urls.clone(),
                random: Random::of_part(seed, 100 + number),
                user: format!("client-{number}"),
                server: if any_server { number as usize % 2 } else { 0 },
                written: 0,
                there: Vec::new(),
                done: Done::default(),
            };
            beginning.spawn(async move {
                for _ in 0..memories {
                    client.write().await;
                }
                client
            });
        }
        let mut running = JoinSet::new();
        while let Some(client) = beginning.join_next().await {
            running.spawn(client.unwrap().run(is_over.clone()));
        }
        Self { running, is_over }
    }

    /// Has them end, each after what it is at.
    pub async fn end(mut self) -> Done {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Done::default();
        while let Some(done) = self.running.join_next().await {
            let done = done.unwrap();
            all.account.0.extend(done.account.0);
            all.writes += done.writes;
            all.reads += done.reads;
            all.fenced += done.fenced;
            all.in_doubt += done.in_doubt;
            all.longest = all.longest.max(done.longest);
            all.violations.extend(done.violations);
        }
        all
    }
}

impl Client {
    async fn run(mut self, is_over: Arc<AtomicBool>) -> Done {
        while !is_over.load(Ordering::Relaxed) {
            match self.random.below(10) {
                0..4 => self.write().await,
                4..7 => self.change().await,
                7..8 => self.forget().await,
                _ => self.read().await,
            }
            let pause = self.random.between(Duration::ZERO, PAUSE);
            tokio::time::sleep(pause).await;
        }
        self.done
    }

    fn text(&self, id: MemoryId, version: usize) -> String {
        const WORDS: [&str; 8] = ["window seat", "tea", "Lisbon", "a red bicycle", "jazz", "the river", "cats", "9:40"];
        let word = WORDS[(id.as_uuid().as_u128() % WORDS.len() as u128) as usize];
        format!("{} likes {word}, version {version} of {id}", self.user)
    }

    async fn write(&mut self) {
        // An id of the run's seed, so that a run that is repeated writes the same.
        let number = self.random.below(usize::MAX) as u128;
        self.written += 1;
        let id = MemoryId::from(
            uuid::Builder::from_unix_timestamp_millis(
                self.written as u64,
                &number.to_be_bytes()[6..].try_into().unwrap(),
            )
            .into_uuid(),
        );
        let text = self.text(id, 1);
        let body = json!({"id": id, "text": text, "scope": {"user": self.user}});
        if self.until_answered(Method::POST, "/v1/memories", Some(&body), None, 201).await.is_some() {
            self.done.account.0.insert(id, Known { user: self.user.clone(), texts: vec![text] });
            self.there.push(id);
        }
    }

    async fn change(&mut self) {
        let Some(id) = self.one() else { return };
        let version = self.done.account.0[&id].texts.len();
        let text = self.text(id, version + 1);
        let (path, body) = (format!("/v1/memories/{id}"), json!({"text": text}));
        if self.until_answered(Method::PATCH, &path, Some(&body), Some(version), 200).await.is_some() {
            self.done.account.0.entry(id).and_modify(|known| known.texts.push(text));
        }
    }

    async fn forget(&mut self) {
        let Some(id) = self.one() else { return };
        let path = format!("/v1/memories/{id}");
        if self.until_answered(Method::DELETE, &path, None, None, 200).await.is_some() {
            self.done.account.0.entry(id).and_modify(|known| known.texts.clear());
            self.there.retain(|there| *there != id);
        }
    }

    /// Reads a memory, there or forgotten, from the server that acknowledged last.
    async fn read(&mut self) {
        let Some((&id, known)) = self.done.account.0.iter().nth(self.random.below(self.done.account.0.len().max(1)))
        else {
            return;
        };
        let (wanted, version) = (known.texts.last().cloned(), known.texts.len());
        let status = if wanted.is_some() { 200 } else { 404 };
        let Some(body) = self.until_answered(Method::GET, &format!("/v1/memories/{id}"), None, None, status).await
        else {
            return;
        };
        if wanted.is_some() && (body["text"].as_str() != wanted.as_deref() || body["version"] != version) {
            self.done.violations.push(format!("read {body}, acknowledged was version {version}: {wanted:?}"));
        }
    }

    fn one(&mut self) -> Option<MemoryId> {
        if self.there.is_empty() { None } else { Some(self.there[self.random.below(self.there.len())]) }
    }

    /// Sends a request until it is answered as wanted. Any other answer of a server that decided is a violation.
    async fn until_answered(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        version: Option<usize>,
        wanted: u16,
    ) -> Option<Value> {
        let began = Instant::now();
        let mut was_in_doubt = false;
        while began.elapsed() < PATIENCE {
            let url = format!("{}{path}", self.urls[self.server].lock().unwrap());
            let mut request = self.http.request(method.clone(), url);
            if let Some(version) = version {
                request = request.header("if-match", format!("\"{version}\""));
            }
            if let Some(body) = body {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            match answer(request).await {
                Some((status, answer)) if status == wanted => {
                    self.count(&method, began);
                    return Some(answer);
                }
                Some((503, answer)) if answer["code"] == "fenced" => {
                    self.done.fenced += 1;
                    self.server = 1 - self.server;
                }
                // An attempt before had its effect, and its answer was lost.
                Some((412, _)) if was_in_doubt && self.is_changed(path, body, version).await => {
                    self.count(&method, began);
                    return Some(Value::Null);
                }
                Some((404, _)) if was_in_doubt && method == Method::DELETE => {
                    self.count(&method, began);
                    return Some(Value::Null);
                }
                Some((status, answer)) if status < 500 => {
                    let what = format!("{method} {path} of {} was answered with {status}: {answer}", self.user);
                    self.done.violations.push(what);
                    return None;
                }
                _ => {
                    self.done.in_doubt += 1;
                    was_in_doubt = true;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        self.done.violations.push(format!("{method} {path} was not answered for {PATIENCE:?}"));
        None
    }

    fn count(&mut self, method: &Method, began: Instant) {
        self.done.longest = self.done.longest.max(began.elapsed());
        if method == Method::GET {
            self.done.reads += 1;
        } else {
            self.done.writes += 1;
        }
    }

    /// Whether a change in doubt has had its effect.
    async fn is_changed(&self, path: &str, body: Option<&Value>, version: Option<usize>) -> bool {
        let url = format!("{}{path}", self.urls[self.server].lock().unwrap());
        let Some((200, there)) = answer(self.http.get(url)).await else { return false };
        let text = body.map(|body| &body["text"]);
        Some(&there["text"]) == text && there["version"].as_u64() == version.map(|version| version as u64 + 1)
    }
}

/// The answer to a request, if it had one.
async fn answer(request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    let body = response.bytes().await.ok()?;
    Some((status, serde_json::from_slice(&body).unwrap_or_default()))
}
