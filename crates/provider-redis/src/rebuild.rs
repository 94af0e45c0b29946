//! Making the index again while it is used: another beside it, filled from the same entries, then the alias is moved.

use std::time::{Duration, Instant};

use memory_core::{Error, Result};
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tracing::{info, warn};
use uuid::Uuid;

use crate::config::RedisConfig;
use crate::connection::Common;
use crate::entry::{Document, ENTRY, LINKS, blob, values};
use crate::error::{backend, unanswered, unusable};
use crate::index::{self, Differing, Indexes, tried};
use crate::keys::{Keys, Shard};
use crate::provider::RedisSemanticCacheProvider;
use crate::schema::{DataType, IndexSchema};

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RebuildProgress {
    /// Which shard is being rebuilt, from 0.
    pub shard: usize,
    /// How many shards there are.
    pub shards: usize,
    /// How many of its entries were given what the new index needs.
    pub rewritten: u64,
    /// How much of its entries the new index holds, `0.0..=1.0`.
    pub filled: f32,
}

/// For how long a process that rebuilds is waited for when nothing is heard of it.
const LEASE: Duration = Duration::from_secs(5);
/// How often it is looked whether something is done by now.
const POLL: Duration = Duration::from_millis(20);
/// How many keys are asked for at once, and rewritten.
const PAGE: usize = 64;

/// Prolongs a lock that is still held, with the lease in milliseconds.
const PROLONG: &str = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0";
/// Gives a lock back that is still held.
const RELEASE: &str = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0";
/// Sets fields of an entry, unless it is gone or another by now: a field set on a key that is gone would be a key for good.
const REWRITE: &str = "
    if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
    redis.call('HSET', KEYS[1], unpack(ARGV, 3))
    return 1
";

impl RedisSemanticCacheProvider {
    /// Makes the index as the schema says, whatever it was made as, and connects. Entries stay, and this and other
    /// processes look up and file meanwhile: a new index is filled beside the old one, and when it holds all, searches go
    /// to it at once and the old one is dropped. Handles that are connected follow.
    ///
    /// The algorithm, its parameters, the data type of the vector, and tag, numeric and text fields can change. Where the
    /// new index needs more of an entry than it has, the entry is rewritten; its time to live stays. Vectors that become
    /// [`Float16`](DataType::Float16) are rounded, and stay so when they become 32-bit again.
    ///
    /// A rebuild that was broken off is gone on with by the next, and is no hindrance to connecting with the former
    /// schema; a rebuild with that schema ends it. Of two at once, the second waits for the first.
    ///
    /// # Errors
    /// - [`Error::Invalid`], naming the setting, before any I/O, or what the server cannot index.
    /// - [`Error::Unusable`] when the server has no aliases (Valkey, Memorystore), and when other vectors or keys would be
    ///   needed: for other dimensions.
    /// - [`Error::Backend`] when Redis fails. It may be tried again.
    pub async fn rebuild(config: RedisConfig, mut progress: impl FnMut(RebuildProgress) + Send) -> Result<Self> {
        let schema = config.validate()?;
        let keys = Keys::new(&schema, config.shards, &config.space);
        let common = Common::new(&config, Indexes::new(schema, keys.clone()))?;
        let indexes = &common.indexes;
        let began = Instant::now();
        let first = keys.shard("");
        let can = indexes.probe(&mut common.reach(first, began).await?, first).await?;
        if !can.aliases {
            let reason = "the server has no aliases of indexes, which rebuilding one while it is used needs; \
                          drop the index, and the cache begins empty";
            return Err(unusable(reason.into(), None));
        }
        let shards = keys.shards().count();
        for shard in keys.shards() {
            let now = RebuildProgress { shard: shard.number(), shards, rewritten: 0, filled: 0.0 };
            let mut connection = common.reach(shard, began).await?;
            let lock = Lock::take(&mut connection, keys.rebuilding(shard)).await.map_err(failed)?;
            let rebuild = Rebuild { indexes, connection, shard, lock };
            rebuild.run(now, &mut progress).await?;
        }
        Self::connect(config).await
    }
}

/// The rebuild of one shard.
struct Rebuild<'a> {
    indexes: &'a Indexes,
    connection: MultiplexedConnection,
    shard: Shard,
    lock: Lock,
}

impl Rebuild<'_> {
    async fn run(
        mut self,
        mut now: RebuildProgress,
        progress: &mut (impl FnMut(RebuildProgress) + Send),
    ) -> Result<()> {
        let Indexes { schema, keys, .. } = self.indexes;
        let alias = keys.index(self.shard);
        // An index under the alias's own name makes way for an alias here; one that is not there is made.
        self.indexes.ensure(&mut self.connection, self.shard, Differing::Followed).await?;
        let live = index::info(&mut self.connection, &alias).await.map_err(failed)?;
        let live = live.ok_or_else(|| unanswered("rebuild", "the index was dropped meanwhile"))?;
        let (expected, properties) = (index::expected(schema, keys, self.shard), index::properties(&live));
        if !index::is_rebuildable(&expected, &properties) {
            index::compare(&expected, &properties, &alias, true)?;
        }
        let version = index::version(schema, keys, self.shard);
        let former = index::name_of(&live).and_then(|name| index::version_of(name, &alias)).unwrap_or_default();
        if former != version {
            let former_schema = index::schema_of(&live, schema)
                .ok_or_else(|| unusable(format!("index {alias} has fields that are not understood"), None))?;
            self.fill(former, &version, &former_schema, &mut now, progress).await?;
        }
        self.finish(&version).await?;
        self.lock.release(&mut self.connection).await.map_err(failed)?;
        now.filled = 1.0;
        progress(now);
        Ok(())
    }

    /// Makes the new index, fills it, and moves the alias.
    async fn fill(
        &mut self,
        former: &str,
        version: &str,
        former_schema: &IndexSchema,
        now: &mut RebuildProgress,
        progress: &mut (impl FnMut(RebuildProgress) + Send),
    ) -> Result<()> {
        let Indexes { schema, keys, .. } = self.indexes;
        let (alias, mark) = (keys.index(self.shard), keys.mark(self.shard));
        let name = format!("{alias}:{version}");
        // There may be one already, of a rebuild that was broken off: it has gone on taking entries in.
        tried(&mut self.connection, &index::create(&name, schema, keys, self.shard)).await.map_err(failed)?;
        // From here on every store is for both indexes. Those before are found by the sweep.
        let both = index::mark(former, Some(version));
        let set = |value: &str| redis::cmd("SET").arg(&mark).arg(value).to_owned();
        set(&both).exec_async(&mut self.connection).await.map_err(failed)?;
        let has_all = schema.fields.iter().all(|field| former_schema.fields.contains(field));
        if !has_all || schema.vector.stored() != former_schema.vector.stored() {
            let mut cursor = 0;
            loop {
                let keys = self.page(&mut cursor).await.map_err(failed)?;
                now.rewritten += self.rewrite(&keys, former_schema).await.map_err(failed)?;
                progress(*now);
                // Should it be evicted, processes that have not seen it would not learn of the rebuild.
                self.lock.prolong(&mut self.connection).await?;
                set(&both).exec_async(&mut self.connection).await.map_err(failed)?;
                if cursor == 0 {
                    break;
                }
            }
        }
        loop {
            let info = index::info(&mut self.connection, &name).await.map_err(failed)?;
            let info = info.ok_or_else(|| unanswered("rebuild", "the new index was dropped meanwhile"))?;
            self.lock.prolong(&mut self.connection).await?;
            if index::is_complete(&info) {
                break;
            }
            now.filled = index::filled(&info);
            progress(*now);
            tokio::time::sleep(POLL).await;
        }
        let mut switch = redis::cmd("FT.ALIASUPDATE");
        switch.arg(&alias).arg(&name).exec_async(&mut self.connection).await.map_err(failed)?;
        info!(index = alias, version, rewritten = now.rewritten, "the index is rebuilt");
        set(version).exec_async(&mut self.connection).await.map_err(failed)
    }

    /// Removes what nothing needs any more: vectors of another type and, last, other indexes. As long as one of them is
    /// there, a rebuild that was broken off here is seen.
    async fn finish(&mut self, version: &str) -> Result<()> {
        let Indexes { schema, keys, .. } = self.indexes;
        let alias = keys.index(self.shard);
        let set = redis::cmd("SET").arg(keys.mark(self.shard)).arg(version).to_owned();
        set.exec_async(&mut self.connection).await.map_err(failed)?;
        let names: Vec<String> = redis::cmd("FT._LIST").query_async(&mut self.connection).await.map_err(failed)?;
        let mut others = names;
        others.retain(|name| index::version_of(name, &alias).is_some_and(|other| other != version));
        let mut removed = Vec::new();
        for name in &others {
            let Some(other) = index::info(&mut self.connection, name).await.map_err(failed)? else { continue };
            let stored = index::schema_of(&other, schema).map(|other| other.vector.stored());
            removed.extend(stored.filter(|field| *field != schema.vector.stored()));
        }
        removed.dedup();
        if !removed.is_empty() {
            let mut cursor = 0;
            loop {
                let keys = self.page(&mut cursor).await.map_err(failed)?;
                let mut pipeline = redis::pipe();
                for key in keys {
                    pipeline.cmd("HDEL").arg(key).arg(&removed).ignore();
                }
                if !pipeline.is_empty() {
                    pipeline.exec_async(&mut self.connection).await.map_err(failed)?;
                }
                self.lock.prolong(&mut self.connection).await?;
                if cursor == 0 {
                    break;
                }
            }
        }
        for name in others {
            tried(&mut self.connection, redis::cmd("FT.DROPINDEX").arg(name)).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Some keys of entries, and the cursor to go on with; 0 after the last.
    async fn page(&mut self, cursor: &mut u64) -> RedisResult<Vec<String>> {
        // A prefix has no character that means something in a pattern.
        let pattern = format!("{}*", self.indexes.keys.entries(self.shard));
        let mut scan = redis::cmd("SCAN");
        scan.arg(*cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(PAGE);
        let (next, keys) = scan.query_async(&mut self.connection).await?;
        *cursor = next;
        Ok(keys)
    }

    /// Gives entries what the new index needs, and says how many had not.
    async fn rewrite(&mut self, keys: &[String], former: &IndexSchema) -> RedisResult<u64> {
        let schema = &self.indexes.schema;
        let names: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
        let (old, new) = (former.vector.stored(), schema.vector.stored());
        if keys.is_empty() {
            return Ok(0);
        }
        let mut read = redis::pipe();
        for key in keys {
            read.cmd("HMGET").arg(key).arg(&[ENTRY, LINKS, &old, &new]).arg(&names);
        }
        let entries: Vec<Vec<Option<Vec<u8>>>> = read.query_async(&mut self.connection).await?;
        let mut write = redis::pipe();
        for (key, fields) in keys.iter().zip(entries) {
            let [Some(entry), Some(links), old_vector, new_vector, had @ ..] = fields.as_slice() else { continue };
            let Ok(document) = Document::read(entry) else {
                warn!(key, "an entry in redis is damaged and is left as it is");
                continue;
            };
            // Those of both, as the former index goes on being searched.
            let mut wanted = document.fields([former, schema].into_iter());
            wanted.retain(|name, value| match names.iter().position(|known| known == name) {
                Some(at) => had.get(at).and_then(Option::as_deref) != Some(value.as_bytes()),
                None => name == LINKS && links != value.as_bytes(),
            });
            let vector = match (old_vector, new_vector) {
                (Some(vector), None) => converted(vector, former.vector.data_type, schema.vector.data_type),
                _ => None,
            };
            if wanted.is_empty() && vector.is_none() {
                continue;
            }
            let command = write.cmd("EVAL").arg(REWRITE).arg(1).arg(key).arg(LINKS).arg(links);
            for (name, value) in wanted {
                command.arg(name).arg(value);
            }
            if let Some(vector) = vector {
                command.arg(&new).arg(vector);
            }
        }
        if write.is_empty() {
            return Ok(0);
        }
        let rewritten: Vec<u64> = write.query_async(&mut self.connection).await?;
        Ok(rewritten.iter().sum())
    }
}

/// A stored vector in another type.
fn converted(vector: &[u8], from: DataType, to: DataType) -> Option<Vec<u8>> {
    Some(blob(&values(vector, from)?, to))
}

/// What a process holds while it rebuilds. It ends by itself when nothing is heard of its holder.
struct Lock {
    key: String,
    holder: String,
}

impl Lock {
    /// Waits until nobody else has it.
    async fn take(connection: &mut MultiplexedConnection, key: String) -> RedisResult<Self> {
        let lock = Self { key, holder: Uuid::now_v7().simple().to_string() };
        loop {
            let mut take = redis::cmd("SET");
            take.arg(&lock.key).arg(&lock.holder).arg("NX").arg("PX").arg(LEASE.as_millis() as u64);
            if take.query_async::<Option<String>>(connection).await?.is_some() {
                return Ok(lock);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Says that the holder is still there.
    async fn prolong(&self, connection: &mut MultiplexedConnection) -> Result<()> {
        let mut prolong = redis::cmd("EVAL");
        prolong.arg(PROLONG).arg(1).arg(&self.key).arg(&self.holder).arg(LEASE.as_millis() as u64);
        match prolong.query_async::<u64>(connection).await.map_err(failed)? {
            0 => Err(unanswered("rebuild", "another rebuild went on with it, because this one was not heard of")),
            _ => Ok(()),
        }
    }

    async fn release(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        redis::cmd("EVAL").arg(RELEASE).arg(1).arg(&self.key).arg(&self.holder).exec_async(connection).await
    }
}

fn failed(error: redis::RedisError) -> Error {
    backend("rebuild", error)
}
