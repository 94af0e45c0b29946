//! The server's end: asked to stop, it answers what it has begun and loses nothing.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use crate::connection::{Connection, head};
use crate::process::{Server, server_file};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_is_answered_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path()).await;
    let id = Uuid::now_v7();
    let body = json!({"id": id, "text": "sent in two halves"}).to_string();
    let (first, second) = body.split_at(body.len() / 2);
    let mut in_flight = Connection::open(server.address).await.unwrap();
    in_flight.send(format!("{}{first}", head("POST", "/v1/memories", body.len())).as_bytes()).await.unwrap();
    // An answer on another connection says that the server has seen the first half, or is about to.
    let mut other = Connection::open(server.address).await.unwrap();
    assert_eq!(other.call("GET", "/healthz", None).await.unwrap().0, 200);
    tokio::time::sleep(Duration::from_millis(100)).await;

    server.terminate();
    // The file goes when the server stops accepting.
    for _ in 0..1000 {
        if server_file(folder.path()).is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server_file(folder.path()), None);
    in_flight.send(second.as_bytes()).await.unwrap();
    let (status, answer) = in_flight.answer().await.unwrap();
    assert_eq!((status, &answer["id"]), (201, &json!(id)), "{answer:#}");
    assert!(server.ended().await.success());
    assert!(Connection::open(server.address).await.is_err(), "nobody listens any more");

    let server = Server::start(folder.path()).await;
    let mut connection = Connection::open(server.address).await.unwrap();
    let (status, memory) = connection.call("GET", &format!("/v1/memories/{id}"), None).await.unwrap();
    assert_eq!((status, &memory["text"]), (200, &json!("sent in two halves")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_no_acknowledged_write() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path()).await;
    let address = server.address;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                let mut connection = Connection::open(address).await.unwrap();
                for turn in 0.. {
                    let id = Uuid::now_v7();
                    let body = json!({"id": id, "text": format!("writer {writer} turn {turn}")});
                    match connection.call("POST", "/v1/memories", Some(&body)).await {
                        Ok((201, _)) => acknowledged.push(id),
                        Ok((status, body)) => panic!("{status} {body:#}"),
                        Err(_) => break,
                    }
                }
                acknowledged
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.terminate();
    assert!(server.ended().await.success());
    let server = Server::start(folder.path()).await;
    let mut connection = Connection::open(server.address).await.unwrap();
    let mut count = 0;
    for writer in writers {
        for id in writer.await.unwrap() {
            assert_eq!(connection.call("GET", &format!("/v1/memories/{id}"), None).await.unwrap().0, 200);
            count += 1;
        }
    }
    assert!(count > 0, "nothing was acknowledged: this tested nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_orchestra"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("is in use by process"), "{said}");
    assert_eq!(
        server_file(folder.path()).unwrap().url,
        format!("http://{}", server.address),
        "the first one's file stays"
    );
    let mut connection = Connection::open(server.address).await.unwrap();
    assert_eq!(connection.call("GET", "/readyz", None).await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_answered_over_the_wire() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let body = vec![b'x'; 40 * 1024 * 1024];
    let mut declared = Connection::open(server.address).await.unwrap();
    declared.send(head("POST", "/v1/memories", body.len()).as_bytes()).await.unwrap();
    declared.send(&body).await.unwrap();
    let (status, problem) = declared.answer().await.unwrap();
    assert_eq!((status, &problem["code"], &problem["field"]), (413, &json!("too_large"), &json!("body")));
    assert_eq!(problem["detail"], "body: given 41943040 bytes, allowed: at most 33554432 bytes");

    let mut chunked = Connection::open(server.address).await.unwrap();
    let head = "POST /v1/memories HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    chunked.send(head.as_bytes()).await.unwrap();
    for part in body.chunks(1 << 20) {
        chunked.send(format!("{:x}\r\n", part.len()).as_bytes()).await.unwrap();
        chunked.send(part).await.unwrap();
        chunked.send(b"\r\n").await.unwrap();
    }
    chunked.send(b"0\r\n\r\n").await.unwrap();
    let (status, problem) = chunked.answer().await.unwrap();
    assert_eq!(
        (status, &problem["detail"]),
        (413, &json!("body: given 41943040 bytes, allowed: at most 33554432 bytes"))
    );

    // A client that asks before it sends is answered before it sends.
    let mut asking = Connection::open(server.address).await.unwrap();
    let head = "POST /v1/memories HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\nexpect: 100-continue\r\n\r\n";
    asking.send(head.as_bytes()).await.unwrap();
    assert_eq!(asking.answer().await.unwrap().0, 413);
}
