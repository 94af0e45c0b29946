//! Forgetting, a bounded number of memories in each transaction.

use std::collections::HashSet;
use std::{iter, mem};

use memory_core::{ForgetReceipt, ForgetRequest, MemoryId, Result, Selection};
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use crate::error::{damaged, failed};
use crate::filter::{Compiled, compile};
use crate::provider::AlloyDbMemoryProvider;
use crate::statements::Repeat;
use crate::store::{ARGUMENTS, in_scope, token};

/// How many memories are selected and forgotten in one transaction; what was derived from them goes in the same one.
const AT_ONCE: usize = 1000;

/// What one transaction looks at.
#[derive(Default)]
struct Part<'a> {
    ids: Option<&'a [MemoryId]>,
    filter: Option<&'a Compiled>,
    /// The ordinal of the last memory of the part before.
    after: Option<i64>,
}

impl AlloyDbMemoryProvider {
    pub(crate) async fn forget_selection(&self, request: &ForgetRequest) -> Result<ForgetReceipt> {
        let mut receipt = ForgetReceipt { dry_run: request.dry_run, ..ForgetReceipt::default() };
        let forgotten = match &request.selection {
            Selection::All => self.forget_in_order(request, None, &mut receipt).await,
            Selection::Matching(filter) => {
                self.forget_in_order(request, Some(&compile(filter, ARGUMENTS)), &mut receipt).await
            }
            Selection::Ids(ids) => self.forget_ids(request, ids, &mut receipt).await,
        };
        if !request.dry_run {
            // Also after a failure: parts of it may be gone.
            self.inner.scopes.forget(request.scope.tenant_name());
            self.inner.recall_cache.forget(&request.scope.whole_tenant());
        }
        forgotten.map(|()| receipt)
    }

    /// Goes through the scope from the oldest memory to the newest.
    async fn forget_in_order(
        &self,
        request: &ForgetRequest,
        filter: Option<&Compiled>,
        receipt: &mut ForgetReceipt,
    ) -> Result<()> {
        let mut after = None;
        loop {
            after = self.forget_part(request, Part { filter, after, ids: None }, receipt).await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn forget_ids(&self, request: &ForgetRequest, ids: &[MemoryId], receipt: &mut ForgetReceipt) -> Result<()> {
        let mut parts = ids.chunks(if request.dry_run { ids.len().max(1) } else { AT_ONCE });
        for ids in iter::once(parts.next().unwrap_or_default()).chain(parts) {
            self.forget_part(request, Part { ids: Some(ids), ..Part::default() }, receipt).await?;
        }
        // What one part took for derived may have been asked for in another one.
        let asked: HashSet<MemoryId> = ids.iter().copied().collect();
        let (forgotten, derived) = mem::take(&mut receipt.derived).into_iter().partition(|id| asked.contains(id));
        receipt.derived = derived;
        receipt.forgotten.extend::<Vec<MemoryId>>(forgotten);
        Ok(())
    }

    /// Adds to the receipt. Gives the last ordinal of the part when there may be more after it; a dry run is one part, so
    /// that nothing is counted twice.
    async fn forget_part(
        &self,
        request: &ForgetRequest,
        part: Part<'_>,
        receipt: &mut ForgetReceipt,
    ) -> Result<Option<i64>> {
        let statement = in_scope!("forget_memories", ", $6, $7, $8, $9, $10, $11");
        let ids: Option<Vec<Uuid>> = part.ids.map(|ids| ids.iter().map(|id| id.as_uuid()).collect());
        let query = || {
            self.scoped(statement, &request.scope)
                .bind(&ids)
                .bind(part.filter.map(|filter| &*filter.sql))
                .bind(part.filter.map(|filter| Json(&filter.arguments)))
                .bind((!request.dry_run).then_some(AT_ONCE as i32))
                .bind(request.dry_run)
                .bind(part.after)
        };
        // A second one would not find what the first has forgotten, and not tell it.
        let repeat = if request.dry_run { Repeat::Harmless } else { Repeat::Harmful };
        let row = self.inner.statements.row(&self.inner.primary, repeat, query).await;
        let row = row.map_err(|error| failed("forget", error))?;
        let read = |error| damaged("forget", error);
        let taken = |name: &str| row.try_get::<Vec<Uuid>, _>(name).map_err(read);
        let count = |name: &str| row.try_get(name).map(i64::cast_unsigned).map_err(read);
        receipt.forgotten.extend(taken("forgotten")?.into_iter().map(MemoryId::from));
        receipt.derived.extend(taken("derived")?.into_iter().map(MemoryId::from));
        receipt.former_versions += count("former_versions")?;
        receipt.embeddings += count("embeddings")?;
        receipt.sessions += count("sessions")?;
        if let Some(transaction) = row.try_get::<Option<String>, _>("token").map_err(read)? {
            receipt.token = Some(token(&self.inner.instance, &transaction));
        }
        let more: bool = row.try_get("more").map_err(read)?;
        if more { row.try_get("last").map_err(read) } else { Ok(None) }
    }
}
