//! What a recall does beside the store's search: working memory, the deadline, repetitions and the budget.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use memory_core::working::{check_session, estimate_tokens};
use memory_core::{
    AppendReceipt, AppendRequest, Arm, Clock as _, Degradation, Draft, Error, Filter, MemoryKind, Missing, NewMessage,
    RecallReport, RecallRequest, RecalledFrom, Result, Role, Scope, SessionMessage, TieredMemoryManager, Window,
    WindowRequest, WorkingMemory,
};

use super::failing::{FailingStore, Outage};
use super::{ManagerFixture, WordEmbedder, builder, remember};
use crate::{TestClock, make};

const DEADLINE: Duration = Duration::from_secs(2);

/// A manager with a working memory, of which every part can be away.
struct Tiers {
    manager: TieredMemoryManager,
    embedder: Arc<WordEmbedder>,
    store: Outage,
    desk: Arc<Desk>,
}

async fn tiers(fixture: &dyn ManagerFixture, over: Over) -> Tiers {
    let (real_store, cache) = fixture.open().await;
    let store = Outage::default();
    let desk = Arc::new(Desk { clock: fixture.clock(), sessions: Mutex::default(), outage: Outage::default() });
    let failing = Arc::new(FailingStore { inner: real_store, outage: store.clone() });
    let (builder, embedder) = builder(fixture, failing, cache);
    let timer = move |duration: Duration| async move {
        let is_over = match over {
            Over::AtOnce => true,
            Over::ForTheEmbedder => duration < DEADLINE,
            Over::Never => false,
        };
        if !is_over {
            std::future::pending::<()>().await;
        }
    };
    let manager = builder.working_memory(desk.clone()).timer(timer).build().expect("every part is there");
    Tiers { manager, embedder, store, desk }
}

/// Whose time is over, without any time that passes.
#[derive(Clone, Copy)]
enum Over {
    /// What does not answer at once is too late.
    AtOnce,
    /// The embedder alone is too late.
    ForTheEmbedder,
    Never,
}

/// The messages of a session are recalled beside what is stored, and only those of the sessions that are named. A message
/// that is stored too is given once, as the store has it.
pub async fn the_conversation_that_goes_on_is_recalled(fixture: &dyn ManagerFixture) {
    let Tiers { manager, desk, .. } = tiers(fixture, Over::Never).await;
    let monday = make::session("acme", "ann", "monday");
    let said = ["Which harbour do we meet at?", "At the old harbour, at noon", "Bring the map"];
    desk.say(&monday, said).await;
    desk.say(&make::session("acme", "bob", "monday"), ["The harbour is closed"]).await;
    let mut turn = Draft::new(monday.clone(), "which HARBOUR do we meet at?");
    (turn.kind, turn.actor) = (MemoryKind::Message, Some("user".into()));
    let stored = remember(&manager, vec![turn, Draft::new(monday.clone(), "The harbour has two piers")]).await;

    let report = recall(&manager, RecallRequest::new(monday.clone(), "Which harbour?")).await;
    let mut found: Vec<(&str, RecalledFrom)> =
        report.memories.iter().map(|recalled| (&*recalled.memory.text, recalled.from)).collect();
    found.sort_unstable_by_key(|(text, _)| *text);
    use RecalledFrom::{Persistent, Working};
    assert_eq!(
        found,
        [
            ("At the old harbour, at noon", Working),
            ("Bring the map", Working),
            ("The harbour has two piers", Persistent),
            ("which HARBOUR do we meet at?", Persistent),
        ],
        "the last message is next to one that matches"
    );
    assert!(report.memories.iter().any(|recalled| recalled.memory.id == stored[0].0));
    assert!(report.degraded.is_empty(), "{:?}", report.degraded);
    let arm = report.arms.iter().find(|arm| arm.arm == Arm::Working).expect("it was searched");
    assert_eq!(arm.considered, 3);

    let other = make::session("acme", "ann", "tuesday");
    let with_monday = RecallRequest { also: vec![monday.clone()], ..RecallRequest::new(other.clone(), "harbour") };
    assert!(from_working(&recall(&manager, with_monday).await) > 0);
    for scope in [other, make::user("acme", "ann"), make::session("globex", "ann", "monday")] {
        let report = recall(&manager, RecallRequest::new(scope, "harbour")).await;
        assert_eq!(from_working(&report), 0, "no scope of it names the session");
    }
    let former = RecallRequest { as_of: Some(fixture.clock().now()), ..RecallRequest::new(monday, "harbour") };
    assert_eq!(from_working(&recall(&manager, former).await), 0, "it knows nothing of former times");
}

/// While working memory is away the store answers, and the answer says what is missing.
pub async fn without_working_memory_recall_goes_on(fixture: &dyn ManagerFixture) {
    let Tiers { manager, desk, .. } = tiers(fixture, Over::Never).await;
    let monday = make::session("acme", "ann", "monday");
    remember(&manager, vec![Draft::new(monday.clone(), "The harbour has two piers")]).await;
    desk.say(&monday, ["At the old harbour"]).await;
    desk.outage.begin();
    let report = recall(&manager, RecallRequest::new(monday, "harbour")).await;
    assert_eq!((texts(&report), &*report.degraded), (vec!["The harbour has two piers"], WITHOUT_WORKING));
    let report = recall(&manager, RecallRequest::new(make::user("acme", "ann"), "harbour")).await;
    assert!(report.degraded.is_empty(), "nothing is missing where no session is named");
}

const WITHOUT_WORKING: &[Degradation] = &[Degradation::WorkingMemoryUnavailable];

/// While the store is away working memory answers what it can, and says so; what it knows nothing of is an error.
pub async fn without_the_store_working_memory_answers(fixture: &dyn ManagerFixture) {
    let Tiers { manager, store, desk, .. } = tiers(fixture, Over::Never).await;
    let monday = make::session("acme", "ann", "monday");
    desk.say(&monday, ["At the old harbour"]).await;
    store.begin();
    let report = recall(&manager, RecallRequest::new(monday.clone(), "harbour")).await;
    assert_eq!((texts(&report), from_working(&report)), (vec!["At the old harbour"], 1));
    assert_eq!(report.degraded, [Degradation::PersistentUnavailable]);
    for (scope, query) in [(monday, "volcano"), (make::user("acme", "ann"), "harbour")] {
        let error = manager.recall(RecallRequest::new(scope, query)).await.expect_err("nobody knows");
        assert!(error.is_retryable(), "{error}");
    }
}

/// At its deadline a recall answers with what is there by then and names what is not. An embedder that is too slow leaves the
/// store its time.
pub async fn a_recall_answers_with_what_is_there_at_its_deadline(fixture: &dyn ManagerFixture) {
    let monday = make::session("acme", "ann", "monday");
    let ask = || RecallRequest { deadline: Some(DEADLINE), ..RecallRequest::new(monday.clone(), "harbour") };
    let Tiers { manager, store, desk, .. } = tiers(fixture, Over::AtOnce).await;
    desk.say(&monday, ["At the old harbour"]).await;
    store.get_stuck();
    let report = recall(&manager, ask()).await;
    assert_eq!(texts(&report), ["At the old harbour"]);
    assert_eq!(report.degraded, [Degradation::PersistentUnavailable, Degradation::DeadlineExceeded]);
    desk.outage.get_stuck();
    let report = recall(&manager, ask()).await;
    use Degradation::{DeadlineExceeded, PersistentUnavailable, WorkingMemoryUnavailable};
    assert_eq!(report.degraded, [WorkingMemoryUnavailable, DeadlineExceeded, PersistentUnavailable]);
    assert!(report.memories.is_empty() && report.arms.is_empty());
}

/// An embedder that is late leaves the time for a recall by words.
pub async fn a_late_embedder_leaves_time_for_the_words(fixture: &dyn ManagerFixture) {
    let monday = make::session("acme", "ann", "monday");
    let ask = || RecallRequest { deadline: Some(DEADLINE), ..RecallRequest::new(monday.clone(), "harbour") };
    let Tiers { manager, embedder, .. } = tiers(fixture, Over::ForTheEmbedder).await;
    remember(&manager, vec![Draft::new(monday.clone(), "The harbour has two piers")]).await;
    embedder.stuck.store(true, Ordering::SeqCst);
    let report = recall(&manager, ask()).await;
    assert_eq!(texts(&report), ["The harbour has two piers"]);
    assert_eq!(report.degraded, [Degradation::EmbedderUnavailable, Degradation::DeadlineExceeded]);
    assert!(report.memories[0].why.similarity.is_none());
    for deadline in [Duration::ZERO, Duration::from_secs(61)] {
        let error = manager.recall(RecallRequest { deadline: Some(deadline), ..ask() }).await.expect_err("refused");
        assert!(error.to_string().starts_with("deadline: given "), "{error}");
    }
}

/// A deadline that nobody keeps is refused.
pub async fn a_deadline_takes_a_timer(fixture: &dyn ManagerFixture) {
    let (store, cache) = fixture.open().await;
    let without_timer = builder(fixture, store, cache).0.build().expect("a timer is not required");
    let ask = RecallRequest::new(make::user("acme", "ann"), "harbour");
    let refused = without_timer.recall(RecallRequest { deadline: Some(DEADLINE), ..ask.clone() }).await;
    assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "deadline"));
    assert!(without_timer.recall(ask).await.is_ok(), "the control");
}

/// What is stored more than once in a scope is given once; equal texts of several scopes are several memories.
pub async fn a_recall_gives_each_memory_once(fixture: &dyn ManagerFixture) {
    let Tiers { manager, .. } = tiers(fixture, Over::Never).await;
    let (ann, bob) = (make::user("acme", "ann"), make::user("acme", "bob"));
    let said = [(&ann, "The launch is in May"), (&ann, "the launch is in MAY"), (&bob, "The launch is in May")];
    let drafts = said.map(|(scope, text)| Draft::new(scope.clone(), text));
    remember(&manager, drafts.to_vec()).await;
    remember(&manager, vec![Draft::new(ann.clone(), "The launch was in April")]).await;
    let report = recall(&manager, RecallRequest::new(ann.clone(), "launch")).await;
    assert_eq!(report.memories.len(), 2, "{:?}", texts(&report));
    let two = RecallRequest { limit: 2, ..RecallRequest::new(ann.whole_tenant(), "launch May") };
    let report = recall(&manager, two).await;
    assert!(
        report
            .memories
            .iter()
            .all(|recalled| recalled.memory.text.ends_with("in May") || recalled.memory.text.ends_with("in MAY")),
        "{:?}",
        texts(&report)
    );
    assert_ne!(report.memories[0].memory.scope, report.memories[1].memory.scope);
}

/// A recall gives at most so many memories and at most so many tokens, as many as fit, and says what it left out.
pub async fn a_recall_stays_within_its_budget(fixture: &dyn ManagerFixture) {
    let Tiers { manager, .. } = tiers(fixture, Over::Never).await;
    let scope = make::user("acme", "ann");
    let long = format!("harbour {}", "and a pier ".repeat(100));
    let texts_of = [&*long, "the harbour", "an old harbour town"];
    remember(&manager, texts_of.map(|text| Draft::new(scope.clone(), text)).to_vec()).await;
    let tokens = |text: &str| u64::from(estimate_tokens(text));
    let ask = |limit, max_tokens| RecallRequest { limit, max_tokens, ..RecallRequest::new(scope.clone(), "harbour") };
    let all = recall(&manager, ask(10, None)).await;
    assert_eq!((all.memories.len(), all.left_out), (3, 0));
    assert_eq!(all.tokens, texts_of.map(tokens).iter().sum::<u64>());
    let short = tokens(texts_of[1]) + tokens(texts_of[2]);
    let report = recall(&manager, ask(10, Some(short))).await;
    assert_eq!((report.memories.len(), report.tokens, report.left_out), (2, short, 1), "{:?}", texts(&report));
    let report = recall(&manager, ask(1, Some(short))).await;
    assert_eq!(report.memories.len(), 1, "the count binds too");
    assert_eq!(recall(&manager, ask(3, Some(all.tokens))).await.memories.len(), 3, "what fits is given");
    let error = manager.recall(ask(10, Some(0))).await.expect_err("no tokens");
    assert!(error.to_string().starts_with("max_tokens: given 0"), "{error}");
}

/// A recall that is asked to explains why there are no more than it gives.
pub async fn a_recall_says_why_there_are_no_more(fixture: &dyn ManagerFixture) {
    let Tiers { manager, .. } = tiers(fixture, Over::Never).await;
    let scope = make::user("acme", "ann");
    let ask = || RecallRequest { explain: true, limit: 4, ..RecallRequest::new(scope.clone(), "harbour") };
    assert_eq!(recall(&manager, ask()).await.missing, [Missing::NothingInScope]);
    let mut ended = Draft::new(scope.clone(), "The harbour is closed");
    ended.valid_to = Some(fixture.clock().now() - Duration::from_secs(60));
    let texts_of = ["The harbour has two piers", "the HARBOUR has two piers", "An old harbour"];
    let drafts = texts_of.map(|text| Draft::new(scope.clone(), text)).into_iter().chain([ended]).collect();
    remember(&manager, drafts).await;
    assert_eq!(
        recall(&manager, ask()).await.missing,
        [Missing::Ended { memories: 1 }, Missing::Repeated { memories: 1 }]
    );
    let filter = Filter::from_json(&serde_json::json!({"text": {"contains": "volcano"}})).expect("a filter");
    let none = recall(&manager, RecallRequest { filter: Some(filter), ..ask() }).await;
    assert_eq!(none.missing, [Missing::ExcludedByFilter { matching: 0, in_scope: Some(4) }]);
    let small = recall(&manager, RecallRequest { max_tokens: Some(1), ..ask() }).await;
    assert_eq!(small.missing.last(), Some(&Missing::OverBudget { memories: 2 }));
    assert!(recall(&manager, RecallRequest { explain: false, ..ask() }).await.missing.is_empty());
    assert!(recall(&manager, RecallRequest { limit: 2, ..ask() }).await.missing.is_empty(), "nothing is missing");
}

async fn recall(manager: &TieredMemoryManager, request: RecallRequest) -> RecallReport {
    manager.recall(request).await.expect("recall")
}

fn texts(report: &RecallReport) -> Vec<&str> {
    report.memories.iter().map(|recalled| recalled.memory.text.as_str()).collect()
}

fn from_working(report: &RecallReport) -> usize {
    report.memories.iter().filter(|recalled| recalled.from == RecalledFrom::Working).count()
}

/// A working memory in this process: windows of what was said.
#[derive(Debug)]
struct Desk {
    clock: TestClock,
    sessions: Mutex<HashMap<Scope, Vec<SessionMessage>>>,
    outage: Outage,
}

impl Desk {
    async fn say<const N: usize>(&self, session: &Scope, contents: [&str; N]) {
        let messages = contents.map(|content| NewMessage::new(Role::User, content)).to_vec();
        self.append(AppendRequest::new(session.clone(), messages)).await.expect("append");
    }
}

#[async_trait]
impl WorkingMemory for Desk {
    async fn append(&self, request: AppendRequest) -> Result<AppendReceipt> {
        request.validate()?;
        let mut sessions = self.sessions.lock().expect("no test panics while it holds this");
        let held = sessions.entry(request.scope).or_default();
        let first = held.len() as u64 + 1;
        for message in request.messages {
            held.push(SessionMessage {
                sequence: held.len() as u64 + 1,
                role: message.role,
                tokens: message.token_count(),
                content: message.content,
                metadata: message.metadata,
                appended_at: self.clock.now(),
            });
        }
        let total = held.len() as u64;
        Ok(AppendReceipt { first, last: total, total, expires_at: self.clock.now() + request.ttl, replayed: false })
    }

    async fn window(&self, request: &WindowRequest) -> Result<Window> {
        request.validate()?;
        self.outage.check_read("window").await?;
        let sessions = self.sessions.lock().expect("no test panics while it holds this");
        let Some(held) = sessions.get(&request.scope) else { return Ok(Window::default()) };
        let size = |message: &SessionMessage| (message.tokens, message.content.len());
        let messages = match request.after {
            None => held[held.len() - request.fit(held.iter().rev().map(size))..].to_vec(),
            Some(after) => {
                let rest = &held[held.len().min(usize::try_from(after).unwrap_or(usize::MAX))..];
                rest[..request.fit(rest.iter().map(size))].to_vec()
            }
        };
        let tokens = messages.iter().map(|message| u64::from(message.tokens)).sum();
        Ok(Window { tokens, total: held.len() as u64, messages, expires_at: None })
    }

    async fn clear(&self, scope: &Scope) -> Result<u64> {
        check_session(scope)?;
        let removed = self.sessions.lock().expect("no test panics while it holds this").remove(scope);
        Ok(removed.map_or(0, |messages| messages.len() as u64))
    }

    async fn forget_within(&self, scope: &Scope, dry_run: bool) -> Result<u64> {
        let mut sessions = self.sessions.lock().expect("no test panics while it holds this");
        let within = sessions.iter().filter(|(session, _)| scope.covers(session));
        let messages = within.map(|(_, messages)| messages.len() as u64).sum();
        if !dry_run {
            sessions.retain(|session, _| !scope.covers(session));
        }
        Ok(messages)
    }
}
