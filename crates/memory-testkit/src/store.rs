//! The contract of `memory_core::MemoryStore`, a function for each promise.

mod forgetting;
mod later;
mod listing;
mod rejections;
mod scope;
mod search;
mod times;
mod versions;
mod writing;

use std::collections::BTreeSet;

use memory_core::{
    Arm, Candidates, ForgetRequest, InsertBatch, ListRequest, Memory, MemoryId, MemoryStore, Scope, SearchRequest,
    Selection,
};

pub use forgetting::{
    a_dry_run_changes_nothing, a_receipt_counts_what_went, forgetting_reaches_what_was_derived,
    forgotten_stays_forgotten, what_is_derived_from_the_forgotten_is_refused,
};
pub use later::{a_mark_tells_what_was_changed_since, a_vector_is_added_to_the_version_it_is_of};
pub use listing::{a_turn_knows_the_turn_before, pages_hold_every_memory_once};
pub use rejections::{
    a_rejected_value_is_refused, a_rejection_can_be_lifted, a_rejection_is_the_scopes_own,
    a_rejection_survives_expiry_and_pruning,
};
pub use scope::{
    a_narrower_scope_sees_only_its_own, hostile_text_is_only_text, scopes_are_searched_as_one, tenant_from_identity,
};
pub use search::{
    a_lexical_match_brings_its_neighbours, no_silent_shortfall, search_agrees_with_a_full_comparison, spaces_never_mix,
    words_are_weighed_within_the_scope,
};
pub use times::{
    a_search_as_of_brings_back_nothing_gone, a_search_as_of_finds_what_was_known, what_was_true_is_a_filter,
};
pub use versions::{
    a_stale_update_is_refused, an_expired_memory_is_gone, an_update_keeps_its_history, derived_keeps_evidence,
};
pub use writing::{
    a_batch_is_atomic, acknowledged_is_durable, an_id_is_written_once, bad_batches_are_refused,
    one_key_at_once_has_one_effect, one_key_one_effect, read_your_writes,
};

async fn insert(store: &dyn MemoryStore, batch: InsertBatch) -> memory_core::InsertReceipt {
    store.insert(batch).await.expect("insert")
}

async fn get(store: &dyn MemoryStore, scope: &Scope, id: MemoryId) -> Option<std::sync::Arc<Memory>> {
    store.get(scope, id).await.expect("get")
}

async fn forget_ids(
    store: &dyn MemoryStore,
    scope: &Scope,
    ids: impl IntoIterator<Item = MemoryId>,
) -> memory_core::ForgetReceipt {
    let selection = Selection::Ids(ids.into_iter().collect());
    store.forget(&ForgetRequest { scope: scope.clone(), selection, dry_run: false }).await.expect("forget")
}

fn list_request(scope: &Scope) -> ListRequest {
    ListRequest {
        scope: scope.clone(),
        filter: None,
        limit: 1000,
        cursor: None,
        newest_first: false,
        with_embeddings: false,
    }
}

async fn list_ids(store: &dyn MemoryStore, scope: &Scope) -> BTreeSet<MemoryId> {
    store.list(&list_request(scope)).await.expect("list").memories.iter().map(|(memory, _)| memory.id).collect()
}

async fn search_ids(store: &dyn MemoryStore, request: &SearchRequest) -> BTreeSet<MemoryId> {
    store.search(request).await.expect("search").candidates.iter().map(|candidate| candidate.memory.id).collect()
}

fn shortfall(found: &Candidates, arm: Arm) -> u64 {
    found.arms.iter().filter(|report| report.arm == arm).map(|report| report.shortfall).sum()
}
