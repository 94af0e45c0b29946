//! Writing what another store holds.

use std::collections::HashMap;

use memory_core::{
    AnsweredKey, ContentHash, Embedding, Item, ItemKey, MemoryId, Rejection, Result, Scope, StoredVersion, Timestamp,
    ValueKey, WholeMemory,
};
use serde_json::{Value, json};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{Postgres, Row as _, Transaction};

use super::{AlloyDbReplica, number};
use crate::batch::Arrays;
use crate::error::{failed, was_rolled_back};
use crate::escape::escape;
use crate::rows::whole_micros;
use crate::write::number_of;

/// How often a transaction is tried again that had to give way to others and was rolled back.
const GIVES_WAY: u32 = 3;

macro_rules! versions {
    ($function:literal) => {
        concat!(
            "SELECT orchestra.",
            $function,
            "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, \
             $25, $26)"
        )
    };
}
const MEMORIES: &str = versions!("write_moved_memories");
const VERSIONS: &str = versions!("write_moved_versions");

const TOMBSTONES: &str = "SELECT orchestra.write_moved_tombstones($1, $2, $3, $4, $5, $6)";
const NO_MEMORIES: &str = "SELECT orchestra.remove_moved_memories($1, $2, 'expired')";
const FORGOTTEN_TEXTS: &str = "
    INSERT INTO orchestra.forgotten_texts (tenant, content_hash, user_id, agent_id, session_id)
    SELECT * FROM unnest($1::text[], $2::bytea[], $3::text[], $4::text[], $5::text[]) ON CONFLICT DO NOTHING";
const NO_FORGOTTEN_TEXTS: &str = "
    DELETE FROM orchestra.forgotten_texts f
    USING unnest($1::text[], $2::bytea[], $3::text[], $4::text[], $5::text[])
        AS i(tenant, content_hash, user_id, agent_id, session_id)
    WHERE f.tenant = i.tenant AND f.content_hash = i.content_hash AND f.user_id IS NOT DISTINCT FROM i.user_id
        AND f.agent_id IS NOT DISTINCT FROM i.agent_id AND f.session_id IS NOT DISTINCT FROM i.session_id";
const REJECTIONS: &str = "
    INSERT INTO orchestra.rejections AS r (tenant, user_id, agent_id, key, looks, rejected_at, rejected_by)
    SELECT i.tenant, i.user_id, i.agent_id, i.key, i.looks, i.rejected_at, i.rejected_by
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::timestamptz[], $7::text[])
        WITH ORDINALITY AS i(tenant, user_id, agent_id, key, looks, rejected_at, rejected_by, at)
    ORDER BY i.at
    ON CONFLICT (tenant, key) DO UPDATE SET
        user_id = excluded.user_id, agent_id = excluded.agent_id, looks = excluded.looks,
        rejected_at = excluded.rejected_at, rejected_by = excluded.rejected_by
    WHERE (r.user_id, r.agent_id, r.looks, r.rejected_at, r.rejected_by)
        IS DISTINCT FROM (excluded.user_id, excluded.agent_id, excluded.looks, excluded.rejected_at, excluded.rejected_by)";
const NO_REJECTIONS: &str = "
    DELETE FROM orchestra.rejections r USING unnest($1::text[], $2::bytea[]) AS i(tenant, key)
    WHERE r.tenant = i.tenant AND r.key = i.key";
/// The answer is kept as `insert_memories` keeps its own; its transaction is this one, which has written what it tells of.
const ANSWERED_KEYS: &str = "
    INSERT INTO orchestra.idempotency_keys AS k (tenant, key, body_hash, receipt, created_at)
    SELECT i.tenant, i.key, i.body_hash, i.answer || jsonb_build_object('token', pg_current_xact_id()::text), i.created_at
    FROM unnest($1::text[], $2::text[], $3::bytea[], $4::jsonb[], $5::timestamptz[])
        AS i(tenant, key, body_hash, answer, created_at)
    ON CONFLICT (tenant, key) DO UPDATE SET
        body_hash = excluded.body_hash, receipt = excluded.receipt, created_at = excluded.created_at
    WHERE (k.body_hash, k.receipt - 'token', k.created_at)
        IS DISTINCT FROM (excluded.body_hash, excluded.receipt - 'token', excluded.created_at)";
const NO_ANSWERED_KEYS: &str = "
    DELETE FROM orchestra.idempotency_keys k USING unnest($1::text[], $2::text[]) AS i(tenant, key)
    WHERE k.tenant = i.tenant AND k.key = i.key";

impl AlloyDbReplica {
    pub(super) async fn write_items(&self, epoch: u64, items: Vec<Item>) -> Result<()> {
        let epoch = number(epoch)?;
        let batch = Batch::of(&items);
        let spaces = self.spaces_of(&batch).await?;
        let mut gave_way = 0;
        loop {
            match self.write_batch(epoch, &batch, &spaces).await {
                Err(error) if was_rolled_back(&error) && gave_way < GIVES_WAY => gave_way += 1,
                written => return written.map_err(|error| failed("write", error)),
            }
        }
    }

    async fn write_batch(&self, epoch: i64, batch: &Batch<'_>, spaces: &Spaces) -> sqlx::Result<()> {
        let mut transaction = self.pool().begin_with("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        let begin = sqlx::query("SELECT orchestra.begin_moved_write($1, $2)").bind(epoch).bind(batch.takes_away());
        begin.execute(&mut *transaction).await?;
        // First what stays forgotten, whatever else is told of it.
        for query in batch.removals() {
            query.execute(&mut *transaction).await?;
        }
        if !batch.memories.is_empty() {
            self.write_memories(&mut transaction, &batch.memories, spaces).await?;
        }
        for query in batch.others() {
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    async fn write_memories(
        &self,
        transaction: &mut Transaction<'static, Postgres>,
        memories: &[&WholeMemory],
        spaces: &Spaces,
    ) -> sqlx::Result<()> {
        let storage = self.provider.inner.config.storage;
        let arrays = |versions: &mut dyn Iterator<Item = &StoredVersion>| {
            let items = versions
                .map(|StoredVersion { memory, embedding }| (memory, embedding.as_ref(), spaces.of(embedding.as_ref())));
            Arrays::new(items, storage)
        };
        let first = |whole: &WholeMemory| {
            let first = whole.former.first().map_or(&whole.current, |former| &former.version);
            whole_micros(first.memory.recorded_at)
        };
        let query = sqlx::query(MEMORIES)
            .bind(each(memories, |whole| whole.ordinal.cast_signed()))
            .bind(each(memories, |whole| whole.current.memory.scope.tenant_name().to_owned()))
            .bind(each(memories, |whole| first(whole)));
        let query = arrays(&mut memories.iter().map(|whole| &whole.current)).bind(query);
        let known: Vec<i64> = query.fetch_one(&mut **transaction).await?.try_get(0)?;

        let former: Vec<_> =
            memories.iter().flat_map(|whole| whole.former.iter().map(|former| (whole.ordinal, former))).collect();
        if known.is_empty() && former.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(VERSIONS)
            .bind(known)
            .bind(each(&former, |(ordinal, _)| ordinal.cast_signed()))
            .bind(each(&former, |(_, former)| whole_micros(former.superseded_at)));
        let query = arrays(&mut former.iter().map(|(_, former)| &former.version)).bind(query);
        query.execute(&mut **transaction).await.map(drop)
    }

    /// The numbers of all vectors' spaces, which are given them where they are new here.
    async fn spaces_of(&self, batch: &Batch<'_>) -> Result<Spaces> {
        let mut spaces = Spaces(HashMap::new());
        for whole in &batch.memories {
            for version in whole.former.iter().map(|former| &former.version).chain([&whole.current]) {
                if let Some(embedding) = &version.embedding
                    && spaces.of(Some(embedding)).is_none()
                    && let Some(number) = self.provider.space("write", embedding.space(), true).await?
                {
                    spaces.0.insert((**embedding.space()).clone(), number);
                }
            }
        }
        Ok(spaces)
    }
}

struct Spaces(HashMap<memory_core::EmbeddingSpace, i16>);

impl Spaces {
    fn of(&self, embedding: Option<&Embedding>) -> Option<i16> {
        self.0.get(&**embedding?.space()).copied()
    }
}

/// Items by what they are, none of them twice.
#[derive(Default)]
struct Batch<'a> {
    memories: Vec<&'a WholeMemory>,
    tombstones: Vec<(&'a Scope, MemoryId, Timestamp)>,
    no_memories: Vec<(&'a str, MemoryId)>,
    forgotten_texts: Vec<(&'a Scope, &'a ContentHash)>,
    no_forgotten_texts: Vec<(&'a Scope, &'a ContentHash)>,
    rejections: Vec<&'a Rejection>,
    no_rejections: Vec<(&'a str, &'a ValueKey)>,
    answered_keys: Vec<&'a AnsweredKey>,
    no_answered_keys: Vec<(&'a str, &'a str)>,
}

type Statement<'a> = Query<'a, Postgres, PgArguments>;

impl<'a> Batch<'a> {
    /// Of several items of one key the last counts, but what was forgotten stays so.
    fn of(items: &'a [Item]) -> Self {
        let mut last: HashMap<ItemKey, usize> = HashMap::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let place = last.entry(item.key()).or_insert(at);
            if !matches!(items[*place], Item::Tombstone { .. }) || matches!(item, Item::Tombstone { .. }) {
                *place = at;
            }
        }
        let mut places: Vec<usize> = last.into_values().collect();
        places.sort_unstable();
        let mut batch = Self::default();
        for at in places {
            batch.add(&items[at]);
        }
        batch
    }

    fn add(&mut self, item: &'a Item) {
        match item {
            Item::Memory(whole) => self.memories.push(whole),
            Item::Tombstone { scope, id, forgotten_at } => self.tombstones.push((scope, *id, *forgotten_at)),
            Item::ForgottenText { scope, hash } => self.forgotten_texts.push((scope, hash)),
            Item::Rejection(rejection) => self.rejections.push(rejection),
            Item::IdempotencyKey(answered) => self.answered_keys.push(answered),
            Item::Absent(ItemKey::Memory { tenant, id }) => self.no_memories.push((tenant, *id)),
            Item::Absent(ItemKey::ForgottenText { scope, hash }) => self.no_forgotten_texts.push((scope, hash)),
            Item::Absent(ItemKey::Rejection { tenant, key }) => self.no_rejections.push((tenant, key)),
            Item::Absent(ItemKey::IdempotencyKey { tenant, key }) => self.no_answered_keys.push((tenant, key)),
        }
    }

    fn takes_away(&self) -> bool {
        !self.tombstones.is_empty() || !self.no_memories.is_empty()
    }

    /// Writes tombstones, and takes memories away.
    fn removals(&self) -> Vec<Statement<'_>> {
        let mut queries = Vec::new();
        let some = &self.tombstones;
        if !some.is_empty() {
            queries.push(
                sqlx::query(TOMBSTONES)
                    .bind(each(some, |(scope, ..)| scope.tenant_name().to_owned()))
                    .bind(each(some, |(_, id, _)| id.as_uuid()))
                    .bind(each(some, |(scope, ..)| scope.user().map(str::to_owned)))
                    .bind(each(some, |(scope, ..)| scope.agent().map(str::to_owned)))
                    .bind(each(some, |(scope, ..)| scope.session().map(str::to_owned)))
                    .bind(each(some, |(.., forgotten_at)| whole_micros(*forgotten_at))),
            );
        }
        let some = &self.no_memories;
        if !some.is_empty() {
            queries.push(
                sqlx::query(NO_MEMORIES)
                    .bind(each(some, |(tenant, _)| (*tenant).to_owned()))
                    .bind(each(some, |(_, id)| id.as_uuid())),
            );
        }
        queries
    }

    /// Writes what is no memory.
    fn others(&self) -> Vec<Statement<'_>> {
        let mut queries = Vec::new();
        for (statement, some) in
            [(FORGOTTEN_TEXTS, &self.forgotten_texts), (NO_FORGOTTEN_TEXTS, &self.no_forgotten_texts)]
        {
            if !some.is_empty() {
                queries.push(
                    sqlx::query(statement)
                        .bind(each(some, |(scope, _)| scope.tenant_name().to_owned()))
                        .bind(each(some, |(_, hash)| *hash.as_bytes()))
                        .bind(each(some, |(scope, _)| scope.user().map(str::to_owned)))
                        .bind(each(some, |(scope, _)| scope.agent().map(str::to_owned)))
                        .bind(each(some, |(scope, _)| scope.session().map(str::to_owned))),
                );
            }
        }
        let some = &self.rejections;
        if !some.is_empty() {
            let looks = |it: &&Rejection| (it.keys.looks != it.keys.reads).then_some(*it.keys.looks.as_bytes());
            queries.push(
                sqlx::query(REJECTIONS)
                    .bind(each(some, |it| it.scope.tenant_name().to_owned()))
                    .bind(each(some, |it| it.scope.user().map(str::to_owned)))
                    .bind(each(some, |it| it.scope.agent().map(str::to_owned)))
                    .bind(each(some, |it| *it.keys.reads.as_bytes()))
                    .bind(each(some, looks))
                    .bind(each(some, |it| whole_micros(it.rejected_at)))
                    .bind(each(some, |it| escape(&it.rejected_by).into_owned())),
            );
        }
        let some = &self.no_rejections;
        if !some.is_empty() {
            queries.push(
                sqlx::query(NO_REJECTIONS)
                    .bind(each(some, |(tenant, _)| (*tenant).to_owned()))
                    .bind(each(some, |(_, key)| *key.as_bytes())),
            );
        }
        let some = &self.answered_keys;
        if !some.is_empty() {
            queries.push(
                sqlx::query(ANSWERED_KEYS)
                    .bind(each(some, |it| it.tenant.clone()))
                    .bind(each(some, |it| escape(&it.key).into_owned()))
                    .bind(each(some, |it| it.body_hash))
                    .bind(each(some, |it| Json(answer(it))))
                    .bind(each(some, |it| whole_micros(it.created_at))),
            );
        }
        let some = &self.no_answered_keys;
        if !some.is_empty() {
            queries.push(
                sqlx::query(NO_ANSWERED_KEYS)
                    .bind(each(some, |(tenant, _)| (*tenant).to_owned()))
                    .bind(each(some, |(_, key)| escape(key).into_owned())),
            );
        }
        queries
    }
}

/// Something of each.
fn each<T, U>(all: &[T], of: impl Fn(&T) -> U) -> Vec<U> {
    all.iter().map(of).collect()
}

/// An answer as `insert_memories` keeps it, but for the transaction.
fn answer(answered: &AnsweredKey) -> Value {
    let ids: Vec<_> = answered.items.iter().map(|item| item.id).collect();
    let statuses: Vec<_> = answered.items.iter().map(|item| number_of(item.status)).collect();
    json!({ "ids": ids, "statuses": statuses })
}

#[cfg(test)]
mod tests {
    use memory_core::Clock as _;
    use memory_testkit::{TestClock, make};

    use super::*;

    #[test]
    fn of_several_items_of_one_key_the_last_counts_but_the_forgotten_stay_so() {
        let now = TestClock::new().now();
        let scope = make::user("acme", "ann");
        let [first, second] = ["one", "two"].map(|text| WholeMemory {
            ordinal: 1,
            current: StoredVersion { memory: make::memory(&scope, text, now), embedding: None },
            former: Vec::new(),
        });
        let memory: fn(&WholeMemory) -> Item = |whole| Item::Memory(Box::new(whole.clone()));
        let gone = Item::Absent(memory(&first).key());
        let buried = Item::Tombstone { scope: scope.clone(), id: second.current.memory.id, forgotten_at: now };
        let counts = |items: &[Item]| {
            let batch = Batch::of(items);
            [batch.memories.len(), batch.tombstones.len(), batch.no_memories.len()]
        };
        assert_eq!(counts(&[memory(&first), gone.clone()]), [0, 0, 1]);
        assert_eq!(counts(&[gone, memory(&first), memory(&second)]), [2, 0, 0]);
        assert_eq!(counts(&[buried.clone(), memory(&second)]), [0, 1, 0]);
        assert_eq!(counts(&[memory(&second), buried.clone(), buried]), [0, 1, 0]);
    }
}
