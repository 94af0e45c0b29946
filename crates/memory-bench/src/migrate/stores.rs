//! The stores that are moved from and to, and what tells how fast their servers could copy.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use embedders::StaticEmbedder;
use futures_util::StreamExt as _;
use memory_core::{Embedder as _, EmbeddingSpace, MemoryStore};
use memory_testkit::services::{self, Server, Service};
use migrate::engine::Side;
use migrate::probe::{AnswerCache, Direct};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, AlloyDbReplica, MIGRATOR};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use sqlx::postgres::{PgConnectOptions, PgPoolCopyExt as _};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};

use crate::cpu;

/// As a server of 4 GB would be set up.
const SETTINGS: [&str; 6] = ["-c", "shared_buffers=1GB", "-c", "max_wal_size=4GB", "-c", "work_mem=16MB"];

/// The space of the vectors that are moved: that of static-256, so that an embedder can ask for them.
pub fn space() -> Arc<EmbeddingSpace> {
    StaticEmbedder::built_in().space().clone()
}

/// A Postgres with nothing else on it.
pub struct Postgres {
    pub store: AlloyDbMemoryProvider,
    replica: AlloyDbReplica,
    /// As the owner.
    pool: PgPool,
    postmaster: u32,
    _server: Server,
}

impl Postgres {
    pub async fn start(space: &EmbeddingSpace) -> Result<Self> {
        let server = services::private_with(Service::Postgres, &SETTINGS).context("there is no Postgres to measure")?;
        let mut owner = PgConnection::connect(&server.url()).await?;
        MIGRATOR.run_direct(None, &mut owner, false).await?;
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut owner).await?;
        // While the backend is there.
        let postmaster = cpu::parent(backend.cast_unsigned()).unwrap_or_default();
        owner.close().await?;
        let mut config = AlloyDbConfig::from_url(&server.url())?;
        config.role = Some("orchestra_app".into());
        config.vector_dim = space.dimensions;
        // On a busy machine a call is to be slow, not refused.
        config.acquire_timeout = Duration::from_secs(60);
        config.statement_timeout = Duration::from_secs(600);
        let store = AlloyDbMemoryProvider::connect(config.clone()).await?;
        let replica = AlloyDbReplica::connect(config).await?;
        let pool = PgPool::connect_with(server.url().parse::<PgConnectOptions>()?).await?;
        Ok(Self { store, replica, pool, postmaster, _server: server })
    }

    pub fn side(&self) -> Side {
        let (replica, search) = (Arc::new(self.replica.clone()), Arc::new(Direct(self.store())));
        Side { replica, search: Some(search), embedder: None, answers: AnswerCache::None, is_read_only: false }
    }

    pub fn store(&self) -> Arc<dyn MemoryStore> {
        Arc::new(self.store.clone())
    }

    /// Seconds of processor time that it has used.
    pub fn cpu(&self) -> f64 {
        cpu::of_postgres(self.postmaster)
    }

    /// Lets the planner know what is there, as autovacuum does a little later.
    pub async fn analyse(&self) -> Result<()> {
        self.pool.execute("VACUUM (ANALYZE) orchestra.memories").await?;
        Ok(())
    }

    /// How many versions, current and former ones, have a vector of another space than this.
    pub async fn of_other_spaces(&self, space: &EmbeddingSpace) -> Result<i64> {
        let query = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT space FROM orchestra.memories UNION ALL SELECT space FROM orchestra.memory_versions) v \
             JOIN orchestra.spaces s ON s.space = v.space WHERE (s.model, s.dimensions) IS DISTINCT FROM ($1, $2)",
        );
        let dimensions = i32::try_from(space.dimensions)?;
        Ok(query.bind(&space.model).bind(dimensions).fetch_one(&self.pool).await?)
    }

    /// Copies the rows of `from` by `COPY` in binary into a table of the same columns and indexes, which is dropped then. Gives how
    /// many, and how long that took.
    pub async fn copy_from(&self, from: &Self) -> Result<(u64, Duration)> {
        self.pool.execute("CREATE TABLE orchestra.copied (LIKE orchestra.memories INCLUDING ALL)").await?;
        let began = Instant::now();
        let mut rows = from.pool.copy_out_raw("COPY orchestra.memories TO STDOUT (FORMAT binary)").await?;
        let mut target = self.pool.copy_in_raw("COPY orchestra.copied FROM STDIN (FORMAT binary)").await?;
        while let Some(chunk) = rows.next().await {
            target.send(chunk?).await?;
        }
        let copied = target.finish().await?;
        let took = began.elapsed();
        drop(rows);
        self.pool.execute("DROP TABLE orchestra.copied").await?;
        Ok((copied, took))
    }

    pub async fn close(self) {
        self.replica.close().await;
        self.store.close().await;
        self.pool.close().await;
    }
}

/// What is moved from.
pub enum Blue {
    Postgres(Postgres),
    Embedded(EmbeddedProvider),
}

impl Blue {
    pub async fn embedded(folder: &Path) -> Result<Self> {
        Ok(Self::Embedded(EmbeddedProvider::open(EmbeddedConfig::new(folder.join("memory.db"))).await?))
    }

    pub fn side(&self) -> Side {
        match self {
            Self::Postgres(postgres) => postgres.side(),
            Self::Embedded(file) => Side::of(file.clone()),
        }
    }

    pub fn store(&self) -> Arc<dyn MemoryStore> {
        match self {
            Self::Postgres(postgres) => postgres.store(),
            Self::Embedded(file) => Arc::new(file.clone()),
        }
    }

    /// Seconds of processor time that it has used; 0 for a file, which is this process's.
    pub fn cpu(&self) -> f64 {
        match self {
            Self::Postgres(postgres) => postgres.cpu(),
            Self::Embedded(_) => 0.0,
        }
    }

    pub async fn close(self) -> Result<()> {
        match self {
            Self::Postgres(postgres) => postgres.close().await,
            Self::Embedded(file) => file.close().await?,
        }
        Ok(())
    }
}
