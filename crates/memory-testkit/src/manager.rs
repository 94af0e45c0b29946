//! What `memory_core::TieredMemoryManager` promises over any pair of providers, a function for each promise.

mod answers;
mod asking;
pub mod consolidation;
mod failing;
mod filing;
mod outages;
mod recall;
pub mod sessions;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use memory_core::manager::TieredMemoryManagerBuilder;
use memory_core::{
    CacheEntryId, CacheLookup, CacheMark, CacheRequest, CacheStats, Clock, Compatibility, Degradation, Draft, Embedder,
    Embedding, EmbeddingSpace, Error, Filled, Fingerprint, ForgetRequest, HitKind, InsertStatus, InvalidateRequest,
    MemoryId, MemoryKind, MemoryPatch, MemoryStore, Metadata, NewCacheEntry, Origin, Purpose, RecallRequest,
    RememberRequest, Result, Scope, Selection, SemanticCache, Tier, TieredMemoryManager, Writer,
};

pub use self::answers::{
    a_computation_that_failed_is_taken_over, nobody_waits_for_what_began_before_an_invalidation,
    one_of_many_computes_the_answer,
};
pub use self::asking::{
    an_answer_is_bound_to_the_memories_it_was_asked_with, an_answer_out_of_half_a_memory_is_not_kept,
    an_answer_that_was_overtaken_is_refused,
};
pub use self::filing::an_answer_that_is_outrun_while_it_is_filed_is_not_kept;
pub use self::outages::{
    a_deletion_by_filter_that_is_sent_again_reaches_the_cache, a_stuck_embedder_holds_nobody_up,
    an_answer_that_was_outrun_by_a_change_is_not_kept, another_follower_goes_on_where_one_ended,
    without_the_cache_corrections_stand_and_are_brought_later, without_the_embedder_exact_prompts_are_answered,
    without_the_embedder_memories_get_their_vector_later, without_the_store_errors_pass_and_the_cache_serves,
};
pub use self::recall::{
    a_deadline_takes_a_timer, a_late_embedder_leaves_time_for_the_words,
    a_recall_answers_with_what_is_there_at_its_deadline, a_recall_gives_each_memory_once,
    a_recall_says_why_there_are_no_more, a_recall_stays_within_its_budget, the_conversation_that_goes_on_is_recalled,
    without_the_store_working_memory_answers, without_working_memory_recall_goes_on,
};
use crate::{TestClock, make};

/// How the suite opens a pair of providers. Every test makes a fixture of its own, with data of its own.
#[async_trait]
pub trait ManagerFixture: Send + Sync {
    /// The clock that both providers take the time from.
    fn clock(&self) -> TestClock;

    /// Whether the cache is in the store itself, so that a change and its invalidation are one.
    fn is_one(&self) -> bool {
        false
    }

    /// Opens both providers, empty.
    async fn open(&self) -> (Arc<dyn MemoryStore>, Arc<dyn SemanticCache>);
}

/// Makes one test for each promise of `TieredMemoryManager`. `$fixture` is an expression that makes a [`ManagerFixture`].
#[macro_export]
macro_rules! manager_suite {
    ($fixture:expr) => {
        $crate::__suite!(
            manager, $fixture;
            what_is_remembered_is_recalled, a_turn_is_embedded_with_the_turn_before, an_exact_repeat_is_not_embedded,
            corrections_reach_the_cache, an_answer_of_a_former_version_is_not_filed,
            an_answer_that_is_outrun_while_it_is_filed_is_not_kept, forgetting_reaches_the_cache,
            forgetting_again_reaches_the_cache, without_the_embedder_recall_goes_by_words,
            without_the_cache_every_lookup_is_a_miss, one_of_many_computes_the_answer,
            without_the_cache_corrections_stand_and_are_brought_later, another_follower_goes_on_where_one_ended,
            without_the_store_errors_pass_and_the_cache_serves, without_the_embedder_memories_get_their_vector_later,
            a_deletion_by_filter_that_is_sent_again_reaches_the_cache, a_stuck_embedder_holds_nobody_up, without_the_embedder_exact_prompts_are_answered, an_answer_that_was_outrun_by_a_change_is_not_kept,
            a_computation_that_failed_is_taken_over, nobody_waits_for_what_began_before_an_invalidation, long_term_can_be_switched_off, bad_input_is_refused_before_the_embedder_is_paid,
            the_conversation_that_goes_on_is_recalled, without_working_memory_recall_goes_on,
            without_the_store_working_memory_answers, a_deadline_takes_a_timer, a_late_embedder_leaves_time_for_the_words, a_recall_answers_with_what_is_there_at_its_deadline,
            a_recall_gives_each_memory_once, a_recall_stays_within_its_budget, a_recall_says_why_there_are_no_more,
            an_answer_is_bound_to_the_memories_it_was_asked_with, an_answer_that_was_overtaken_is_refused,
            an_answer_out_of_half_a_memory_is_not_kept
        );
    };
}

/// What is remembered is recalled, with its tier and the reasons for its place.
pub async fn what_is_remembered_is_recalled(fixture: &dyn ManagerFixture) {
    let (manager, _) = manager(fixture, true).await;
    let scope = make::session("acme", "ann", "monday");
    let mut turn = Draft::new(scope.clone(), "My sister lives in Lisbon now");
    turn.kind = MemoryKind::Message;
    turn.actor = Some("Ann".into());
    let mut fact = Draft::new(make::user("acme", "ann"), "Ann prefers the window seat");
    fact.kind = MemoryKind::Semantic;
    let receipt = remember(&manager, vec![turn, fact]).await;
    assert!(receipt.iter().all(|(_, status)| *status == InsertStatus::Created));
    let report = manager
        .recall(RecallRequest::new(make::user("acme", "ann"), "Where does Ann's sister live?"))
        .await
        .expect("recall");
    let first = &report.memories[0];
    assert_eq!((first.memory.id, first.tier), (receipt[0].0, Tier::ShortTerm));
    assert!(first.why.similarity.is_some() && first.why.bm25 > 0.0 && first.why.actor_bonus > 0.0, "{:?}", first.why);
    assert_eq!(report.memories[1].tier, Tier::LongTerm);
    assert!(report.degraded.is_empty(), "{:?}", report.degraded);
    let other = manager
        .recall(RecallRequest::new(make::user("acme", "bob"), "Where does Ann's sister live?"))
        .await
        .expect("recall");
    assert!(other.memories.is_empty());
}

/// A turn of a session is embedded together with the turn before it, also when that one came in an earlier write, and
/// when it is corrected.
pub async fn a_turn_is_embedded_with_the_turn_before(fixture: &dyn ManagerFixture) {
    let (manager, embedder) = manager(fixture, true).await;
    let monday = make::session("acme", "ann", "monday");
    let tuesday = make::session("acme", "ann", "tuesday");
    let first =
        vec![Draft::new(monday.clone(), "one"), Draft::new(monday.clone(), "two"), Draft::new(tuesday, "three")];
    let ids = remember(&manager, first).await;
    remember(&manager, vec![Draft::new(monday.clone(), "four"), Draft::new(make::user("acme", "ann"), "five")]).await;
    assert_eq!(embedder.seen(), ["one", "one two", "three", "two four", "five"]);
    let patch = MemoryPatch { text: Some("zwei".into()), ..MemoryPatch::default() };
    manager.update(&monday, ids[1].0, patch).await.expect("update");
    assert_eq!(embedder.seen().last().map(String::as_str), Some("one zwei"));
}

/// A prompt that was answered before is served without asking the embedder; a near one is embedded once.
pub async fn an_exact_repeat_is_not_embedded(fixture: &dyn ManagerFixture) {
    let (manager, embedder) = manager(fixture, true).await;
    let scope = make::user("acme", "ann");
    manager.cache_store(answer(&scope, "What is the plan for Monday?", vec![])).await.expect("store").expect("a cache");
    let before = embedder.seen().len();
    let found = manager.cache_lookup(&scope, "what is the plan for monday", fingerprint(), None).await.expect("lookup");
    assert!(matches!(found, CacheLookup::Hit(hit) if hit.kind == HitKind::Exact));
    assert_eq!(embedder.seen().len(), before);
    manager.cache_lookup(&scope, "Something else entirely", fingerprint(), None).await.expect("lookup");
    assert_eq!(embedder.seen().len(), before + 1);
}

/// When a memory is updated, the cached answers that used it are gone by the time the update returns; others stay.
pub async fn corrections_reach_the_cache(fixture: &dyn ManagerFixture) {
    let (manager, _) = manager(fixture, true).await;
    let scope = make::user("acme", "ann");
    let ids = remember(
        &manager,
        vec![Draft::new(scope.clone(), "The launch is in May"), Draft::new(scope.clone(), "Bob runs it")],
    )
    .await;
    manager.cache_store(answer(&scope, "When is the launch?", vec![ids[0].0])).await.expect("store");
    manager.cache_store(answer(&scope, "Who runs the launch?", vec![ids[1].0])).await.expect("store");
    let patch = MemoryPatch { text: Some("The launch is in June".into()), ..MemoryPatch::default() };
    manager.update(&scope, ids[0].0, patch).await.expect("update");
    assert!(!is_hit(&manager, &scope, "When is the launch?").await);
    assert!(is_hit(&manager, &scope, "Who runs the launch?").await);
    let report = manager.recall(RecallRequest::new(scope, "When is the launch?")).await.expect("recall");
    assert_eq!(report.memories[0].memory.text, "The launch is in June");
}

/// An answer that was made of a former version of a memory is not filed, however late it comes; one that was made of this
/// version is, and goes with it.
pub async fn an_answer_of_a_former_version_is_not_filed(fixture: &dyn ManagerFixture) {
    let (manager, _) = manager(fixture, true).await;
    let scope = make::user("acme", "ann");
    let ids = remember(
        &manager,
        vec![Draft::new(scope.clone(), "The launch is in May"), Draft::new(scope.clone(), "Bob runs it")],
    )
    .await;
    let (launch, other) = (ids[0].0, ids[1].0);
    let of = async |version| {
        let entry = answer(&scope, "When is the launch?", vec![other]);
        manager.cache_store_of(entry, &[(launch, version)]).await.expect("no failure")
    };
    assert!(matches!(of(1).await, Filled::Filed(_)));
    let patch = MemoryPatch { text: Some("The launch is in June".into()), ..MemoryPatch::default() };
    manager.update(&scope, launch, patch.clone()).await.expect("update");
    assert_eq!(of(1).await, Filled::Changed);
    assert!(!is_hit(&manager, &scope, "When is the launch?").await);
    assert!(matches!(of(2).await, Filled::Filed(_)));
    assert!(is_hit(&manager, &scope, "When is the launch?").await);
    manager.update(&scope, launch, patch).await.expect("update");
    assert!(!is_hit(&manager, &scope, "When is the launch?").await, "it depends on what it was made of");
    assert_eq!(of(2).await, Filled::Changed);
    let gone = ForgetRequest { scope: scope.clone(), selection: Selection::Ids(vec![launch]), dry_run: false };
    manager.forget(&gone).await.expect("forget");
    assert_eq!(of(3).await, Filled::Changed);
}

/// Forgetting a memory takes the cached answers that used it along, in every session of the tenant.
pub async fn forgetting_reaches_the_cache(fixture: &dyn ManagerFixture) {
    let (manager, _) = manager(fixture, true).await;
    let scope = make::user("acme", "ann");
    let session = make::session("acme", "ann", "monday");
    let ids = remember(
        &manager,
        vec![Draft::new(scope.clone(), "The code is 4711"), Draft::new(scope.clone(), "The door is red")],
    )
    .await;
    manager.cache_store(answer(&session, "What is the code?", vec![ids[0].0, ids[1].0])).await.expect("store");
    manager.cache_store(answer(&session, "Which colour is the door?", vec![ids[1].0])).await.expect("store");
    let request = ForgetRequest { scope: scope.clone(), selection: Selection::Ids(vec![ids[0].0]), dry_run: false };
    let receipt = manager.forget(&request).await.expect("forget");
    assert_eq!((receipt.forgotten.as_slice(), receipt.cache_entries), (&[ids[0].0][..], 1));
    assert!(!is_hit(&manager, &session, "What is the code?").await);
    assert!(is_hit(&manager, &session, "Which colour is the door?").await);
}

/// Who asks again for a forgetting whose answer was lost is told that it is done when the cache knows it too, though the
/// first one ended before its invalidation. What stands elsewhere in the tenant keeps its answers.
pub async fn forgetting_again_reaches_the_cache(fixture: &dyn ManagerFixture) {
    let (store, cache) = fixture.open().await;
    let (manager, _) = build(fixture, store.clone(), cache, true);
    let scope = make::user("acme", "ann");
    let drafts = ["The code is 4711", "The door is blue"].map(|text| Draft::new(scope.clone(), text));
    let ids = remember(&manager, drafts.to_vec()).await;
    for (prompt, (id, _)) in ["What is the code?", "Which colour is the door?"].into_iter().zip(&ids) {
        manager.cache_store(answer(&scope, prompt, vec![*id])).await.expect("store").expect("an entry");
    }
    let of = |scope, id| ForgetRequest { scope, selection: Selection::Ids(vec![id]), dry_run: false };
    // What a process does that ends right after its commit.
    store.forget(&of(scope.clone(), ids[0].0)).await.expect("forget");
    let receipt = manager.forget(&of(scope.clone(), ids[0].0)).await.expect("forget");
    assert_eq!((receipt.forgotten.len(), &receipt.degraded[..]), (0, &[][..]));
    assert!(!is_hit(&manager, &scope, "What is the code?").await);
    manager.forget(&of(make::user("acme", "bob"), ids[1].0)).await.expect("forget");
    assert!(is_hit(&manager, &scope, "Which colour is the door?").await);
}

/// While the embedder is away a recall answers by words and says so.
pub async fn without_the_embedder_recall_goes_by_words(fixture: &dyn ManagerFixture) {
    let (manager, embedder) = manager(fixture, true).await;
    let scope = make::user("acme", "ann");
    remember(&manager, vec![Draft::new(scope.clone(), "The spare key is under the pot")]).await;
    embedder.away.store(true, Ordering::SeqCst);
    let report = manager.recall(RecallRequest::new(scope.clone(), "Where is the spare key?")).await.expect("recall");
    assert_eq!(report.degraded, [Degradation::EmbedderUnavailable]);
    assert_eq!(report.memories.len(), 1);
}

/// While the cache is away a lookup is a miss that costs no embedding and an answer is not filed. An error that will not pass
/// is told.
pub async fn without_the_cache_every_lookup_is_a_miss(fixture: &dyn ManagerFixture) {
    let (store, _) = fixture.open().await;
    let scope = make::user("acme", "ann");
    let away = |retryable| Arc::new(AwayCache { retryable });
    let (manager, embedder) = build(fixture, store.clone(), away(true), true);
    let found = manager.cache_lookup(&scope, "When is the launch?", fingerprint(), None).await.expect("a miss");
    assert_eq!(found, CacheLookup::Miss(None));
    assert!(embedder.seen().is_empty());
    assert_eq!(manager.cache_store(answer(&scope, "When is the launch?", vec![])).await.expect("no entry"), None);
    remember(&manager, vec![Draft::new(scope.clone(), "The launch is in May")]).await;
    assert_eq!(manager.recall(RecallRequest::new(scope.clone(), "launch")).await.expect("recall").memories.len(), 1);
    let (in_store, in_cache) = manager.stats(&scope).await.expect("stats of the rest");
    assert_eq!((in_store.memories, in_cache), (1, None));
    let (manager, _) = build(fixture, store, away(false), true);
    manager.cache_lookup(&scope, "When is the launch?", fingerprint(), None).await.expect_err("told");
}

/// With `long_term_enabled: false` facts are neither taken in nor recalled.
pub async fn long_term_can_be_switched_off(fixture: &dyn ManagerFixture) {
    let (store, cache) = fixture.open().await;
    let scope = make::user("acme", "ann");
    let with_long_term = build(fixture, store.clone(), cache.clone(), true).0;
    let mut fact = Draft::new(scope.clone(), "Ann likes tea");
    fact.kind = MemoryKind::Semantic;
    remember(&with_long_term, vec![fact.clone(), Draft::new(scope.clone(), "Ann drank tea")]).await;
    let without = build(fixture, store, cache, false).0;
    let report = without.recall(RecallRequest::new(scope.clone(), "tea")).await.expect("recall");
    assert_eq!(report.memories.iter().map(|recalled| recalled.tier).collect::<Vec<_>>(), [Tier::MediumTerm]);
    let request =
        RememberRequest { drafts: vec![fact], origin: Origin::new(Writer::Agent, "testkit"), idempotency: None };
    let error = without.remember(request).await.expect_err("refused");
    assert!(error.to_string().starts_with("memories[0].kind: given semantic, allowed: message or episodic"), "{error}");
}

/// A write, a recall or a cache entry that is not acceptable is refused before the embedder is asked.
pub async fn bad_input_is_refused_before_the_embedder_is_paid(fixture: &dyn ManagerFixture) {
    let (manager, embedder) = manager(fixture, true).await;
    let scope = make::user("acme", "ann");
    let drafts = vec![Draft::new(scope.clone(), "good"), Draft::new(scope.clone(), " ")];
    let request = RememberRequest { drafts, origin: Origin::new(Writer::Agent, "testkit"), idempotency: None };
    assert!(manager.remember(request).await.expect_err("blank").to_string().starts_with("memories[1].text"));
    for (limit, query) in [(0, "q"), (1_000_000_000, "q"), (10, " ")] {
        let request = RecallRequest { limit, ..RecallRequest::new(scope.clone(), query) };
        assert!(matches!(manager.recall(request).await, Err(Error::Invalid { .. })));
    }
    let no_time = NewCacheEntry { ttl: std::time::Duration::ZERO, ..answer(&scope, "prompt", vec![]) };
    assert!(manager.cache_store(no_time).await.expect_err("no time to live").to_string().starts_with("ttl: given"));
    let elsewhere = make::embedding(&make::space("another-model"), 1);
    let mut draft = Draft::new(scope, "good");
    draft.embedding = Some(elsewhere);
    let request =
        RememberRequest { drafts: vec![draft], origin: Origin::new(Writer::Agent, "testkit"), idempotency: None };
    assert!(matches!(manager.remember(request).await, Err(Error::SpaceMismatch { .. })));
    assert!(embedder.seen().is_empty());
}

/// A cache that cannot be reached.
#[derive(Debug)]
struct AwayCache {
    retryable: bool,
}

impl AwayCache {
    fn away<T>(&self, operation: &'static str) -> Result<T> {
        let source = "away".into();
        Err(Error::Backend { provider: "testkit", operation, retryable: self.retryable, source })
    }
}

#[async_trait]
impl SemanticCache for AwayCache {
    async fn lookup(&self, _: &CacheRequest) -> Result<CacheLookup> {
        self.away("lookup")
    }

    async fn mark(&self, _: &Scope) -> Result<CacheMark> {
        self.away("mark")
    }

    async fn store_since(&self, _: NewCacheEntry, _: &CacheMark) -> Result<Option<CacheEntryId>> {
        self.away("store")
    }

    async fn invalidate(&self, _: &InvalidateRequest) -> Result<u64> {
        self.away("invalidate")
    }

    async fn stats(&self, _: &Scope) -> Result<CacheStats> {
        self.away("stats")
    }
}

/// An embedder for tests: words become directions, and it remembers what it was asked.
#[derive(Debug)]
struct WordEmbedder {
    space: Arc<EmbeddingSpace>,
    seen: std::sync::Mutex<Vec<String>>,
    away: AtomicBool,
    /// Takes a call and never answers.
    stuck: AtomicBool,
}

impl WordEmbedder {
    fn new() -> Self {
        let (away, stuck) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { space: make::space("testkit"), seen: std::sync::Mutex::default(), away, stuck }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no test panics while it holds this").clone()
    }

    fn forget(&self) {
        self.seen.lock().expect("no test panics while it holds this").clear();
    }
}

#[async_trait]
impl Embedder for WordEmbedder {
    fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.space
    }

    async fn embed(&self, texts: &[&str], _: Purpose) -> Result<Vec<Embedding>> {
        if self.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::Embedder {
                model: self.space.model.clone(),
                reason: "away".into(),
                retryable: true,
                source: None,
            });
        }
        self.seen.lock().expect("no test panics while it holds this").extend(texts.iter().map(ToString::to_string));
        texts
            .iter()
            .map(|text| {
                let mut values = vec![1e-3; self.space.dimensions];
                for word in memory_core::text::words(text) {
                    let seed =
                        word.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
                    let direction = make::embedding(&self.space, seed);
                    values.iter_mut().zip(direction.values()).for_each(|(value, part)| *value += part);
                }
                Embedding::new(self.space.clone(), values)
            })
            .collect()
    }
}

async fn manager(fixture: &dyn ManagerFixture, long_term: bool) -> (TieredMemoryManager, Arc<WordEmbedder>) {
    let (store, cache) = fixture.open().await;
    build(fixture, store, cache, long_term)
}

fn build(
    fixture: &dyn ManagerFixture,
    store: Arc<dyn MemoryStore>,
    cache: Arc<dyn SemanticCache>,
    long_term: bool,
) -> (TieredMemoryManager, Arc<WordEmbedder>) {
    let (builder, embedder) = builder(fixture, store, cache);
    (builder.long_term_enabled(long_term).build().expect("every part is there"), embedder)
}

fn builder(
    fixture: &dyn ManagerFixture,
    store: Arc<dyn MemoryStore>,
    cache: Arc<dyn SemanticCache>,
) -> (TieredMemoryManagerBuilder, Arc<WordEmbedder>) {
    let embedder = Arc::new(WordEmbedder::new());
    let clock = fixture.clock();
    let builder = TieredMemoryManager::builder(move || clock.now(), make::id)
        .short_term_provider(cache)
        .medium_term_provider(store)
        .embedder(embedder.clone());
    (builder, embedder)
}

async fn remember(manager: &TieredMemoryManager, drafts: Vec<Draft>) -> Vec<(MemoryId, InsertStatus)> {
    let request = RememberRequest { drafts, origin: Origin::new(Writer::Agent, "testkit"), idempotency: None };
    let receipt = manager.remember(request).await.expect("remember");
    receipt.items.iter().map(|item| (item.id, item.status)).collect()
}

fn fingerprint() -> Fingerprint {
    Compatibility::default().fingerprint()
}

fn answer(scope: &Scope, prompt: &str, depends_on: Vec<MemoryId>) -> NewCacheEntry {
    NewCacheEntry {
        scope: scope.clone(),
        prompt: prompt.into(),
        response: "answer".into(),
        fingerprint: fingerprint(),
        embedding: None,
        depends_on,
        tags: Vec::new(),
        metadata: Metadata::new(),
        ttl: std::time::Duration::from_secs(3600),
        sliding: false,
    }
}

async fn is_hit(manager: &TieredMemoryManager, scope: &Scope, prompt: &str) -> bool {
    let found = manager.cache_lookup(scope, prompt, fingerprint(), None).await.expect("lookup");
    matches!(found, CacheLookup::Hit(_))
}
