//! What every provider of Orchestra Memory must do, written once, and labelled fixtures to measure with.
//!
//! [`store`], [`cache`], [`working`] and [`manager`] hold the contract suites of `memory_core`'s `MemoryStore`,
//! `SemanticCache`, `WorkingMemory` and `TieredMemoryManager`: one function for each promise. A provider implements
//! [`StoreFixture`], [`CacheFixture`], [`WorkingFixture`] or [`manager::ManagerFixture`] and calls [`store_suite!`],
//! [`cache_suite!`], [`working_suite!`] or [`manager_suite!`] in its integration tests, which makes one test for each
//! promise; [`consolidation_suite!`] does so for consolidation over any store, [`sessions_suite!`] for sessions over any
//! store and working memory, and
//! [`replica_suite!`] for a store that can be moved. [`labelled`] reads the labelled sets that the benchmarks measure recall and cache decisions
//! on. [`services`] starts the real servers that providers
//! are tested against.

pub mod cache;
pub mod changes;
pub mod labelled;
pub mod make;
pub mod manager;
pub mod random;
pub mod replica;
pub mod services;
pub mod store;
pub mod working;

pub use manager::{consolidation, sessions};
pub use replica::ReplicaFixture;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use memory_core::{Clock, EmbeddingSpace, MemoryId, MemoryStore, Scope, SemanticCache, Timestamp, WorkingMemory};

/// A clock that stands still until it is told to go on. Clones show the same time.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    /// A clock at noon of 1 June 2026, UTC.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_780_315_200_000_000)))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_micros()).expect("a test does not run for 292,000 years"), Ordering::SeqCst);
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_timestamp_micros(self.0.load(Ordering::SeqCst)).expect("the clock began in range")
    }
}

/// How a contract suite opens a store. Every test makes a fixture of its own, with data of its own.
#[async_trait]
pub trait StoreFixture: Send + Sync {
    /// The clock that the store takes the time from.
    fn clock(&self) -> TestClock;

    /// The space of the vectors that the store is opened for.
    fn space(&self) -> Arc<EmbeddingSpace> {
        make::space("testkit")
    }

    /// Opens the store: empty at first, and after [`close`](Self::close) with what was acknowledged before.
    async fn open(&self) -> Arc<dyn MemoryStore>;

    /// Ends the store as a process that ends would. The suite has dropped its other handles.
    async fn close(&self, store: Arc<dyn MemoryStore>);
}

/// How a contract suite opens a cache. Every test makes a fixture of its own, with data of its own.
#[async_trait]
pub trait CacheFixture: Send + Sync {
    /// The clock that the cache takes the time from.
    fn clock(&self) -> TestClock;

    /// The space of the vectors that the cache is opened for.
    fn space(&self) -> Arc<EmbeddingSpace> {
        make::space("testkit")
    }

    /// Opens an empty cache.
    async fn open(&self) -> Arc<dyn SemanticCache>;

    /// A memory in `scope` that answers can depend on. A cache that does not know the memories takes any id.
    async fn memory(&self, scope: &Scope) -> MemoryId;
}

/// How a contract suite opens a working memory. Every test makes a fixture of its own, with data of its own.
#[async_trait]
pub trait WorkingFixture: Send + Sync {
    /// The clock that the working memory takes the time from.
    fn clock(&self) -> TestClock;

    /// Opens a working memory without sessions.
    async fn open(&self) -> Arc<dyn WorkingMemory>;
}

/// Makes one test for each promise of `MemoryStore`. `$fixture` is an expression that makes a [`StoreFixture`].
#[macro_export]
macro_rules! store_suite {
    ($fixture:expr) => {
        $crate::__suite!(
            store, $fixture;
            acknowledged_is_durable, tenant_from_identity, a_narrower_scope_sees_only_its_own, spaces_never_mix,
            read_your_writes, no_silent_shortfall, forgotten_stays_forgotten, forgetting_reaches_what_was_derived, what_is_derived_from_the_forgotten_is_refused,
            one_key_one_effect, one_key_at_once_has_one_effect, derived_keeps_evidence, a_batch_is_atomic,
            an_id_is_written_once, an_expired_memory_is_gone, an_update_keeps_its_history,
            a_stale_update_is_refused, search_agrees_with_a_full_comparison, words_are_weighed_within_the_scope,
            a_lexical_match_brings_its_neighbours, a_turn_knows_the_turn_before, pages_hold_every_memory_once, a_dry_run_changes_nothing,
            a_receipt_counts_what_went, a_vector_is_added_to_the_version_it_is_of, a_mark_tells_what_was_changed_since,
            bad_batches_are_refused, hostile_text_is_only_text, scopes_are_searched_as_one,
            a_search_as_of_finds_what_was_known, a_search_as_of_brings_back_nothing_gone, what_was_true_is_a_filter,
            a_rejected_value_is_refused, a_rejection_survives_expiry_and_pruning, a_rejection_is_the_scopes_own, a_rejection_can_be_lifted
        );
    };
}

/// Makes one test for each promise of `SemanticCache`. `$fixture` is an expression that makes a [`CacheFixture`].
#[macro_export]
macro_rules! cache_suite {
    ($fixture:expr) => {
        $crate::__suite!(
            cache, $fixture;
            an_exact_repeat_is_a_hit, a_near_prompt_is_a_hit_with_its_similarity, cache_answers_only_its_question,
            a_near_miss_says_why, the_guard_refuses_over_the_threshold, spaces_never_mix, an_expired_entry_is_a_miss,
            hits_do_not_prolong_a_life, a_sliding_entry_lives_while_it_is_used, corrections_reach_the_cache,
            a_late_answer_is_not_filed, a_later_answer_takes_the_place, invalidation_is_as_narrow_as_asked, a_dry_run_changes_nothing,
            counters_count, hostile_text_is_only_text, a_filter_narrows_what_answers
        );
    };
}

/// Makes one test for each promise of `WorkingMemory`. `$fixture` is an expression that makes a [`WorkingFixture`].
#[macro_export]
macro_rules! working_suite {
    ($fixture:expr) => {
        $crate::__suite!(
            working, $fixture;
            messages_come_back_in_order, an_append_is_all_or_none, concurrent_appends_keep_one_order,
            one_key_one_effect, one_key_at_once_has_one_effect, a_window_is_cut_by_count, a_window_is_cut_by_tokens,
            a_window_is_bounded_in_bytes, a_window_reads_on, a_session_ends_after_its_last_append,
            a_session_is_only_its_own, a_cleared_session_begins_anew, forgetting_a_scope_ends_its_sessions,
            forgetting_one_user_leaves_the_other, a_long_session_keeps_its_newest, bad_requests_are_refused,
            hostile_text_is_only_text
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __suite {
    ($suite:ident, $fixture:expr; $($promise:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                $crate::$suite::$promise(&$fixture).await;
            }
        )*
    };
}
