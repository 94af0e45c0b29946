//! An answer that waits in front of Redis and is carried out long after whoever sent it gave up.

use std::time::{Duration, Instant};

use memory_core::{InvalidateRequest, InvalidateSelection, NewCacheEntry, SemanticCache};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_redis::RedisSemanticCacheProvider;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::round_trips::counted;
use crate::support::{Home, answer, entry, request, wait_until};

const PATIENCE: Duration = Duration::from_secs(10);

/// A way to a server on which requests wait while it is held, as they wait in a server that is stopped. What was sent
/// arrives, whether or not its sender is still there.
async fn held_way(server: &str) -> (String, watch::Sender<bool>) {
    let server = server.strip_prefix("redis://").expect("a URL").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    let (is_held, held) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, mut held) = (server.clone(), held.clone());
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(server).await else { return };
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    if held.wait_for(|held| !held).await.is_err() || to_server.write_all(&buffer[..read]).await.is_err()
                    {
                        break;
                    }
                }
                let _ = to_server.shutdown().await;
                let _ = back.await;
            });
        }
    });
    (url, is_held)
}

/// How many scripts the server was given.
async fn scripts(direct: &mut redis::aio::MultiplexedConnection) -> u64 {
    counted(direct).await.get("evalsha").copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_waited_is_not_filed_behind_its_invalidation() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let (way, is_held) = held_way(&server.url()).await;
    let mut config = Home { url: way, ..home.clone() }.config();
    config.write_deadline = Duration::from_millis(200);
    let slow = RedisSemanticCacheProvider::connect(config).await.unwrap();
    let (quick, mut direct) = (home.open_without_repeats().await, home.direct().await);
    let scope = make::user("acme", "ann");
    let memory = make::id();
    let about = |prompt: &str| NewCacheEntry { depends_on: vec![memory], ..entry(&scope, prompt, "former", Some(1)) };
    // From here on the script is known: one request files.
    let began = Instant::now();
    while slow.store(about("first")).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "redis does not answer");
    }
    let selections = [InvalidateSelection::DependsOn(vec![memory]), InvalidateSelection::All];
    for (prompt, selection) in ["late", "later"].into_iter().zip(selections) {
        let before = scripts(&mut direct).await;
        is_held.send_replace(true);
        let given_up = slow.store(about(prompt)).await.unwrap_err();
        assert!(given_up.is_retryable(), "{given_up:?}");
        let invalidate = InvalidateRequest { scope: scope.whole_tenant(), selection, dry_run: false };
        quick.invalidate(&invalidate).await.unwrap();
        is_held.send_replace(false);
        wait_until("the late answer arrives", PATIENCE, async || scripts(&mut direct).await > before).await;
        for asked in [request(&scope, prompt, None), request(&scope, "like it", Some(1))] {
            assert_eq!(answer(&quick, &asked).await.unwrap(), None, "{prompt}: served after its invalidation");
        }
        // What is filed from now on is there.
        let began = Instant::now();
        while slow.store(about("now")).await.is_err() {
            assert!(began.elapsed() < PATIENCE, "redis does not come back");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(answer(&quick, &request(&scope, "now", None)).await.unwrap().is_some());
    }
}
