//! Carrying a consolidation out.
//!
//! A merge is a two-phase swap: the successor is written and read back, and only then are its sources closed, one by one.
//! Every step may be cut short anywhere and is safe to repeat, in this process or in another: a successor's id and key come
//! from its content, and a source is closed only in the version that the plan has seen. Nothing is deleted.
//!
//! One run at a time in a scope, over all processes: two that plan from different moments could each close what the other one
//! lets stand, and until the next run nothing would say it.

mod report;
mod runs;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::SubsecRound as _;

use super::TieredMemoryManager;
use crate::consolidation::{Derived, METADATA_KEY, Near, Plan, Record, Step, Window, accept, is_candidate, plan};
use crate::{
    Condition, EmbeddedMemory, Embedding, Error, Field, Filter, InsertBatch, InsertStatus, ListRequest, Memory,
    MemoryId, MemoryPatch, Purpose, Result, Scope, SearchRequest, Timestamp, WriteToken,
};

pub use report::{
    ConsolidateReport, ConsolidateRequest, DEFAULT_CONSOLIDATION_LIMIT, DoneStep, MAX_CONSOLIDATION_LIMIT, StepOutcome,
};
pub(super) use runs::Runs;

/// How many memories are planned for together.
const PAGE: usize = 100;
/// How many of the nearest a memory is compared with.
const NEIGHBOURS: usize = 32;
/// How often a successor is looked for before its sources are left to the next run. Each look carries the token of the
/// write, so a store that cannot wait for it says so.
const READ_BACK_ATTEMPTS: usize = 5;

impl TieredMemoryManager {
    /// Consolidates the long-term memory of a scope: merges what says the same, closes what a later statement contradicts,
    /// keeps what turns state before they expire. Nothing is deleted; a recall of now leaves out what was closed, and one
    /// [as of](crate::RecallRequest::as_of) a former time finds it. Run again, it goes on where it was cut short, and
    /// changes nothing where there is nothing to do.
    ///
    /// Looks at no more than `limit` memories, in windows; each is compared with its nearest by one search of the store.
    ///
    /// # Errors
    /// As [`ConsolidateRequest::validate`]; [`Error::Busy`] while another run is under way in the scope; and as
    /// [`MemoryStore`](crate::MemoryStore) and [`Embedder`](crate::Embedder). What was done before an error stands.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn consolidate(&self, request: &ConsolidateRequest) -> Result<ConsolidateReport> {
        request.validate()?;
        let _run = self.consolidations.begin(&request.scope)?;
        let Some(_turn) = self.medium_term_provider.take_turn(&request.scope).await? else {
            return Err(Error::Busy("another process consolidates this scope"));
        };
        let mut report = ConsolidateReport { next: request.cursor, ..ConsolidateReport::default() };
        // In a dry run what is planned to be closed stays open, and is not to be planned for again.
        let mut spoken_for = HashSet::new();
        loop {
            let left = request.limit - usize::try_from(report.visited).unwrap_or(request.limit).min(request.limit);
            if left == 0 {
                return Ok(report);
            }
            let list = ListRequest {
                scope: request.scope.clone(),
                filter: None,
                limit: left.min(PAGE),
                cursor: report.next,
                newest_first: false,
                with_embeddings: true,
            };
            let page = self.medium_term_provider.list(&list).await?;
            let window = self.window_of(&page.memories, &spoken_for, report.token.as_ref()).await?;
            let plan = self.plan(&window, request, &mut report).await?;
            for step in plan.steps {
                self.take(step, request, &mut spoken_for, &mut report).await?;
            }
            report.visited += page.memories.len() as u64;
            report.next = page.next;
            if report.next.is_none() {
                return Ok(report);
            }
        }
    }

    /// A page's memories with the nearest of each.
    async fn window_of(
        &self,
        page: &[(Arc<Memory>, Option<Embedding>)],
        spoken_for: &HashSet<MemoryId>,
        at_least: Option<&WriteToken>,
    ) -> Result<Window> {
        let now = self.clock.now();
        let mut window = Window::default();
        let mut places = HashMap::new();
        let mut pairs = HashMap::new();
        let mut place_of = |memory: &Arc<Memory>, window: &mut Window| {
            *places.entry(memory.id).or_insert_with(|| {
                window.memories.push(memory.clone());
                window.memories.len() - 1
            })
        };
        for (memory, _) in page.iter().filter(|(memory, _)| !spoken_for.contains(&memory.id)) {
            place_of(memory, &mut window);
        }
        for (memory, embedding) in page {
            if let Some(id) = self.successor_gone(memory).await? {
                window.gone.insert(id);
            }
            let Some(embedding) = embedding.as_ref().filter(|_| is_candidate(memory, now)) else { continue };
            if spoken_for.contains(&memory.id) {
                continue;
            }
            let a = place_of(memory, &mut window);
            for (near, similarity) in self.nearest(memory, embedding, now, at_least).await? {
                if near.id != memory.id && near.scope == memory.scope && !spoken_for.contains(&near.id) {
                    let b = place_of(&near, &mut window);
                    pairs.insert((a.min(b), a.max(b)), similarity);
                }
            }
        }
        window.near = pairs.into_iter().map(|((a, b), similarity)| Near { a, b, similarity }).collect();
        window.near.sort_by_key(|near| (near.a, near.b));
        Ok(window)
    }

    /// What `memory` was closed in favour of, when that is gone.
    async fn successor_gone(&self, memory: &Memory) -> Result<Option<MemoryId>> {
        let record = Record::of(memory);
        let Some(id) = record.superseded_by.filter(|_| record.is_mark_of(memory)) else { return Ok(None) };
        let tenant = Scope::tenant(memory.scope.tenant_name())?;
        Ok(self.medium_term_provider.get(&tenant, id).await?.is_none().then_some(id))
    }

    /// The nearest memories of a memory's scope and kind that hold, with their similarity.
    async fn nearest(
        &self,
        memory: &Memory,
        embedding: &Embedding,
        now: Timestamp,
        at_least: Option<&WriteToken>,
    ) -> Result<Vec<(Arc<Memory>, f32)>> {
        let kind = Filter::Is(Field::Kind, Condition::Eq(memory.kind.name().into()));
        let request = SearchRequest {
            filter: Some(Filter::And(vec![kind, Filter::not_ended_at(now)])),
            candidates: NEIGHBOURS,
            ..by_vector(&memory.scope, embedding.clone(), at_least)
        };
        let found = self.medium_term_provider.search(&request).await?;
        Ok(found
            .candidates
            .into_iter()
            .filter_map(|candidate| Some((candidate.memory, candidate.similarity?)))
            .collect())
    }

    /// The plan of a window, with what holds up of the consolidator's proposals.
    async fn plan(
        &self,
        window: &Window,
        request: &ConsolidateRequest,
        report: &mut ConsolidateReport,
    ) -> Result<Plan> {
        let now = self.clock.now();
        let mut planned = plan(window, &request.settings, now);
        if !self.long_term_enabled {
            planned.steps.retain(|step| !matches!(step, Step::Promote { .. }));
        }
        // What a turn of a session states is its user's, which a run of the session alone does not cover.
        planned.steps.retain(|step| match step {
            Step::Promote { successor, .. } => request.scope.covers(&successor.scope),
            _ => true,
        });
        let Some(consolidator) = &request.consolidator else { return Ok(planned) };
        let mut closed: HashSet<MemoryId> =
            planned.steps.iter().flat_map(Step::closes).map(|memory| memory.id).collect();
        for proposal in consolidator.propose(window).await? {
            match accept(&proposal, consolidator.name(), window, &request.settings, now, &closed) {
                Ok(step) => {
                    closed.extend(step.closes().iter().map(|memory| memory.id));
                    planned.steps.push(step);
                }
                Err(_) => report.refused_proposals += 1,
            }
        }
        Ok(planned)
    }

    /// Carries a step out and notes what became of it. A fact that was promoted before is no step.
    async fn take(
        &self,
        step: Step,
        request: &ConsolidateRequest,
        spoken_for: &mut HashSet<MemoryId>,
        report: &mut ConsolidateReport,
    ) -> Result<()> {
        if let Step::Promote { successor, .. } = &step
            && self.medium_term_provider.get(&successor.scope, successor.id()).await?.is_some()
        {
            return Ok(());
        }
        spoken_for.extend(step.closes().iter().map(|memory| memory.id));
        let outcome = match &step {
            _ if request.dry_run => StepOutcome::Planned,
            Step::Reopen { source, .. } => {
                let patch = MemoryPatch {
                    valid_to: Some(Record::of(source).former_valid_to),
                    metadata: Some(Record::reopened(source)),
                    ..MemoryPatch::default()
                };
                self.patch(source, patch, report).await?
            }
            Step::Finish { successor, sources } => {
                if self.stands(successor).await? {
                    self.close_all(sources, successor.id, report).await?
                } else {
                    StepOutcome::Overtaken
                }
            }
            Step::Supersede { earlier, later, .. } => {
                if self.stands(later).await? {
                    self.close(earlier, later.id, step.closed_at(self.clock.now()), report).await?
                } else {
                    StepOutcome::Overtaken
                }
            }
            Step::Merge { successor, sources, .. } => self.swap(successor, sources, report).await?,
            Step::Promote { successor, source, .. } => {
                if self.stands(source).await? {
                    self.write(successor, report).await?.err().unwrap_or(StepOutcome::Done)
                } else {
                    StepOutcome::Overtaken
                }
            }
        };
        report.steps.push(DoneStep { step, outcome });
        Ok(())
    }

    /// The two-phase swap.
    async fn swap(
        &self,
        successor: &Derived,
        sources: &[Arc<Memory>],
        report: &mut ConsolidateReport,
    ) -> Result<StepOutcome> {
        for source in sources {
            if !self.stands(source).await? {
                return Ok(StepOutcome::Overtaken);
            }
        }
        let embedding = match self.write(successor, report).await? {
            Ok(embedding) => embedding,
            Err(refused) => return Ok(refused),
        };
        // It may be there from an earlier run, and have been closed or corrected since.
        let there = self.medium_term_provider.get(&successor.scope, successor.id()).await?;
        if !there.is_some_and(|there| there.version == 1 && there.text == successor.text) {
            return Ok(StepOutcome::Overtaken);
        }
        if !self.is_readable(successor, &embedding, report.token.as_ref()).await? {
            return Ok(StepOutcome::NotYetVisible);
        }
        // First the one that says the same word for word: when somebody corrects it just now, the others stay.
        let (same, others): (Vec<_>, Vec<_>) =
            sources.iter().cloned().partition(|source| source.text == successor.text);
        let first = self.close_all(&same, successor.id(), report).await?;
        if first != StepOutcome::Done {
            self.retire(successor, report).await?;
            return Ok(first);
        }
        self.close_all(&others, successor.id(), report).await
    }

    /// Writes a successor and gives its vector, or why the store refuses to bring back what it says.
    async fn write(
        &self,
        successor: &Derived,
        report: &mut ConsolidateReport,
    ) -> Result<Result<Embedding, StepOutcome>> {
        let mut made = self.embedder.embed(&[&successor.text], Purpose::Document).await?;
        let embedding = made.pop().ok_or_else(|| Error::Embedder {
            model: self.embedder.space().model.clone(),
            reason: "it gave no vector".into(),
            retryable: false,
            source: None,
        })?;
        let item = EmbeddedMemory { memory: successor.to_memory(self.clock.now()), embedding: Some(embedding.clone()) };
        let batch = InsertBatch { memories: vec![item], idempotency: Some(successor.idempotency()) };
        let receipt = match self.medium_term_provider.insert(batch).await {
            Ok(receipt) => receipt,
            Err(Error::Forgotten(_)) => return Ok(Err(StepOutcome::RefusedForgotten)),
            Err(error) => return Err(error),
        };
        report.token = Some(receipt.token);
        Ok(match receipt.items.first().map(|item| item.status) {
            Some(InsertStatus::RefusedForgotten) => Err(StepOutcome::RefusedForgotten),
            Some(InsertStatus::RefusedRejected) => Err(StepOutcome::RefusedRejected),
            Some(InsertStatus::Created | InsertStatus::Unchanged) | None => Ok(embedding),
        })
    }

    /// Whether a search finds the successor.
    async fn is_readable(
        &self,
        successor: &Derived,
        embedding: &Embedding,
        token: Option<&WriteToken>,
    ) -> Result<bool> {
        let key = Record::key_in(&successor.metadata);
        let path = vec![METADATA_KEY.to_owned(), "key".to_owned()];
        let request = SearchRequest {
            filter: Some(Filter::Is(Field::Metadata(path), Condition::Eq(key.into()))),
            candidates: 2,
            ..by_vector(&successor.scope, embedding.clone(), token)
        };
        for _ in 0..READ_BACK_ATTEMPTS {
            match self.medium_term_provider.search(&request).await {
                Ok(found) if found.candidates.iter().any(|found| found.memory.id == successor.id()) => return Ok(true),
                Ok(_) | Err(Error::NotYetVisible(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Whether the store still holds this very version.
    async fn stands(&self, memory: &Memory) -> Result<bool> {
        let there = self.medium_term_provider.get(&memory.scope, memory.id).await?;
        Ok(there.is_some_and(|there| there.version == memory.version))
    }

    async fn close_all(
        &self,
        sources: &[Arc<Memory>],
        successor: MemoryId,
        report: &mut ConsolidateReport,
    ) -> Result<StepOutcome> {
        let mut outcome = StepOutcome::Done;
        for source in sources {
            if self.close(source, successor, self.clock.now(), report).await? != StepOutcome::Done {
                outcome = StepOutcome::Overtaken;
            }
        }
        Ok(outcome)
    }

    /// Closes a memory in favour of `successor`, and takes the cached answers that used it along.
    async fn close(
        &self,
        source: &Memory,
        successor: MemoryId,
        at: Timestamp,
        report: &mut ConsolidateReport,
    ) -> Result<StepOutcome> {
        // Stores keep microseconds, and the mark holds as long as it says the same as the end that they keep.
        let at = at.trunc_subsecs(6);
        let patch = MemoryPatch {
            valid_to: Some(Some(at)),
            metadata: Some(Record::closed(source, successor, at)),
            ..MemoryPatch::default()
        };
        self.patch(source, patch, report).await
    }

    /// Ends a successor whose text was corrected while it was written.
    async fn retire(&self, successor: &Derived, report: &mut ConsolidateReport) -> Result<()> {
        let memory = successor.to_memory(self.clock.now());
        let patch = MemoryPatch { valid_to: Some(Some(self.clock.now())), ..MemoryPatch::default() };
        self.patch(&memory, patch, report).await.map(|_| ())
    }

    /// Changes a memory in the version that was read.
    async fn patch(&self, memory: &Memory, patch: MemoryPatch, report: &mut ConsolidateReport) -> Result<StepOutcome> {
        let patch = MemoryPatch { expected_version: Some(memory.version), ..patch };
        match self.update(&memory.scope, memory.id, patch).await {
            Ok(receipt) => {
                report.token = Some(receipt.token);
                Ok(StepOutcome::Done)
            }
            Err(Error::NotFound(_) | Error::VersionConflict { .. } | Error::Forgotten(_)) => Ok(StepOutcome::Overtaken),
            Err(error) => Err(error),
        }
    }
}

fn by_vector(scope: &Scope, embedding: Embedding, at_least: Option<&WriteToken>) -> SearchRequest {
    SearchRequest {
        scope: scope.clone(),
        also: Vec::new(),
        embedding: Some(embedding),
        text: None,
        filter: None,
        candidates: NEIGHBOURS,
        neighbours: false,
        at_least: at_least.cloned(),
        as_of: None,
        best: None,
    }
}
