//! Forgetting what must not come back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use super::TieredMemoryManager;
use crate::{
    Error, Filter, ForgetReceipt, ForgetRequest, ListRequest, Memory, MemoryId, Rejection, RejectionPage, Rejections,
    Result, Scope, Selection, ValueKey, ValueKeys, store::Cursor,
};

/// How many memories are looked at together.
const PAGE: usize = 1000;

/// What was forgotten and rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectReceipt {
    /// What was forgotten: what was selected, and the others of the same values.
    #[serde(flatten)]
    pub forgotten: ForgetReceipt,
    /// How many values were rejected, or would be in a dry run.
    pub rejected: u64,
}

impl TieredMemoryManager {
    /// Forgets memories for good, as [`forget`](Self::forget) does, and rejects what they say: no write of the same tenant,
    /// user and agent, in whichever session and by whichever path, brings one of these values back. What says the same
    /// there already is forgotten too. Values are the texts of what was selected, not of what was derived from it.
    ///
    /// The values are rejected first: when this fails after that, the same call again forgets what is left. Each value's
    /// scope is read once as a whole.
    ///
    /// # Errors
    /// [`Error::Unusable`] where the store keeps no rejections, else as
    /// [`MemoryStore::list`](crate::MemoryStore::list) and [`forget`](Self::forget).
    pub async fn forget_and_reject(&self, request: &ForgetRequest, rejected_by: &str) -> Result<RejectReceipt> {
        let store = self.store_of_rejections()?;
        let selected = self.selected(request).await?;
        let mut values: HashMap<Scope, HashSet<ValueKeys>> = HashMap::new();
        for memory in &selected {
            let scope = memory.scope.without_session();
            let keys = ValueKeys::of(&scope, &memory.text);
            values.entry(scope).or_default().insert(keys);
        }
        let now = self.clock.now();
        let rejections: Vec<Rejection> = values
            .iter()
            .flat_map(|(scope, values)| values.iter().map(move |keys| (scope, *keys)))
            .map(|(scope, keys)| Rejection {
                scope: scope.clone(),
                keys,
                rejected_at: now,
                rejected_by: rejected_by.to_owned(),
            })
            .collect();
        if !request.dry_run && !rejections.is_empty() {
            store.reject(&rejections).await?;
        }
        let mut ids: Vec<MemoryId> = selected.iter().map(|memory| memory.id).collect();
        for (scope, values) in &values {
            ids.extend(self.of_these_values(scope, values).await?);
        }
        let mut once = HashSet::with_capacity(ids.len());
        ids.retain(|id| once.insert(*id));
        // Another session of the scope is outside of what was asked for, and inside of what was rejected.
        let (scope, selection) = (request.scope.whole_tenant(), Selection::Ids(ids));
        let forgotten = self.forget(&ForgetRequest { scope, selection, dry_run: request.dry_run }).await?;
        Ok(RejectReceipt { forgotten, rejected: rejections.len() as u64 })
    }

    /// The rejections inside a scope, oldest first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit out of range, else as [`forget_and_reject`](Self::forget_and_reject).
    pub async fn rejected(&self, scope: &Scope, after: Option<Cursor>, limit: usize) -> Result<RejectionPage> {
        crate::recall::check_limit(limit)?;
        self.store_of_rejections()?.rejected(scope, after, limit).await
    }

    /// Takes a rejection of the scope's tenant back, and says whether there was one.
    ///
    /// # Errors
    /// As [`forget_and_reject`](Self::forget_and_reject).
    pub async fn lift_rejection(&self, scope: &Scope, key: &ValueKey) -> Result<bool> {
        self.store_of_rejections()?.lift(scope, key).await
    }

    fn store_of_rejections(&self) -> Result<&dyn Rejections> {
        self.medium_term_provider.rejections().ok_or_else(|| Error::Unusable {
            provider: "memory store",
            reason: "it keeps no rejected values".into(),
            source: None,
        })
    }

    async fn selected(&self, request: &ForgetRequest) -> Result<Vec<Arc<Memory>>> {
        let filter = match &request.selection {
            Selection::All => None,
            Selection::Matching(filter) => Some(filter),
            Selection::Ids(ids) => {
                let mut found = Vec::with_capacity(ids.len());
                for id in ids {
                    found.extend(self.medium_term_provider.get(&request.scope, *id).await?);
                }
                return Ok(found);
            }
        };
        let mut found = Vec::new();
        self.each_of(&request.scope, filter, |memory| found.push(memory.clone())).await?;
        Ok(found)
    }

    /// The memories of just this tenant, user and agent that say one of these values.
    async fn of_these_values(&self, scope: &Scope, values: &HashSet<ValueKeys>) -> Result<Vec<MemoryId>> {
        let keys: HashSet<ValueKey> = values.iter().flat_map(ValueKeys::both).collect();
        let mut found = Vec::new();
        let says_one = |memory: &Memory| {
            memory.scope.without_session() == *scope
                && ValueKeys::of(scope, &memory.text).both().iter().any(|key| keys.contains(key))
        };
        self.each_of(scope, None, |memory| found.extend(says_one(memory).then_some(memory.id))).await?;
        Ok(found)
    }

    async fn each_of(
        &self,
        scope: &Scope,
        filter: Option<&Filter>,
        mut each: impl FnMut(&Arc<Memory>) + Send,
    ) -> Result<()> {
        let mut list = ListRequest {
            scope: scope.clone(),
            filter: filter.cloned(),
            limit: PAGE,
            cursor: None,
            newest_first: false,
            with_embeddings: false,
        };
        loop {
            let page = self.medium_term_provider.list(&list).await?;
            page.memories.iter().for_each(|(memory, _)| each(memory));
            list.cursor = page.next;
            if page.next.is_none() {
                return Ok(());
            }
        }
    }
}
