//! What the tests share: a server, a database of their own, and a connection beside the provider's.

use std::sync::Arc;

use memory_testkit::services::{self, Service};
use memory_testkit::{TestClock, make};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, MIGRATOR};
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
        let url = services::url(Service::Postgres)?;
        Some(Self { url, name: format!("test_{}", make::id().as_uuid().simple()), clock: TestClock::new() })
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

    /// Makes the database, unless it is there: a copy of one with the schema.
    async fn prepare(&self) {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let template = TEMPLATE.get_or_init(|| self.make_template()).await;
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
        config
    }

    pub async fn open(&self) -> AlloyDbMemoryProvider {
        self.open_with(self.config()).await
    }

    pub async fn open_with(&self, config: AlloyDbConfig) -> AlloyDbMemoryProvider {
        self.prepare().await;
        AlloyDbMemoryProvider::connect(config).await.expect("connect")
    }
}
