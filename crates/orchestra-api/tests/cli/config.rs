//! `orchestra config`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memory_testkit::services::{self, Service};
use serde_json::Value;

use super::support::{Orchestra, Ran};

const FILE: &str = "\
tenant: acme
short_term_provider: redis
redis:
  url: redis://:hunter2@127.0.0.1:1
  shards: 16
medium_term_provider: alloydb
alloydb:
  host: 127.0.0.1
  port: 1
  acquire_timeout_ms: 300
  password: {env: PASSWORD_OF_THE_TEST}
";

fn file(orchestra: &Orchestra, text: &str) -> PathBuf {
    let file = orchestra.folder().join("orchestra.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

fn with_password(orchestra: &Orchestra, arguments: &[&str]) -> Ran {
    let mut command = orchestra.command(arguments);
    super::support::ran(&command.env("PASSWORD_OF_THE_TEST", "s3cret").output().unwrap())
}

#[test]
fn the_values_are_shown_with_where_they_come_from_and_without_secrets() {
    let orchestra = Orchestra::new();
    let file = file(&orchestra, FILE);
    let flags = ["config", "show", "--json", "--config", file.to_str().unwrap(), "--max-batch", "7"];
    let ran = with_password(&orchestra, &flags);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.out.contains("hunter2") && !ran.out.contains("s3cret"), "{}", ran.out);
    let shown: Value = serde_json::from_str(&ran.out).unwrap();
    let line = |key: &str| {
        let settings = shown["settings"].as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["setting"] == key).unwrap();
        format!("{key} = {} ({})", setting["value"], setting["source"].as_str().unwrap())
    };
    let keys = [
        "tenant",
        "listen",
        "max_batch",
        "cache_embedder",
        "cache_threshold",
        "redis.url",
        "redis.shards",
        "alloydb.password",
        "alloydb.user",
    ];
    insta::assert_snapshot!(keys.map(line).join("\n"), @r#"
    tenant = "acme" (file)
    listen = "127.0.0.1:7070" (default)
    max_batch = 7 (flag)
    cache_embedder = "static-256" (environment)
    cache_threshold = 0.9 (default)
    redis.url = "***" (file)
    redis.shards = 16 (file)
    alloydb.password = {"env":"PASSWORD_OF_THE_TEST"} (file)
    alloydb.user = null (default)
    "#);
    let table = with_password(&orchestra, &["config", "show", "--config", file.to_str().unwrap()]).out;
    let row = table.lines().find(|line| line.starts_with("redis.url")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["redis.url", "***", "file"]);
}

#[test]
fn a_mistake_exits_with_1_and_names_the_line() {
    let orchestra = Orchestra::new();
    let file = file(&orchestra, &FILE.replace("shards: 16", "shard: 16"));
    let ran = with_password(&orchestra, &["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!((ran.code, &*ran.out), (1, ""));
    let said = ran.err.replace(&file.display().to_string(), "orchestra.yaml");
    insta::assert_snapshot!(said, @"
    error: orchestra.yaml:5: redis.shard: given an unknown setting, allowed: redis.shards, which is the nearest
    next:  `orchestra config schema` and `orchestra serve --help` list every setting
    ");
    let served = with_password(&orchestra, &["serve", "--config", file.to_str().unwrap()]);
    assert_eq!((served.code, served.err.lines().next()), (1, ran.err.lines().next()), "a server says the same");
}

#[test]
fn a_secret_in_the_file_is_warned_of_and_one_that_is_absent_is_named() {
    let orchestra = Orchestra::new();
    let file = file(&orchestra, FILE);
    let check = ["config", "check", "--config", file.to_str().unwrap()];
    let ran = with_password(&orchestra, &check);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("warning: redis.url: the secret itself is in the file"), "{}", ran.err);
    let ran = orchestra.run(&check);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("alloydb.password: given {env: PASSWORD_OF_THE_TEST}, allowed"), "{}", ran.err);
}

#[test]
fn providers_that_are_away_exit_with_2_and_are_told() {
    let orchestra = Orchestra::new();
    let file = file(&orchestra, FILE);
    let check = ["config", "check", "--connect", "--json", "--config", file.to_str().unwrap()];
    let ran = with_password(&orchestra, &check);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ![&ran.out, &ran.err].into_iter().any(|text| text.contains("hunter2") || text.contains("s3cret")),
        "{ran:?}"
    );
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    let states: Vec<&str> =
        told["providers"].as_array().unwrap().iter().map(|part| part["state"].as_str().unwrap()).collect();
    assert_eq!((states, &told["ok"]), (vec!["ok", "ok", "failed", "failed"], &Value::Bool(false)));
}

#[test]
fn providers_that_are_there_are_found() {
    let Some(redis) = services::private(Service::Redis) else { return };
    let orchestra = Orchestra::new();
    let text =
        format!("short_term_provider: redis\nredis:\n  url: {}\n  index_schema: agent_memory.yaml\n", redis.url());
    let file = file(&orchestra, &text);
    let schema = include_str!("../../../provider-redis/agent_memory.yaml");
    std::fs::write(orchestra.folder().join("agent_memory.yaml"), schema).unwrap();
    let ran = orchestra.run(&["config", "check", "--connect", "--config", file.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("connected, and the index is there"), "{}", ran.out);
}

#[test]
fn a_secret_is_read_out_of_a_stand_in_for_secret_manager() {
    let Some(redis) = services::private(Service::Redis) else { return };
    let orchestra = Orchestra::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let data = STANDARD.encode(redis.url());
    let asked = std::thread::spawn(move || {
        let mut connection = listener.accept().unwrap().0;
        let mut request = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
        let asked: Vec<String> = request.by_ref().take_while(|line| !line.is_empty()).collect();
        let body = format!("{{\"payload\": {{\"data\": \"{data}\"}}}}");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
        connection.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).unwrap();
        asked
    });
    let text = format!(
        "secret_manager_url: {base}\nshort_term_provider: redis\nredis:\n  url: {{secret_manager: projects/p/secrets/redis-url/versions/3}}\n"
    );
    let file = file(&orchestra, &text);
    let mut command = orchestra.command(&["config", "check", "--connect", "--config", file.to_str().unwrap()]);
    let ran = super::support::ran(&command.env("GOOGLE_OAUTH_ACCESS_TOKEN", "token-1").output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.out.contains(&redis.url()), "{}", ran.out);
    let asked = asked.join().unwrap();
    assert_eq!(asked[0], "GET /v1/projects/p/secrets/redis-url/versions/3:access HTTP/1.1");
    assert!(asked.iter().any(|line| line == "authorization: Bearer token-1"), "{asked:?}");
}

#[test]
fn the_schema_is_json() {
    let ran = Orchestra::new().ok(&["config", "schema"]);
    let schema: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(schema["properties"]["redis"]["properties"]["shards"]["maximum"], 1000);
}

#[test]
fn a_command_on_the_folder_is_set_as_the_server_would_be() {
    let orchestra = Orchestra::new();
    let file = file(&orchestra, "tenant: acme\nshort_term_provider: none\n");
    let mut command = orchestra.command(&["stats", "--json"]);
    let ran = super::support::ran(&command.env("ORCHESTRA_CONFIG", file).output().unwrap());
    let stats: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!((&stats["tenant"], &stats["short_term_provider"]), (&"acme".into(), &"none".into()));
}
