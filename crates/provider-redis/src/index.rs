//! The indexes, one for each shard: made, compared with the schema, and followed when they are rebuilt.
//!
//! On a server with aliases, searches go to an alias, and the index behind it is named by what it is made as, so that a
//! rebuild makes another beside it and moves the alias. On other servers the index has the name itself.
//!
//! A rebuild may be made by any process. Each shard has a *mark*, a key with the version of the index and, while another
//! is being made, of that one. Every store reads it in the transaction that files the entry, so that a process that
//! learns of a rebuild so late files the entry once more, as both indexes need it.

mod definition;
mod probe;

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use memory_core::{Error, Result};
use redis::aio::ConnectionLike;
use redis::{RedisResult, Value};
use tracing::info;

use crate::error::{backend, unusable};
use crate::keys::{Keys, Shard};
use crate::schema::{FieldKind, IndexSchema};
pub(crate) use definition::{
    compare, create, expected, filled, is_complete, is_rebuildable, name_of, properties, schema_of, version, version_of,
};
pub use probe::Capabilities;
pub(crate) use probe::{is_refusal, tried};

/// Sets a key to the second value if it has the first.
const SET_IF: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) end";

/// What the shards' indexes are to be, and are.
#[derive(Debug)]
pub(crate) struct Indexes {
    pub schema: IndexSchema,
    pub keys: Keys,
    capabilities: OnceLock<Capabilities>,
    live: RwLock<Vec<Arc<Live>>>,
}

/// A shard's index as this process knows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Live {
    /// What searches find.
    pub schema: IndexSchema,
    /// What entries are filed for beside: the index that is being made.
    pub next: Option<IndexSchema>,
    /// The mark that this was read with.
    mark: Option<String>,
}

/// Whether an index may be another than the schema says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Differing {
    /// It is refused: whoever connects is told.
    Refused,
    /// It is followed: somebody rebuilt it since this process connected.
    Followed,
}

impl Indexes {
    pub(crate) fn new(schema: IndexSchema, keys: Keys) -> Self {
        let live = Arc::new(Live { schema: schema.clone(), next: None, mark: None });
        let live = RwLock::new(vec![live; keys.shards().count()]);
        Self { schema, keys, capabilities: OnceLock::new(), live }
    }

    /// What the server can do, once it was asked.
    pub(crate) fn capabilities(&self) -> Option<Capabilities> {
        self.capabilities.get().copied()
    }

    /// Finds out what the server can do, and whether that is what the schema needs.
    ///
    /// # Errors
    /// [`Error::Unusable`] without vector search, and [`Error::Invalid`] naming a field that the server cannot index.
    pub(crate) async fn probe(
        &self,
        connection: &mut (impl ConnectionLike + Send),
        shard: Shard,
    ) -> Result<Capabilities> {
        let found = probe::probe(connection, &self.keys, shard).await;
        let can = found.map_err(|error| backend("probe", error))?;
        if !can.vectors {
            let reason = "the server has no vector search; use Redis 8, Redis Stack, or Valkey with its search module";
            return Err(unusable(reason.into(), None));
        }
        let IndexSchema { vector, fields, .. } = &self.schema;
        if let Some(field) = fields.iter().find(|field| field.kind == FieldKind::Text && !can.text) {
            let allowed = "tag or numeric: this server does not index text";
            return Err(Error::invalid(format!("index_schema.fields.{}", field.name), "text", allowed));
        }
        if !can.has(vector.data_type) {
            let field = format!("index_schema.fields.{}.attrs.datatype", vector.name);
            return Err(Error::invalid(field, vector.data_type.name(), "float32: this server has no other"));
        }
        Ok(*self.capabilities.get_or_init(|| can))
    }

    /// The index of a shard, as far as this process knows.
    pub(crate) fn live(&self, shard: Shard) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)[shard.number()].clone()
    }

    /// The key of a shard's mark, where the server can rebuild.
    pub(crate) fn mark_key(&self, shard: Shard) -> Option<String> {
        self.has_aliases().then(|| self.keys.mark(shard))
    }

    /// Makes the index of a shard if it is not there.
    ///
    /// # Errors
    /// [`Error::Unusable`] with the difference when there is one that is not as the schema says and that is not to be
    /// followed.
    pub(crate) async fn ensure(
        &self,
        connection: &mut (impl ConnectionLike + Send),
        shard: Shard,
        differing: Differing,
    ) -> Result<()> {
        let failed = |error| backend("connect", error);
        let alias = self.keys.index(shard);
        // Another process may make it at the same moment, or drop it: whoever comes second looks again.
        for _ in 0..3 {
            let Some(found) = info(connection, &alias).await.map_err(failed)? else {
                self.make(connection, shard).await.map_err(failed)?;
                continue;
            };
            if self.has_aliases() && name_of(&found) == Some(&alias) {
                self.make_way(connection, shard).await.map_err(failed)?;
                continue;
            }
            if differing == Differing::Refused {
                let expected = expected(&self.schema, &self.keys, shard);
                compare(&expected, &properties(&found), &alias, self.has_aliases())?;
            }
            return self.follow(connection, shard).await.map_err(failed);
        }
        Err(unusable(format!("index {alias} can neither be made nor read"), None))
    }

    /// Learns what the index of a shard is by now.
    pub(crate) async fn follow(&self, connection: &mut (impl ConnectionLike + Send), shard: Shard) -> RedisResult<()> {
        if !self.has_aliases() {
            return Ok(());
        }
        let (alias, key) = (self.keys.index(shard), self.keys.mark(shard));
        // The mark first: what it says may be behind what the index is, and then the next store looks again.
        let mut mark: Option<String> = redis::cmd("GET").arg(&key).query_async(connection).await?;
        let Some(found) = info(connection, &alias).await? else { return Ok(()) };
        let Some(schema) = schema_of(&found, &self.schema) else { return Ok(()) };
        let version = name_of(&found).and_then(|name| version_of(name, &alias)).unwrap_or_default();
        let next = match mark.as_deref().and_then(next_version).filter(|next| *next != version) {
            None => None,
            Some(next) => {
                let found = info(connection, &format!("{alias}:{next}")).await?;
                found.and_then(|found| schema_of(&found, &self.schema))
            }
        };
        if mark.is_none() {
            // It was evicted, or the index is new.
            redis::cmd("SET").arg(&key).arg(version).arg("NX").exec_async(connection).await?;
            mark = Some(version.to_owned());
        } else if mark.as_deref().is_some_and(|mark| next_version(mark).is_none() && mark != version) {
            // The index was dropped, and made again from another schema.
            let mut set = redis::cmd("EVAL");
            set.arg(SET_IF).arg(1).arg(&key).arg(&mark).arg(version);
            set.exec_async(connection).await?;
            mark = Some(version.to_owned());
        }
        let live = Arc::new(Live { schema, next, mark });
        let mut all = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut all[shard.number()], live.clone());
        if former.schema != live.schema {
            info!(index = alias, version, "the index was rebuilt");
        }
        Ok(())
    }

    /// The name of the index behind the alias, for a schema.
    pub(crate) fn physical(&self, shard: Shard, schema: &IndexSchema) -> String {
        format!("{}:{}", self.keys.index(shard), version(schema, &self.keys, shard))
    }

    pub(crate) fn has_aliases(&self) -> bool {
        self.capabilities().is_some_and(|can| can.aliases)
    }

    async fn make(&self, connection: &mut (impl ConnectionLike + Send), shard: Shard) -> RedisResult<()> {
        let (alias, schema) = (self.keys.index(shard), &self.live(shard).schema);
        if !self.has_aliases() {
            tried(connection, &create(&alias, schema, &self.keys, shard)).await?;
            return Ok(());
        }
        let name = self.physical(shard, schema);
        let made = tried(connection, &create(&name, schema, &self.keys, shard)).await?;
        let named = tried(connection, redis::cmd("FT.ALIASADD").arg(&alias).arg(&name)).await?;
        // Another process, with another schema, was first: its index is the one.
        if made && !named && info(connection, &alias).await?.is_some_and(|found| name_of(&found) != Some(&name)) {
            tried(connection, redis::cmd("FT.DROPINDEX").arg(&name)).await?;
        }
        Ok(())
    }

    /// Puts an alias in the place of an index of that name, which a server without aliases had. The index goes, the
    /// entries stay: the one behind the alias is filled with them.
    async fn make_way(&self, connection: &mut (impl ConnectionLike + Send), shard: Shard) -> RedisResult<()> {
        let (alias, name) = (self.keys.index(shard), self.physical(shard, &self.schema));
        tried(connection, &create(&name, &self.schema, &self.keys, shard)).await?;
        tried(connection, redis::cmd("FT.ALIASUPDATE").arg(&alias).arg(&name)).await?;
        tried(connection, redis::cmd("FT.DROPINDEX").arg(&alias)).await?;
        Ok(())
    }
}

impl Live {
    /// Whether the mark is still the one that this was read with.
    pub(crate) fn is_current(&self, mark: Option<&str>) -> bool {
        self.mark.as_deref() == mark
    }

    /// What entries are filed for.
    pub(crate) fn schemas(&self) -> impl Iterator<Item = &IndexSchema> {
        std::iter::once(&self.schema).chain(&self.next)
    }
}

/// The mark of an index, with that of the one that is being made beside it.
pub(crate) fn mark(version: &str, next: Option<&str>) -> String {
    next.map_or_else(|| version.to_owned(), |next| format!("{version}+{next}"))
}

fn next_version(mark: &str) -> Option<&str> {
    mark.split_once('+').map(|(_, next)| next)
}

/// `FT.INFO`, or `None` when there is no such index.
pub(crate) async fn info(connection: &mut (impl ConnectionLike + Send), index: &str) -> RedisResult<Option<Value>> {
    match redis::cmd("FT.INFO").arg(index).query_async::<Value>(connection).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if is_refusal(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
