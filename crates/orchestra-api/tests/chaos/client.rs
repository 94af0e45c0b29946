//! Sends requests to the servers, one or the other, and tells what is certain about each.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::name::TENANTS;
use crate::stats::{Outcome, Stats};

/// How long an answer is waited for. A stopped part takes longer: what became of the request is in doubt then.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long connecting may take; a stopped server still has its connections accepted by the system.
const CONNECT: Duration = Duration::from_secs(2);

/// Calls the servers for every tenant.
pub struct Client {
    http: reqwest::Client,
    /// Where each server is; it is at another place after each start.
    servers: Vec<Mutex<String>>,
    keys: Vec<String>,
    /// What the ids of requests begin with.
    campaign: String,
    requests: AtomicU64,
    pub stats: Stats,
}

/// A request: what it is counted as, who asks, and what for.
#[derive(Debug, Clone)]
pub struct Request {
    pub kind: &'static str,
    pub tenant: usize,
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
    pub header: Option<(&'static str, String)>,
}

impl Request {
    pub fn new(kind: &'static str, tenant: usize, method: Method, path: impl Into<String>) -> Self {
        Self { kind, tenant, method, path: path.into(), body: None, header: None }
    }

    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    fn is_write(&self) -> bool {
        !matches!(self.kind, "get" | "list" | "history" | "search" | "lookup" | "foreign" | "stats")
    }
}

/// What became of a request.
#[derive(Debug)]
pub enum Reply {
    /// The server decided: it did it, or refused it for good.
    Answered { status: u16, body: Value },
    /// It did not reach a server.
    Unsent,
    /// It may have had its effect, or have it yet.
    InDoubt,
}

impl Client {
    pub fn new(seed: u64, servers: Vec<String>, keys: Vec<String>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(PATIENCE).connect_timeout(CONNECT).build().unwrap();
        assert_eq!(keys.len(), TENANTS.len());
        Self {
            http,
            servers: servers.into_iter().map(Mutex::new).collect(),
            keys,
            campaign: format!("chaos-{seed}"),
            requests: AtomicU64::new(0),
            stats: Stats::default(),
        }
    }

    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// The server is there from now on.
    pub fn moved(&self, server: usize, url: String) {
        *self.servers[server].lock().unwrap() = url;
    }

    /// Sends it, and gives its id beside what became of it.
    pub async fn send(&self, server: usize, request: &Request) -> (String, Reply) {
        let id = format!("{}-{}", self.campaign, self.requests.fetch_add(1, Ordering::Relaxed));
        let url = format!("{}{}", self.servers[server].lock().unwrap(), request.path);
        let mut call = self.http.request(request.method.clone(), url);
        call =
            call.header("authorization", format!("Bearer {}", self.keys[request.tenant])).header("x-request-id", &id);
        if let Some((name, value)) = &request.header {
            call = call.header(*name, value);
        }
        if let Some(body) = &request.body {
            call = call.header("content-type", "application/json").body(body.to_string());
        }
        let reply = match call.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                match response.bytes().await {
                    Ok(bytes) => Reply::Answered { status, body: serde_json::from_slice(&bytes).unwrap_or_default() },
                    Err(_) => Reply::InDoubt,
                }
            }
            Err(error) if error.is_connect() => Reply::Unsent,
            Err(_) => Reply::InDoubt,
        };
        let reply = match reply {
            // The server does not say how far it came.
            Reply::Answered { status: 500.., body } => {
                self.stats.refused_because(body["code"].as_str().unwrap_or("no code"));
                Reply::InDoubt
            }
            reply => reply,
        };
        let outcome = match &reply {
            Reply::Answered { status: 200..300, body } => {
                self.stats.degraded(body);
                Outcome::Done
            }
            // That a memory is not there is an answer.
            Reply::Answered { status: 404, .. } => Outcome::Done,
            Reply::InDoubt if request.is_write() => Outcome::InDoubt,
            _ => Outcome::Refused,
        };
        self.stats.count(request.kind, request.is_write(), outcome);
        (id, reply)
    }
}
