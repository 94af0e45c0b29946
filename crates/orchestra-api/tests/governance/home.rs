//! A memory with two tenants, in process, that can be closed and opened again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use memory_core::Scope;
use memory_testkit::services::{self, Service};
use orchestra_api::client::Client;
use orchestra_api::config::{ServerArgs, Settings};
use orchestra_api::http::{router, router_for_owner};
use orchestra_api::identity::keyring::{self, NewKey};
use orchestra_api::import::send::Sent;
use orchestra_api::import::{Format, Names, Options, Source, send};
use orchestra_api::state::AppState;
use provider_alloydb::AlloyDbConfig;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tower::ServiceExt;

/// A caller: a tenant, and a key that may do everything in it.
#[derive(Debug, Clone)]
pub struct Who {
    pub tenant: String,
    key: String,
}

/// A memory of its own, or two tenants of their own in a database that the tests share.
pub struct Home {
    /// What it is kept in.
    pub store: &'static str,
    /// The caller of most tests, whose tenant is that of the importer and of exports too.
    pub acme: Who,
    /// Somebody else.
    pub globex: Who,
    folder: TempDir,
    settings: Settings,
    state: AppState,
    router: Router,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Home {
    /// One on each kind of store.
    pub async fn all() -> Vec<Self> {
        let mut homes = vec![Self::embedded().await];
        if let (Some(redis), Some(database)) = (services::url(Service::Redis), database().await) {
            let tiers = format!(
                "short_term_provider: redis\nredis:\n  url: {{file: redis-url}}\n  deadline_ms: 5000\n\
                 medium_term_provider: alloydb\nalloydb:\n  url: {database}\n  role: orchestra_app\n"
            );
            homes.push(
                Self::open("Redis and Postgres", &tiers, |folder| {
                    std::fs::write(folder.join("redis-url"), format!("{redis}\n")).unwrap();
                })
                .await,
            );
        }
        homes
    }

    /// On a file.
    pub async fn embedded() -> Self {
        Self::open("embedded", "", |_| {}).await
    }

    async fn open(store: &'static str, tiers: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let [acme, globex] = ["acme", "globex"].map(|name| {
            // Of its own in a database that is shared.
            let tenant = format!("{name}-{}", uuid::Uuid::now_v7().simple());
            let new = NewKey {
                name: tenant.clone(),
                tenant: Scope::tenant(&tenant).unwrap(),
                access: "read,write,admin".parse().unwrap(),
                expires_at: None,
            };
            let key: SecretString =
                keyring::change(&data.join("keys.json"), |ring| ring.create(new, chrono::Utc::now())).unwrap();
            Who { tenant, key: key.expose_secret().to_owned() }
        });
        // Not minilm-int8, which is there on some machines only.
        let general = "data: data\nlisten: 127.0.0.1:0\ncache_embedder: static-256\nauth:\n  audit_file: audit.jsonl\n";
        let file = folder.path().join("orchestra.yaml");
        std::fs::write(&file, format!("{general}{tiers}")).unwrap();
        let mut args = ServerArgs::default();
        args.config = Some(file);
        let settings = Settings::from_args(&args.with("tenant", acme.tenant.clone())).unwrap();
        let state = AppState::open(&settings).await.unwrap();
        Self { store, acme, globex, folder, settings, router: router(state.clone()), state }
    }

    /// Closes it, lets `meanwhile` have the folder, and opens it again, as a process that ends and one that starts do.
    pub async fn restart_after(&mut self, meanwhile: impl FnOnce(&Path)) {
        self.state.close(Duration::from_secs(5)).await.unwrap();
        self.router = Router::new();
        meanwhile(self.folder.path());
        // Handles of the router before are gone with its last request.
        self.state = AppState::open(&self.settings).await.unwrap();
        self.router = router(self.state.clone());
    }

    pub async fn restart(&mut self) {
        self.restart_after(|_| {}).await;
    }

    pub fn manager(&self) -> &memory_core::TieredMemoryManager {
        self.state.manager()
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("data/memory.db")
    }

    /// The lines of the audit log.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Brings a file into acme's memory, as `orchestra import` does: as Ann's, but for an export, which says whose each is.
    pub async fn import(&self, format: Format, text: &str) -> Sent {
        let client = Client::local(router_for_owner(self.state.clone()));
        let options = Options {
            tenant: self.acme.tenant.clone(),
            scope: Names { user: (format != Format::Orchestra).then(|| "ann".into()), ..Names::default() },
            kind: None,
        };
        let source = std::sync::Arc::new(Source::new("test", text));
        send::send(&client, source, format, options, &false.into(), |_| {}).await.unwrap()
    }

    /// Acme's whole memory, as `orchestra export` writes it.
    pub async fn export(&self) -> String {
        let page = self.call(&self.acme, Method::GET, "/v1/memories?limit=1000", &[], Value::Null).await.ok(200);
        page["memories"]
            .as_array()
            .unwrap()
            .iter()
            .map(|memory| format!("{}\n", orchestra_api::import::orchestra::line(memory)))
            .collect()
    }

    pub async fn call(&self, who: &Who, method: Method, uri: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("authorization", format!("Bearer {}", who.key))
            .header("host", "127.0.0.1:7070")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or_default() };
        Answer { status: parts.status.as_u16(), body }
    }

    /// Calls a method of the Model Context Protocol.
    pub async fn rpc(&self, who: &Who, method: &str, params: Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let version = [("mcp-protocol-version", "2025-11-25")];
        self.call(who, Method::POST, "/mcp", &version, message).await.ok(200)
    }

    /// Calls a tool of the Model Context Protocol.
    pub async fn tool(&self, who: &Who, name: &str, arguments: Value) -> Value {
        let answer = self.rpc(who, "tools/call", json!({"name": name, "arguments": arguments})).await;
        answer.get("result").unwrap_or_else(|| panic!("{answer:#}")).clone()
    }
}

impl Answer {
    /// The body of an answer of this status.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// The status, the code and the field of a refusal.
    pub fn refusal(&self) -> (u16, &str, &str) {
        let text = |member: &str| self.body[member].as_str().unwrap_or_default();
        (self.status, text("code"), text("field"))
    }
}

/// A database with the schema, which the tests share.
async fn database() -> Option<String> {
    static DATABASE: OnceCell<String> = OnceCell::const_new();
    let server = services::url(Service::Postgres)?;
    let make = async || {
        let name = format!("governance_{}", uuid::Uuid::now_v7().simple());
        let mut connection = sqlx::PgConnection::connect(&server).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let (place, _) = server.rsplit_once('/').unwrap();
        let url = format!("{place}/{name}");
        let owner = AlloyDbConfig::from_url(&url).unwrap();
        provider_alloydb::migrate(&owner, |_| {}).await.unwrap();
        url
    };
    Some(DATABASE.get_or_init(make).await.clone())
}
