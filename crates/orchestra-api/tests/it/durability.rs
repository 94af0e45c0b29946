//! `acknowledged_is_durable`, over HTTP: the server is killed at random moments under load, fifty times, and every
//! acknowledged write is there afterwards.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::connection::Connection;
use crate::process::Server;

const ROUNDS: usize = 50;
const WRITERS: usize = 4;
/// The longest a round's load lasts.
const LOAD: Duration = Duration::from_millis(150);

/// What a memory must be after the restart, by id: its text, or `None` when it was forgotten.
type Acknowledged = HashMap<Uuid, Option<String>>;

/// What one writer was told before the connection broke.
#[derive(Default)]
struct Told {
    acknowledged: Acknowledged,
    /// Batches that were sent, acknowledged or not: each is there whole or not at all.
    batches: Vec<Vec<Uuid>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Acknowledged::new();
    let mut server = Server::start(folder.path()).await;
    for round in 0..ROUNDS {
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(write_until_it_breaks(server.address, round, writer))).collect();
        tokio::time::sleep(LOAD.mul_f64(random())).await;
        server.kill();
        let mut batches = Vec::new();
        let mut told = Acknowledged::new();
        for writer in writers {
            let one = writer.await.unwrap();
            told.extend(one.acknowledged);
            batches.extend(one.batches);
        }
        server = Server::start(folder.path()).await;
        let mut connection = Connection::open(server.address).await.unwrap();
        check(&mut connection, &told).await;
        for batch in batches {
            let mut there = 0;
            for id in &batch {
                there += usize::from(text_of(&mut connection, *id).await.is_some());
            }
            assert!(
                there == 0 || there == batch.len(),
                "round {round}: {there} of a batch of {} are there",
                batch.len()
            );
        }
        all.extend(told);
    }
    // What early rounds wrote has survived all the later kills.
    let mut connection = Connection::open(server.address).await.unwrap();
    check(&mut connection, &all).await;
    assert!(all.len() > 10 * ROUNDS, "only {} writes were acknowledged: this tested nothing", all.len());
}

/// A number in `0.0..1.0`.
fn random() -> f64 {
    f64::from(u32::from_le_bytes(Uuid::now_v7().as_bytes()[12..].try_into().unwrap())) / f64::from(u32::MAX)
}

/// Writes as fast as the server answers, in every way in which a memory changes, until the server is gone.
async fn write_until_it_breaks(address: SocketAddr, round: usize, writer: usize) -> Told {
    let mut told = Told::default();
    let Ok(mut connection) = Connection::open(address).await else { return told };
    for turn in 0.. {
        let text = format!("round {round} writer {writer} turn {turn}");
        if write(&mut connection, &text, writer, &mut told).await.is_err() {
            break;
        }
    }
    told
}

async fn write(connection: &mut Connection, text: &str, writer: usize, told: &mut Told) -> std::io::Result<()> {
    let memory = |id: Uuid| json!({"id": id, "text": text, "scope": {"user": format!("writer-{writer}")}});
    let id = Uuid::now_v7();
    if writer == 1 {
        let ids: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
        told.batches.push(ids.clone());
        let batch = json!({"memories": ids.iter().map(|id| memory(*id)).collect::<Vec<_>>()});
        expect(connection.call("POST", "/v1/memories", Some(&batch)).await?, 201);
        told.acknowledged.extend(ids.into_iter().map(|id| (id, Some(text.to_owned()))));
        return Ok(());
    }
    expect(connection.call("POST", "/v1/memories", Some(&memory(id))).await?, 201);
    told.acknowledged.insert(id, Some(text.to_owned()));
    // From here on the memory is as it was or as it will be, until the answer says which.
    let path = format!("/v1/memories/{id}");
    match writer {
        2 => {
            told.acknowledged.remove(&id);
            let next = format!("{text} corrected");
            expect(connection.call("PATCH", &path, Some(&json!({"text": next}))).await?, 200);
            told.acknowledged.insert(id, Some(next));
        }
        3 => {
            told.acknowledged.remove(&id);
            expect(connection.call("DELETE", &path, None).await?, 200);
            told.acknowledged.insert(id, None);
        }
        _ => {}
    }
    Ok(())
}

#[track_caller]
fn expect((status, body): (u16, Value), expected: u16) {
    assert_eq!(status, expected, "{body:#}");
}

async fn text_of(connection: &mut Connection, id: Uuid) -> Option<String> {
    let (status, body) = connection.call("GET", &format!("/v1/memories/{id}"), None).await.unwrap();
    assert!(status == 200 || status == 404, "{status} {body:#}");
    body["text"].as_str().map(str::to_owned)
}

async fn check(connection: &mut Connection, acknowledged: &Acknowledged) {
    for (id, text) in acknowledged {
        assert_eq!(text_of(connection, *id).await, *text, "memory {id} is not as it was acknowledged");
    }
}
