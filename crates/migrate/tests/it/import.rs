//! Sources that people have, each as the library that writes them makes them, with rows that are not as they should be.

mod jsonl;
mod langchain;
mod mem0;

use std::sync::Arc;

use memory_core::{Embedding, EmbeddingSpace, Error, Gate, Item, ItemKey, Replica, Timestamp, WholeMemory, Writers};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use migrate::import::{Import, Options};
use secrecy::SecretString;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// A space of three dimensions.
fn space() -> Arc<EmbeddingSpace> {
    Arc::new(EmbeddingSpace::new("text-embedding-3-small", "1", 3).expect("a space"))
}

fn options(space: Option<Arc<EmbeddingSpace>>) -> Options {
    let recorded_at = Timestamp::from_timestamp(1_760_000_000, 0).expect("a time");
    Options { tenant: "acme".into(), space, recorded_at }
}

/// The vector as it comes out: of length 1.
fn embedding(values: [f32; 3]) -> Option<Embedding> {
    Some(Embedding::new(space(), values.to_vec()).expect("a vector"))
}

/// A database of its own on the shared server, with pgvector; `None` where there is no server, which was said.
async fn database() -> Option<(SecretString, PgConnection)> {
    let server: PgConnectOptions = services::url(Service::Postgres)?.parse().expect("a URL");
    let name = format!("import_{}", make::id().as_uuid().simple());
    let mut administrator = PgConnection::connect_with(&server.clone().database("postgres")).await.expect("connect");
    administrator.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database");
    let mut connection = PgConnection::connect_with(&server.clone().database(&name)).await.expect("connect");
    connection.execute("CREATE EXTENSION vector").await.expect("pgvector");
    let url = sqlx::ConnectOptions::to_url_lossy(&server.database(&name)).to_string();
    Some((url.into(), connection))
}

/// Every memory, by pages of two.
async fn scan(import: &Import) -> Vec<WholeMemory> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = import.scan(after.as_ref(), 2).await.expect("scan");
        assert!(page.items.len() <= 2);
        all.extend(page.items.into_iter().map(|item| match item {
            Item::Memory(whole) => *whole,
            other => panic!("{other:?}"),
        }));
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

fn left_out(import: &Import) -> Vec<(&str, &str)> {
    import.left_out().iter().map(|one| (one.key.as_str(), one.reason.as_str())).collect()
}

/// What every source does: it gives by key what it scanned, says how much there is, and takes no part in being followed.
async fn is_read_only(import: &Import, all: &[WholeMemory]) {
    let key = |whole: &WholeMemory| Item::Memory(Box::new(whole.clone())).key();
    let mut keys: Vec<ItemKey> = all.iter().rev().map(key).collect();
    let unknown = ItemKey::Memory { tenant: "acme".into(), id: make::id() };
    let elsewhere = match &keys[0] {
        ItemKey::Memory { id, .. } => ItemKey::Memory { tenant: "globex".into(), id: *id },
        other => panic!("{other:?}"),
    };
    keys.extend([unknown.clone(), elsewhere.clone()]);
    let mut expected: Vec<Item> = all.iter().rev().map(|whole| Item::Memory(Box::new(whole.clone()))).collect();
    expected.extend([Item::Absent(unknown), Item::Absent(elsewhere)]);
    assert_eq!(import.read(&keys).await.expect("read"), expected);
    let size = import.size().await.expect("a size");
    assert_eq!((size.memories, size.others), (all.len() as u64, 0));
    assert!(size.bytes > 0);
    assert_eq!(import.gate().await.expect("a gate").writers, Writers::Clients);
    let refused = [
        import.capture("x").await,
        import.changed("x", 1).await.map(drop),
        import.lag("x").await.map(drop),
        import.write(1, Vec::new()).await,
        import.set_gate(Gate { epoch: 1, writers: Writers::Mover }).await,
    ];
    for refused in refused {
        let error = refused.expect_err("it can only be read");
        assert!(matches!(error, Error::Unusable { .. }) && error.to_string().contains("only be read"), "{error}");
    }
}
