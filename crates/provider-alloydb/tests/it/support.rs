//! What the tests share: a server, a database of their own, and a connection beside the provider's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use memory_core::{ForgetRequest, IdempotencyKey, ListRequest, Scope, Selection};
use memory_testkit::services::{self, Service};
use memory_testkit::{TestClock, make};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, AlloyDbReplica, MIGRATOR};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::sync::OnceCell;

/// A database of its own on a shared server, with the schema.
pub struct Home {
    pub url: String,
    pub name: String,
    pub clock: TestClock,
}

impl Home {
    /// `None` where there is no server, which was said.
    pub fn new() -> Option<Self> {
        services::url(Service::Postgres).map(Self::at)
    }

    /// On the server of that URL.
    pub fn at(url: String) -> Self {
        Self { url, name: format!("test_{}", make::id().as_uuid().simple()), clock: TestClock::new() }
    }

    /// A connection as the superuser, to a database of the server.
    async fn administrator(&self, database: &str) -> PgConnection {
        let options: PgConnectOptions = self.url.parse().expect("a URL");
        PgConnection::connect_with(&options.database(database)).await.expect("connect")
    }

    /// A connection as the superuser, whom row-level security does not hold, to the test's database.
    pub async fn direct(&self) -> PgConnection {
        self.prepare().await;
        self.administrator(&self.name).await
    }

    /// A connection as a program's, to the test's database.
    pub async fn as_app(&self) -> PgConnection {
        let mut connection = self.direct().await;
        connection.execute("SET ROLE orchestra_app").await.expect("the role");
        connection
    }

    /// Makes the database, unless it is there: a copy of one with the schema.
    pub async fn prepare(&self) {
        // By server: most tests share one.
        static TEMPLATES: Mutex<BTreeMap<String, Arc<OnceCell<String>>>> = Mutex::new(BTreeMap::new());
        let template = TEMPLATES.lock().expect("no test fails in here").entry(self.url.clone()).or_default().clone();
        let template = template.get_or_init(|| self.make_template()).await;
        let mut connection = self.administrator("postgres").await;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(&self.name)
            .fetch_one(&mut connection)
            .await
            .expect("read");
        if !exists {
            let create = format!("CREATE DATABASE {} TEMPLATE {template}", self.name);
            connection.execute(AssertSqlSafe(create)).await.expect("a copy of the template");
        }
        connection.close().await.expect("close");
    }

    async fn make_template(&self) -> String {
        let name = format!("template_{}", make::id().as_uuid().simple());
        let mut connection = self.administrator("postgres").await;
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database");
        connection.close().await.expect("close");
        let mut connection = self.administrator(&name).await;
        MIGRATOR.run_direct(None, &mut connection, false).await.expect("migrate");
        connection.close().await.expect("close");
        name
    }

    pub fn config(&self) -> AlloyDbConfig {
        let mut config = AlloyDbConfig::from_url(&self.url).expect("a URL").with_clock(Arc::new(self.clock.clone()));
        config.database = self.name.clone();
        // The server's own user is a superuser.
        config.role = Some("orchestra_app".into());
        config.vector_dim = make::DIMENSIONS;
        config.min_connections = 0;
        config.max_connections = 4;
        config.sweep_every = None;
        config
    }

    pub async fn open(&self) -> AlloyDbMemoryProvider {
        self.open_with(self.config()).await
    }

    /// The store as whoever moves it sees it.
    pub async fn replica(&self) -> AlloyDbReplica {
        self.prepare().await;
        AlloyDbReplica::connect(self.config()).await.expect("connect")
    }

    pub async fn open_with(&self, config: AlloyDbConfig) -> AlloyDbMemoryProvider {
        self.prepare().await;
        AlloyDbMemoryProvider::connect(config).await.expect("connect")
    }
}

/// Whether `MEMORY_TEST_FULL` asks for the campaigns at their full length.
pub fn is_full_campaign() -> bool {
    std::env::var_os("MEMORY_TEST_FULL").is_some_and(|value| value == "1")
}

/// Waits until something is so, and fails when it is not within the time. Gives how long it took.
pub async fn wait_until(what: &str, time: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < time, "not within {time:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

/// The memories of a scope, oldest first.
pub fn everything(scope: &Scope) -> ListRequest {
    ListRequest {
        scope: scope.clone(),
        filter: None,
        limit: 100_000,
        cursor: None,
        newest_first: false,
        with_embeddings: false,
    }
}

pub fn forget(scope: &Scope, selection: Selection) -> ForgetRequest {
    ForgetRequest { scope: scope.clone(), selection, dry_run: false }
}

/// A key whose body is always the same one.
pub fn key(key: &str) -> Option<IdempotencyKey> {
    Some(IdempotencyKey { key: key.to_owned(), body_hash: [7; 32] })
}
