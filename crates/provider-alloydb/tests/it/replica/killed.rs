//! A mover that is killed.

use std::process::{Child, Command, Stdio};

use memory_core::{Clock as _, Error, Item, Replica as _};
use memory_testkit::make;
use provider_alloydb::AlloyDbReplica;

use super::{LONGEST, closed, item, whole};
use crate::support::{Home, wait_until};

/// Names the database, behind its server, to the process that [`a_mover_that_is_killed_leaves_nothing_half_written`] kills.
const KILLED: &str = "MEMORY_TEST_KILLED_MOVER";
/// So many, that writing them takes longer than it takes to be killed.
const KILLED_BATCH: u64 = 3_000;

fn batch_of(generation: u64, now: memory_core::Timestamp) -> Vec<Item> {
    let monday = make::session("acme", "ann", "monday");
    let items = (0..KILLED_BATCH).map(|at| {
        let text = format!("{generation} {at}");
        item(&whole(generation * KILLED_BATCH + at + 1, make::memory(&monday, &text, now)))
    });
    items.collect()
}

/// A process that does not outlive the test, however that ends.
struct Mover(Child);

impl Mover {
    /// Ends it by SIGKILL.
    fn kill(&mut self) {
        self.0.kill().expect("it is there");
        self.0.wait().expect("it has ended");
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the process does that is killed; on its own there is nothing for it to do.
#[tokio::test]
async fn writes_until_it_is_killed() {
    let Ok(database) = std::env::var(KILLED) else { return };
    let (url, name) = database.split_once(' ').unwrap();
    let mut home = Home::at(url.to_owned());
    home.name = name.to_owned();
    let replica = AlloyDbReplica::connect(home.config()).await.unwrap();
    for generation in 0.. {
        replica.write(1, batch_of(generation, home.clock.now())).await.unwrap();
    }
}

#[tokio::test]
async fn a_mover_that_is_killed_leaves_nothing_half_written() {
    let Some(home) = Home::new() else { return };
    let replica = home.replica().await;
    replica.set_gate(closed(1)).await.unwrap();
    let mover = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "replica::killed::writes_until_it_is_killed", "--nocapture"])
        .env(KILLED, format!("{} {}", home.url, home.name))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut mover = Mover(mover.unwrap());
    let mut direct = home.direct().await;
    let is_writing = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                      AND query LIKE '%write_moved_memories%' AND pid <> pg_backend_pid()";
    wait_until("one batch is written and the next one under way", LONGEST, async || {
        let sized: i64 =
            sqlx::query_scalar("SELECT count(*) FROM orchestra.memories").fetch_one(&mut direct).await.unwrap();
        let active: i64 = sqlx::query_scalar(is_writing).fetch_one(&mut direct).await.unwrap();
        sized > 0 && active > 0
    })
    .await;
    mover.kill();
    // It may be that the server ends the transaction first, or drops it.
    replica.set_gate(closed(2)).await.unwrap();
    let (memories, sessions): (i64, i64) =
        sqlx::query_as("SELECT count(*), (SELECT count(*) FROM orchestra.sessions) FROM orchestra.memories")
            .fetch_one(&mut direct)
            .await
            .unwrap();
    assert!(memories > 0 && memories.cast_unsigned().is_multiple_of(KILLED_BATCH), "{memories} memories");
    assert_eq!(sessions, 1);
    let refused = replica.write(1, batch_of(1_000, home.clock.now())).await;
    assert!(matches!(refused, Err(Error::Fenced { epoch: 2 })), "its epoch is over");
}
