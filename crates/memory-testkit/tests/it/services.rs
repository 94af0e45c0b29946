//! Servers end with whoever started them.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use memory_testkit::services::{self, Server, Service};

pub fn answers(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_redis_is_killed_restarted_and_ended() {
    let Some(mut server) = services::private(Service::Redis) else { return };
    let (port, folder) = (server.port(), server.folder().to_owned());
    assert_eq!(server.url(), format!("redis://127.0.0.1:{port}"));
    assert!(answers(port));
    server.kill().unwrap();
    assert!(!answers(port));
    server.restart().unwrap();
    assert!(answers(port));
    drop(server);
    assert!(!answers(port) && !folder.exists());
}

#[test]
fn an_emulator_is_killed_restarted_and_ended() {
    for service in [Service::PubSub, Service::BigQuery] {
        let Some(mut server) = services::private(service) else { continue };
        let (port, folder) = (server.port(), server.folder().to_owned());
        assert!(server.url().ends_with(&format!("127.0.0.1:{port}")));
        server.kill().unwrap();
        assert!(!answers(port));
        server.restart().unwrap();
        assert!(answers(port));
        drop(server);
        assert!(!answers(port) && !folder.exists());
    }
}

#[test]
fn a_killed_postgres_keeps_what_it_acknowledged() {
    let Some(mut server) = services::private(Service::Postgres) else { return };
    let (url, port, folder) = (server.url(), server.port(), server.folder().to_owned());
    // In a container it is the same server; there is no psql here to ask it with.
    let programs = server.programs();
    let psql = |url: &str, statement: &str| {
        let Some(programs) = &programs else { return Ok(None) };
        let output = Command::new(programs.join("psql")).args(["-qAtX", url, "-c", statement]).output()?;
        io::Result::Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
    };
    psql(&url, "create extension vector; create table note (embedding vector(2))").unwrap();
    psql(&url, "insert into note values ('[3,4]')").unwrap();
    server.kill().unwrap();
    assert!(!answers(port));
    server.restart().unwrap();
    assert!(answers(port));
    if let Some(found) = psql(&url, "select embedding <-> '[0,0]' from note").unwrap() {
        assert_eq!(found, "5");
    }
    if let Some(fsync) = psql(&url, "show fsync").unwrap() {
        assert_eq!(fsync, "on");
    }
    // Another user of the machine knows no password, and there is no way in without one.
    let guess = format!("postgres://postgres:guess@127.0.0.1:{port}/postgres");
    if let Some(let_in) = psql(&guess, "select 'in'").unwrap() {
        assert_eq!(let_in, "");
    }
    drop(server);
    assert!(!answers(port) && !folder.exists());
}

#[test]
fn a_paused_postgres_answers_nothing_until_it_goes_on() {
    let Some(mut server) = services::private(Service::Postgres) else { return };
    server.pause().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    // The protocol's question whether it speaks TLS: eight bytes long, code 80877103.
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap_err();
    server.resume().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"N");
}

#[test]
fn a_redis_takes_settings() {
    let settings = ["--maxmemory", "20mb", "--cluster-enabled", "yes"];
    let Some(mut server) = services::private_with(Service::Redis, &settings) else { return };
    for _ in 0..2 {
        assert!(ask(server.port(), "CONFIG GET maxmemory").unwrap().contains("20971520"));
        // A node of a cluster counts as ready, although no slot has an owner yet.
        assert!(ask(server.port(), "CLUSTER INFO").unwrap().contains("cluster_state:fail"));
        server.kill().unwrap();
        server.restart().unwrap();
    }
}

#[test]
fn a_server_that_cannot_start_says_why() {
    // The Pub/Sub emulator says nothing of settings that it does not know.
    for service in [Service::Redis, Service::Postgres, Service::BigQuery] {
        let error = format!("{:#}", Server::start(service, &["--no-such-setting", "1"]).unwrap_err());
        // Where there is none to start, the other tests say so.
        assert!(error.contains("no-such-setting") || error.contains("the wheels cannot be had"), "{error}");
    }
}

/// What a Redis answers to a command, as far as one read gives it.
fn ask(port: u16, command: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[test]
fn two_servers_do_not_meet() {
    for &service in Service::ALL {
        let start = || std::thread::spawn(move || services::private(service));
        let [one, other] = [start(), start()].map(|starting| starting.join().unwrap());
        let (Some(mut one), Some(other)) = (one, other) else { return };
        assert_ne!(one.url(), other.url());
        assert_ne!(one.folder(), other.folder());
        one.kill().unwrap();
        assert!(answers(other.port()));
    }
}

#[test]
fn servers_end_with_a_killed_process() {
    for held in Service::ALL.iter().map(|service| service.name()).chain([CLUSTER]) {
        let mut holder = holder(held).unwrap();
        holder.env(services::REQUIRE_VARIABLE, "").stdout(Stdio::piped());
        let mut holder = holder.spawn().unwrap();
        let lines = BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok);
        let held = lines.filter_map(|line| line.split_once("holds ").map(|(_, held)| held.to_owned())).next();
        // Without a server to hold there is nothing to see, which the holder has said.
        let held: Vec<(u16, PathBuf)> = held.map_or(Vec::new(), |held| serde_json::from_str(&held).unwrap());
        for (port, folder) in &held {
            assert!(answers(*port) && folder.exists());
        }
        holder.kill().unwrap();
        holder.wait().unwrap();
        for (port, folder) in &held {
            eventually("the server has ended", || !answers(*port) && !folder.exists());
        }
    }
}

#[test]
fn a_server_ends_with_a_process_that_is_killed_while_it_starts() {
    for service in Service::ALL {
        let mut holder = holder(service.name()).unwrap();
        let mut holder = holder.env(services::REQUIRE_VARIABLE, "").stdout(Stdio::null()).spawn().unwrap();
        let folder = std::env::temp_dir().join(format!("memory-test-{service}-{}-0", holder.id()));
        // The supervisor is at work when there is a log; it may not begin, without a server to start.
        while !folder.join("log").exists() && holder.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        holder.kill().unwrap();
        holder.wait().unwrap();
        eventually("the server has ended", || !folder.exists());
    }
}

#[test]
fn a_required_server_that_is_missing_fails_the_test() {
    for service in Service::ALL {
        // Neither docker, nor python3, nor the shell that watches over a server is found.
        let mut holder = holder(service.name()).unwrap();
        let output = holder.env(services::REQUIRE_VARIABLE, service.name()).env("PATH", "").output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let expected = format!("MEMORY_TEST_REQUIRE requires {service}, and there is none: ");
        assert!(said.contains(&expected), "{said}");
    }
}

/// A process that holds a server until it is killed.
fn holder(service: &str) -> io::Result<Command> {
    let mut holder = Command::new(std::env::current_exe()?);
    holder.args(["--exact", "services::holds_a_server", "--nocapture"]).env(HOLDER, service);
    Ok(holder)
}

/// A primary and a replica, where a service is named.
const CLUSTER: &str = "cluster";

/// Names the service in the process that [`holder`] starts.
const HOLDER: &str = "MEMORY_TEST_HOLDER";

/// What that process does; on its own there is nothing for it to do.
#[test]
fn holds_a_server() {
    let Ok(held) = std::env::var(HOLDER) else { return };
    let mut servers = Vec::new();
    if held == CLUSTER {
        let Some(cluster) = services::cluster(1, &[]) else { return };
        servers.push(cluster.primary);
        servers.extend(cluster.replicas);
    } else {
        let service = *Service::ALL.iter().find(|service| service.name() == held).unwrap();
        let Some(server) = services::private(service) else { return };
        servers.push(server);
    }
    let held: Vec<_> = servers.iter().map(|server| (server.port(), server.folder())).collect();
    println!("holds {}", serde_json::to_string(&held).unwrap());
    loop {
        std::thread::park();
    }
}
