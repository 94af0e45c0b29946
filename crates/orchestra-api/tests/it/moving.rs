//! A server that follows a move: clients write and read all through it, and meet no error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use memory_testkit::services::{self, Service};
use migrate::engine::{Engine, Order, Parts, Side};
use migrate::http::HttpReplica;
use migrate::plan::Plan;
use migrate::probe::{AnswerCache, Direct};
use migrate::record::file::FileRecords;
use migrate::record::{Colour, Phase};
use orchestra_api::config::{MoveSettings, Settings};
use orchestra_api::http::router;
use orchestra_api::state::AppState;
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, AlloyDbReplica, MIGRATOR};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

/// A server whose settings name a move from its own file to another one.
struct Server {
    url: String,
    state: AppState,
    answering: tokio::task::AbortHandle,
}

fn settings(folder: &Path) -> Settings {
    let green = folder.join("green.yaml");
    std::fs::write(&green, "data: green\ncache_embedder: static-256\n").unwrap();
    let mut settings = Settings::for_data(folder.join("blue"));
    settings.moves = Some(MoveSettings {
        record: Some(record(folder)),
        name: "move".into(),
        green,
        wait: Duration::from_secs(20),
        mirror_percent: 0,
    });
    settings
}

fn record(folder: &Path) -> PathBuf {
    folder.join("move.json")
}

impl Server {
    async fn start(folder: &Path) -> Self {
        Self::on(AppState::open(&settings(folder)).await.unwrap()).await
    }

    async fn on(state: AppState) -> Self {
        // The clients of the tests want it, whichever of them comes first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = router(state.clone());
        let answering = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, state, answering: answering.abort_handle() }
    }

    async fn stop(self) {
        self.answering.abort();
        self.state.close(Duration::from_secs(5)).await.unwrap();
    }

    fn side(&self, colour: Colour) -> Side {
        let replica = Arc::new(HttpReplica::new(&self.url, None).unwrap().of_side(colour));
        Side { search: Some(replica.clone()), replica, embedder: None, answers: AnswerCache::None, is_read_only: false }
    }

    fn parts(&self, folder: &Path) -> Parts {
        Parts {
            blue: self.side(Colour::Blue),
            green: self.side(Colour::Green),
            records: Arc::new(FileRecords::new(record(folder))),
            clock: Arc::new(chrono::Utc::now),
            timer: Arc::new(tokio::time::sleep),
        }
    }

    async fn get(&self, path: &str) -> Value {
        reqwest::get(format!("{}{path}", self.url)).await.unwrap().json().await.unwrap()
    }
}

/// A client that writes, changes and forgets at one server, and searches what it wrote at another one. Gives what is to be there.
async fn use_it([url, other]: [String; 2], user: String, is_over: Arc<AtomicBool>) -> BTreeMap<String, String> {
    let http = reqwest::Client::new();
    let mut kept = BTreeMap::new();
    let mut round = 0;
    while !is_over.load(Ordering::Relaxed) {
        round += 1;
        let text = format!("{user} counted {round} boats in the harbour");
        let body = json!({"text": text, "scope": {"user": user}});
        let written = answered(http.post(format!("{url}/v1/memories")).json(&body)).await;
        let id = written["id"].as_str().unwrap().to_owned();
        let search = json!({"query": text, "scope": {"user": user}, "at_least": written["token"], "limit": 3});
        let found = answered(http.post(format!("{other}/v1/memories/search")).json(&search)).await;
        let is_there = found["results"].as_array().unwrap().iter().any(|result| result["id"] == *id);
        assert!(is_there, "{user} does not find its own write {round}: {found:#}");
        let got = answered(http.get(format!("{url}/v1/memories/{id}?user={user}"))).await;
        assert_eq!(got["text"], *text);
        match round % 5 {
            0 => {
                let gone = answered(http.delete(format!("{url}/v1/memories/{id}?user={user}"))).await;
                assert_eq!(gone["forgotten"], json!([id]), "{gone}");
            }
            1 => {
                let text = format!("{text} and went home");
                let patch = http.patch(format!("{url}/v1/memories/{id}?user={user}"));
                assert_eq!(answered(patch.json(&json!({"text": text}))).await["text"], *text);
                kept.insert(id, text);
            }
            _ => {
                kept.insert(id, text);
            }
        }
    }
    kept
}

/// The answer, which is no error.
async fn answered(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert!(status.is_success(), "{status}: {body:#}");
    body
}

/// All that a user has.
async fn listed(url: &str, user: &str) -> BTreeMap<String, String> {
    let (mut all, mut after) = (BTreeMap::new(), String::new());
    loop {
        let page =
            answered(reqwest::Client::new().get(format!("{url}/v1/memories?user={user}&limit=1000{after}"))).await;
        for memory in page["memories"].as_array().unwrap() {
            let text = |member: &str| memory[member].as_str().unwrap().to_owned();
            all.insert(text("id"), text("text"));
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&cursor={next}"),
            None => return all,
        }
    }
}

async fn until_following(engine: &mut Engine, active: Colour) {
    engine.run_until(|record, lag| record.phase == Phase::Following && lag < 50).await.unwrap();
    assert_eq!(engine.record().active, active, "{:?}", engine.record().history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_meet_no_error_from_the_start_of_a_move_to_its_end() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let users: Vec<String> = (0..4).map(|at| format!("user-{at}")).collect();
    let clients: Vec<_> = users
        .iter()
        .map(|user| tokio::spawn(use_it([&server.url, &server.url].map(Clone::clone), user.clone(), is_over.clone())))
        .collect();

    let mut engine = Engine::plan(server.parts(folder.path()), Plan::default()).await.unwrap();
    engine.order(Order::Start).await.unwrap();
    until_following(&mut engine, Colour::Blue).await;
    for (order, active) in
        [(Order::SwitchWrites, Colour::Green), (Order::Rollback, Colour::Blue), (Order::SwitchWrites, Colour::Green)]
    {
        engine.order(order).await.unwrap();
        until_following(&mut engine, active).await;
        // As many writes as this machine does meanwhile.
        for _ in 0..3 {
            engine.step().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    engine.order(Order::Finalize).await.unwrap();
    engine.run_until(|record, _| record.is_over()).await.unwrap();
    is_over.store(true, Ordering::Relaxed);
    let mut kept = Vec::new();
    for client in clients {
        kept.push(client.await.unwrap());
    }
    assert!(kept.iter().all(|kept| !kept.is_empty()));
    for (user, kept) in users.iter().zip(&kept) {
        assert_eq!(listed(&server.url, user).await, *kept, "{user}");
    }
    assert_eq!(server.get("/readyz").await["move"]["in_use"], "green");
    server.stop().await;

    // What is over needs blue no more.
    std::fs::remove_dir_all(folder.path().join("blue")).unwrap();
    let server = Server::start(folder.path()).await;
    assert_eq!(listed(&server.url, &users[0]).await, kept[0]);
    assert!(!folder.path().join("blue/memory.db").exists());
    server.stop().await;
}

/// A conversation is in one store: the switch in its middle, in both directions, breaks nothing of it.
#[tokio::test]
async fn a_session_goes_on_where_it_began() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let http = reqwest::Client::new();
    let path = |session: &str| format!("{}/v1/sessions/{session}/working", server.url);
    let say = async |session: &str, text: &str| {
        let body = json!({"scope": {"user": "ann"}, "messages": [{"role": "user", "content": text}]});
        answered(http.post(path(session)).json(&body)).await;
    };
    let said = async |session: &str| -> Vec<String> {
        let window = answered(http.get(format!("{}?user=ann", path(session)))).await;
        let messages = window["messages"].as_array().unwrap().iter();
        messages.map(|message| message["content"].as_str().unwrap().to_owned()).collect()
    };
    say("morning", "on blue").await;
    let mut engine = Engine::plan(server.parts(folder.path()), Plan::default()).await.unwrap();
    engine.order(Order::Start).await.unwrap();
    until_following(&mut engine, Colour::Blue).await;
    engine.order(Order::SwitchWrites).await.unwrap();
    until_following(&mut engine, Colour::Green).await;
    say("morning", "on green").await;
    say("noon", "on green").await;
    assert_eq!(said("morning").await, ["on blue", "on green"]);
    engine.order(Order::Rollback).await.unwrap();
    until_following(&mut engine, Colour::Blue).await;
    say("morning", "on blue again").await;
    say("noon", "on blue").await;
    assert_eq!(said("morning").await, ["on blue", "on green", "on blue again"]);
    assert_eq!(said("noon").await, ["on green", "on blue"]);
    let cleared = answered(http.delete(format!("{}?user=ann", path("noon")))).await;
    assert_eq!((&cleared["cleared"], said("noon").await.len()), (&json!(2), 0), "it is ended where it is");
    say("noon", "anew").await;
    assert_eq!(said("noon").await, ["anew"]);
    server.stop().await;
}

/// Green follows, and answers what it is asked: all searches that name no write go there, or are repeated there; where it fails blue
/// answers.
#[tokio::test]
async fn searches_go_to_green_by_their_share_and_are_compared() {
    let folder = TempDir::new().unwrap();
    let mut settings = settings(folder.path());
    if let Some(moves) = &mut settings.moves {
        moves.mirror_percent = 100;
    }
    let server = Server::on(AppState::open(&settings).await.unwrap()).await;
    let http = reqwest::Client::new();
    for at in 0..20 {
        let body = json!({"text": format!("Ann counted {at} boats in the harbour"), "scope": {"user": "ann"}});
        answered(http.post(format!("{}/v1/memories", server.url)).json(&body)).await;
    }
    let search = async || {
        let body = json!({"query": "How many boats were there?", "scope": {"user": "ann"}, "limit": 5});
        answered(http.post(format!("{}/v1/memories/search", server.url)).json(&body)).await
    };
    search().await;
    assert_eq!(server.get("/v1/replica/mirror").await["compared"], 0, "green has nothing yet");
    let mut engine = Engine::plan(server.parts(folder.path()), Plan::default()).await.unwrap();
    engine.order(Order::Start).await.unwrap();
    engine.run_until(|record, lag| record.phase == Phase::Following && lag == 0).await.unwrap();
    let report = loop {
        search().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let report = server.get("/v1/replica/mirror").await;
        if report["compared"].as_u64() >= Some(5) {
            break report;
        }
    };
    assert_eq!((&report["same"], &report["overlap"], &report["failures"]), (&json!(1.0), &json!(1.0), &json!(0)));
    assert!(report["green"]["p95_ms"].as_f64() > Some(0.0), "{report:#}");

    // What blue alone has shows who answers.
    engine.order(Order::SwitchReads(100)).await.unwrap();
    let mut rounds = 0;
    let seen = loop {
        let mirrored = server.get("/v1/replica/mirror").await["compared"].as_u64();
        rounds += 1;
        let body = json!({"text": format!("Ann counted {rounds} boats on Sunday"), "scope": {"user": "ann"}});
        let written = answered(http.post(format!("{}/v1/memories", server.url)).json(&body)).await;
        assert!(written["token"].is_string(), "{written:#}");
        let newest = |found: &Value| found["results"].as_array().unwrap().iter().any(|at| at["id"] == written["id"]);
        let free = json!({"query": "boats on Sunday", "scope": {"user": "ann"}, "limit": 100});
        let free = answered(http.post(format!("{}/v1/memories/search", server.url)).json(&free)).await;
        let bound =
            json!({"query": "boats on Sunday", "scope": {"user": "ann"}, "limit": 100, "at_least": written["token"]});
        let bound = answered(http.post(format!("{}/v1/memories/search", server.url)).json(&bound)).await;
        assert!(newest(&bound), "a search that names a write sees it: round {rounds}, {bound:#}");
        if !newest(&free) {
            break server.get("/v1/replica/mirror").await["compared"].as_u64() == mirrored;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(seen, "what green answers is not repeated there");
    server.stop().await;
}

/// Two databases of one Postgres, and a server's settings from one to the other.
async fn two_databases(folder: &Path, server: &services::Server) -> [AlloyDbConfig; 2] {
    let mut configs = Vec::new();
    for (name, create) in [("blue", "CREATE DATABASE blue"), ("green", "CREATE DATABASE green")] {
        let mut owner = PgConnection::connect(&server.url()).await.unwrap();
        owner.execute(create).await.unwrap();
        let mut options: PgConnectOptions = server.url().parse().unwrap();
        options = options.database(name);
        let mut database = PgConnection::connect_with(&options).await.unwrap();
        MIGRATOR.run_direct(None, &mut database, false).await.unwrap();
        database.close().await.unwrap();
        let mut config = AlloyDbConfig::from_url(&server.url()).unwrap();
        config.database = name.into();
        config.role = Some("orchestra_app".into());
        config.vector_dim = 256;
        configs.push(config);
        let moves = match name {
            "blue" => {
                format!("move:\n  record: {}\n  green: green.yaml\n  wait_seconds: 60\n", record(folder).display())
            }
            _ => String::new(),
        };
        let yaml = format!(
            "data: {name}\ncache_embedder: static-256\nshort_term_provider: none\nmedium_term_provider: alloydb\n\
             alloydb:\n  url: {}\n  database: {name}\n  role: orchestra_app\n  acquire_timeout_ms: 20000\n{moves}",
            server.url()
        );
        std::fs::write(folder.join(format!("{name}.yaml")), yaml).unwrap();
    }
    [configs.remove(0), configs.remove(0)]
}

async fn database_side(config: AlloyDbConfig) -> Side {
    let replica = Arc::new(AlloyDbReplica::connect(config.clone()).await.unwrap());
    let store = Arc::new(AlloyDbMemoryProvider::connect(config).await.unwrap());
    Side {
        replica,
        search: Some(Arc::new(Direct(store))),
        embedder: None,
        answers: AnswerCache::None,
        is_read_only: false,
    }
}

/// Each server learns of the switch when it does. Who writes at one and searches at the other with the write's token sees the write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_follow_the_same_move() {
    let Some(postgres) = services::private(Service::Postgres) else { return };
    let folder = TempDir::new().unwrap();
    let [blue, green] = two_databases(folder.path(), &postgres).await;
    let settings = Settings::of_file(&folder.path().join("blue.yaml")).unwrap();
    let servers = [
        Server::on(AppState::open(&settings).await.unwrap()).await,
        Server::on(AppState::open(&settings).await.unwrap()).await,
    ];
    let urls = servers.each_ref().map(|server| server.url.clone());
    let is_over = Arc::new(AtomicBool::new(false));
    let users = ["ann", "ben", "cid", "dea"].map(str::to_owned);
    let clients: Vec<_> = users
        .iter()
        .enumerate()
        .map(|(at, user)| {
            let mut urls = urls.clone();
            urls.rotate_left(at % 2);
            tokio::spawn(use_it(urls, user.clone(), is_over.clone()))
        })
        .collect();
    let parts =
        Parts { blue: database_side(blue).await, green: database_side(green).await, ..servers[0].parts(folder.path()) };
    let mut engine = Engine::plan(parts, Plan::default()).await.unwrap();
    engine.order(Order::Start).await.unwrap();
    until_following(&mut engine, Colour::Blue).await;
    for (order, active) in [
        (Order::SwitchWrites, Colour::Green),
        (Order::Rollback, Colour::Blue),
        (Order::SwitchWrites, Colour::Green),
        (Order::Rollback, Colour::Blue),
    ] {
        engine.order(order).await.unwrap();
        until_following(&mut engine, active).await;
        for _ in 0..4 {
            engine.step().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let mut kept = Vec::new();
    for client in clients {
        kept.push(client.await.unwrap());
    }
    for (user, kept) in users.iter().zip(&kept) {
        assert!(!kept.is_empty());
        for url in &urls {
            assert_eq!(listed(url, user).await, *kept, "{user}");
        }
    }

    // All searches may go to green, which is lost.
    engine.order(Order::SwitchReads(100)).await.unwrap();
    let mut owner = PgConnection::connect(&postgres.url()).await.unwrap();
    owner.execute("ALTER DATABASE green ALLOW_CONNECTIONS false").await.unwrap();
    owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'green'").await.unwrap();
    while servers[0].get("/readyz").await["move"]["reads_on_green"] != 100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let search = json!({"query": "How many boats?", "scope": {"user": "ann"}, "limit": 3});
    let search = reqwest::Client::new().post(format!("{}/v1/memories/search", urls[0])).json(&search);
    let found = answered(search).await;
    assert_eq!((found["results"].as_array().unwrap().len(), &found["degraded"]), (3, &json!([])), "{found:#}");
    for server in servers {
        server.stop().await;
    }
}

/// The store takes no writes and no switch is under way by the record: somebody else closed it.
#[tokio::test]
async fn a_request_waits_no_longer_than_the_settings_say() {
    let folder = TempDir::new().unwrap();
    let mut settings = settings(folder.path());
    if let Some(moves) = &mut settings.moves {
        moves.wait = Duration::from_millis(300);
    }
    let server = Server::on(AppState::open(&settings).await.unwrap()).await;
    let gate = memory_core::Gate { epoch: 1, writers: memory_core::Writers::Mover };
    server.side(Colour::Blue).replica.set_gate(gate).await.unwrap();
    let began = std::time::Instant::now();
    let write = reqwest::Client::new().post(format!("{}/v1/memories", server.url)).json(&json!({"text": "Ann sings"}));
    let refused = write.send().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "fenced");
    server.stop().await;
}
