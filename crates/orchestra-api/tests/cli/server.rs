//! Commands and a server on the same folder.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::json;

use super::support::{Orchestra, fixture_path};

/// A server that ends with the test.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(orchestra: &Orchestra, arguments: &[&str]) -> Self {
        let mut command = orchestra.command(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let url = lines.by_ref().map(Result::unwrap).find_map(|line| {
            said.push_str(&line);
            let (_, rest) = line.split_once("answers on ")?;
            Some(rest.split(',').next()?.to_owned())
        });
        let url = url.unwrap_or_else(|| panic!("the server did not start: {said}"));
        // What it says later has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn commands_find_the_server_on_their_folder() {
    let orchestra = Orchestra::new();
    let server = Server::start(&orchestra, &[]);
    orchestra.ok(&["remember", "Over the wire.", "--user", "maya"]);
    orchestra.ok(&["import", &fixture_path("locomo.json")]);
    // The counters are those of the server's process: had the folder been opened, they would begin at nothing.
    orchestra.ok(&["cache", "get", "nothing is there"]);
    assert_ne!(orchestra.json(&["stats"])["cache"]["misses"], 0);
    let elsewhere = Orchestra::new();
    let there = elsewhere.json(&["stats", "--url", &server.url]);
    assert_eq!(there["store"]["memories"], 5);
    drop(server);
    assert!(orchestra.data().join("server.json").exists(), "it was killed and could not tidy up");
    assert_eq!(orchestra.memories(), 5, "the folder is opened when the server has gone");
}

#[test]
fn one_command_imports_and_serves() {
    let orchestra = Orchestra::new();
    let server = Server::start(
        &orchestra,
        &["--import", &fixture_path("conversation.json"), "--import", &fixture_path("notes.md")],
    );
    let elsewhere = Orchestra::new();
    let found = elsewhere.json(&["recall", "where is the key of the shed?", "--user", "nils", "--url", &server.url]);
    assert_eq!(found["results"][0]["text"], "The shed key is under the third brick.");
}

#[test]
fn a_server_that_cannot_import_does_not_start() {
    let orchestra = Orchestra::new();
    let ran = orchestra.run(&["serve", "--listen", "127.0.0.1:0", "--import", &fixture_path("broken.jsonl")]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("nothing was written"), "{}", ran.err);
}

#[test]
fn the_json_of_a_server_is_the_json_of_the_folder() {
    let orchestra = Orchestra::new();
    orchestra.ok(&["import", &fixture_path("conversation.json")]);
    let local = orchestra.json(&["list", "--limit", "1"]);
    let server = Server::start(&orchestra, &[]);
    let remote = orchestra.json(&["list", "--limit", "1"]);
    assert_eq!(local, remote);
    drop(server);
    assert_ne!(local["memories"], json!([]));
}
