//! What the tiers do with the messages of a session: keep them for good, and forget them with their scope.

use std::sync::Arc;
use std::time::Duration;

use memory_core::{
    AppendRequest, Degradation, ForgetRequest, InsertStatus, ListRequest, Memory, MemoryKind, MemoryStore, NewMessage,
    PromoteReceipt, PromoteRequest, Role, Scope, Selection, TieredMemoryManager, WindowRequest, WorkingMemory,
};

use super::failing::{FailingWorking, Outage};
use super::{ManagerFixture, WordEmbedder, builder};
use crate::{WorkingFixture, make};

/// Makes one test for each promise of `TieredMemoryManager` about sessions. `$fixture` is an expression that makes what is both
/// a [`ManagerFixture`] and a [`WorkingFixture`].
#[macro_export]
macro_rules! sessions_suite {
    ($fixture:expr) => {
        $crate::__suite!(
            sessions, $fixture;
            what_is_promoted_is_remembered_once, a_session_that_began_anew_is_promoted_anew,
            a_long_session_is_promoted_whole, what_was_forgotten_is_not_promoted,
            a_promotion_that_forgetting_outran_leaves_nothing, a_promotion_of_a_session_that_ended_stands,
            forgetting_a_scope_reaches_its_sessions, without_the_working_memory_forgetting_stands
        );
    };
}

/// What the person and the model said becomes memories in order, once; the rest only when it is asked for.
pub async fn what_is_promoted_is_remembered_once(fixture: &(impl ManagerFixture + WorkingFixture)) {
    let Tiers { manager, embedder, working, .. } = tiers(fixture).await;
    let scope = monday();
    let said = [
        (Role::System, "Be brief."),
        (Role::User, "Where is my order?"),
        (Role::Tool, "{\"state\": \"sent\"}"),
        (Role::Assistant, "It was sent."),
    ];
    append(&*working, &scope, &said[..2]).await;
    ManagerFixture::clock(fixture).advance(Duration::from_secs(60));
    append(&*working, &scope, &said[2..]).await;
    let window = working.window(&WindowRequest::new(scope.clone())).await.expect("window");

    let receipt = promote(&manager, &PromoteRequest::new(scope.clone())).await;
    let taken: Vec<_> = receipt.promoted.iter().map(|message| (message.sequence, message.status)).collect();
    assert_eq!(taken, [(2, InsertStatus::Created), (4, InsertStatus::Created)]);
    assert_eq!((receipt.already, receipt.other_roles, receipt.token.is_some()), (0, 2, true));
    let memories = list(&manager, &scope).await;
    for (memory, at) in memories.iter().zip([1, 3]) {
        let message = &window.messages[at];
        assert_eq!((&memory.text, memory.kind, &memory.scope), (&message.content, MemoryKind::Message, &scope));
        assert_eq!(
            (memory.actor.as_deref(), memory.valid_from),
            (Some(message.role.name()), Some(message.appended_at))
        );
        assert_eq!(receipt.promoted[at / 2].id, memory.id);
    }

    let paid = embedder.seen().len();
    let again = promote(&manager, &PromoteRequest::new(scope.clone())).await;
    assert_eq!(again, PromoteReceipt { already: 2, other_roles: 2, ..PromoteReceipt::default() });
    assert_eq!(embedder.seen().len(), paid, "nothing is embedded again");
    append(&*working, &scope, &[(Role::User, "Thanks")]).await;
    let every = vec![Role::User, Role::Assistant, Role::System, Role::Tool];
    let rest = promote(&manager, &PromoteRequest { roles: every, ..PromoteRequest::new(scope.clone()) }).await;
    assert_eq!(rest.promoted.iter().map(|message| message.sequence).collect::<Vec<_>>(), [1, 3, 5]);
    assert_eq!((rest.already, rest.other_roles), (2, 0));
    assert_eq!(list(&manager, &scope).await.len(), 5);
    assert_eq!(list(&manager, &make::user("acme", "bob")).await.len(), 0);
    let none = manager.promotion(&PromoteRequest { roles: vec![], ..PromoteRequest::new(scope) }, 0).await;
    assert!(none.is_err_and(|error| error.to_string().starts_with("roles: given")));
}

/// The same words under the same number are another message in another life of the session.
pub async fn a_session_that_began_anew_is_promoted_anew(fixture: &(impl ManagerFixture + WorkingFixture)) {
    let Tiers { manager, working, .. } = tiers(fixture).await;
    let scope = monday();
    for life in 1..=2 {
        append(&*working, &scope, &[(Role::User, "Hello")]).await;
        let receipt = promote(&manager, &PromoteRequest::new(scope.clone())).await;
        assert_eq!((receipt.promoted.len(), receipt.promoted[0].sequence), (1, 1));
        assert_eq!(receipt.promoted[0].status, InsertStatus::Created);
        assert_eq!(list(&manager, &scope).await.len(), life, "what was promoted outlives the session");
        working.clear(&scope).await.expect("clear");
        ManagerFixture::clock(fixture).advance(Duration::from_secs(1));
    }
}

/// More messages than a window holds are promoted window by window, each once; one that is too long to be a memory is named.
pub async fn a_long_session_is_promoted_whole(fixture: &(impl ManagerFixture + WorkingFixture)) {
    let Tiers { manager, working, .. } = tiers(fixture).await;
    let scope = monday();
    let texts: Vec<String> = (1..=1050).map(|at| format!("word {at}")).collect();
    for some in texts.chunks(100) {
        let said: Vec<_> = some.iter().map(|text| (Role::User, text.as_str())).collect();
        append(&*working, &scope, &said).await;
    }
    append(&*working, &scope, &[(Role::User, &"x".repeat(memory_core::memory::MAX_TEXT_BYTES + 1))]).await;
    let receipt = promote(&manager, &PromoteRequest::new(scope.clone())).await;
    assert_eq!(
        receipt.promoted.iter().map(|message| message.sequence).collect::<Vec<_>>(),
        (1..=1050).collect::<Vec<_>>()
    );
    assert_eq!(receipt.too_long, [1051]);
    let kept: Vec<String> = list(&manager, &scope).await.into_iter().map(|memory| memory.text.clone()).collect();
    assert_eq!(kept, texts[..kept.len()], "in their order");
    let again = promote(&manager, &PromoteRequest::new(scope)).await;
    assert_eq!((again.promoted.len(), again.already), (0, 1050));
}

/// A message that was forgotten as a memory stays forgotten while its session goes on.
pub async fn what_was_forgotten_is_not_promoted(fixture: &(impl ManagerFixture + WorkingFixture)) {
    let Tiers { manager, working, .. } = tiers(fixture).await;
    let scope = monday();
    append(&*working, &scope, &[(Role::User, "The code is 4711"), (Role::User, "Thanks")]).await;
    let first = promote(&manager, &PromoteRequest::new(scope.clone())).await;
    let selection = Selection::Ids(vec![first.promoted[0].id]);
    let request = ForgetRequest { scope: scope.clone(), selection, dry_run: false };
    let receipt = manager.forget(&request).await.expect("forget");
    assert_eq!((receipt.forgotten.len(), receipt.working_messages), (1, 0), "one memory, and no session");
    let again = promote(&manager, &PromoteRequest::new(scope.clone())).await;
    assert_eq!(again.promoted.len(), 1);
    assert_eq!((again.promoted[0].status, again.already), (InsertStatus::RefusedForgotten, 1));
    assert_eq!(list(&manager, &scope).await.len(), 1);
}

/// What was read to be promoted before its scope was forgotten is not there afterwards.
pub async fn a_promotion_that_forgetting_outran_leaves_nothing(fixture: &(impl ManagerFixture + WorkingFixture)) {
    let Tiers { manager, working, .. } = tiers(fixture).await;
    let scope = monday();
    append(&*working, &scope, &[(Role::User, "The code is 4711")]).await;
    let read = manager.promotion(&PromoteRequest::new(scope.clone()), 0).await.expect("promotion").expect("a message");
    assert_eq!(manager.forget(&everything(&make::user("acme", "ann"))).await.expect("forget").working_messages, 1);
    let receipt = manager.promote(read).await.expect("promote");
    assert_eq!(receipt.promoted[0].status, InsertStatus::RefusedForgotten);
    assert_eq!(list(&manager, &scope).await.len(), 0);
}

/// A session that ends by its time while it is promoted is kept: that is what promotion is for.
pub async fn a_promotion_of_a_session_that_ended_stands(fixture: &(impl ManagerFixture + WorkingFixture)) {
    let Tiers { manager, working, .. } = tiers(fixture).await;
    let scope = monday();
    append(&*working, &scope, &[(Role::User, "The code is 4711")]).await;
    let read = manager.promotion(&PromoteRequest::new(scope.clone()), 0).await.expect("promotion").expect("a message");
    ManagerFixture::clock(fixture).advance(memory_core::working::DEFAULT_SESSION_TTL);
    let receipt = manager.promote(read).await.expect("promote");
    assert_eq!(receipt.promoted[0].status, InsertStatus::Created);
    assert_eq!(list(&manager, &scope).await.len(), 1);
}

/// Forgetting all of a scope ends the sessions within it, and no others; a dry run and a smaller selection end none.
pub async fn forgetting_a_scope_reaches_its_sessions(fixture: &(impl ManagerFixture + WorkingFixture)) {
    let Tiers { manager, working, .. } = tiers(fixture).await;
    let (ann, bob) = (monday(), make::session("acme", "bob", "monday"));
    for scope in [&ann, &bob] {
        append(&*working, scope, &[(Role::User, "Hello"), (Role::Assistant, "Good morning")]).await;
    }
    let user = make::user("acme", "ann");
    let dry = ForgetRequest { dry_run: true, ..everything(&user) };
    assert_eq!(manager.forget(&dry).await.expect("dry run").working_messages, 2);
    let matching = Selection::Matching(memory_core::Filter::And(Vec::new()));
    let some = ForgetRequest { selection: matching, ..everything(&user) };
    assert_eq!(manager.forget(&some).await.expect("forget").working_messages, 0);
    assert_eq!(total(&*working, &ann).await, 2, "neither ended it");
    let receipt = manager.forget(&everything(&user)).await.expect("forget");
    assert_eq!((receipt.working_messages, receipt.degraded), (2, vec![]));
    assert_eq!((total(&*working, &ann).await, total(&*working, &bob).await), (0, 2));
}

/// While the working memory is away, memories are forgotten and the receipt says what is left; forgetting again does it.
pub async fn without_the_working_memory_forgetting_stands(fixture: &(impl ManagerFixture + WorkingFixture)) {
    let Tiers { manager, working, outage, .. } = tiers(fixture).await;
    let scope = monday();
    append(&*working, &scope, &[(Role::User, "The code is 4711")]).await;
    promote(&manager, &PromoteRequest::new(scope.clone())).await;
    outage.begin();
    let receipt = manager.forget(&everything(&scope)).await.expect("it stands");
    assert_eq!((receipt.forgotten.len(), receipt.working_messages), (1, 0));
    assert_eq!(receipt.degraded, [Degradation::WorkingMemoryPending]);
    let away = manager.promotion(&PromoteRequest::new(scope.clone()), 0).await.expect_err("it is away");
    assert!(away.is_retryable(), "{away:?}");
    outage.end();
    let again = promote(&manager, &PromoteRequest::new(scope.clone())).await;
    assert_eq!(again.promoted[0].status, InsertStatus::RefusedForgotten, "what was forgotten stays so meanwhile");
    let receipt = manager.forget(&everything(&scope)).await.expect("forget");
    assert_eq!((receipt.working_messages, receipt.degraded), (1, vec![]));
    assert_eq!(total(&*working, &scope).await, 0);
}

/// A manager over a store, a cache and a working memory that can be away.
struct Tiers {
    manager: TieredMemoryManager,
    embedder: Arc<WordEmbedder>,
    working: Arc<dyn WorkingMemory>,
    outage: Outage,
    /// Held open for as long as the manager is used.
    _store: Arc<dyn MemoryStore>,
}

async fn tiers(fixture: &(impl ManagerFixture + WorkingFixture)) -> Tiers {
    let (store, cache) = ManagerFixture::open(fixture).await;
    let working = WorkingFixture::open(fixture).await;
    let outage = Outage::default();
    let failing = Arc::new(FailingWorking { inner: working.clone(), outage: outage.clone() });
    let (builder, embedder) = builder(fixture, store.clone(), cache);
    let manager = builder.working_memory(failing).build().expect("every part is there");
    Tiers { manager, embedder, working, outage, _store: store }
}

fn monday() -> Scope {
    make::session("acme", "ann", "monday")
}

fn everything(scope: &Scope) -> ForgetRequest {
    ForgetRequest { scope: scope.clone(), selection: Selection::All, dry_run: false }
}

async fn append(working: &dyn WorkingMemory, scope: &Scope, said: &[(Role, &str)]) {
    let messages = said.iter().map(|(role, text)| NewMessage::new(*role, *text)).collect();
    working.append(AppendRequest::new(scope.clone(), messages)).await.expect("append");
}

async fn promote(manager: &TieredMemoryManager, request: &PromoteRequest) -> PromoteReceipt {
    let (mut receipt, mut after) = (PromoteReceipt::default(), 0);
    while let Some(promotion) = manager.promotion(request, after).await.expect("promotion") {
        after = promotion.last();
        receipt.add(manager.promote(promotion).await.expect("promote"));
    }
    receipt
}

async fn total(working: &dyn WorkingMemory, scope: &Scope) -> u64 {
    working.window(&WindowRequest::new(scope.clone())).await.expect("window").total
}

async fn list(manager: &TieredMemoryManager, scope: &Scope) -> Vec<Arc<Memory>> {
    let request = ListRequest {
        scope: scope.clone(),
        filter: None,
        limit: 1000,
        cursor: None,
        newest_first: false,
        with_embeddings: false,
    };
    let page = manager.list(&request).await.expect("list");
    page.memories.into_iter().map(|(memory, _)| memory).collect()
}
