//! What every worker shares, and the requests that are sent until somebody answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Client, Reply, Request};
use crate::model::{Kind, Model};
use crate::name::Name;
use memory_testkit::random::Random;

/// How long a request is sent again: longer than any two failures last, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A campaign while it runs.
pub struct Campaign {
    pub seed: u64,
    pub client: Client,
    model: Mutex<Model>,
    is_over: AtomicBool,
}

/// An answer, and whose.
pub struct Answered {
    pub status: u16,
    pub body: Value,
    pub server: usize,
}

impl Campaign {
    pub fn new(seed: u64, client: Client) -> Self {
        Self { seed, client, model: Mutex::default(), is_over: AtomicBool::new(false) }
    }

    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// Tells the workers to end, each after what it is at.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Sends it once, to one of the servers, and writes down what became of it.
    pub async fn once(&self, request: &Request, about: &[Name], random: &mut Random) -> (usize, Reply) {
        let server = random.below(self.client.servers());
        let (id, reply) = self.client.send(server, request).await;
        let became = match &reply {
            Reply::Answered { status, .. } => status.to_string(),
            Reply::Unsent => "not sent".into(),
            Reply::InDoubt => "in doubt".into(),
        };
        let mut model = self.model();
        let tick = model.now();
        for &name in about {
            let Request { method, path, .. } = request;
            model.note(name, format!("{tick} {} {method} {path} server {server} {id}: {became}", request.kind));
        }
        (server, reply)
    }

    /// Sends it until a server answers. `None` when none does in time, which is a violation.
    pub async fn until_answered(&self, request: &Request, about: &[Name], random: &mut Random) -> Option<Answered> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.once(request, about, random).await {
                (server, Reply::Answered { status, body }) => return Some(Answered { status, body, server }),
                (_, Reply::InDoubt | Reply::Unsent) => {}
            }
            tokio::time::sleep(random.between(Duration::from_millis(50), Duration::from_millis(300))).await;
        }
        self.senseless(about, format!("{} is not answered for {PATIENCE:?}", request.kind));
        None
    }

    /// Writes down an answer that nobody can expect.
    pub fn senseless(&self, about: &[Name], what: String) {
        let name = about.first().copied().unwrap_or(Name { tenant: 0, worker: 0, number: 0 });
        self.model().violate(Kind::Senseless, name, what);
    }
}

/// Whether an acknowledged change is known to the cache, too.
pub fn cache_told(body: &Value) -> bool {
    let degraded = body["degraded"].as_array();
    !degraded.is_some_and(|reasons| reasons.iter().any(|reason| reason == "invalidation_pending"))
}
