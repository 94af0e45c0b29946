//! [`Replica`]: the store as whoever moves it sees it, over all tenants, with the rights of a role of its own.

mod items;
mod read;
mod scan;
mod streams;
mod write;

use std::fmt;

use async_trait::async_trait;
use memory_core::{
    ChangeLag, ChangePosition, Error, Gate, Item, ItemChange, ItemKey, Replica, ReplicaSize, Result, ScanPage,
    ScanPosition,
};
use sqlx::{PgPool, Row as _};

use crate::config::AlloyDbConfig;
use crate::error::{failed, unusable};
use crate::provider::AlloyDbMemoryProvider;

/// What a move is done as. A program that uses the memory may not take it on.
const ROLE: &str = "orchestra_move";

/// Of a large table as many as the planner takes it for, of another one each.
macro_rules! about {
    ($table:literal) => {
        concat!(
            "(SELECT CASE WHEN c.reltuples > 100000 THEN c.reltuples::bigint ELSE (SELECT count(*) FROM orchestra.",
            $table,
            ") END FROM pg_class c WHERE c.oid = 'orchestra.",
            $table,
            "'::regclass)"
        )
    };
}
const SIZE: &str = concat!(
    "SELECT ",
    about!("memories"),
    " AS memories, ",
    about!("tombstones"),
    " + ",
    about!("forgotten_texts"),
    " + ",
    about!("rejections"),
    " + ",
    about!("idempotency_keys"),
    " AS others, (SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c \
     WHERE c.relnamespace = 'orchestra'::regnamespace AND c.relkind = 'r') AS bytes"
);

/// A memory on AlloyDB or Postgres that is moved from or to. Clones share the same connections.
///
/// It reads and writes over all tenants, which [`AlloyDbMemoryProvider`] cannot: it takes on the role `orchestra_move`, which
/// the owner of the schema may, and any login that it was granted to.
#[derive(Clone)]
pub struct AlloyDbReplica {
    provider: AlloyDbMemoryProvider,
}

impl AlloyDbReplica {
    /// Connects to the primary as the user of `config`, and takes on the role `orchestra_move` in place of the one it names.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a setting, [`Error::Unusable`] when the user may not take that role on, when the schema is older
    /// than this program, or when the connection goes by a pooler; [`Error::Backend`] while the server cannot be reached.
    pub async fn connect(mut config: AlloyDbConfig) -> Result<Self> {
        if config.pooler {
            return Err(unusable(
                "a move needs connections of its own: connect to the server, not to the pooler",
                None,
            ));
        }
        config.high_availability = false;
        config.role = Some(ROLE.into());
        let user = config.user.clone();
        let provider = AlloyDbMemoryProvider::open(config).await.map_err(|error| explain(error, &user))?;
        Ok(Self { provider })
    }

    /// Waits for the calls that run, and closes every connection.
    pub async fn close(&self) {
        self.provider.close().await;
    }

    fn pool(&self) -> &PgPool {
        self.provider.inner.primary.pool()
    }
}

#[async_trait]
impl Replica for AlloyDbReplica {
    async fn capture(&self, stream: &str) -> Result<()> {
        self.capture_changes(stream).await
    }

    async fn release(&self, stream: &str) -> Result<()> {
        self.release_changes(stream).await
    }

    async fn scan(&self, after: Option<&ScanPosition>, limit: usize) -> Result<ScanPage> {
        self.scan_items(after, limit).await
    }

    async fn read(&self, keys: &[ItemKey]) -> Result<Vec<Item>> {
        self.read_items(keys).await
    }

    async fn changed(&self, stream: &str, limit: usize) -> Result<Vec<ItemChange>> {
        self.changes_of(stream, limit).await
    }

    async fn acknowledge(&self, stream: &str, position: &ChangePosition) -> Result<()> {
        self.acknowledge_moved(stream, position).await
    }

    async fn lag(&self, stream: &str) -> Result<ChangeLag> {
        self.lag_of(stream).await
    }

    async fn write(&self, epoch: u64, items: Vec<Item>) -> Result<()> {
        self.write_items(epoch, items).await
    }

    async fn size(&self) -> Result<ReplicaSize> {
        let failed = |error| failed("size", error);
        let row = sqlx::query(SIZE).fetch_one(self.pool()).await.map_err(failed)?;
        let count = |name| row.try_get::<i64, _>(name).map(i64::cast_unsigned).map_err(failed);
        Ok(ReplicaSize { memories: count("memories")?, others: count("others")?, bytes: count("bytes")? })
    }

    async fn gate(&self) -> Result<Gate> {
        self.provider.gate_now("gate").await
    }

    async fn set_gate(&self, gate: Gate) -> Result<()> {
        self.close_or_open(gate).await
    }
}

/// An epoch as the database counts it.
fn number(epoch: u64) -> Result<i64> {
    i64::try_from(epoch).map_err(|_| Error::invalid("epoch", epoch, format!("at most {}", i64::MAX)))
}

/// Why a connection was refused, where it is for the role.
fn explain(error: Error, user: &str) -> Error {
    let Error::Backend { source, .. } = &error else { return error };
    let Some(sqlx::Error::Database(database)) = source.downcast_ref::<sqlx::Error>() else { return error };
    let reason = match database.code().as_deref() {
        // insufficient_privilege
        Some("42501") => format!(
            "the user {user} may not take on the role {ROLE}, which moves the memory; connect as the owner of the schema, or let \
             an administrator run GRANT {ROLE} TO {user} WITH INHERIT FALSE, SET TRUE (before Postgres 16 without the options)"
        ),
        // invalid_parameter_value: there is no such role.
        Some("22023") => format!("the role {ROLE} is missing; run `orchestra db migrate`"),
        _ => return error,
    };
    unusable(reason, Some(Box::new(error)))
}

impl fmt::Debug for AlloyDbReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlloyDbReplica").field("provider", &self.provider).finish()
    }
}
