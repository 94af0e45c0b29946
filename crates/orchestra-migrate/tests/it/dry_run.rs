//! `--dry-run` says of every command what it would do, and does nothing of it.

use std::collections::BTreeSet;
use std::fs;

use memory_core::{Gate, Item, ItemKey, MemoryStore as _, Replica as _};
use memory_testkit::make;
use migrate::record::{Colour, Record};
use provider_embedded::EmbeddedProvider;

use crate::home::Home;

/// What a dry run must leave as it was.
#[derive(Debug, PartialEq)]
struct State {
    /// Everything in the folder but the stores: names, and what is in the files.
    files: Vec<(String, Vec<u8>)>,
    /// What is in both stores, and who may write there.
    stores: [(Vec<Item>, Gate); 2],
    /// What the store that follows is behind.
    behind: Vec<ItemKey>,
}

async fn state(home: &Home) -> State {
    let names = fs::read_dir(home.path()).expect("a folder").map(|file| file.expect("a file").path());
    let mut files: Vec<_> = names
        .filter(|path| !["blue", "green"].iter().any(|side| path.ends_with(side)))
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap_or_default()))
        .collect();
    files.sort();
    let record = fs::read(home.path().join("orchestra-migrate.json")).ok();
    let record: Option<Record> = record.map(|json| serde_json::from_slice(&json).expect("a record"));
    let stores = [home.open("blue").await, home.open("green").await];
    let behind = match record.as_ref().and_then(|record| Some((record.active, record.stream.as_ref()?))) {
        Some((active, stream)) => {
            let changes = stores[usize::from(active == Colour::Green)].changed(stream, 1000).await;
            changes.expect("changes").into_iter().map(|change| change.key).collect()
        }
        None => Vec::new(),
    };
    let stores = stores.map(async |store: EmbeddedProvider| {
        let seen = (store.scan(None, 10_000).await.expect("scan").items, store.gate().await.expect("a gate"));
        store.close().await.expect("close");
        seen
    });
    let [blue, green] = stores;
    State { files, stores: [blue.await, green.await], behind }
}

/// What commands did, of one home.
struct Dry {
    home: Home,
    /// The commands that were tried.
    tried: BTreeSet<String>,
}

impl Dry {
    /// Each of these says what it would do and changes nothing.
    async fn would(&mut self, commands: &[(&str, &str)]) {
        let before = state(&self.home).await;
        for (command, says) in commands {
            let arguments: Vec<_> = command.split(' ').chain(["--dry-run", "--yes"]).collect();
            let said = self.home.succeeds(&arguments);
            assert!(said.contains(says), "{command}: {said}");
            assert_eq!(state(&self.home).await, before, "{command}");
            self.tried.insert(arguments[0].to_owned());
        }
    }

    /// Writes a memory to the store in use.
    async fn write(&self, side: &str, text: &str) {
        let store = self.home.open(side).await;
        let memory = make::memory(&make::user("acme", "ann"), text, chrono::Utc::now());
        store.insert(make::batch([memory])).await.expect("it is in use");
        store.close().await.expect("close");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_changes_nothing() {
    let mut dry = Dry { home: Home::new().await, tried: BTreeSet::new() };
    dry.would(&[("plan --batch 7", "\"batch\": 7"), ("run", "would go through: preparation")]).await;
    assert!(!dry.home.path().join("orchestra-migrate.json").exists());
    dry.home.succeeds(&["plan", "--batch", "7", "--queries", "5"]);
    dry.would(&[
        ("start", "would copy everything to green: planned -> preparing"),
        ("cancel", "would give the move up: planned -> cancelling"),
        ("status", "move move: planned, blue in use"),
    ])
    .await;
    dry.home.succeeds(&["start"]);
    dry.write("blue", "not on green yet").await;
    dry.would(&[
        ("start", "would go on: following, blue in use"),
        ("start --follow", "would go on: following, blue in use"),
        ("verify", "would compare about"),
        ("verify --repair", "would compare about"),
        ("stress", "would load green, then blue"),
        ("stress --gpu-soak 1", "would keep the GPU busy"),
        ("switch --reads 10%", "would let reads go to green"),
        ("switch --writes", "would let green be the store in use: following -> switching"),
        ("switch --writes --unchecked", "would let green be the store in use: following -> switching"),
        ("cancel", "would give the move up: following -> cancelling"),
        ("run", "would go through: preparation"),
        ("status", "following"),
        ("report out", "would write report.json and report.html into out"),
    ])
    .await;
    dry.home.succeeds(&["start"]);
    dry.home.succeeds(&["switch", "--writes", "--yes"]);
    dry.write("green", "not on blue yet").await;
    dry.would(&[
        ("start", "would go on: following, green in use"),
        ("verify --repair", "would compare about"),
        ("rollback", "would let blue be the store in use: following -> switching"),
        ("run --rollback", "would let blue be the store in use: following -> switching"),
        ("finalize", "would keep a dump of blue"),
        ("finalize --no-dump", "would end the move and keep NO dump"),
        ("run", "would go through: preparation"),
    ])
    .await;
    let help = dry.home.succeeds(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").expect("a list of them");
    let commands = commands.lines().take_while(|line| !line.is_empty());
    // What a command says may go on in a line that begins further to the right.
    let named = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| !name.is_empty());
    let named: BTreeSet<_> = named.filter(|name| *name != "help").map(str::to_owned).collect();
    assert_eq!(dry.tried, named, "every command was tried");
}
