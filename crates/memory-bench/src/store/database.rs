//! The database that is measured: memories of one tenant, spread over users and agents, and what searches them.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use memory_core::{EmbeddedMemory, Embedding, EmbeddingSpace, Scope};
use memory_testkit::make;
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, IndexKind, MIGRATOR};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use crate::corpus;
use crate::cpu;
use crate::topics::Topics;

pub const TENANT: &str = "bench";
/// Over how many users the memories are spread.
pub const USERS: usize = 1000;
const TEXTS: usize = 20_000;

/// How many memories, of how many dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub rows: usize,
    pub dimensions: usize,
}

impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (rows, dimensions) = text.split_once('x').context("memories and dimensions, as 100000x384")?;
        let (rows, dimensions): (usize, usize) = (rows.parse()?, dimensions.parse()?);
        if rows < USERS || dimensions == 0 {
            bail!("at least {USERS} memories of at least one dimension");
        }
        Ok(Self { rows, dimensions })
    }
}

/// A database with the schema, and what the memories in it are made from.
pub struct Database {
    pub size: Size,
    pub provider: AlloyDbMemoryProvider,
    /// Connections as the same role, for the floors.
    pub raw: PgPool,
    /// Connections as the owner, whom row-level security does not hold.
    pub owner: PgPool,
    pub config: AlloyDbConfig,
    /// The server's first process.
    pub postmaster: u32,
    /// How long loading took, without what was compared with it.
    pub loading: Duration,
    pub topics: Topics,
    texts: Vec<String>,
}

/// A scope that is searched: its name, the share of the memories, and the scope.
pub struct Searched {
    pub name: &'static str,
    pub scope: Scope,
    pub holds: fn(usize) -> bool,
}

impl Database {
    pub async fn make(url: &str, size: Size, index: IndexKind) -> Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        MIGRATOR.run_direct(None, &mut connection, false).await?;
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
        let postmaster = cpu::parent(backend.cast_unsigned()).unwrap_or_default();
        connection.close().await?;
        let mut config = AlloyDbConfig::from_url(url)?;
        config.role = Some("orchestra_app".into());
        config.vector_dim = size.dimensions;
        config.max_connections = 32;
        config.index.kind = index;
        // On a busy machine a call is to be slow, not refused.
        config.acquire_timeout = Duration::from_secs(60);
        let provider = AlloyDbMemoryProvider::connect(config.clone()).await?;
        let options: PgConnectOptions = url.parse()?;
        let pool = PgPoolOptions::new().max_connections(32).min_connections(1).test_before_acquire(false);
        let raw = pool.clone().connect_lazy_with(options.clone().options([("role", "orchestra_app")]));
        let owner = pool.connect_lazy_with(options);
        let space = Arc::new(EmbeddingSpace::new("bench", "1", size.dimensions)?);
        let topics = Topics::new(&space)?;
        let texts = corpus::sentences(TEXTS, 11);
        Ok(Self { size, provider, raw, owner, config, postmaster, loading: Duration::ZERO, topics, texts })
    }

    pub async fn close(self) {
        self.provider.close().await;
        self.raw.close().await;
        self.owner.close().await;
    }

    /// The memory of a number, with its vector.
    pub fn memory(&self, number: usize) -> EmbeddedMemory {
        let mut memory = make::memory(&scope_of(number), &self.texts[number % TEXTS], chrono::Utc::now());
        memory.id = id_of(number);
        EmbeddedMemory { memory, embedding: Some(self.topics.draw(number as u64)) }
    }

    /// The same of another tenant, so that it is found in no search.
    pub fn memory_elsewhere(&self, number: usize) -> EmbeddedMemory {
        let mut item = self.memory(number);
        let user = item.memory.scope.user().unwrap_or_default().to_owned();
        item.memory.scope = Scope::tenant("another").and_then(|scope| scope.with_user(user)).expect("allowed names");
        item
    }

    pub fn text(&self, number: usize) -> &str {
        &self.texts[number % TEXTS]
    }

    /// A query's vector: near none of the memories, in their midst.
    pub fn query(&self, number: usize) -> Embedding {
        self.topics.draw(u64::from(u32::MAX) + number as u64)
    }

    /// The scopes of one user, 1 %, 10 % and all of the memories.
    pub fn searched(&self) -> Result<Vec<Searched>> {
        let tenant = Scope::tenant(TENANT)?;
        Ok(vec![
            Searched { name: "one user", scope: tenant.clone().with_user("7")?, holds: |at| at % USERS == 7 },
            Searched { name: "1 %", scope: tenant.clone().with_agent("one percent")?, holds: in_one_percent },
            Searched { name: "10 %", scope: tenant.clone().with_agent("ten percent")?, holds: in_ten_percent },
            Searched { name: "100 %", scope: tenant, holds: |_| true },
        ])
    }
}

/// The id of the memory of a number.
pub fn id_of(number: usize) -> memory_core::MemoryId {
    Uuid::from_u128((0x0190_0000_0000_7000_8000_0000_0000_0000_u128) + number as u128).into()
}

fn scope_of(number: usize) -> Scope {
    let scope = Scope::tenant(TENANT).and_then(|scope| scope.with_user((number % USERS).to_string()));
    let agent = match number {
        _ if in_one_percent(number) => "one percent",
        _ if in_ten_percent(number) => "ten percent",
        _ => "others",
    };
    scope.and_then(|scope| scope.with_agent(agent)).expect("names that are allowed")
}

// Whole thousands, so that each scope has memories of every topic: which topic a memory has depends on whether its number is
// odd.
fn in_one_percent(number: usize) -> bool {
    (number / 1000).is_multiple_of(100)
}

fn in_ten_percent(number: usize) -> bool {
    number / 1000 % 10 == 1
}
