//! Through a pooler that goes to another connection of its own after every transaction.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use memory_core::{MemoryPatch, MemoryStore, Selection};
use memory_testkit::make;
use memory_testkit::services::{self, Server, Service};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Home, everything, forget, key, wait_until};

/// The role that needs no password: the pooler cannot give it.
const USER: &str = "pooled";
/// The code in place of a version with which a client asks for TLS.
const TLS_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// A pooler in transaction mode, with two connections to the server for each client, in turn.
struct Pooler {
    port: u16,
    switches: Arc<AtomicU64>,
}

impl Pooler {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let switches = Arc::new(AtomicU64::new(0));
        let counted = switches.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // It ends with an error when either side hangs up.
                tokio::spawn(serve(client, server, counted.clone()));
            }
        });
        Self { port, switches }
    }
}

async fn serve(mut client: TcpStream, server: u16, switches: Arc<AtomicU64>) -> io::Result<()> {
    let mut startup = read_startup(&mut client).await?;
    if startup[4..8] == TLS_REQUEST {
        client.write_all(b"N").await?;
        startup = read_startup(&mut client).await?;
    }
    let mut servers =
        [TcpStream::connect(("127.0.0.1", server)).await?, TcpStream::connect(("127.0.0.1", server)).await?];
    client.set_nodelay(true)?;
    for (at, server) in servers.iter_mut().enumerate() {
        server.set_nodelay(true)?;
        server.write_all(&startup).await?;
        loop {
            let message = read_message(server).await?;
            if at == 0 {
                client.write_all(&message).await?;
            }
            if message[0] == b'Z' {
                break;
            }
        }
    }
    let mut current = 0;
    loop {
        // What the client sends up to where it waits for an answer: Sync, or a simple query.
        let mut is_transaction = false;
        loop {
            let message = read_message(&mut client).await?;
            servers[current].write_all(&message).await?;
            // A mere Sync asks whether the connection is there.
            is_transaction |= message[0] != b'S';
            if matches!(message[0], b'S' | b'Q') {
                break;
            }
        }
        let state = loop {
            let message = read_message(&mut servers[current]).await?;
            client.write_all(&message).await?;
            if message[0] == b'Z' {
                break message[5];
            }
        };
        if is_transaction && state == b'I' {
            current = 1 - current;
            switches.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A client's first message: its length and the rest.
async fn read_startup(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(length as usize, 0);
    stream.read_exact(&mut message[4..]).await?;
    Ok(message)
}

/// A message: its letter, its length and the rest.
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let letter = stream.read_u8().await?;
    let length = stream.read_u32().await?;
    let mut message = vec![letter];
    message.extend(length.to_be_bytes());
    message.resize(length as usize + 1, 0);
    stream.read_exact(&mut message[5..]).await?;
    Ok(message)
}

/// Lets the role in without a password. `None` where the server's files are not here, which is said.
async fn let_in(server: &Server, home: &Home) -> Option<AlloyDbConfig> {
    if server.programs().is_none() {
        eprintln!("SKIPPED: a server in a container has no files here to let the pooler in with");
        return None;
    }
    let file = server.folder().join("data/pg_hba.conf");
    let rules = std::fs::read_to_string(&file).expect("the rules");
    std::fs::write(&file, format!("host all {USER} 127.0.0.1/32 trust\n{rules}")).expect("written");
    let mut direct = home.direct().await;
    direct
        .execute(AssertSqlSafe(format!("CREATE ROLE {USER} LOGIN IN ROLE orchestra_app; SELECT pg_reload_conf()")))
        .await
        .expect("a role");
    let mut config = home.config();
    (config.user, config.role) = (USER.into(), None);
    // Before the server has read its rules again it asks for a password.
    wait_until("the role is let in", Duration::from_secs(10), async || {
        AlloyDbMemoryProvider::connect(config.clone()).await.is_ok()
    })
    .await;
    Some(config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_works_when_each_transaction_is_on_another_connection() {
    let Some(server) = services::private(Service::Postgres) else { return };
    let home = Home::at(server.url());
    let Some(mut config) = let_in(&server, &home).await else { return };
    let pooler = Pooler::to(server.port()).await;
    config.port = pooler.port;
    let error = AlloyDbMemoryProvider::connect(config.clone()).await.expect_err("what was prepared is elsewhere");
    let told = std::error::Error::source(&error).expect("why").to_string();
    assert!(told.contains("prepared statement \"sqlx_s_1\" does not exist"), "{told}");

    config.pooler = true;
    let store = AlloyDbMemoryProvider::connect(config).await.unwrap();
    let scope = make::session("acme", "ann", "monday");
    let now = memory_core::Clock::now(&home.clock);
    let before = pooler.switches.load(Ordering::Relaxed);
    let tasks: Vec<_> = (0..4_u64)
        .map(|task| {
            let (store, scope) = (store.clone(), scope.clone());
            tokio::spawn(async move {
                for round in 0..5 {
                    let seed = 100 * task + round;
                    let memory = make::memory(&scope, &format!("note {seed}"), now);
                    let vector = make::embedding(&make::space("testkit"), seed);
                    let mut batch = make::embedded(memory.clone(), vector.clone());
                    batch.idempotency = key(&format!("{seed}"));
                    let receipt = store.insert(batch.clone()).await.unwrap();
                    assert!(store.insert(batch).await.unwrap().replayed);
                    assert_eq!(store.get(&scope, memory.id).await.unwrap().as_deref(), Some(&memory));
                    let mut search = make::search(&scope, Some(vector), Some("note"));
                    search.at_least = Some(receipt.token);
                    let found = store.search(&search).await.unwrap();
                    assert!(found.candidates.iter().any(|candidate| candidate.memory.id == memory.id));
                    let patch = MemoryPatch { importance: Some(0.9), ..MemoryPatch::default() };
                    store.update(&scope, memory.id, patch).await.unwrap();
                    assert_eq!(store.history(&scope, memory.id).await.unwrap().len(), 2);
                    store.turn_before(&scope, memory.id).await.unwrap();
                    let mut all = everything(&scope);
                    all.with_embeddings = true;
                    let page = store.list(&all).await.unwrap();
                    assert!(page.memories.iter().all(|(_, embedding)| embedding.is_some()));
                    store.health().await.unwrap();
                    if round % 2 == 1 {
                        let receipt = store.forget(&forget(&scope, Selection::Ids(vec![memory.id]))).await.unwrap();
                        assert_eq!(receipt.forgotten, [memory.id]);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.stats(&scope).await.unwrap().memories, 12);
    let switches = pooler.switches.load(Ordering::Relaxed) - before;
    assert!(switches >= 200, "{switches}");
}
