//! The store as whoever moves it sees it, beyond its contract.

mod capture;
mod gate;
mod killed;
mod moves;
mod rights;
mod written;

use memory_core::{
    Gate, Item, ItemChange, ItemKey, Memory, MemoryId, Replica, Scope, StoredVersion, WholeMemory, Writers,
};
use provider_alloydb::AlloyDbReplica;
use sqlx::PgConnection;

use crate::support::wait_until;

pub const LONGEST: std::time::Duration = std::time::Duration::from_secs(60);

pub fn open_to_clients(epoch: u64) -> Gate {
    Gate { epoch, writers: Writers::Clients }
}

pub fn closed(epoch: u64) -> Gate {
    Gate { epoch, writers: Writers::Mover }
}

pub fn key_of(scope: &Scope, id: MemoryId) -> ItemKey {
    ItemKey::Memory { tenant: scope.tenant_name().to_owned(), id }
}

/// A memory as it is first written.
pub fn whole(ordinal: u64, memory: Memory) -> WholeMemory {
    WholeMemory { ordinal, current: StoredVersion { memory, embedding: None }, former: Vec::new() }
}

pub fn item(whole: &WholeMemory) -> Item {
    Item::Memory(Box::new(whole.clone()))
}

/// Every item of a store, in the order of scanning.
pub async fn everything(replica: &dyn Replica) -> Vec<Item> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let page = replica.scan(after.as_ref(), 50).await.expect("an answer");
        items.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return items,
        }
    }
}

/// What a stream has not moved, once nothing that was written is held back. Other tests on the server hold it back too.
pub async fn told(replica: &AlloyDbReplica, stream: &str) -> Vec<ItemChange> {
    let mut told = Vec::new();
    wait_until("all that was noted is told", LONGEST, async || {
        let noted = replica.lag(stream).await.expect("an answer").changes;
        told = replica.changed(stream, 10_000).await.expect("an answer");
        told.len() as u64 == noted
    })
    .await;
    told
}

/// The triggers of the schema, as `table.trigger`.
pub async fn triggers(connection: &mut PgConnection) -> Vec<String> {
    let names = "SELECT c.relname || '.' || t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
                 WHERE c.relnamespace = 'orchestra'::regnamespace AND NOT t.tgisinternal ORDER BY 1";
    sqlx::query_scalar(names).fetch_all(connection).await.expect("an answer")
}

/// Waits until a session of the database waits for a lock, as `waiting` of them do.
pub async fn until_waiting(connection: &mut PgConnection, application: &str, waiting: i64) {
    wait_until("somebody waits for a lock", LONGEST, async || {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
             AND query LIKE $1",
        )
        .bind(format!("%{application}%"))
        .fetch_one(&mut *connection)
        .await
        .expect("an answer");
        count >= waiting
    })
    .await;
}
