//! The model as those who use the memory see it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use memory_core::store::validate_batch;
use memory_core::{
    AnsweredKey, Candidates, Cursor, EmbeddedMemory, Embedding, Error, ForgetReceipt, ForgetRequest, FormerVersion,
    InsertBatch, InsertReceipt, InsertStatus, InsertedItem, ItemKey, ListRequest, Memory, MemoryId, MemoryPatch,
    MemoryStore, Page, Rejection, RejectionPage, Rejections, Result, Scope, SearchRequest, Selection, StoreMark,
    StoreStats, StoredVersion, Timestamp, Unembedded, UpdateReceipt, ValueKey, ValueKeys, VectorBacklog, WholeMemory,
    Writer,
};

use super::search::{neighbours, search};
use super::{Fault, Model, State, key_of};

#[async_trait]
impl MemoryStore for Model {
    async fn insert(&self, batch: InsertBatch) -> Result<InsertReceipt> {
        validate_batch(&batch)?;
        let now = self.clock.now();
        let mut state = self.open()?;
        let tenant = batch.memories[0].memory.scope.tenant_name().to_owned();
        if let Some(key) = &batch.idempotency
            && let Some(answered) = state.answered.get(&(tenant.clone(), key.key.clone()))
        {
            if answered.body_hash != key.body_hash {
                return Err(Error::IdempotencyConflict { key: key.key.clone() });
            }
            let items = answered.items.clone();
            let token = state.tokens.get(&(tenant, key.key.clone())).cloned();
            let token = token.unwrap_or_else(|| state.token());
            return Ok(InsertReceipt { items, token, replayed: true, degraded: Vec::new() });
        }
        // All or nothing: on a copy, which takes the place.
        let mut next = state.clone();
        if self.has(Fault::OrdinalsBeginAgain) {
            next.last = 0;
        }
        let mut items = Vec::with_capacity(batch.memories.len());
        for (at, EmbeddedMemory { memory, embedding }) in batch.memories.into_iter().enumerate() {
            let id = memory.id;
            let status =
                next.insert(memory, embedding, now).map_err(|error| error.within(&format!("memories[{at}]")))?;
            items.push(InsertedItem { id, status });
        }
        if let Some(key) = batch.idempotency {
            let answered = AnsweredKey {
                tenant: tenant.clone(),
                key: key.key.clone(),
                body_hash: key.body_hash,
                items: items.clone(),
                created_at: now,
            };
            next.answered.insert((tenant.clone(), key.key.clone()), answered);
            let token = next.token();
            next.tokens.insert((tenant.clone(), key.key.clone()), token.clone());
            next.note(ItemKey::IdempotencyKey { tenant, key: key.key }, now);
            *state = next;
            return Ok(InsertReceipt { items, token, replayed: false, degraded: Vec::new() });
        }
        *state = next;
        Ok(InsertReceipt { items, token: state.token(), replayed: false, degraded: Vec::new() })
    }

    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        let now = self.clock.now();
        Ok(self.lock().there(scope, id, now).map(|whole| Arc::new(whole.current.memory.clone())))
    }

    async fn turn_before(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        let now = self.clock.now();
        let state = self.lock();
        let Some(whole) = state.there(scope, id, now) else { return Ok(None) };
        Ok(neighbours(&state, whole, now).0.map(|whole| Arc::new(whole.current.memory.clone())))
    }

    async fn update(&self, scope: &Scope, id: MemoryId, patch: MemoryPatch) -> Result<UpdateReceipt> {
        let now = self.clock.now();
        let mut state = self.open()?;
        let former = state.there(scope, id, now).ok_or(Error::NotFound(id))?.current.clone();
        let next = patch.apply(&former.memory, now)?;
        if patch.text.is_some() && state.is_rejected(&next) {
            return Err(Error::ValueRejected { field: "text".into() });
        }
        let embedding = match (&patch.text, patch.embedding) {
            (None, None) => former.embedding.clone(),
            (_, embedding) => embedding,
        };
        let superseded = Memory { superseded_at: Some(now), ..former.memory };
        if let Some(whole) = state.memories.get_mut(&id) {
            whole.former.push(FormerVersion {
                version: StoredVersion { memory: superseded, embedding: former.embedding },
                superseded_at: now,
            });
            whole.current = StoredVersion { memory: next.clone(), embedding };
        }
        let at = state.next();
        state.updated.insert(id, at);
        if !self.has(Fault::UpdatesAreNotNoted) {
            state.note(key_of(&next.scope, id), now);
        }
        Ok(UpdateReceipt { memory: Arc::new(next), token: state.token(), degraded: Vec::new() })
    }

    async fn history(&self, scope: &Scope, id: MemoryId) -> Result<Vec<Memory>> {
        let now = self.clock.now();
        let state = self.lock();
        let Some(whole) = state.there(scope, id, now) else { return Ok(Vec::new()) };
        let former = whole.former.iter().map(|former| former.version.memory.clone());
        Ok(former.chain([whole.current.memory.clone()]).collect())
    }

    async fn forget(&self, request: &ForgetRequest) -> Result<ForgetReceipt> {
        let now = self.clock.now();
        let mut state = self.open()?;
        let (forgotten, derived) = state.doomed(request);
        let mut receipt = ForgetReceipt { forgotten, derived, dry_run: request.dry_run, ..ForgetReceipt::default() };
        for id in receipt.forgotten.iter().chain(&receipt.derived) {
            let whole = &state.memories[id];
            receipt.former_versions += whole.former.len() as u64;
            receipt.embeddings += u64::from(whole.current.embedding.is_some());
        }
        let gone: BTreeSet<MemoryId> = receipt.forgotten.iter().chain(&receipt.derived).copied().collect();
        receipt.sessions = state.sessions_that_end(&gone);
        if request.dry_run {
            return Ok(receipt);
        }
        for id in receipt.forgotten.iter().chain(&receipt.derived) {
            state.bury(*id, now);
        }
        receipt.token = Some(state.token());
        Ok(receipt)
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        if request.limit == 0 {
            return Err(Error::invalid("limit", 0, "at least 1"));
        }
        let now = self.clock.now();
        let state = self.lock();
        let mut found: Vec<&WholeMemory> = state.memories.values().collect();
        found.retain(|WholeMemory { ordinal, current, .. }| {
            request.scope.covers(&current.memory.scope)
                && !current.memory.is_expired(now)
                && request.filter.as_ref().is_none_or(|filter| filter.matches(&current.memory))
                && request
                    .cursor
                    .is_none_or(|Cursor(at)| if request.newest_first { *ordinal < at } else { *ordinal > at })
        });
        found.sort_by_key(|whole| whole.ordinal);
        if request.newest_first {
            found.reverse();
        }
        let has_more = found.len() > request.limit;
        found.truncate(request.limit);
        let next = found.last().filter(|_| has_more).map(|last| Cursor(last.ordinal));
        let memories = found.into_iter().map(|whole| {
            let embedding = whole.current.embedding.clone().filter(|_| request.with_embeddings);
            (Arc::new(whole.current.memory.clone()), embedding)
        });
        Ok(Page { memories: memories.collect(), next })
    }

    async fn search(&self, request: &SearchRequest) -> Result<Candidates> {
        request.validate()?;
        let now = self.clock.now();
        let state = self.lock();
        if let Some(token) = &request.at_least {
            let at = token.0.parse::<u64>().map_err(|_| Error::invalid("at_least", token, "a token of here"))?;
            if at > state.last {
                return Err(Error::NotYetVisible(token.clone()));
            }
        }
        Ok(search(&state, request, now))
    }

    async fn stats(&self, scope: &Scope) -> Result<StoreStats> {
        let now = self.clock.now();
        let state = self.lock();
        let mut stats = StoreStats::default();
        for whole in state.memories.values() {
            if scope.covers(&whole.current.memory.scope) && !whole.current.memory.is_expired(now) {
                stats.memories += 1;
                stats.without_embedding += u64::from(whole.current.embedding.is_none());
                stats.former_versions += whole.former.len() as u64;
            }
        }
        stats.tombstones = state.tombstones.values().filter(|(buried, _)| scope.covers(buried)).count() as u64;
        Ok(stats)
    }

    async fn health(&self) -> Result<()> {
        Ok(())
    }

    fn backlog(&self) -> Option<&dyn VectorBacklog> {
        Some(self)
    }

    fn rejections(&self) -> Option<&dyn Rejections> {
        Some(self)
    }

    async fn mark(&self) -> Result<Option<StoreMark>> {
        Ok(Some(StoreMark(self.lock().last.to_string())))
    }

    async fn stand(&self, scope: &Scope, memories: &[MemoryId], since: Option<&StoreMark>) -> Result<bool> {
        let now = self.clock.now();
        let state = self.lock();
        let since = since.map_or(Ok(u64::MAX), |mark| mark.0.parse());
        let since = since.map_err(|_| Error::invalid("since", "a mark", "a mark of here"))?;
        let stands = |id: &MemoryId| {
            state.there(&scope.whole_tenant(), *id, now).is_some()
                && state.updated.get(id).is_none_or(|updated| *updated <= since)
        };
        Ok(memories.iter().all(stands))
    }
}

#[async_trait]
impl Rejections for Model {
    async fn reject(&self, rejections: &[Rejection]) -> Result<u64> {
        let now = self.clock.now();
        let mut state = self.open()?;
        let mut added = 0;
        for rejection in rejections {
            if state.rejections.values().any(|kept| kept.keys.reads == rejection.keys.reads) {
                continue;
            }
            let at = state.next();
            state.rejections.insert(at, rejection.clone());
            if !self.has(Fault::RejectionsAreNotNoted) {
                state.note(rejection_key(&rejection.scope, rejection.keys.reads), now);
            }
            added += 1;
        }
        Ok(added)
    }

    async fn rejected(&self, scope: &Scope, after: Option<Cursor>, limit: usize) -> Result<RejectionPage> {
        let scope = scope.without_session();
        let state = self.lock();
        let from = after.map_or(0, |Cursor(at)| at + 1);
        let mut found: Vec<_> =
            state.rejections.range(from..).filter(|(_, rejection)| scope.covers(&rejection.scope)).collect();
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|(at, _)| Cursor(**at));
        Ok(RejectionPage { rejections: found.into_iter().map(|(_, rejection)| rejection.clone()).collect(), next })
    }

    async fn lift(&self, scope: &Scope, key: &ValueKey) -> Result<bool> {
        let now = self.clock.now();
        let mut state = self.open()?;
        let is_it = |rejection: &Rejection| {
            rejection.keys.reads == *key && rejection.scope.tenant_name() == scope.tenant_name()
        };
        let Some(at) = state.rejections.iter().find(|(_, rejection)| is_it(rejection)).map(|(at, _)| *at) else {
            return Ok(false);
        };
        state.rejections.remove(&at);
        state.note(rejection_key(scope, *key), now);
        Ok(true)
    }
}

#[async_trait]
impl VectorBacklog for Model {
    async fn without_vector(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Unembedded>> {
        let now = self.clock.now();
        let state = self.lock();
        let mut found: Vec<Unembedded> = Vec::new();
        for WholeMemory { ordinal, current, .. } in state.memories.values() {
            let is_behind = after.is_none_or(|Cursor(at)| *ordinal > at);
            if is_behind && current.embedding.is_none() && !current.memory.is_expired(now) {
                found.push(Unembedded {
                    cursor: Cursor(*ordinal),
                    tenant: current.memory.scope.whole_tenant(),
                    id: current.memory.id,
                    version: current.memory.version,
                });
            }
        }
        found.sort_by_key(|one| one.cursor.0);
        found.truncate(limit);
        Ok(found)
    }

    async fn add_vector(&self, unembedded: &Unembedded, embedding: Embedding) -> Result<bool> {
        let now = self.clock.now();
        let mut state = self.open()?;
        let Some(whole) = state.memories.get_mut(&unembedded.id) else { return Ok(false) };
        let StoredVersion { memory, embedding: held } = &mut whole.current;
        let is_theirs = unembedded.tenant.covers(&memory.scope);
        if !is_theirs || memory.version != unembedded.version || held.is_some() || memory.is_expired(now) {
            return Ok(false);
        }
        *held = Some(embedding);
        let key = key_of(&unembedded.tenant, unembedded.id);
        state.note(key, now);
        Ok(true)
    }
}

impl State {
    /// The memory, where a scope sees it.
    fn there(&self, scope: &Scope, id: MemoryId, now: Timestamp) -> Option<&WholeMemory> {
        let whole = self.memories.get(&id)?;
        let memory = &whole.current.memory;
        (scope.covers(&memory.scope) && !memory.is_expired(now)).then_some(whole)
    }

    fn insert(&mut self, memory: Memory, embedding: Option<Embedding>, now: Timestamp) -> Result<InsertStatus> {
        if let Some(held) = self.memories.get(&memory.id) {
            let held = &held.current.memory;
            let is_same = held.scope == memory.scope && held.text == memory.text;
            return if is_same { Ok(InsertStatus::Unchanged) } else { Err(Error::IdTaken(memory.id)) };
        }
        let brings_back = matches!(memory.origin.writer, Writer::Import | Writer::Consolidation);
        match self.tombstones.get(&memory.id) {
            Some((scope, _)) if scope.tenant_name() != memory.scope.tenant_name() => {
                return Err(Error::IdTaken(memory.id));
            }
            Some(_) if brings_back => return Ok(InsertStatus::RefusedForgotten),
            Some(_) => return Err(Error::Forgotten(memory.id)),
            None => {}
        }
        match self.is_rejected(&memory) {
            true if brings_back => return Ok(InsertStatus::RefusedRejected),
            true => return Err(Error::ValueRejected { field: "text".into() }),
            false => {}
        }
        let text_was_forgotten = self.forgotten_texts.contains(&(memory.scope.clone(), memory.content_hash()));
        let of_forgotten = memory.origin.writer == Writer::Consolidation
            && memory.evidence.iter().any(|source| self.tombstones.contains_key(source));
        if brings_back && text_was_forgotten || of_forgotten {
            return Ok(InsertStatus::RefusedForgotten);
        }
        let ordinal = self.next();
        let (id, key) = (memory.id, key_of(&memory.scope, memory.id));
        let current = StoredVersion { memory: Memory { superseded_at: None, ..memory }, embedding };
        self.memories.insert(id, WholeMemory { ordinal, current, former: Vec::new() });
        self.note(key, now);
        Ok(InsertStatus::Created)
    }

    fn is_rejected(&self, memory: &Memory) -> bool {
        let scope = memory.scope.without_session();
        let keys = ValueKeys::of(&scope, &memory.text).both();
        let mut kept = self.rejections.values().filter(|rejection| rejection.scope == scope);
        kept.any(|rejection| rejection.keys.both().iter().any(|key| keys.contains(key)))
    }

    /// What a request selects, and what was derived from that.
    fn doomed(&self, request: &ForgetRequest) -> (Vec<MemoryId>, Vec<MemoryId>) {
        let within = |memory: &Memory| request.scope.covers(&memory.scope);
        let is_selected = |memory: &Memory| match &request.selection {
            Selection::Ids(ids) => ids.contains(&memory.id),
            Selection::Matching(filter) => filter.matches(memory),
            Selection::All => true,
        };
        let all = || self.memories.values().map(|whole| &whole.current.memory);
        let forgotten: Vec<MemoryId> =
            all().filter(|memory| within(memory) && is_selected(memory)).map(|memory| memory.id).collect();
        let mut reached: BTreeSet<MemoryId> = forgotten.iter().copied().collect();
        let mut derived = Vec::new();
        loop {
            let before = derived.len();
            for memory in all().filter(|memory| memory.scope.tenant_name() == request.scope.tenant_name()) {
                if memory.evidence.iter().any(|source| reached.contains(source)) && reached.insert(memory.id) {
                    derived.push(memory.id);
                }
            }
            if derived.len() == before {
                return (forgotten, derived);
            }
        }
    }

    /// How many sessions lose their last turn when these go.
    fn sessions_that_end(&self, gone: &BTreeSet<MemoryId>) -> u64 {
        let sessions = |is_of: &dyn Fn(&MemoryId) -> bool| -> BTreeSet<&Scope> {
            let memories =
                self.memories.iter().filter(|(id, _)| is_of(id)).map(|(_, whole)| &whole.current.memory.scope);
            memories.filter(|scope| scope.session().is_some()).collect()
        };
        let left = sessions(&|id| !gone.contains(id));
        sessions(&|id| gone.contains(id)).difference(&left).count() as u64
    }

    /// Leaves a tombstone in the place of a memory, and the hashes of its texts.
    fn bury(&mut self, id: MemoryId, now: Timestamp) {
        let Some(whole) = self.memories.remove(&id) else { return };
        let scope = whole.current.memory.scope.clone();
        self.tombstones.insert(id, (scope.clone(), now));
        self.note(key_of(&scope, id), now);
        let versions = whole.former.iter().map(|former| &former.version.memory).chain([&whole.current.memory]);
        for hash in versions.map(Memory::content_hash) {
            if self.forgotten_texts.insert((scope.clone(), hash)) {
                self.note(ItemKey::ForgottenText { scope: scope.clone(), hash }, now);
            }
        }
    }
}

fn rejection_key(scope: &Scope, key: ValueKey) -> ItemKey {
    ItemKey::Rejection { tenant: scope.tenant_name().to_owned(), key }
}
