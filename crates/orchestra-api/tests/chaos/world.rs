//! What a campaign is about: two servers with API keys, over one Redis, one Postgres with a replica, and an embedder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use memory_core::Scope;
use memory_testkit::services::{self, PostgresCluster, Server, Service};
use orchestra_api::identity::keyring::{self, NewKey};
use provider_alloydb::AlloyDbConfig;
use secrecy::ExposeSecret;

use crate::embedder::{DIMENSIONS, StandInEmbedder};
use crate::name::TENANTS;
use crate::process::ServerProcess;

/// How many servers there are.
const SERVERS: usize = 2;

/// Everything that runs. It ends when this is dropped.
pub struct World {
    // The servers end before what they need.
    pub servers: Vec<tokio::sync::Mutex<ServerProcess>>,
    pub embedder: tokio::sync::Mutex<StandInEmbedder>,
    pub redis: Arc<Mutex<Server>>,
    pub primary: Arc<Mutex<Server>>,
    pub replica: Arc<Mutex<Server>>,
    /// Where the servers' logs are, and what is kept of a campaign that found something.
    pub folder: PathBuf,
    /// A key for each tenant.
    pub keys: Vec<String>,
    /// Where each server was at first.
    pub urls: Vec<String>,
}

impl World {
    /// Starts everything, with its files in `folder`. `None` where there is no Redis or no Postgres, and that was said.
    pub async fn start(folder: PathBuf) -> Option<Self> {
        let (redis, mut postgres) = (services::private(Service::Redis)?, services::cluster(1, &[])?);
        let owner = AlloyDbConfig::from_url(&postgres.primary.url()).unwrap();
        provider_alloydb::migrate(&owner, |_| {}).await.unwrap();
        let embedder = StandInEmbedder::start().await;
        let keys = TENANTS.map(|tenant| new_key(&folder.join("keys.json"), tenant)).to_vec();
        let config = folder.join("orchestra.yaml");
        fs::write(&config, settings(&embedder, &redis, &postgres)).unwrap();
        let (mut servers, mut urls) = (Vec::new(), Vec::new());
        for server in 0..SERVERS {
            let log = folder.join(format!("server-{server}.log"));
            let mut process = ServerProcess::new(folder.join(format!("server-{server}")), config.clone(), log);
            urls.push(process.start().await);
            servers.push(tokio::sync::Mutex::new(process));
        }
        let [redis, primary, replica] =
            [redis, postgres.primary, postgres.replicas.remove(0)].map(|server| Arc::new(Mutex::new(server)));
        Some(Self { servers, embedder: tokio::sync::Mutex::new(embedder), redis, primary, replica, folder, keys, urls })
    }

    /// Copies the logs of what is about to be removed into the folder.
    pub fn keep_logs(&self) {
        for (name, server) in [("redis", &self.redis), ("postgres", &self.primary), ("replica", &self.replica)] {
            // In a container there is none.
            let _ = fs::copy(server.lock().unwrap().folder().join("log"), self.folder.join(format!("{name}.log")));
        }
    }
}

fn new_key(file: &Path, tenant: &str) -> String {
    let (tenant, access) = (Scope::tenant(tenant).unwrap(), "read,write".parse().unwrap());
    let new = NewKey { name: "chaos".into(), tenant, access, expires_at: None };
    keyring::change(file, |ring| ring.create(new, chrono::Utc::now())).unwrap().expose_secret().to_owned()
}

/// The configuration of every server. A part that is away longer than a client waits is an outage here, and one that is
/// slow because the machine is busy is not.
fn settings(embedder: &StandInEmbedder, redis: &Server, postgres: &PostgresCluster) -> String {
    let (embedder, redis, postgres_url) = (embedder.url(), redis.url(), postgres.primary.url());
    let replica = postgres.replicas[0].port();
    format!(
        "listen: 127.0.0.1:0
auth:
  keys_file: keys.json
startup_patience_seconds: 120
shutdown_grace_seconds: 20
embedder: openai
embedder_url: {embedder}
embedder_model: stand-in
embedder_dimensions: {DIMENSIONS}
cache_embedder: static-256
short_term_provider: redis
redis:
  url: {redis}
  deadline_ms: 1000
medium_term_provider: alloydb
alloydb:
  url: {postgres_url}
  role: orchestra_app
  vector_dim: {DIMENSIONS}
  high_availability: true
  read_hosts: [\"127.0.0.1:{replica}\"]
"
    )
}
