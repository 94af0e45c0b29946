//! The binary: where it may listen, and keys from the command line to a running server and back.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use orchestra_api::client::Client;
use serde_json::{Value, json};

use super::{new_key, prefix};

/// The binary on a data folder, in an environment without settings.
fn orchestra(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestra"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORCHESTRA_")) {
        command.env_remove(name);
    }
    command
        .env("ORCHESTRA_DATA", data)
        .env("ORCHESTRA_CACHE_EMBEDDER", "static-256")
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn run(data: &Path, arguments: &[&str], key: &str) -> (i32, String, String) {
    let mut command = orchestra(data, arguments);
    if !key.is_empty() {
        command.env("ORCHESTRA_API_KEY", key);
    }
    said(&command.output().unwrap())
}

#[track_caller]
fn ok(data: &Path, arguments: &[&str], key: &str) -> String {
    let (code, out, err) = run(data, arguments, key);
    assert_eq!(code, 0, "{arguments:?}: {err}");
    out
}

/// A server that ends with the test.
struct Server {
    child: Child,
    url: String,
    said: String,
    rest: Option<std::thread::JoinHandle<String>>,
}

impl Server {
    fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut child = orchestra(data, &[&["serve"], arguments].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let url = lines.by_ref().map(Result::unwrap).find_map(|line| {
            said.push_str(&line);
            Some(line.split_once("answers on ")?.1.split(',').next()?.to_owned())
        });
        let url = url.unwrap_or_else(|| panic!("the server did not start: {said}"));
        // What it says later has to go somewhere.
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).map(|line| line + "\n").collect::<String>());
        Self { child, url, said, rest: Some(rest) }
    }

    /// Ends it and gives all that it said.
    fn said(mut self) -> String {
        self.child.kill().unwrap();
        std::mem::take(&mut self.said) + &self.rest.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn data() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    (folder, data)
}

#[test]
fn a_server_that_others_reach_needs_keys() {
    let (_folder, data) = data();
    let (code, _, err) = run(&data, &["serve", "--listen", "0.0.0.0:0"], "");
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("orchestra keys create") && err.contains("--allow-unauthenticated"), "{err}");
    // The control: with a key the same command starts, and asks for it.
    let key = ok(&data, &["keys", "create", "--tenant", "acme"], "");
    let server = Server::start(&data, &["--listen", "0.0.0.0:0"]);
    let url = server.url.replace("0.0.0.0", "127.0.0.1");
    let (code, _, err) = run(&data, &["list", "--url", &url], "");
    assert!(code == 1 && err.contains("ORCHESTRA_API_KEY"), "{code}: {err}");
    ok(&data, &["list", "--url", &url], key.trim());
}

#[test]
fn a_broken_keys_file_stops_the_start() {
    let (_folder, data) = data();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("keys.json"), "{\"keys\"").unwrap();
    let (code, _, err) = run(&data, &["serve", "--listen", "127.0.0.1:0"], "");
    assert!(code != 0 && err.contains("keys.json"), "{code}: {err}");
}

#[test]
fn keys_are_made_shown_replaced_and_revoked() {
    let (_folder, data) = data();
    let create = ["keys", "create", "--tenant", "acme", "--name", "CI", "--scopes", "read,write", "--expires", "90d"];
    let (code, out, err) = run(&data, &create, "");
    let key = out.trim();
    assert!(code == 0 && key.starts_with("om_") && key.len() == 76 && out.lines().count() == 1, "{out}{err}");
    assert!(err.contains("the only time") && err.contains("asks every caller"), "{err}");
    let prefix = key.split('_').nth(1).unwrap();
    let listed: Value = serde_json::from_str(&ok(&data, &["keys", "list", "--json"], "")).unwrap();
    let first = &listed["keys"][0];
    assert_eq!(
        (first["prefix"].as_str(), first["tenant"].as_str(), first["name"].as_str()),
        (Some(prefix), Some("acme"), Some("CI"))
    );
    let table = ok(&data, &["keys", "list"], "");
    assert!(table.contains(prefix) && table.contains("read,write") && !table.contains(&key[20..]), "{table}");

    let server = Server::start(&data, &["--listen", "127.0.0.1:0"]);
    let remember = ["remember", "It was said with a key.", "--url", &server.url];
    assert_eq!(run(&data, &remember, "").0, 1);
    ok(&data, &remember, key);
    let stats: Value = serde_json::from_str(&ok(&data, &["stats", "--json"], key)).unwrap();
    assert_eq!(
        (&stats["tenant"], &stats["store"]["memories"]),
        (&"acme".into(), &1.into()),
        "the server of the folder"
    );
    let rotated: Value =
        serde_json::from_str(&ok(&data, &["keys", "rotate", prefix, "--overlap", "0s", "--json"], "")).unwrap();
    let new = rotated["key"].as_str().unwrap();
    assert_eq!((rotated["prefix"].as_str(), new == key), (Some(prefix), false));
    let list = ["list", "--url", &server.url];
    let begun = std::time::Instant::now();
    while run(&data, &list, new).0 != 0 {
        assert!(begun.elapsed() < super::DEADLINE, "the new key is not known");
    }
    assert_eq!(run(&data, &list, key).0, 1, "the old one went with it");
    ok(&data, &["keys", "revoke", prefix], "");
    let begun = std::time::Instant::now();
    while run(&data, &list, new).0 == 0 {
        assert!(begun.elapsed() < super::DEADLINE, "a revoked key is known");
    }
    let (code, _, err) = run(&data, &["keys", "revoke", prefix], "");
    assert!(code == 1 && err.contains("orchestra keys list"), "{err}");
    drop(server);
    // Who has the folder needs no key: the folder is opened, as the tenant that is named.
    assert!(ok(&data, &["list", "--tenant", "acme"], "").contains("said with a key"));
}

#[test]
fn a_key_is_no_flag_and_is_not_told_back() {
    let (_folder, data) = data();
    let secret = "om_01234567_5ec2e75ec2e75ec2e7";
    let (code, _, err) = run(&data, &["list", "--api-key", secret], "");
    assert_eq!(code, 1, "{err}");
    let (code, out, err) = run(&data, &["list", "--url", "http://127.0.0.1:1"], &format!("{secret}\u{7f}"));
    assert!(code != 0 && !err.contains("5ec2e7") && !out.contains("5ec2e7"), "{err}");
}

/// At the most talkative level, of every crate: no key, no text, no prompt.
#[tokio::test]
async fn nothing_secret_is_in_the_logs() {
    const TEXT: &str = "the vault opens with marzipan";
    let (_folder, data) = data();
    let file = data.join("keys.json");
    let (key, reader) = (new_key(&file, "acme", "read,write"), new_key(&file, "acme", "read"));
    let unknown = format!("om_01234567_{}", &"5ec2e75e".repeat(8));
    let server = Server::start(&data, &["--listen", "127.0.0.1:0", "--log", "trace", "--log-format", "json"]);
    let client = |key: &str| Client::remote(&server.url).unwrap().with_key(&key.into()).unwrap();
    let post = async |key: &str, uri: &str, body: Value| client(key).post(uri, &body).await;
    let id = post(&key, "/v1/memories", json!({"text": TEXT})).await.unwrap()["id"].clone();
    post(&key, "/v1/memories/search", json!({"query": TEXT})).await.unwrap();
    post(&key, "/v1/cache/entries", json!({"prompt": TEXT, "response": TEXT})).await.unwrap();
    post(&key, "/v1/cache/lookup", json!({"prompt": TEXT})).await.unwrap();
    post(&key, "/v1/memories/forget", json!({"ids": [id]})).await.unwrap();
    assert_eq!(post(&reader, "/v1/memories", json!({"text": TEXT})).await.unwrap_err().status, 403);
    for stranger in [&unknown, &format!("{unknown} marzipan"), "marzipan"] {
        assert_eq!(client(stranger).get("/v1/memories").await.unwrap_err().status, 401);
    }
    let log = server.said();
    // The control: the log was kept, and tells who did what.
    for told in [
        "\"level\":\"TRACE\"",
        "request answered",
        prefix(&key),
        "\"target\":\"audit\"",
        "memories.forget",
        "caller not known",
    ] {
        assert!(log.contains(told), "{told} is not in the log: {log}");
    }
    for secret in [&key[key.len() - 64..][..16], &reader[reader.len() - 64..][..16], "5ec2e75e5ec2", "marzipan"] {
        assert_eq!(log.lines().find(|line| line.contains(secret)), None, "{secret} is in the log");
    }
}
