//! What `TieredMemoryManager::answer` promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memory_core::{
    Answer, AnswerError, AnswerRequest, InvalidateRequest, InvalidateSelection, NewAnswer, Scope, TieredMemoryManager,
};
use tokio::sync::Semaphore;

use super::{ManagerFixture, fingerprint, manager};
use crate::make;

const PROMPT: &str = "What does the report say?";

/// Of many who ask the same at once one computes; all get its answer, and who asks later finds it in the cache.
pub async fn one_of_many_computes_the_answer(fixture: &dyn ManagerFixture) {
    const ASKING: usize = 64;
    let (manager, embedder) = manager(fixture, true).await;
    let model = Arc::new(Model::new(0));
    let scope = make::user("acme", "ann");
    let asking: Vec<_> = (0..ASKING).map(|_| ask(&manager, &scope, &model)).collect();
    model.until_asked().await;
    // Lets the others come as far as they come. Those who are late find the answer in the cache.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    model.answers.add_permits(ASKING);
    for asking in asking {
        let answer = asking.await.expect("no panic").expect("an answer");
        assert_eq!(answer.response(), "answer 1");
    }
    assert_eq!(model.asked.load(Ordering::SeqCst), 1);
    assert_eq!(embedder.seen(), [PROMPT], "one of many pays for the vector");
    let later = ask(&manager, &scope, &model).await.expect("no panic").expect("an answer");
    assert!(matches!(later, Answer::Cached(_)), "{later:?}");
    assert_eq!((later.response(), model.asked.load(Ordering::SeqCst)), ("answer 1", 1));
}

/// When the one that computes fails or gives up, another of those who ask computes.
pub async fn a_computation_that_failed_is_taken_over(fixture: &dyn ManagerFixture) {
    let (manager, _) = manager(fixture, true).await;
    let scope = make::user("acme", "ann");
    let model = Arc::new(Model::new(1));
    let first = ask(&manager, &scope, &model);
    model.until_asked().await;
    let second = ask(&manager, &scope, &model);
    model.answers.add_permits(2);
    let outcomes = [first.await.expect("no panic"), second.await.expect("no panic")];
    assert!(matches!(outcomes[0], Err(AnswerError::Compute(_))), "its own failure: {outcomes:?}");
    assert_eq!(outcomes[1].as_ref().expect("an answer").response(), "answer 2");

    let gives_up = Arc::new(Model::new(0));
    let other = make::user("acme", "bob");
    let first = ask(&manager, &other, &gives_up);
    gives_up.until_asked().await;
    let second = ask(&manager, &other, &gives_up);
    first.abort();
    assert!(first.await.expect_err("it was ended").is_cancelled());
    gives_up.answers.add_permits(1);
    assert_eq!(second.await.expect("no panic").expect("an answer").response(), "answer 2");
}

/// Who asks after an invalidation is not given what was begun before it.
pub async fn nobody_waits_for_what_began_before_an_invalidation(fixture: &dyn ManagerFixture) {
    let (manager, _) = manager(fixture, true).await;
    let scope = make::user("acme", "ann");
    let (before, after) = (Arc::new(Model::new(0)), Arc::new(Model::new(0)));
    let early = ask(&manager, &scope, &before);
    before.until_asked().await;
    let everything = InvalidateRequest { scope: scope.clone(), selection: InvalidateSelection::All, dry_run: false };
    manager.cache_invalidate(&everything).await.expect("invalidate");
    let late = ask(&manager, &scope, &after);
    after.until_asked().await;
    after.answers.add_permits(1);
    assert_eq!(late.await.expect("no panic").expect("an answer").response(), "answer 1");
    before.answers.add_permits(1);
    early.await.expect("no panic").expect("an answer");
}

/// Stands for what computes answers: it counts how often it is asked, and answers when it may.
struct Model {
    asked: AtomicUsize,
    answers: Semaphore,
    first_failures: usize,
}

impl Model {
    fn new(first_failures: usize) -> Self {
        Self { asked: AtomicUsize::new(0), answers: Semaphore::new(0), first_failures }
    }

    async fn until_asked(&self) {
        while self.asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }

    async fn answer(&self) -> Result<NewAnswer, std::io::Error> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.answers.acquire().await.expect("it is never closed").forget();
        if number <= self.first_failures {
            return Err(std::io::Error::other("the model is overloaded"));
        }
        Ok(NewAnswer { response: format!("answer {number}"), ..NewAnswer::default() })
    }
}

type Asking = tokio::task::JoinHandle<Result<Answer, AnswerError<std::io::Error>>>;

fn ask(manager: &TieredMemoryManager, scope: &Scope, model: &Arc<Model>) -> Asking {
    let (manager, model) = (manager.clone(), model.clone());
    let question =
        AnswerRequest { scope: scope.clone(), prompt: PROMPT.into(), fingerprint: fingerprint(), policy: None };
    tokio::spawn(async move { manager.answer(question, || model.answer()).await })
}
