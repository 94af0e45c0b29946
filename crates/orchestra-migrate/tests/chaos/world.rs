//! What a run needs: two databases of its own, two servers, and a folder with the configurations and the record.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use memory_core::Embedder as _;
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, MIGRATOR};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::sync::Mutex as AsyncMutex;

use crate::process::ServerProcess;

/// The record of the move, as the program names it.
pub const RECORD: &str = "orchestra-migrate.json";
/// The sides, by their place in every array here.
pub const SIDES: [&str; 2] = ["blue", "green"];

/// The parts of one run.
pub struct World {
    folder: TempDir,
    server: String,
    databases: [String; 2],
    /// One on blue and one on green; or both on what is in use.
    pub servers: [AsyncMutex<ServerProcess>; 2],
    /// Where they answer.
    pub urls: Arc<[Mutex<String>; 2]>,
}

impl World {
    /// A server on each side, or with `follows` two that follow the move: each answers from the side that is in use.
    pub async fn start(server: &str, seed: u64, follows: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = |side| format!("chaos_{seed}_{side}");
        let databases = SIDES.map(name);
        for (side, database) in SIDES.into_iter().zip(&databases) {
            let url = make_database(server, database).await;
            let config = format!(
                "data: {0}\nshort_term_provider: none\nmedium_term_provider: alloydb\n\
                 alloydb:\n  url: {url}\n  role: orchestra_app\n",
                folder.path().join(side).display()
            );
            fs::create_dir(folder.path().join(side)).unwrap();
            fs::write(folder.path().join(format!("{side}.yaml")), config).unwrap();
        }
        let path = |name: String| folder.path().join(name);
        let process = |at: usize, side: &str| {
            let (config, data) = (path(format!("server-{at}.yaml")), path(format!("server-{at}")));
            let mut settings =
                fs::read_to_string(path(format!("{}.yaml", if follows { "blue" } else { side }))).unwrap();
            if follows {
                let (record, green) = (path(RECORD.into()), path("green.yaml".into()));
                let _ = write!(settings, "move:\n  record: {}\n  green: {}\n", record.display(), green.display());
            }
            fs::write(&config, settings).unwrap();
            fs::create_dir(&data).unwrap();
            ServerProcess::new(config, data, path(format!("server-{at}.log")))
        };
        let servers = [process(0, "blue"), process(1, "green")].map(AsyncMutex::new);
        let mut urls = Vec::new();
        for server in &servers {
            urls.push(Mutex::new(server.lock().await.start().await));
        }
        let urls = Arc::new(urls.try_into().unwrap());
        Self { folder, server: server.to_owned(), databases, servers, urls }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills a server.
    pub async fn kill(&self, at: usize) {
        self.servers[at].lock().await.kill();
    }

    /// Starts a server that was killed.
    pub async fn start_again(&self, at: usize) {
        let url = self.servers[at].lock().await.start().await;
        *self.urls[at].lock().unwrap() = url;
    }

    /// A side as it is, without a server.
    pub async fn store(&self, at: usize) -> AlloyDbMemoryProvider {
        let mut config = AlloyDbConfig::from_url(&url_of(&self.server, &self.databases[at])).unwrap();
        config.role = Some("orchestra_app".into());
        config.vector_dim = embedders::StaticEmbedder::built_in().space().dimensions;
        AlloyDbMemoryProvider::connect(config).await.unwrap()
    }

    /// Keeps what tells what happened, for whoever looks into it.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// Ends the servers and drops the databases.
    pub async fn end(self) {
        for server in &self.servers {
            server.lock().await.kill();
        }
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        for database in &self.databases {
            let dropped = sqlx::AssertSqlSafe(format!("DROP DATABASE {database} WITH (FORCE)"));
            sqlx::query(dropped).execute(&mut connection).await.unwrap();
        }
    }
}

/// A database with the schema; its URL.
async fn make_database(server: &str, name: &str) -> String {
    let mut connection = PgConnection::connect(server).await.unwrap();
    // A name of ours, of letters, digits and underscores; one of a run before that was interrupted.
    for statement in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    let url = url_of(server, name);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    MIGRATOR.run_direct(None, &mut connection, false).await.unwrap();
    url
}

fn url_of(server: &str, database: &str) -> String {
    let (server, _) = server.rsplit_once('/').unwrap();
    format!("{server}/{database}")
}
