//! What the tiers do while a part of them is away, and how they make up for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use memory_core::{
    Answer, AnswerRequest, CacheFollower, CacheLookup, Degradation, Draft, Filter, ForgetRequest, HitKind, MemoryId,
    MemoryPatch, MemoryStore, NewAnswer, Origin, RecallRequest, RememberRequest, Scope, Selection, SemanticCache,
    TieredMemoryManager, Writer,
};

use super::failing::{FailingCache, FailingStore, Outage};
use super::{ManagerFixture, WordEmbedder, answer, build, builder, fingerprint, is_hit, manager, remember};
use crate::make;

/// A store tells of a change once what began before it has ended, which others may hold up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A manager over a cache and a store that can be away.
struct Failing {
    manager: TieredMemoryManager,
    embedder: Arc<WordEmbedder>,
    cache: Outage,
    store: Outage,
    real_cache: Arc<dyn SemanticCache>,
    real_store: Arc<dyn MemoryStore>,
}

async fn failing(fixture: &dyn ManagerFixture) -> Failing {
    let (real_store, real_cache) = fixture.open().await;
    let (cache, store) = (Outage::default(), Outage::default());
    let failing_cache = Arc::new(FailingCache { inner: real_cache.clone(), outage: cache.clone() });
    let failing_store = Arc::new(FailingStore { inner: real_store.clone(), outage: store.clone() });
    let (manager, embedder) = build(fixture, failing_store, failing_cache, true);
    Failing { manager, embedder, cache, store, real_cache, real_store }
}

/// While the cache is away a correction and a forgetting stand and say that the cache does not know yet, and answers are
/// computed and not filed. When it is back a follower brings it what it missed, and nothing else.
pub async fn without_the_cache_corrections_stand_and_are_brought_later(fixture: &dyn ManagerFixture) {
    let Failing { manager, cache, .. } = failing(fixture).await;
    let scope = make::user("acme", "ann");
    let mut follower = follower(&manager);
    follower.step().await.expect("nothing to do");
    let drafts =
        ["The launch is in May", "The code is 4711", "Bob runs it"].map(|text| Draft::new(scope.clone(), text));
    let ids: Vec<MemoryId> = remember(&manager, drafts.to_vec()).await.iter().map(|(id, _)| *id).collect();
    let prompts = ["When is the launch?", "What is the code?", "Who runs the launch?"];
    for (prompt, id) in prompts.into_iter().zip(&ids) {
        manager.cache_store(answer(&scope, prompt, vec![*id])).await.expect("store").expect("an entry");
    }

    cache.begin();
    assert!(!is_hit(&manager, &scope, prompts[2]).await, "a lookup is a miss");
    assert_eq!(manager.cache_store(answer(&scope, "Anything else?", vec![])).await.expect("no entry"), None);
    let receipt = manager.update(&scope, ids[0], text("The launch is in June")).await.expect("it stands");
    assert_eq!(receipt.degraded, [Degradation::InvalidationPending]);
    let receipt = manager.forget(&of(&scope, ids[1])).await.expect("it stands");
    assert_eq!(receipt.degraded, [Degradation::InvalidationPending]);
    assert_eq!(receipt.cache_entries, u64::from(fixture.is_one()));
    assert_eq!(manager.get(&scope, ids[0]).await.expect("get").expect("it is there").text, "The launch is in June");
    assert!(manager.get(&scope, ids[1]).await.expect("get").is_none());
    expect_behind(&follower, 2).await;
    let (mut pauses, began) = (Vec::new(), Instant::now());
    while pauses.len() < 12 {
        assert!(began.elapsed() < PATIENCE, "the cache is away, and nobody asked it");
        match follower.step().await {
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                pauses.push(follower.pause());
            }
            Ok(applied) => assert_eq!(applied, 0, "the store does not tell yet"),
        }
    }
    assert!(pauses[0] < pauses[1] && pauses.iter().all(|pause| *pause <= PATIENCE), "{pauses:?}");
    assert!(follower.lag().await.expect("lag").changes >= 2, "its position stays");

    cache.end();
    until_caught_up(&mut follower).await;
    assert_eq!(
        [false, false, true],
        [
            is_hit(&manager, &scope, prompts[0]).await,
            is_hit(&manager, &scope, prompts[1]).await,
            is_hit(&manager, &scope, prompts[2]).await,
        ]
    );
    assert_eq!(manager.update(&scope, ids[2], text("Ann runs it")).await.expect("update").degraded, []);
    assert!(!is_hit(&manager, &scope, prompts[2]).await, "no follower is needed while the cache is there");
}

/// A follower that ends between the invalidation and the acknowledgement, or before both, loses nothing: another one under the
/// same name goes on.
pub async fn another_follower_goes_on_where_one_ended(fixture: &dyn ManagerFixture) {
    let Failing { manager, cache, real_store, .. } = failing(fixture).await;
    let scope = make::user("acme", "ann");
    let mut first = follower(&manager);
    first.step().await.expect("nothing to do");
    let ids = remember(&manager, vec![Draft::new(scope.clone(), "The launch is in May")]).await;
    manager.cache_store(answer(&scope, "When is the launch?", vec![ids[0].0])).await.expect("store").expect("an entry");
    // What a process does that ends right after its commit.
    real_store.update(&scope, ids[0].0, text("The launch is in June")).await.expect("update");
    expect_behind(&first, 1).await;
    cache.begin();
    let began = Instant::now();
    while first.step().await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "the cache is away, and nobody asked it");
    }
    drop(first);
    cache.end();
    assert_ne!(is_hit(&manager, &scope, "When is the launch?").await, fixture.is_one(), "nobody has told it");
    let (mut second, mut third) = (follower(&manager), follower(&manager));
    let (a, b) = tokio::join!(second.step(), third.step());
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
    until_caught_up(&mut second).await;
    assert!(!is_hit(&manager, &scope, "When is the launch?").await);
    assert_eq!(third.step().await.expect("nothing to do"), 0);
}

/// While the store is away writes and reads fail with an error that may pass, nothing is written by halves, and answers that
/// are in the cache are served.
pub async fn without_the_store_errors_pass_and_the_cache_serves(fixture: &dyn ManagerFixture) {
    let Failing { manager, store, real_cache, .. } = failing(fixture).await;
    let scope = make::user("acme", "ann");
    let ids = remember(&manager, vec![Draft::new(scope.clone(), "The launch is in May")]).await;
    let id = ids[0].0;
    let entry = answer(&scope, "When is the launch?", vec![id]);
    manager.cache_store(entry).await.expect("store").expect("an entry");
    store.begin();
    let drafts = vec![Draft::new(scope.clone(), "Another")];
    let request = RememberRequest { drafts, origin: Origin::new(Writer::Agent, "testkit"), idempotency: None };
    let errors = [
        manager.remember(request).await.err(),
        manager.recall(RecallRequest::new(scope.clone(), "launch")).await.err(),
        manager.get(&scope, id).await.err(),
        manager.update(&scope, id, text("The launch is in June")).await.err(),
        manager.forget(&of(&scope, id)).await.err(),
        manager.health().await.err(),
    ];
    for (at, error) in errors.iter().enumerate() {
        assert!(error.as_ref().is_some_and(memory_core::Error::is_retryable), "{at}: {error:?}");
    }
    assert!(is_hit(&manager, &scope, "When is the launch?").await);
    // Nobody can say whether what it used still stands.
    assert_eq!(manager.cache_store(answer(&scope, "Is it soon?", vec![id])).await.expect("not filed"), None);
    let computed = ask(&manager, &scope, "Is it late?", vec![id], async || {}).await;
    assert!(matches!(&computed, Answer::Computed(computed) if computed.entry.is_none()), "{computed:?}");
    store.end();
    assert_eq!(manager.get(&scope, id).await.expect("get").expect("it is there").text, "The launch is in May");
    assert_eq!(real_cache.stats(&scope).await.expect("stats").entries, 1);
}

/// While the embedder is away memories are stored, found by their words and say so; later they have their vector, as if it had
/// been there, and a memory that was changed meanwhile has that of its new text.
pub async fn without_the_embedder_memories_get_their_vector_later(fixture: &dyn ManagerFixture) {
    let Failing { manager, embedder, .. } = failing(fixture).await;
    let session = make::session("acme", "ann", "monday");
    let mut late = manager.late_embedding().expect("a store that knows what has no vector");
    remember(&manager, vec![Draft::new(session.clone(), "Which one do you want")]).await;
    embedder.away.store(true, Ordering::SeqCst);
    let drafts =
        vec![Draft::new(session.clone(), "The blue one"), Draft::new(make::user("globex", "bob"), "Elsewhere")];
    let mut ids = Vec::new();
    for draft in drafts {
        let origin = Origin::new(Writer::Agent, "testkit");
        let receipt = manager.remember(RememberRequest { drafts: vec![draft], origin, idempotency: None }).await;
        let receipt = receipt.expect("it is stored");
        assert_eq!(receipt.degraded, [Degradation::EmbedderUnavailable]);
        ids.push(receipt.items[0].id);
    }
    let changed = manager.update(&make::user("globex", "bob"), ids[1], text("Somewhere")).await.expect("it stands");
    assert_eq!(changed.degraded, [Degradation::EmbedderUnavailable]);
    let found = manager.recall(RecallRequest::new(session.clone(), "blue one")).await.expect("recall");
    assert_eq!((found.degraded, found.memories[0].memory.id), (vec![Degradation::EmbedderUnavailable], ids[0]));
    assert!(late.step().await.expect_err("the embedder is away").is_retryable());
    let pause = late.pause();
    assert!(late.step().await.is_err() && late.pause() > pause);

    embedder.away.store(false, Ordering::SeqCst);
    embedder.forget();
    assert_eq!(late.step().await.expect("they are embedded"), 2);
    let mut seen = embedder.seen();
    seen.sort_unstable();
    assert_eq!(seen, ["Somewhere", "Which one do you want The blue one"], "with the turn before, and the newest text");
    assert_eq!(late.step().await.expect("nothing to do"), 0);
    assert!(late.pause() > Duration::ZERO);
    let found = manager.recall(RecallRequest::new(session.clone(), "blue one")).await.expect("recall");
    assert_eq!(found.degraded, []);
    let first = &found.memories[0];
    assert_eq!((first.memory.id, first.memory.version), (ids[0], 1));
    assert!(first.why.similarity.is_some_and(|similarity| similarity > 0.3), "{:?}", first.why);
    for scope in [session, make::user("globex", "bob")] {
        assert_eq!(manager.stats(&scope).await.expect("stats").0.without_embedding, 0);
    }
}

/// While the embedder is away the exact prompt is still answered from the cache, others are computed and filed under theirs.
pub async fn without_the_embedder_exact_prompts_are_answered(fixture: &dyn ManagerFixture) {
    let (manager, embedder) = manager(fixture, true).await;
    let scope = make::user("acme", "ann");
    manager.cache_store(answer(&scope, "What is the plan?", vec![])).await.expect("store").expect("an entry");
    embedder.away.store(true, Ordering::SeqCst);
    assert!(is_hit(&manager, &scope, "what is the plan").await);
    assert!(!is_hit(&manager, &scope, "Which plan is it?").await);
    let computed = ask(&manager, &scope, "Which plan is it?", vec![], async || {}).await;
    assert!(matches!(&computed, Answer::Computed(computed) if computed.entry.is_some()), "{computed:?}");
    let found = manager.cache_lookup(&scope, "Which plan is it?", fingerprint(), None).await.expect("lookup");
    assert!(matches!(found, CacheLookup::Hit(hit) if hit.kind == HitKind::Exact));
}

/// An answer is not kept when a memory that it used was changed, or forgotten, while it was computed: the invalidation came
/// before the answer.
pub async fn an_answer_that_was_outrun_by_a_change_is_not_kept(fixture: &dyn ManagerFixture) {
    let (store, cache) = fixture.open().await;
    let (manager, _) = build(fixture, store.clone(), cache.clone(), true);
    // As another process: it does not know what is computed here.
    let other = build(fixture, store, cache, true).0;
    let scope = make::user("acme", "ann");
    let drafts =
        ["The launch is in May", "The code is 4711", "Bob runs it"].map(|text| Draft::new(scope.clone(), text));
    let ids: Vec<MemoryId> = remember(&manager, drafts.to_vec()).await.iter().map(|(id, _)| *id).collect();
    other.update(&scope, ids[2], text("Ann runs it")).await.expect("a change from before");
    let outrun = ask(&manager, &scope, "When is the launch?", vec![ids[0], ids[2]], async || {
        other.update(&scope, ids[0], text("The launch is in June")).await.expect("update");
    });
    assert!(matches!(outrun.await, Answer::Computed(computed) if computed.entry.is_none()));
    let outrun = ask(&manager, &scope, "What is the code?", vec![ids[1]], async || {
        other.forget(&of(&scope, ids[1])).await.expect("forget");
    });
    assert!(matches!(outrun.await, Answer::Computed(computed) if computed.entry.is_none()));
    for prompt in ["When is the launch?", "What is the code?"] {
        assert!(!is_hit(&manager, &scope, prompt).await, "{prompt}");
    }
    let kept = ask(&manager, &scope, "Who runs it?", vec![ids[0], ids[2]], async || {}).await;
    assert!(matches!(&kept, Answer::Computed(computed) if computed.entry.is_some()), "{kept:?}");
    assert!(is_hit(&manager, &scope, "Who runs it?").await);
}

/// A deletion by what memories say, sent again because its answer was lost, says that the cache is told later as long as that
/// is so, though nothing matches any more; and else the cache was told.
pub async fn a_deletion_by_filter_that_is_sent_again_reaches_the_cache(fixture: &dyn ManagerFixture) {
    let Failing { manager, cache, real_store, .. } = failing(fixture).await;
    let scope = make::user("acme", "ann");
    let mut follower = follower(&manager);
    follower.step().await.expect("nothing to do");
    let drafts = ["The launch is in May", "Bob runs it"].map(|text| Draft::new(scope.clone(), text));
    let ids: Vec<MemoryId> = remember(&manager, drafts.to_vec()).await.iter().map(|(id, _)| *id).collect();
    for (prompt, id) in [("When is the launch?", ids[0]), ("Who runs it?", ids[1])] {
        manager.cache_store(answer(&scope, prompt, vec![id])).await.expect("store").expect("an entry");
    }
    let filter = serde_json::json!({"text": "The launch is in May"});
    let selection = Selection::Matching(Filter::from_json(&filter).expect("a filter"));
    let request = ForgetRequest { scope: scope.clone(), selection, dry_run: false };
    // What a process does that ends right after its commit.
    assert_eq!(real_store.forget(&request).await.expect("forget").forgotten, [ids[0]]);
    cache.begin();
    let again = manager.forget(&request).await.expect("it stands");
    assert_eq!((again.forgotten, again.degraded), (vec![], vec![Degradation::InvalidationPending]));
    cache.end();
    let began = Instant::now();
    // Others may hold up what the store tells: then it says so.
    while !manager.forget(&request).await.expect("it stands").degraded.is_empty() {
        assert!(began.elapsed() < PATIENCE, "the cache is there and not told");
    }
    assert!(!is_hit(&manager, &scope, "When is the launch?").await);
    assert!(is_hit(&manager, &scope, "Who runs it?").await, "what stands keeps its answers");
}

/// While the embedder takes calls and answers none, a memory is stored and changed without a vector, and a recall and a lookup
/// go on without: each waits as long as the manager was told to. What is embedded late has its own time.
pub async fn a_stuck_embedder_holds_nobody_up(fixture: &dyn ManagerFixture) {
    let (store, cache) = fixture.open().await;
    let (builder, embedder) = builder(fixture, store, cache);
    let is_over = |limit| {
        assert_eq!(limit, Duration::from_secs(7));
        std::future::ready(())
    };
    let manager =
        builder.timer(is_over).embedder_patience(Duration::from_secs(7)).build().expect("every part is there");
    let scope = make::user("acme", "ann");
    let quick = remember(&manager, vec![Draft::new(scope.clone(), "Bob runs it")]).await;
    assert_eq!(quick.len(), 1, "the control");
    manager.cache_store(answer(&scope, "Who runs it?", vec![])).await.expect("store").expect("an entry");

    embedder.stuck.store(true, Ordering::SeqCst);
    let drafts = vec![Draft::new(scope.clone(), "The launch is in May")];
    let request = RememberRequest { drafts, origin: Origin::new(Writer::Agent, "testkit"), idempotency: None };
    let receipt = manager.remember(request).await.expect("it is stored");
    assert_eq!(receipt.degraded, [Degradation::EmbedderUnavailable]);
    let updated = manager.update(&scope, quick[0].0, text("Ann runs it")).await.expect("it is changed");
    assert_eq!(updated.degraded, [Degradation::EmbedderUnavailable]);
    assert_eq!(manager.stats(&scope).await.expect("stats").0.without_embedding, 2);
    let report = manager.recall(RecallRequest::new(scope.clone(), "launch")).await.expect("by words");
    assert_eq!(report.memories[0].memory.text, "The launch is in May");
    assert_eq!(report.degraded, [Degradation::EmbedderUnavailable]);
    let found = manager.cache_lookup(&scope, "Who on earth runs it?", fingerprint(), None).await.expect("lookup");
    assert_eq!(found, CacheLookup::Miss(None));
    assert!(is_hit(&manager, &scope, "Who runs it?").await, "the exact prompt needs no embedder");

    embedder.stuck.store(false, Ordering::SeqCst);
    let mut late = manager.late_embedding().expect("a store that can tell");
    assert_eq!(late.step().await.expect("embedded"), 2);
    assert_eq!(manager.stats(&scope).await.expect("stats").0.without_embedding, 0);
}

async fn ask(
    manager: &TieredMemoryManager,
    scope: &Scope,
    prompt: &str,
    depends_on: Vec<MemoryId>,
    meanwhile: impl AsyncFnOnce(),
) -> Answer {
    let question =
        AnswerRequest { scope: scope.clone(), prompt: prompt.into(), fingerprint: fingerprint(), policy: None };
    let computed = manager.answer(question, async || {
        meanwhile().await;
        Ok::<_, Infallible>(NewAnswer { response: "computed".into(), depends_on, ..NewAnswer::default() })
    });
    computed.await.expect("an answer")
}

fn follower(manager: &TieredMemoryManager) -> CacheFollower {
    manager.cache_follower("cache").expect("a store that is followed")
}

async fn expect_behind(follower: &CacheFollower, changes: u64) {
    let lag = follower.lag().await.expect("lag");
    assert!(lag.changes >= changes, "{lag:?}");
}

async fn until_caught_up(follower: &mut CacheFollower) {
    let began = Instant::now();
    while follower.lag().await.expect("lag").changes > 0 {
        follower.step().await.expect("a step");
        assert!(began.elapsed() < PATIENCE, "{:?}", follower.lag().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn text(text: &str) -> MemoryPatch {
    MemoryPatch { text: Some(text.into()), ..MemoryPatch::default() }
}

fn of(scope: &Scope, id: MemoryId) -> ForgetRequest {
    ForgetRequest { scope: scope.clone(), selection: Selection::Ids(vec![id]), dry_run: false }
}
