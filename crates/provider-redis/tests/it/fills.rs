//! One process computes an answer, the others wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use embedders::StaticEmbedder;
use memory_core::{AnswerRequest, Embedder, NewAnswer, SemanticCache, TieredMemoryManager};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use provider_redis::{IndexSchema, RedisSemanticCacheProvider};

use crate::round_trips::counted;
use crate::support::{Home, fingerprint, request};

/// A manager as another process would have one.
async fn manager(home: &Home, folder: &std::path::Path, number: usize) -> TieredMemoryManager {
    let embedder = Arc::new(StaticEmbedder::built_in());
    let mut config = home.config();
    config.space = embedder.space().clone();
    let schema = IndexSchema::sized(config.space.dimensions, 100_000);
    config.index_schema = Some(IndexSchema { name: home.name.clone(), prefix: home.name.clone(), ..schema });
    let store = EmbeddedProvider::open(EmbeddedConfig::new(folder.join(number.to_string()))).await.expect("a store");
    let clock = home.clock.clone();
    TieredMemoryManager::builder(move || memory_core::Clock::now(&clock), make::id)
        .short_term_provider(Arc::new(RedisSemanticCacheProvider::connect(config).await.expect("connect")))
        .medium_term_provider(Arc::new(store))
        .embedder(embedder)
        .build()
        .expect("every part is there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_processes_computes_the_answer() {
    const PROCESSES: usize = 4;
    const ASKING: usize = 16;
    let Some(home) = Home::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let computed = Arc::new(AtomicUsize::new(0));
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..PROCESSES {
        let manager = manager(&home, folder.path(), number).await;
        for _ in 0..ASKING {
            let (manager, computed) = (manager.clone(), computed.clone());
            asking.spawn(async move {
                let question = AnswerRequest {
                    scope: make::user("acme", "ann"),
                    prompt: "What does the report say?".into(),
                    fingerprint: fingerprint(),
                    policy: None,
                };
                let compute = || async {
                    let number = computed.fetch_add(1, Ordering::SeqCst) + 1;
                    // As long as a model takes, so that all have asked before it is done.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    Ok::<_, std::io::Error>(NewAnswer { response: number.to_string(), ..NewAnswer::default() })
                };
                manager.answer(question, compute).await.expect("an answer").response().to_owned()
            });
        }
    }
    let answers = asking.join_all().await;
    assert_eq!(computed.load(Ordering::SeqCst), 1);
    assert!(answers.len() == PROCESSES * ASKING && answers.iter().all(|answer| answer == "1"), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_ends_with_its_lease_and_is_nobody_elses_to_give_back() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let (one, other) = (home.open().await, home.open().await);
    let asked = request(&make::user("acme", "ann"), "one", None);
    let long = Duration::from_secs(60);
    assert!(one.begin_fill(&asked, long).await.unwrap());
    assert!(one.begin_fill(&asked, long).await.unwrap(), "it has it already");
    other.end_fill(&asked).await.unwrap();
    let waits = {
        let (other, asked) = (other.clone(), asked.clone());
        tokio::spawn(async move { other.begin_fill(&asked, long).await })
    };
    let began = Instant::now();
    while !counted(&mut home.direct().await).await.contains_key("exists") {
        assert!(began.elapsed() < Duration::from_secs(10), "it does not look whether it is done");
    }
    let bystander = request(&make::user("acme", "bob"), "one", None);
    assert!(other.begin_fill(&bystander, long).await.unwrap(), "another scope is another question");
    assert!(!waits.is_finished(), "it was not the other's to give back");
    one.end_fill(&asked).await.unwrap();
    assert!(!waits.await.unwrap().unwrap(), "another had it: look again");
    assert!(other.begin_fill(&asked, Duration::from_millis(50)).await.unwrap());
    let began = Instant::now();
    while !one.begin_fill(&asked, long).await.unwrap() {
        assert!(began.elapsed() < Duration::from_secs(10), "the lease does not end");
    }
}
