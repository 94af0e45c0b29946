//! Sides of every kind: running servers, and what people have elsewhere.

use memory_core::{MemoryStore as _, Scope};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use sqlx::{Connection as _, Executor as _};

use crate::home::{Home, database};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_files_of_running_servers_move_there_and_back() {
    let home = Home::new().await;
    let (blue, green) = (Server::of(&home, "blue").await, Server::of(&home, "green").await);
    let (blue_url, green_url) = (blue.url(), green.url());
    let sides = ["--blue", &blue_url, "--green", &green_url];
    let with = |arguments: &[&'static str]| -> Vec<String> {
        sides.iter().chain(arguments).map(|&argument| argument.to_owned()).collect()
    };
    let succeeds = |arguments: &[&'static str]| {
        let all = with(arguments);
        home.succeeds(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    std::fs::write(home.path().join("key"), "om_of-nobody\n").expect("a file");
    succeeds(&["plan", "--batch", "7", "--queries", "5", "--improvement=-1000", "--blue-key-file", "key"]);
    succeeds(&["start"]);
    let checked = succeeds(&["verify"]);
    for gate in ["functional", "lag", "security", "search", "performance"] {
        assert!(checked.contains(&format!("ok      {gate}")), "{checked}");
    }
    succeeds(&["switch", "--writes", "--yes"]);
    succeeds(&["rollback", "--yes"]);
    succeeds(&["switch", "--writes", "--yes"]);
    succeeds(&["finalize", "--yes"]);
    let refused = home.refuses(&["start", "--blue", &blue_url, "--green", &blue_url]);
    assert!(refused.contains("the same store"), "{refused}");
    blue.end().await;
    green.end().await;
    assert_eq!(home.state("blue").await, (59, false));
    assert_eq!(home.state("green").await, (59, true));
}

const LINES: &str = r#"{"id":"00000000-0000-0000-0000-000000000001","kind":"semantic","text":"Ann sings","scope":{"user":"ann"}}
{"id":"00000000-0000-0000-0000-000000000002","kind":"semantic","text":"Ann paints","scope":{"user":"ann"}}
not json
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_an_export_is_copied_and_not_followed() {
    let home = Home::new().await;
    let file = home.path().join("memory.jsonl");
    std::fs::write(&file, LINES).expect("a file");
    let side = ["--blue", "jsonl:memory.jsonl", "--tenant", "acme"];
    let arguments = |more: &[&'static str]| -> Vec<&str> { side.iter().chain(more).copied().collect() };
    let refused = home.refuses(&["plan", "--green", "jsonl:memory.jsonl"]);
    assert!(refused.contains("can only be read"), "{refused}");
    let planned = home.run(&arguments(&["plan", "--queries", "5"]));
    let told = String::from_utf8_lossy(&planned.stderr).into_owned();
    assert!(planned.status.success() && told.contains("1 rows of blue do not come along:\n  line 3: "), "{told}");
    home.succeeds(&arguments(&["start"]));
    // More is written to it, and it is copied again.
    std::fs::write(
        &file,
        LINES.replace("not json\n", "")
            + &LINES[..LINES.find('\n').expect("a line") + 1].replace("000001", "000003").replace("sings", "dances"),
    )
    .expect("a file");
    let refused = home.refuses(&arguments(&["verify"]));
    assert!(refused.contains("a gate does not hold"), "{refused}");
    home.succeeds(&arguments(&["start"]));
    let checked = home.succeeds(&arguments(&["verify"]));
    assert!(checked.contains("ok      functional") && checked.contains("ok      security"), "{checked}");
    assert!(checked.contains("blue has no search") && checked.contains("blue not asked"), "{checked}");
    home.succeeds(&arguments(&["switch", "--writes", "--yes"]));
    let refused = home.refuses(&arguments(&["rollback", "--yes"]));
    assert!(refused.contains("nothing that was written on green since could go back"), "{refused}");
    home.succeeds(&arguments(&["finalize", "--yes"]));
    assert_eq!(home.state("green").await, (3, true));
}

/// What wants a number that cannot be had does not hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_is_wanted_and_cannot_be_asked_stops_the_run() {
    let home = Home::new().await;
    std::fs::write(home.path().join("memory.jsonl"), LINES).expect("a file");
    let run = ["run", "--blue", "jsonl:memory.jsonl", "--yes"];
    let output = home.run(&[&run[..], &["--improvement", "0.4"]].concat());
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(out.contains("FAILED  performance  not asked: blue has no search to compare with"), "{out}");
    assert_eq!(home.state("green").await, (0, false), "no traffic was moved");
    std::fs::remove_file(home.path().join("orchestra-migrate.json")).expect("the record");
    std::fs::remove_dir_all(home.path().join("green")).expect("green");
    let done = home.run(&[&run[..], &["--tenant", "acme"]].concat());
    let [out, err] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(done.status.success() && err.contains("not asked: blue can only be read"), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_another_library_moves_by_its_description() {
    let Some(url) = services::url(Service::Postgres) else { return };
    let url = database(&url).await;
    let home = Home::new().await;
    let mut database = sqlx::PgConnection::connect(&url).await.expect("connect");
    for statement in [
        "CREATE TABLE memories (id uuid PRIMARY KEY, vector vector(3), payload jsonb)",
        r#"INSERT INTO memories VALUES ('00000000-0000-0000-0000-000000000001', '[1,0,0]',
            '{"data": "Ann sings", "user_id": "ann", "created_at": "2025-06-01T01:00:00Z"}')"#,
    ] {
        database.execute(statement).await.expect("a table");
    }
    std::fs::write(home.path().join("url"), format!("{url}\n")).expect("a file");
    let description = home.path().join("source.yaml");
    std::fs::write(&description, "url: {file: nowhere}\ntable: memories\n").expect("a file");
    let side = ["--blue", "mem0:source.yaml", "--tenant", "acme"];
    let with = |more: &[&'static str]| -> Vec<&str> { side.iter().chain(more).copied().collect() };
    assert!(home.refuses(&with(&["plan"])).contains("url: given {file: nowhere}"));
    std::fs::write(&description, "url: {file: url}\ntable: memories\ncolour: red\n").expect("a file");
    assert!(home.refuses(&with(&["plan"])).contains("unknown field `colour`"));
    // Its vectors are of another model: they are made anew on the way.
    let space = "space: {model: text-embedding-3-small, revision: '1', dimensions: 3}";
    std::fs::write(&description, format!("url: {{file: url}}\ntable: memories\n{space}\n")).expect("a file");
    home.succeeds(&with(&["run", "--yes", "--queries", "3"]));
    let green = home.open("green").await;
    let ann = make::user("acme", "ann");
    let id = "00000000-0000-0000-0000-000000000001".parse().expect("an id");
    assert_eq!(green.get(&ann, id).await.expect("get").expect("it is there").text, "Ann sings");
    let all = green.stats(&Scope::tenant("acme").expect("a name")).await.expect("stats");
    assert_eq!(all.memories, 1);
    green.close().await.expect("close");
}
