//! Items to be written, by what they are.

use std::collections::HashMap;

use memory_core::{
    AnsweredKey, ContentHash, Item, ItemKey, MemoryId, Rejection, Scope, Timestamp, ValueKey, WholeMemory,
};
use serde_json::{Value, json};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::types::Json;

use crate::escape::escape;
use crate::rows::whole_micros;
use crate::write::number_of;

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

/// Items by what they are, none of them twice.
#[derive(Default)]
pub(super) struct Batch<'a> {
    pub memories: Vec<&'a WholeMemory>,
    tombstones: Vec<(&'a Scope, MemoryId, Timestamp)>,
    no_memories: Vec<(&'a str, MemoryId)>,
    forgotten_texts: Vec<(&'a Scope, &'a ContentHash)>,
    no_forgotten_texts: Vec<(&'a Scope, &'a ContentHash)>,
    rejections: Vec<&'a Rejection>,
    no_rejections: Vec<(&'a str, &'a ValueKey)>,
    answered_keys: Vec<&'a AnsweredKey>,
    no_answered_keys: Vec<(&'a str, &'a str)>,
}

pub(super) type Statement<'a> = Query<'a, Postgres, PgArguments>;

impl<'a> Batch<'a> {
    /// Of several items of one key the last counts, but what was forgotten stays so.
    pub(super) fn of(items: &'a [Item]) -> Self {
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

    pub(super) fn takes_away(&self) -> bool {
        !self.tombstones.is_empty() || !self.no_memories.is_empty()
    }

    /// Writes tombstones, and takes memories away.
    pub(super) fn removals(&self) -> Vec<Statement<'_>> {
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
    pub(super) fn others(&self) -> Vec<Statement<'_>> {
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
pub(super) fn each<T, U>(all: &[T], of: impl Fn(&T) -> U) -> Vec<U> {
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
    use memory_core::{Clock as _, StoredVersion};
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
