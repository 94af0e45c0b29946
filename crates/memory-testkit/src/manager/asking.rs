//! What a question in two steps promises: the memories first, the answer later, bound to them.

use std::sync::atomic::Ordering;

use memory_core::{
    AnswerRequest, Asked, Draft, Fill, Filled, ForgetRequest, MemoryPatch, NewAnswer, OpenQuestion, RecallRequest,
    Scope, Selection, StoreMark, TieredMemoryManager,
};

use super::{ManagerFixture, fingerprint, manager, remember};
use crate::make;

const QUESTION: &str = "When is the launch?";

/// A question without an answer gets the memories to answer it from; its answer is served from then on, and goes with a
/// correction of one of them.
pub async fn an_answer_is_bound_to_the_memories_it_was_asked_with(fixture: &dyn ManagerFixture) {
    let (manager, _) = manager(fixture, true).await;
    let scope = make::user("acme", "ann");
    let ids = remember(&manager, vec![Draft::new(scope.clone(), "The launch is in May")]).await;
    let open = open(&manager, &scope).await;
    assert_eq!(open.recalled.memories[0].memory.id, ids[0].0);
    let fill = open.fill.expect("nothing was away");
    assert_eq!(fill.memories, [ids[0].0]);
    assert!(matches!(manager.fill(fill, answer("In May.")).await.expect("fill"), Filled::Filed(_)));
    match ask(&manager, &scope).await {
        Asked::Answered(hit) => {
            assert_eq!((&*hit.entry.response, &*hit.entry.depends_on), ("In May.", &[ids[0].0][..]))
        }
        open => panic!("it was filed: {open:?}"),
    }
    manager.update(&scope, ids[0].0, june()).await.expect("update");
    assert!(matches!(ask(&manager, &scope).await, Asked::Open(_)));
}

/// An answer that was made of a memory which was corrected or forgotten meanwhile is not filed, nor one whose mark is none.
pub async fn an_answer_that_was_overtaken_is_refused(fixture: &dyn ManagerFixture) {
    let (manager, _) = manager(fixture, true).await;
    let scope = make::user("acme", "ann");
    let ids = remember(&manager, vec![Draft::new(scope.clone(), "The launch is in May")]).await;
    let before = open(&manager, &scope).await.fill.expect("nothing was away");
    manager.update(&scope, ids[0].0, june()).await.expect("update");
    assert_eq!(manager.fill(before, answer("In May.")).await.expect("no failure"), Filled::Changed);
    let before = open(&manager, &scope).await.fill.expect("nothing was away");
    let forged = Fill { since: Some(StoreMark("no mark".into())), ..before.clone() };
    assert_eq!(manager.fill(forged, answer("In June.")).await.expect("no failure"), Filled::Changed);
    let forget = ForgetRequest { scope: scope.clone(), selection: Selection::Ids(vec![ids[0].0]), dry_run: false };
    manager.forget(&forget).await.expect("forget");
    assert_eq!(manager.fill(before, answer("In June.")).await.expect("no failure"), Filled::Changed);
    assert!(matches!(ask(&manager, &scope).await, Asked::Open(_)), "nothing was filed");
}

/// An answer that is made while a part of the memory is away is not to be kept.
pub async fn an_answer_out_of_half_a_memory_is_not_kept(fixture: &dyn ManagerFixture) {
    let (manager, embedder) = manager(fixture, true).await;
    let scope = make::user("acme", "ann");
    remember(&manager, vec![Draft::new(scope.clone(), "The launch is in May")]).await;
    embedder.away.store(true, Ordering::SeqCst);
    let open = open(&manager, &scope).await;
    assert_eq!((open.recalled.memories.len(), open.fill), (1, None));
    let many = RecallRequest { limit: 257, ..RecallRequest::new(scope.clone(), QUESTION) };
    let error = manager.ask(question(&scope), many).await.expect_err("an answer is bound to 256 memories at most");
    assert!(error.to_string().starts_with("limit: given 257"), "{error}");
}

fn question(scope: &Scope) -> AnswerRequest {
    AnswerRequest { scope: scope.clone(), prompt: QUESTION.into(), fingerprint: fingerprint(), policy: None }
}

async fn ask(manager: &TieredMemoryManager, scope: &Scope) -> Asked {
    manager.ask(question(scope), RecallRequest::new(scope.clone(), QUESTION)).await.expect("ask")
}

async fn open(manager: &TieredMemoryManager, scope: &Scope) -> OpenQuestion {
    match ask(manager, scope).await {
        Asked::Open(open) => *open,
        answered => panic!("nothing is filed yet: {answered:?}"),
    }
}

fn answer(response: &str) -> NewAnswer {
    NewAnswer { response: response.into(), ..NewAnswer::default() }
}

fn june() -> MemoryPatch {
    MemoryPatch { text: Some("The launch is in June".into()), ..MemoryPatch::default() }
}
