//! A store that is moved to: what its searches see, what it leaves alone, and what a kill leaves of it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use memory_core::cache::Fingerprint;
use memory_core::{
    Arm, CacheLookup, CacheMode, CachePolicy, CacheRequest, Clock, Error, Gate, InvalidateRequest, InvalidateSelection,
    Item, Memory, MemoryId, MemoryStore, Metadata, NewCacheEntry, Replica, Scope, SemanticCache, StoredVersion,
    WholeMemory, Writers,
};
use memory_testkit::make;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};

use crate::support::{Home, comparable, count, memory, returned};

/// Set for the child: the path of its store.
const CHILD: &str = "PROVIDER_EMBEDDED_TEST_MOVED_CHILD";
const ROUNDS: u64 = 6;

fn scope() -> Scope {
    make::user("acme", "ann")
}

fn whole(ordinal: u64, memory: Memory) -> WholeMemory {
    let embedding = Some(make::embedding(&make::space("testkit"), ordinal));
    WholeMemory { ordinal, current: StoredVersion { memory, embedding }, former: Vec::new() }
}

fn item(whole: &WholeMemory) -> Item {
    Item::Memory(Box::new(whole.clone()))
}

async fn set(store: &dyn Replica, epoch: u64, writers: Writers) {
    store.set_gate(Gate { epoch, writers }).await.expect("set_gate");
}

async fn put(store: &dyn Replica, epoch: u64, items: Vec<Item>) {
    store.write(epoch, items).await.expect("write");
}

/// By words and by vector, also after writes before others in the order of first writing, and over memories that are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_sees_what_the_mover_wrote() {
    let home = Home::new();
    let store = home.open().await;
    set(&store, 1, Writers::Mover).await;
    let session = scope().with_session("monday").expect("a name");
    let mut turns: Vec<WholeMemory> =
        (1..=30).map(|at| whole(at * 10, memory(&session, &format!("entry {at} of many words")))).collect();
    let words = async |store: &EmbeddedProvider| {
        let vector = make::embedding(&make::space("testkit"), 55);
        let mut request = make::search(&scope(), Some(vector), Some("entry words changed"));
        (request.candidates, request.neighbours) = (1000, true);
        store.search(&request).await.expect("search")
    };
    put(&store, 1, turns[..10].iter().map(item).collect()).await;
    assert_eq!(words(&store).await.candidates.len(), 10, "from here on it is held in memory");
    // Behind the others; before them; changed; elsewhere; gone.
    put(&store, 1, turns[20..].iter().map(item).collect()).await;
    assert_eq!(returned(&words(&store).await, Arm::Lexical), 20);
    put(&store, 1, turns[10..20].iter().map(item).collect()).await;
    let (id, before) = (turns[10].current.memory.id, turns[9].current.memory.id);
    let all = words(&store).await.candidates;
    let found = all.iter().find(|found| found.memory.id == id).expect("it is found");
    assert_eq!((all.len(), found.previous), (30, Some(before)), "the turn before it was written before");
    turns[3].current.memory.text = "entry 3 was changed".into();
    turns[3].current.embedding = Some(make::embedding(&make::space("testkit"), 55));
    turns[3].current.memory.version = 2;
    turns[4].ordinal = 1000;
    turns[5].current.memory.scope = make::user("acme", "bob");
    put(&store, 1, turns[3..6].iter().map(item).collect()).await;
    put(&store, 1, vec![Item::Absent(item(&turns[6]).key())]).await;
    let found = words(&store).await;
    assert_eq!(count(&store, &scope(), "entry").await, 28, "one is another's by now, one is gone");
    assert_eq!(count(&store, &make::user("acme", "bob"), "entry").await, 1);
    store.close().await.expect("close");
    let store = home.open().await;
    assert_eq!(comparable(&found), comparable(&words(&store).await), "as one that is read anew");
}

/// An answer that used a memory goes when the memory is changed or goes, one that is being computed is not filed, and others
/// stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_mover_changes_reaches_the_cache() {
    let home = Home::new();
    let store = home.open().await;
    set(&store, 1, Writers::Mover).await;
    let mut memories: Vec<WholeMemory> =
        (1..=4).map(|at| whole(at, memory(&scope(), &format!("what {at} says")))).collect();
    put(&store, 1, memories.iter().map(item).collect()).await;
    let answer = |at: usize| NewCacheEntry {
        scope: scope(),
        prompt: format!("What does {at} say?"),
        response: "answer".into(),
        fingerprint: Fingerprint([0; 32]),
        embedding: None,
        depends_on: vec![memories[at].current.memory.id],
        tags: Vec::new(),
        metadata: Metadata::new(),
        ttl: Duration::from_secs(3600),
        sliding: false,
    };
    let answers: Vec<NewCacheEntry> = (0..4).map(answer).collect();
    for answer in &answers {
        SemanticCache::store(&store, answer.clone()).await.expect("a closed store keeps answers");
    }
    let mark = MemoryStore::mark(&store).await.expect("a mark");
    memories[0].current.memory.text = "it says something else".into();
    memories[0].current.memory.version = 2;
    // Only its vector: the answer stands.
    memories[3].current.embedding = None;
    let tombstone =
        Item::Tombstone { scope: scope(), id: memories[2].current.memory.id, forgotten_at: home.clock.now() };
    let gone = Item::Absent(item(&memories[1]).key());
    put(&store, 1, vec![item(&memories[0]), gone, tombstone, item(&memories[3])]).await;
    let mut hits = Vec::new();
    for answer in &answers {
        let policy = CachePolicy { threshold: 0.9, mode: CacheMode::Guarded };
        let request = CacheRequest {
            scope: scope(),
            prompt: answer.prompt.clone(),
            fingerprint: Fingerprint([0; 32]),
            embedding: None,
            policy,
            filter: None,
        };
        hits.push(matches!(store.lookup(&request).await.expect("lookup"), CacheLookup::Hit(_)));
    }
    assert_eq!(hits, [false, false, false, true]);
    let ids: Vec<MemoryId> = memories.iter().map(|whole| whole.current.memory.id).collect();
    assert!(!store.stand(&scope(), &ids[..1], mark.as_ref()).await.expect("stand"), "it was changed since");
    // Whoever invalidates may do so at any time.
    let request = InvalidateRequest { scope: scope(), selection: InvalidateSelection::All, dry_run: false };
    assert_eq!(store.invalidate(&request).await.expect("invalidate"), 1);
}

/// What expires in a store that is moved to goes when it goes from the other one, or when the store is opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_stays_in_the_file_while_it_is_moved_to() {
    let home = Home::new();
    let store = home.open_swept().await;
    set(&store, 1, Writers::Mover).await;
    let mut passing = whole(1, memory(&scope(), "passing"));
    passing.current.memory.expires_at = Some(home.clock.now() + Duration::from_secs(1));
    put(&store, 1, vec![item(&passing)]).await;
    home.clock.advance(Duration::from_secs(2));
    assert_eq!(count(&store, &scope(), "passing").await, 0, "nobody is told of it");
    swept(&home, &store).await;
    let key = item(&passing).key();
    assert_eq!(store.read(std::slice::from_ref(&key)).await.expect("read"), [Item::Absent(key)], "nor is the mover");
    assert_eq!(rows(&home, "SELECT count(*) FROM memory").await, 1);
    set(&store, 2, Writers::Clients).await;
    swept(&home, &store).await;
    assert_eq!(rows(&home, "SELECT count(*) FROM memory").await, 0);
}

/// Waits until a sweep has taken what expired after this was called.
async fn swept(home: &Home, store: &EmbeddedProvider) {
    let mark = NewCacheEntry {
        scope: scope(),
        prompt: "Was it swept?".into(),
        response: "answer".into(),
        fingerprint: Fingerprint([1; 32]),
        embedding: None,
        depends_on: Vec::new(),
        tags: Vec::new(),
        metadata: Metadata::new(),
        ttl: Duration::from_secs(1),
        sliding: false,
    };
    // Twice, since the answer goes first: when the second has gone, the sweep that took the first is over.
    for _ in 0..2 {
        SemanticCache::store(store, mark.clone()).await.expect("store");
        home.clock.advance(Duration::from_secs(2));
        let began = std::time::Instant::now();
        while rows(home, "SELECT count(*) FROM cache_entry").await > 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing is swept");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// How many rows the file holds, whatever they say.
async fn rows(home: &Home, count: &'static str) -> i64 {
    use sqlx::Connection;
    let url = format!("sqlite://{}?mode=ro", home.path().display());
    let mut file = sqlx::SqliteConnection::connect(&url).await.expect("open");
    sqlx::query_scalar(count).fetch_one(&mut file).await.expect("count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_memories_have_no_one_place_in_the_order() {
    let home = Home::new();
    let store = home.open().await;
    set(&store, 1, Writers::Mover).await;
    let (first, second) = (whole(7, memory(&scope(), "first")), whole(7, memory(&scope(), "second")));
    let third = whole(8, memory(&scope(), "third"));
    put(&store, 1, vec![item(&first)]).await;
    let refused = store.write(1, vec![item(&third), item(&second)]).await.expect_err("it is taken").to_string();
    assert_eq!(
        refused,
        "items[1].ordinal: given 7, allowed: an ordinal above 0 that no other memory of this store has"
    );
    assert_eq!(store.scan(None, 10).await.expect("scan").items, [item(&first)], "all or nothing");
    for ordinal in [0, u64::MAX] {
        let refused = store.write(1, vec![item(&whole(ordinal, memory(&scope(), "x")))]).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    }
}

/// Nothing is kept that no stream needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_stream_acknowledged_leaves_the_file() {
    let home = Home::new();
    let store = home.open().await;
    let replica: &dyn Replica = &store;
    let kept = async || rows(&home, "SELECT count(*) FROM item_change").await.cast_unsigned();
    let write = async || store.insert(make::batch([memory(&scope(), "text")])).await.map(drop).expect("insert");
    write().await;
    assert_eq!(kept().await, 0, "nobody moves it");
    replica.capture("a").await.expect("capture");
    replica.capture("b").await.expect("capture");
    for _ in 0..3 {
        write().await;
    }
    let told = replica.changed("a", 2).await.expect("changed");
    replica.acknowledge("a", &told[1].position).await.expect("acknowledge");
    assert_eq!((kept().await, replica.lag("a").await.expect("lag").changes), (3, 1), "the other needs them");
    replica.acknowledge("b", &told[0].position).await.expect("acknowledge");
    assert_eq!(kept().await, 2);
    replica.release("b").await.expect("release");
    assert_eq!(kept().await, 1);
    replica.release("a").await.expect("release");
    write().await;
    assert_eq!(kept().await, 0, "nobody moves it any more");
    let unknown = replica.acknowledge("a", &told[1].position).await;
    assert!(matches!(unknown, Err(Error::Invalid { .. })), "{unknown:?}");
}

/// Not a test of its own: what the child of the test below runs. Writes two memories at a time and raises the epoch after each
/// third pair, and prints what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = EmbeddedProvider::open(EmbeddedConfig::new(path)).await.expect("the child opens the store");
    let mut epoch = store.gate().await.expect("a gate").epoch + 1;
    set(&store, epoch, Writers::Mover).await;
    let first = store.size().await.expect("a size").memories + 1;
    for at in (first..).step_by(2) {
        let pair = [at, at + 1].map(|ordinal| whole(ordinal, memory(&scope(), &format!("entry {ordinal}"))));
        put(&store, epoch, pair.iter().map(item).collect()).await;
        println!("acknowledged {}", at + 1);
        if at % 3 == 0 {
            epoch += 1;
            set(&store, epoch, Writers::Mover).await;
            println!("gate {epoch}");
        }
    }
}

fn spawn(path: &Path) -> Child {
    Command::new(std::env::current_exe().expect("the test's own binary"))
        .args(["moves::child_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts")
}

/// Reads the child's lines until it has written `enough`, kills it, and gives the last ordinal and epoch that it had
/// acknowledged.
fn kill_after(child: &mut Child, enough: u64, pause: Duration) -> (u64, u64) {
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let (mut ordinal, mut epoch, mut written, mut is_killed) = (0, 0, 0, false);
    loop {
        let mut line = String::new();
        // A line that was cut short by the kill was not read by anyone.
        if lines.read_line(&mut line).expect("a line") == 0 || !line.ends_with('\n') {
            break;
        }
        if let Some((_, last)) = line.trim().split_once("acknowledged ") {
            (ordinal, written) = (last.parse().expect("an ordinal"), written + 1);
        } else if let Some((_, last)) = line.trim().split_once("gate ") {
            epoch = last.parse().expect("an epoch");
        }
        if written >= enough && !is_killed {
            // Not a wait for anything: it moves the kill to another place in the writing.
            std::thread::sleep(pause);
            child.kill().expect("SIGKILL");
            child.wait().expect("the child is gone");
            is_killed = true;
        }
    }
    (ordinal, epoch)
}

#[tokio::test]
async fn what_the_mover_wrote_survives_a_kill() {
    let home = Home::new();
    for round in 0..ROUNDS {
        let mut child = spawn(&home.path());
        let pause = Duration::from_micros(round * 1373 % 7000);
        let (ordinal, epoch) = kill_after(&mut child, 5 + round * 7 % 20, pause);
        assert!(ordinal > 0, "round {round}: the child wrote nothing");
        let store = home.open().await;
        let gate = store.gate().await.expect("a gate");
        assert_eq!(gate.writers, Writers::Mover, "round {round}");
        assert!((epoch..=epoch + 1).contains(&gate.epoch) || epoch == 0, "round {round}: {gate:?}, told {epoch}");
        let items = store.scan(None, 1_000_000).await.expect("scan").items;
        let ordinals: Vec<u64> = items
            .iter()
            .map(|item| match item {
                Item::Memory(whole) => whole.ordinal,
                other => panic!("{other:?}"),
            })
            .collect();
        let last = ordinals.len() as u64;
        assert_eq!(ordinals, (1..=last).collect::<Vec<_>>(), "round {round}");
        assert!((ordinal..=ordinal + 2).contains(&last), "round {round}: {last} are there, {ordinal} were told");
        assert_eq!(last % 2, 0, "round {round}: no half of a write is there");
        let refused = store.insert(make::batch([memory(&scope(), "x")])).await;
        assert!(matches!(refused, Err(Error::Fenced { epoch }) if epoch == gate.epoch), "round {round}: {refused:?}");
        store.close().await.expect("close");
    }
}
