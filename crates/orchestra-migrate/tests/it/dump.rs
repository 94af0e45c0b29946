//! The end of a move: what is kept of blue, and a store that is filled from it.

use std::fs;
use std::process::Command;

use chrono::Utc;
use memory_core::{Error, Item, MemoryStore as _, Replica as _};
use memory_testkit::make;
use migrate::record::Records as _;
use migrate::record::file::FileRecords;

use crate::home::Home;
use crate::server::Server;

const FILE: &str = "orchestra-migrate-blue.jsonl.gz";

/// A folder with a move that has green in use.
async fn switched() -> Home {
    let home = Home::new().await;
    home.succeeds(&["plan", "--batch", "7", "--queries", "5"]);
    home.succeeds(&["start"]);
    home.succeeds(&["switch", "--writes", "--yes"]);
    home
}

async fn items(home: &Home, side: &str) -> Vec<Item> {
    let store = home.open(side).await;
    let page = store.scan(None, 10_000).await.expect("scan");
    store.close().await.expect("close");
    page.items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_filled_from_what_was_kept_of_blue() {
    let home = switched().await;
    let (file, new) = (home.path().join(FILE), home.path().join(format!("{FILE}.new")));
    let would = home.succeeds(&["finalize", "--dry-run"]);
    assert!(would.contains(&format!("would keep a dump of blue in {FILE} and end the move")), "{would}");
    let refused = home.refuses(&["finalize"]);
    assert!(refused.contains("no rollback after this") && refused.contains("say --yes"), "{refused}");
    assert!(!file.exists() && !new.exists(), "nobody agreed to anything");
    fs::write(&file, "a shopping list").expect("a file");
    let refused = home.refuses(&["finalize", "--yes"]);
    assert!(refused.contains("is no dump of this move"), "{refused}");
    assert_eq!(fs::read_to_string(&file).expect("a file"), "a shopping list");
    fs::remove_file(&file).expect("a file");
    assert!(home.succeeds(&["status"]).contains("following"), "the way back is open");
    fs::write(&new, "what a killed one left").expect("a file");
    let said = home.succeeds(&["finalize", "--yes"]);
    let blue = items(&home, "blue").await;
    for says in [
        format!("dump of {} items of blue kept", blue.len()),
        format!("a dump of blue, of {} items: {}", blue.len(), file.display()),
        "dropped: the streams of changes on both stores".to_owned(),
        "kept: blue, closed to clients; its dump".to_owned(),
    ] {
        assert!(said.contains(&says), "{says}: {said}");
    }
    assert!(!new.exists());

    fs::create_dir(home.path().join("third")).expect("a folder");
    let config = format!("data: {}\n", home.path().join("third").display());
    fs::write(home.path().join("third.yaml"), config).expect("a file");
    let sides = ["--record", "again.json", "--blue", &format!("dump:{FILE}"), "--green", "third.yaml"];
    let with = |more: &[&'static str]| -> Vec<String> {
        sides.iter().copied().chain(more.iter().copied()).map(str::to_owned).collect()
    };
    let again = |more: &[&'static str]| {
        let arguments = with(more);
        home.succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let refused = home.refuses(&["--record", "again.json", "--green", &format!("dump:{FILE}"), "plan"]);
    assert!(refused.contains("can only be read"), "{refused}");
    again(&["plan", "--batch", "9", "--queries", "5"]);
    again(&["start"]);
    let checked = again(&["verify"]);
    assert!(checked.contains("ok      functional") && checked.contains("ok      security"), "{checked}");
    again(&["switch", "--writes", "--yes"]);
    let said = again(&["finalize", "--yes"]);
    assert!(said.contains("kept: blue, as it was"), "{said}");
    assert_eq!(items(&home, "third").await, blue, "vectors, history and what was forgotten are as they were");
    let forgotten = blue.iter().find_map(|item| match item {
        Item::Tombstone { scope, id, .. } => Some((scope.clone(), *id)),
        _ => None,
    });
    let (scope, id) = forgotten.expect("one was forgotten");
    let third = home.open("third").await;
    let mut memory = make::memory(&scope, "it comes back", Utc::now());
    memory.id = id;
    let refused = third.insert(make::batch([memory])).await;
    assert!(matches!(refused, Err(Error::Forgotten(_))), "{refused:?}");
    third.close().await.expect("close");

    let mut bytes = fs::read(&file).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).expect("a file");
    let arguments = with(&["verify"]);
    let failed = home.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && told.contains("take another copy of it"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_ends_without_a_dump_where_none_is_wanted() {
    let home = switched().await;
    let would = home.succeeds(&["finalize", "--no-dump", "--dry-run"]);
    assert!(would.contains("keep NO dump of blue"), "{would}");
    let said = home.succeeds(&["finalize", "--no-dump", "--yes"]);
    assert!(said.contains("finalized") && said.contains("closed to clients; no dump"), "{said}");
    assert!(!home.path().join(FILE).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_was_interrupted_goes_on() {
    let home = switched().await;
    // Killed behind the order, before what it said was done.
    let records = FileRecords::new(home.path().join("orchestra-migrate.json"));
    let record = records.load().await.expect("a record").expect("it is planned");
    records.store(&record.finalized(Utc::now()).expect("green is in use")).await.expect("a record");
    let would = home.succeeds(&["finalize", "--dry-run"]);
    assert!(would.contains("would go on to end the move"), "{would}");
    assert!(home.succeeds(&["run"]).contains("finalized"), "it was agreed to before");
    let refused = home.refuses(&["finalize", "--yes"]);
    assert!(refused.contains("cannot finalize: the move is finalized"), "{refused}");
}

/// Files of the program may not become longer than a record is: a disk that is full, for a dump.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_leaves_the_move_as_it_was() {
    let home = switched().await;
    let (blue, green) = (Server::of(&home, "blue").await, Server::of(&home, "green").await);
    let sides = ["--blue", &blue.url(), "--green", &green.url()].map(str::to_owned);
    let with =
        |more: &[&str]| -> Vec<String> { sides.iter().cloned().chain(more.iter().map(|&a| a.to_owned())).collect() };
    let mut command = Command::new("sh");
    let limited = "trap '' XFSZ; ulimit -f 24; exec \"$0\" \"$@\"";
    command.args(["-c", limited, env!("CARGO_BIN_EXE_orchestra-migrate")]).args(with(&["finalize", "--yes"]));
    let failed = command.current_dir(home.path()).output().expect("it runs");
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(told.contains("cannot be written") && told.contains("File too large"), "{told}");
    assert_eq!(failed.status.code(), Some(2), "{told}");
    let left = fs::read_dir(home.path()).expect("a folder").map(|file| file.expect("a file").file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(FILE)).collect();
    assert!(left.is_empty(), "half a dump takes room that the record may need: {left:?}");
    assert!(home.succeeds(&["status"]).contains("following, green in use"));
    let run = |more: &[&str]| {
        let arguments = with(more);
        home.succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    run(&["rollback", "--yes"]);
    run(&["switch", "--writes", "--yes"]);
    run(&["finalize", "--yes"]);
    assert!(home.path().join(FILE).metadata().expect("a dump").len() > 24 * 1024);
    blue.end().await;
    green.end().await;
}
