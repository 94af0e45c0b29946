//! Servers with a configuration file each, on services of their own.

use std::net::SocketAddr;
use std::path::PathBuf;

use memory_testkit::services::{self, PostgresCluster, Server, Service};
use orchestra_api::config::{ServerArgs, Settings};
use provider_alloydb::AlloyDbConfig;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::Client;

/// What a server needs: its services, its data folder and its configuration file.
pub struct Setup {
    /// Whether there is a cache.
    pub caches: bool,
    /// Whether there is a working memory.
    pub keeps_sessions: bool,
    folder: TempDir,
    pub redis: Option<Server>,
    pub postgres: Option<Server>,
    cluster: Option<PostgresCluster>,
}

/// A server that runs.
pub struct Running {
    pub client: Client,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<anyhow::Result<()>>,
}

impl Setup {
    fn with(redis: Option<Server>, postgres: Option<Server>, cluster: Option<PostgresCluster>) -> Self {
        Self { caches: true, keeps_sessions: true, folder: tempfile::tempdir().unwrap(), redis, postgres, cluster }
    }

    pub async fn embedded() -> Option<Self> {
        let setup = Self::with(None, None, None);
        setup.configure("");
        Some(setup)
    }

    /// Memories on a Postgres that nobody migrated, and no cache.
    pub async fn bare_postgres() -> Option<Self> {
        let mut setup = Self::with(None, Some(services::private(Service::Postgres)?), None);
        (setup.caches, setup.keeps_sessions) = (false, false);
        setup.configure(&format!("short_term_provider: none\n{}", setup.alloydb("")));
        Some(setup)
    }

    pub async fn postgres_without_cache() -> Option<Self> {
        let setup = Self::bare_postgres().await?;
        migrate(&setup.database_url()).await;
        Some(setup)
    }

    pub async fn redis_over_embedded() -> Option<Self> {
        let setup = Self::with(Some(services::private(Service::Redis)?), None, None);
        setup.configure(&setup.redis());
        Some(setup)
    }

    pub async fn redis_and_postgres() -> Option<Self> {
        let (redis, postgres) = (services::private(Service::Redis)?, services::private(Service::Postgres)?);
        let setup = Self::with(Some(redis), Some(postgres), None);
        migrate(&setup.database_url()).await;
        setup.configure(&format!("{}{}", setup.redis(), setup.alloydb("")));
        Some(setup)
    }

    pub async fn redis_and_postgres_with_two_replicas() -> Option<Self> {
        let setup = Self::with(Some(services::private(Service::Redis)?), None, Some(services::cluster(2, &[])?));
        migrate(&setup.database_url()).await;
        let hosts: Vec<String> =
            setup.cluster.iter().flat_map(|cluster| &cluster.replicas).map(host_and_port).collect();
        let replicas = format!("  high_availability: true\n  read_hosts: [{}]\n", hosts.join(", "));
        setup.configure(&format!("{}{}", setup.redis(), setup.alloydb(&replicas)));
        Some(setup)
    }

    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("orchestra.yaml")
    }

    /// What the arguments of a server on it are.
    pub fn args(&self) -> ServerArgs {
        let mut args = ServerArgs::default();
        args.config = Some(self.file());
        args
    }

    /// Starts a server on it for a tenant, and waits until it answers.
    pub async fn serve(&self, tenant: &str) -> Running {
        let settings = Settings::from_args(&self.args().with("tenant", tenant)).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = oneshot::channel();
        let ended = tokio::spawn(async move {
            let on_ready = |address: SocketAddr| ready.send(address).unwrap();
            let stop = async {
                let _ = stopped.await;
            };
            orchestra_api::serve::serve_until(settings, on_ready, stop).await
        });
        match is_ready.await {
            Ok(address) => Running { client: Client::new(format!("http://{address}")), stop, ended },
            Err(_) => panic!("the server did not start: {:?}", ended.await.unwrap()),
        }
    }

    fn configure(&self, tiers: &str) {
        // Not minilm-int8, which is there on some machines only.
        let general = "data: data\nlisten: 127.0.0.1:0\ncache_embedder: static-256\nshutdown_grace_seconds: 5\n";
        std::fs::write(self.file(), format!("{general}{tiers}")).unwrap();
    }

    /// The section of Redis; its URL is in a file of its own.
    fn redis(&self) -> String {
        let url = self.redis.as_ref().unwrap().url();
        std::fs::write(self.folder.path().join("redis-url"), format!("{url}\n")).unwrap();
        // A busy machine is no outage.
        "short_term_provider: redis\nredis:\n  url: {file: redis-url}\n  deadline_ms: 5000\n".into()
    }

    fn alloydb(&self, more: &str) -> String {
        let url = self.database_url();
        format!("medium_term_provider: alloydb\nalloydb:\n  url: {url}\n  role: orchestra_app\n{more}")
    }

    fn database_url(&self) -> String {
        let primary = self.postgres.as_ref().or(self.cluster.as_ref().map(|cluster| &cluster.primary));
        primary.unwrap().url()
    }
}

impl Running {
    /// Stops the server, and waits until it has closed everything.
    pub async fn stop(self) {
        drop(self.client);
        drop(self.stop);
        self.ended.await.unwrap().unwrap();
    }
}

async fn migrate(url: &str) {
    let owner = AlloyDbConfig::from_url(url).unwrap();
    provider_alloydb::migrate(&owner, |_| {}).await.unwrap();
}

fn host_and_port(server: &Server) -> String {
    let url = server.url();
    let place = url.rsplit_once('@').map_or(&*url, |(_, place)| place);
    place.trim_start_matches("postgres://").split('/').next().unwrap().to_owned()
}
