//! The stress test on real stores: a file, and a Postgres.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ground_truth::{Wanted, cuda};
use memory_core::{EmbeddedMemory, InsertBatch, Memory, MemoryStore as _};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use migrate::engine::{Engine, Order, Parts, Side};
use migrate::plan::{Gates, Plan};
use migrate::probe::{Direct, Hit};
use migrate::record::memory::MemoryRecords;
use migrate::record::{Colour, Phase};
use migrate::stress::knee::Rise;
use migrate::stress::queries::{Queries, Query};
use migrate::stress::{Options, Stress};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, AlloyDbReplica};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep_until};

use crate::home::database;

const MEMORIES: usize = 1500;
const USERS: usize = 3;

/// What is wrong with a store.
#[derive(Debug, Clone)]
enum Fault {
    /// It does not give the best answer.
    LosesBest,
    /// It gives what is another tenant's.
    Leaks,
    /// After so many calls those that come are answered only when this time is over.
    Stalls(u64, Duration, Arc<OnceCell<Instant>>),
}

/// What a file that something is wrong with shows under load.
async fn with_fault(fault: Fault, options: &Options) -> Stress {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, memories) = filled(&folder).await;
    let sample: Vec<_> = memories.into_iter().step_by(60).collect();
    let queries = Queries::prepare(Colour::Green, &store, &sample, 500, Wanted::Auto).await.expect("queries");
    let (asked, asking) = (Arc::new(AtomicU64::new(0)), store.clone());
    let ask = move |query: &Query| {
        let request = make::search(&query.scope, Some(query.vector.clone()), Some(&query.text));
        let (store, fault, asked) = (asking.clone(), fault.clone(), asked.clone());
        async move {
            let before = asked.fetch_add(1, Ordering::Relaxed);
            if let Fault::Stalls(calls, lasts, until) = &fault
                && before >= *calls
            {
                sleep_until(*until.get_or_init(async || Instant::now() + *lasts).await).await;
            }
            let found = store.search(&request).await?.candidates;
            let mut hits: Vec<Hit> = found
                .iter()
                .map(|found| Hit {
                    id: found.memory.id,
                    scope: found.memory.scope.clone(),
                    similarity: found.similarity,
                })
                .collect();
            hits.sort_by(|a, b| b.similarity.partial_cmp(&a.similarity).expect("numbers"));
            match fault {
                Fault::LosesBest => drop(hits.drain(..1)),
                Fault::Leaks => hits[0].scope = make::user("another", "eve"),
                Fault::Stalls(..) => {}
            }
            Ok(hits)
        }
    };
    let green = migrate::stress::load(queries, options, ask, |_| {}).await.expect("load");
    store.close().await.expect("close");
    Stress { at: chrono::Utc::now(), options: options.clone(), green, blue: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_loses_and_shows_to_others_fails_the_gate() {
    let losing = with_fault(Fault::LosesBest, &options()).await;
    let recall = losing.green.recall();
    assert!((0.85..0.95).contains(&recall), "one of ten is lost: {recall}");
    assert!(!losing.gate(Some(0.95)).holds && losing.gate(None).holds, "{:?}", losing.gate(Some(0.95)));
    let leaking = with_fault(Fault::Leaks, &options()).await;
    assert!(leaking.green.leaks() > 100, "{}", leaking.green.leaks());
    assert!(!leaking.gate(None).holds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_is_seen_by_all_that_was_due_in_it() {
    let options = Options { p99_ms: Some(250.0), ..options() };
    // Fifty queries one after the other, twice, then some of the first rate.
    let fault = Fault::Stalls(2 * 50 + 30, Duration::from_millis(500), Arc::default());
    let stress = with_fault(fault, &options).await;
    let first = &stress.green.steps[0];
    assert_eq!(stress.green.truth.queries, 50);
    assert!(!first.held && first.p99_us > 250_000, "{first:?}");
    assert!(first.sent > 60, "it was not sent more slowly: {first:?}");
}

/// Memories of some users of two tenants, with vectors, in a file.
async fn filled(folder: &tempfile::TempDir) -> (EmbeddedProvider, Vec<Memory>) {
    let store = EmbeddedProvider::open(EmbeddedConfig::new(folder.path().join("blue.db"))).await.expect("open");
    let (space, now) = (make::space("stress"), chrono::Utc::now());
    let mut written = Vec::new();
    for (tenant, first) in [("acme", 0), ("other", MEMORIES as u64)] {
        let memories = (0..MEMORIES).map(|at| {
            let scope = make::user(tenant, &format!("user-{}", at % USERS));
            let memory = make::memory(&scope, &format!("note {at} of {tenant} about topic {}", at % 50), now);
            EmbeddedMemory { memory, embedding: Some(make::embedding(&space, first + at as u64)) }
        });
        let batch = InsertBatch { memories: memories.collect(), idempotency: None };
        written.extend(batch.memories.iter().map(|embedded| embedded.memory.clone()));
        store.insert(batch).await.expect("insert");
    }
    (store, written)
}

/// A move of it all that follows.
async fn following(blue: Side, green: Side) -> Engine {
    let parts = Parts {
        blue,
        green,
        records: Arc::new(MemoryRecords::default()),
        clock: Arc::new(chrono::Utc::now),
        timer: Arc::new(tokio::time::sleep),
    };
    let plan = Plan { gates: Gates { queries: 20, ..Gates::default() }, ..Plan::default() };
    let mut engine = Engine::plan(parts, plan).await.expect("plan");
    let early = engine.stress(&options(), |_, _| {}).await.expect_err("nothing is copied yet");
    assert!(early.to_string().contains("start"), "{early}");
    engine.order(Order::Start).await.expect("start");
    engine.run_until(|record, lag| record.phase == Phase::Following && lag == 0).await.expect("it follows");
    engine
}

/// One rate of a hundred a second, for a second.
fn options() -> Options {
    Options {
        rise: Rise { start: 100.0, most: 100.0, ..Rise::default() },
        step_ms: 1000,
        // A machine that is busy with other tests is slow, and that is not what is tested.
        p99_ms: Some(1500.0),
        queries: 60,
        truth: Wanted::Auto,
        blue: false,
        ..Options::default()
    }
}

async fn stressed(engine: &mut Engine, options: &Options) -> Stress {
    let mut told = Vec::new();
    let stress = engine.stress(options, |colour, _| told.push(colour)).await.expect("stress").clone();
    assert!(told.len() >= 3 && told[0] == Colour::Green, "{told:?}");
    assert_eq!(engine.record().stress.as_ref(), Some(&stress), "the record keeps it");
    stress
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exact_store_finds_all_under_load_on_either_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let (blue, _) = filled(&folder).await;
    let Some((green, replica)) = postgres().await else { return };
    let mut side = Side::of(blue.clone());
    side.replica = Arc::new(replica.clone());
    side.search = Some(Arc::new(Direct(Arc::new(green.clone()))));
    let mut engine = following(Side::of(blue.clone()), side).await;
    let stress = stressed(&mut engine, &Options { blue: true, ..options() }).await;
    let blue_loaded = stress.blue.as_ref().expect("blue was loaded too");
    for (name, loaded) in [("green", &stress.green), ("blue", blue_loaded)] {
        assert_eq!((loaded.alone.recall(), loaded.leaks()), (1.0, 0), "{name}: {loaded:?}");
        assert!(loaded.steps.iter().all(|step| step.wanted > 0 && step.found == step.wanted), "{name}: {loaded:?}");
        let truth = &loaded.truth;
        assert!(truth.vectors == 2 * MEMORIES as u64 && (30..=60).contains(&truth.queries), "{name}: {truth:?}");
    }
    // A text as JSON, as the record keeps it.
    let json = serde_json::to_string(&stress).expect("JSON");
    assert_eq!(serde_json::from_str::<Stress>(&json).expect("JSON"), stress);
    drop(engine);
    replica.close().await;
    green.close().await;
    blue.close().await.expect("close");
}

/// An empty Postgres of its own, as clients and as whoever moves it have it.
async fn postgres() -> Option<(AlloyDbMemoryProvider, AlloyDbReplica)> {
    let url = services::url(Service::Postgres)?;
    let mut config = AlloyDbConfig::from_url(&database(&url).await).expect("a URL");
    (config.role, config.vector_dim) = (Some("orchestra_app".into()), make::DIMENSIONS);
    let replica = AlloyDbReplica::connect(config.clone()).await.expect("connect");
    Some((AlloyDbMemoryProvider::connect(config).await.expect("connect"), replica))
}

#[test]
fn a_gpu_is_kept_busy_or_there_is_none() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestra-migrate"));
    let output = command.args(["stress", "--gpu-soak", "0.5"]).output().expect("it runs");
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    match cuda::open() {
        Ok(device) => assert!(output.status.success() && out.starts_with(device.name()), "{out}{err}"),
        Err(why) => assert!(output.status.code() == Some(1) && err.contains(&why.0), "{out}{err}"),
    }
}
