//! Servers end with whoever started them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use memory_testkit::services::{self, Server, Service};

fn answers(url: &str) -> bool {
    TcpStream::connect(url.trim_start_matches("redis://")).is_ok()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_is_killed_restarted_and_ended() {
    let Some(mut server) = services::private(Service::Redis) else { return };
    let url = server.url();
    assert!(answers(&url));
    server.kill().unwrap();
    assert!(!answers(&url));
    server.restart().unwrap();
    assert!(answers(&url));
    drop(server);
    assert!(!answers(&url));
}

#[test]
fn a_server_takes_settings() {
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
    if services::private(Service::Redis).is_none() {
        return;
    }
    let error = Server::start(Service::Redis, &["--no-such-setting", "1"]).unwrap_err();
    assert!(format!("{error:#}").contains("no-such-setting"), "{error:#}");
}

/// What a Redis answers to a command, as far as one read gives it.
fn ask(port: u16, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[test]
fn two_servers_do_not_meet() {
    let (Some(one), Some(other)) = (services::private(Service::Redis), services::private(Service::Redis)) else {
        return;
    };
    assert_ne!(one.url(), other.url());
}

#[test]
fn a_server_ends_with_a_killed_process() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "services::holds_a_server", "--nocapture"])
        .env(HOLDER, "1")
        .env(services::REQUIRE_VARIABLE, "")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok);
    let url = lines.filter_map(|line| line.split_once("holds ").map(|(_, url)| url.to_owned())).next();
    if let Some(url) = &url {
        assert!(answers(url));
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    // Without a server to hold there is nothing to see, which the holder has said.
    if let Some(url) = url {
        eventually("the server has ended", || !answers(&url));
    }
}

/// Set in the process that [`a_server_ends_with_a_killed_process`] starts and kills.
const HOLDER: &str = "MEMORY_TEST_HOLDER";

/// The other half of that test; on its own there is nothing for it to do.
#[test]
fn holds_a_server() {
    if std::env::var_os(HOLDER).is_none() {
        return;
    }
    let Some(server) = services::private(Service::Redis) else { return };
    println!("holds {}", server.url());
    loop {
        std::thread::park();
    }
}
