//! Two processes on one database consolidate one after the other.

use std::sync::Arc;
use std::time::Duration;

use memory_core::{
    ConsolidateRequest, Draft, Embedding, EmbeddingSpace, Error, MemoryKind, MemoryStore as _, Origin, Purpose,
    RememberRequest, Result, Scope, TieredMemoryManager, Writer,
};
use memory_testkit::make;
use provider_alloydb::AlloyDbMemoryProvider;

use crate::support::{Home, wait_until};

/// An embedder for which everything means the same.
#[derive(Debug)]
struct OneVector(Arc<EmbeddingSpace>);

#[async_trait::async_trait]
impl memory_core::Embedder for OneVector {
    fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.0
    }

    async fn embed(&self, texts: &[&str], _: Purpose) -> Result<Vec<Embedding>> {
        Ok(texts.iter().map(|_| make::embedding(&self.0, 1)).collect())
    }
}

/// As a process of its own has one.
fn manager(home: &Home, store: &AlloyDbMemoryProvider) -> TieredMemoryManager {
    let clock = home.clock.clone();
    TieredMemoryManager::builder(move || memory_core::Clock::now(&clock), make::id)
        .medium_term_provider(Arc::new(store.clone()))
        .embedder(Arc::new(OneVector(make::space("testkit"))))
        .build()
        .expect("every part is there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_in_a_scope_is_one_processs_at_a_time() {
    let Some(home) = Home::new() else { return };
    let (here, elsewhere) = (home.open().await, home.open().await);
    let acme = Scope::tenant("acme").unwrap();
    let ann = acme.clone().with_user("ann").unwrap();
    let turn = here.take_turn(&ann).await.unwrap().expect("nobody else has it");
    for scope in [&ann, &acme, &make::session("acme", "ann", "monday"), &acme.clone().with_agent("a").unwrap()] {
        assert!(elsewhere.take_turn(scope).await.unwrap().is_none(), "{scope:?}");
    }
    for scope in [acme.clone().with_user("bob").unwrap(), Scope::tenant("globex").unwrap()] {
        assert!(elsewhere.take_turn(&scope).await.unwrap().is_some(), "{scope:?}");
    }
    let refused = manager(&home, &elsewhere).consolidate(&ConsolidateRequest::new(ann.clone())).await;
    assert!(matches!(&refused, Err(error @ Error::Busy(_)) if error.is_retryable()), "{refused:?}");
    drop(turn);
    assert!(elsewhere.take_turn(&acme).await.unwrap().is_some(), "it is given back");
    let mut turn = Some(elsewhere.take_turn(&acme).await.unwrap().expect("at once, again"));
    assert!(here.take_turn(&ann).await.unwrap().is_none());

    // A process that is gone holds nothing up.
    let mut direct = home.direct().await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'";
    sqlx::query(end).execute(&mut direct).await.unwrap();
    wait_until("the turn of a connection that is gone ends", Duration::from_secs(30), async || {
        here.take_turn(&ann).await.unwrap().is_some()
    })
    .await;
    drop(turn.take());
}

/// However often two processes begin at once, what is said is said once afterwards, and at no time by nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_consolidate_at_once_lose_nothing() {
    let Some(home) = Home::new() else { return };
    let (here, elsewhere) = (home.open().await, home.open().await);
    let managers = [manager(&home, &here), manager(&home, &elsewhere)];
    for round in 0..5 {
        let ann = make::user("acme", &format!("ann {round}"));
        let fact = |text: &str| {
            let mut draft = Draft::new(ann.clone(), text);
            draft.kind = MemoryKind::Semantic;
            draft
        };
        let drafts = (0..12).map(|_| fact("Ann likes green tea")).collect();
        let request = RememberRequest { drafts, origin: Origin::new(Writer::User, "test"), idempotency: None };
        managers[0].remember(request).await.unwrap();
        let holds = async || {
            let now = memory_core::Clock::now(&home.clock);
            let list = memory_core::ListRequest {
                scope: ann.clone(),
                filter: None,
                limit: 100,
                cursor: None,
                newest_first: false,
                with_embeddings: false,
            };
            let page = here.list(&list).await.unwrap();
            page.memories.iter().filter(|(memory, _)| memory.valid_to.is_none_or(|to| to > now)).count()
        };
        let request = ConsolidateRequest { limit: 100, ..ConsolidateRequest::new(ann.clone()) };
        let runs = managers.each_ref().map(|manager| {
            let (manager, request) = (manager.clone(), request.clone());
            tokio::spawn(async move { manager.consolidate(&request).await })
        });
        while !runs.iter().all(tokio::task::JoinHandle::is_finished) {
            assert!(holds().await > 0, "round {round}: nothing says it");
        }
        let mut done = 0;
        for run in runs {
            match run.await.unwrap() {
                Ok(_) => done += 1,
                Err(error) => assert!(matches!(error, Error::Busy(_)), "{error:?}"),
            }
        }
        assert!(done > 0, "round {round}: both were refused");
        assert_eq!(holds().await, 1, "round {round}");
    }
}
