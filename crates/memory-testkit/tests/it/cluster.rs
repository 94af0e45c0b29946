//! A cluster keeps what it acknowledged, and goes on without its primary.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use memory_testkit::services::{self, SYNCHRONOUS, Server};

use super::services::{answers, eventually};

/// Sent to a server, without waiting for its answer.
fn send(server: &Server, statement: &str) -> io::Result<Child> {
    let programs = server.programs().expect("a cluster is never in a container");
    let mut psql = Command::new(programs.join("psql"));
    psql.args(["-qAtX", &server.url(), "--command", statement]);
    psql.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// What a server answers, or how it refuses.
fn ask(server: &Server, statement: &str) -> io::Result<String> {
    let mut psql = send(server, statement)?;
    eventually("the statement returns", || !matches!(psql.try_wait(), Ok(None)));
    let output = psql.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(io::Error::other(text(&output.stderr))) }
}

fn has(server: &Server, notes: &str) -> bool {
    ask(server, "select string_agg(text, ' ' order by text) from note").is_ok_and(|found| found == notes)
}

#[test]
fn replicas_receive_what_is_written_and_take_no_writes() {
    let Some(mut cluster) = services::cluster(3, &[]) else { return };
    ask(&cluster.primary, "create extension vector; create table note (text text); insert into note values ('a')")
        .unwrap();
    for replica in &cluster.replicas {
        eventually("the note is there", || has(replica, "a"));
        let refused = ask(replica, "insert into note values ('b')").unwrap_err().to_string();
        assert!(refused.contains("read-only transaction"), "{refused}");
    }
    // One that was away catches up, also when the primary was away meanwhile.
    cluster.replicas[0].kill().unwrap();
    ask(&cluster.primary, "insert into note values ('b')").unwrap();
    cluster.primary.kill().unwrap();
    assert!(has(&cluster.replicas[1], "a") || has(&cluster.replicas[1], "a b"));
    cluster.primary.restart().unwrap();
    cluster.replicas[0].restart().unwrap();
    for replica in &cluster.replicas {
        eventually("the replica catches up", || has(replica, "a b"));
    }
}

#[test]
fn a_promoted_replica_goes_on_where_the_killed_primary_was() {
    let Some(mut cluster) = services::cluster(3, SYNCHRONOUS) else { return };
    ask(&cluster.primary, "create table note (text text); insert into note values ('a')").unwrap();
    // An acknowledged note is on one of those that still take part.
    cluster.replicas[2].pause().unwrap();
    ask(&cluster.primary, "insert into note values ('b')").unwrap();
    cluster.primary.kill().unwrap();
    let promoted = cluster.furthest().unwrap();
    assert_ne!(promoted, 2);
    cluster.replicas[2].resume().unwrap();
    cluster.promote(promoted).unwrap();
    assert!(has(&cluster.replicas[promoted], "a b"));
    for other in (0..3).filter(|other| *other != promoted) {
        cluster.follow(other, promoted).unwrap();
    }
    ask(&cluster.replicas[promoted], "insert into note values ('c')").unwrap();
    for replica in &cluster.replicas {
        eventually("all follow the promoted one", || has(replica, "a b c"));
    }
    assert!(!answers(cluster.primary.port()));
    // Each knows its place when it is started again.
    for replica in &mut cluster.replicas {
        replica.kill().unwrap();
        replica.restart().unwrap();
    }
    ask(&cluster.replicas[promoted], "insert into note values ('d')").unwrap();
    for replica in &cluster.replicas {
        eventually("all follow the promoted one", || has(replica, "a b c d"));
    }
    let refused = cluster.promote(promoted).unwrap_err().to_string();
    assert!(refused.contains("recovery is not in progress"), "{refused}");
}

#[test]
fn a_synchronous_commit_waits_for_a_replica() {
    let Some(mut cluster) = services::cluster(3, SYNCHRONOUS) else { return };
    ask(&cluster.primary, "create table note (text text)").unwrap();
    for replica in &mut cluster.replicas {
        replica.pause().unwrap();
    }
    let mut insert = send(&cluster.primary, "insert into note values ('a')").unwrap();
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep' and query ~ '^insert'";
    eventually("the commit waits", || ask(&cluster.primary, waiting).unwrap() == "1");
    assert!(insert.try_wait().unwrap().is_none() && has(&cluster.primary, ""));
    cluster.replicas[1].resume().unwrap();
    assert!(insert.wait().unwrap().success());
    assert!(has(&cluster.primary, "a"));
    eventually("the replica that goes on has it", || has(&cluster.replicas[1], "a"));
}

#[test]
fn a_delayed_replica_holds_back_what_it_has_received() {
    let Some(cluster) = services::cluster(1, SYNCHRONOUS) else { return };
    ask(&cluster.primary, "create table note (text text)").unwrap();
    let replica = &cluster.replicas[0];
    eventually("the table is there", || has(replica, ""));
    cluster.delay(0, Duration::from_secs(3600)).unwrap();
    ask(&cluster.primary, "insert into note values ('a')").unwrap();
    // The commit has returned, so the replica has received it.
    let behind = "select pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()";
    assert_eq!(ask(replica, behind).unwrap(), "t");
    assert!(has(replica, ""));
    cluster.delay(0, Duration::ZERO).unwrap();
    eventually("nothing is held back", || has(replica, "a"));
}
