//! Recall: working memory and the durable store at once, under one deadline, as one ranking.

use std::collections::HashSet;

use super::TieredMemoryManager;
use super::patience::{Patience, both};
use crate::recall::{Conversation, Counts, Selected, select, without_copies};
use crate::{
    ArmReport, Best, Candidate, Candidates, Condition, Degradation, Embedding, Error, Field, Filter, FusionStrategy,
    MemoryId, MemoryKind, Purpose, RecallReport, RecallRequest, RecalledFrom, Result, Scope, SearchRequest, Tier,
    WindowRequest, fusion,
};

/// What both parts gave.
#[derive(Default)]
struct Gathered {
    candidates: Vec<Candidate>,
    arms: Vec<ArmReport>,
    least_left_out: Option<f32>,
    degraded: Vec<Degradation>,
    /// Which of the candidates are messages of working memory.
    working: HashSet<MemoryId>,
    /// What the store saw; `None` while it is away.
    durable: Option<Seen>,
}

/// What the durable store gave.
struct Durable {
    found: Candidates,
    degraded: Vec<Degradation>,
    seen: Seen,
}

/// What the durable store looked at.
struct Seen {
    /// How many memories it compared.
    compared: u64,
    /// How many candidates were left out because they had ended.
    ended: u64,
    /// Whether an arm may have had more candidates than it gave.
    full: bool,
}

/// What working memory gave.
type Recent = (Vec<Candidate>, ArmReport);

impl TieredMemoryManager {
    /// The memories that answer a question, best first, and where they come from.
    ///
    /// The durable store is searched, and at the same time the working memory of every session that a scope of the request
    /// names, its newest messages by their words. What is in both is given once, from the store; so is what one scope holds
    /// more than once. A recall as of a former time leaves working memory out.
    ///
    /// When the embedder is away the answer is by words alone and says so. When working memory is away, or something takes
    /// longer than the deadline, the rest is the answer and says what is missing. When the store is away, working memory
    /// alone answers if it has something to the question. What has ceased to be true, by its `valid_to`, is left out, unless
    /// the filter says something of `valid_to` itself, as [`Filter::valid_at`] does; a recall as of a former time leaves out
    /// what had ended then.
    ///
    /// # Errors
    /// As [`RecallRequest::validate`] and [`MemoryStore::search`](crate::MemoryStore::search); [`Error::Invalid`] for a
    /// deadline where the manager has no [timer](super::TieredMemoryManagerBuilder::timer).
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn recall(&self, request: RecallRequest) -> Result<RecallReport> {
        request.validate()?;
        let (patience, began) = (self.patience(&request)?, self.clock.now());
        let RecallRequest { ref query, strategy, limit, max_tokens, .. } = request;
        let best = best_of(&request).map(|count| Best { count, at: began });
        let mut gathered = self.gather(&request, best, patience).await?;
        let (ranked_durable, Selected { memories, tokens, left_out, repeated }) = loop {
            let Gathered { candidates, least_left_out, working, .. } = &gathered;
            let now = self.clock.now();
            let mut ranked = fusion::fuse(query, candidates, *least_left_out, &strategy, now, candidates.len());
            for recalled in ranked.iter_mut().filter(|recalled| working.contains(&recalled.memory.id)) {
                recalled.from = RecalledFrom::Working;
            }
            let durable = ranked.iter().filter(|recalled| recalled.from == RecalledFrom::Persistent).count() as u64;
            let selected = select(ranked, limit, max_tokens);
            // So many of the best say the same that one of those left out has a place.
            if selected.memories.len() < limit && least_left_out.is_some() {
                gathered = self.gather(&request, None, patience.rest(now - began)).await?;
                continue;
            }
            break (durable, selected);
        };
        let Gathered { arms, degraded, durable, .. } = gathered;
        let mut missing = Vec::new();
        if request.explain
            && memories.len() < limit
            && let Some(Seen { compared, ended, full }) = durable
        {
            let counts = Counts {
                in_scope: patience.rest(self.clock.now() - began).wait(self.count(&request)).await.flatten(),
                compared,
                ended,
                unmatched: if full { 0 } else { compared.saturating_sub(ended + ranked_durable) },
                repeated,
                over_budget: left_out,
                has_filter: request.filter.is_some(),
                without_long_term: !self.long_term_enabled,
            };
            missing = counts.reasons();
        }
        Ok(RecallReport { memories, strategy, arms, degraded, tokens, left_out, missing })
    }

    /// Asks both parts at once, and takes what is there by the deadline.
    async fn gather(&self, request: &RecallRequest, best: Option<Best>, patience: Patience<'_>) -> Result<Gathered> {
        let durable = patience.wait(self.recall_durable(request, best, patience));
        let recent = patience.wait(self.recall_recent(request));
        let (durable, recent) = both(durable, recent).await;
        let mut degraded = Vec::new();
        let recent = match recent {
            Some(Err(error)) if error.is_retryable() => {
                degraded.push(Degradation::WorkingMemoryUnavailable);
                None
            }
            Some(recent) => recent?,
            None => {
                degraded.extend([Degradation::WorkingMemoryUnavailable, Degradation::DeadlineExceeded]);
                None
            }
        };
        let has_something = recent.as_ref().is_some_and(|(messages, _)| !messages.is_empty());
        let durable = match durable {
            Some(Err(Error::Backend { retryable: true, .. })) if has_something => {
                degraded.push(Degradation::PersistentUnavailable);
                None
            }
            Some(durable) => Some(durable?),
            None => {
                degraded.extend([Degradation::PersistentUnavailable, Degradation::DeadlineExceeded]);
                None
            }
        };
        let mut gathered = Gathered::default();
        if let Some(Durable { found, degraded: lacks, seen }) = durable {
            degraded.extend(lacks);
            gathered.least_left_out = found.least_left_out;
            (gathered.candidates, gathered.arms, gathered.durable) = (found.candidates, found.arms, Some(seen));
        }
        if let Some((messages, report)) = recent {
            let messages = without_copies(messages, &gathered.candidates);
            gathered.working = messages.iter().map(|message| message.memory.id).collect();
            gathered.candidates.extend(messages);
            gathered.arms.push(report);
        }
        let mut told = HashSet::new();
        degraded.retain(|degradation| told.insert(*degradation));
        Ok(Gathered { degraded, ..gathered })
    }

    /// How many memories the store holds of the scope now. `None` where it cannot say, and for what is no one scope of now.
    async fn count(&self, request: &RecallRequest) -> Option<u64> {
        if !request.also.is_empty() || request.as_of.is_some() {
            return None;
        }
        self.medium_term_provider.stats(&request.scope).await.ok().map(|stats| stats.memories)
    }

    fn patience(&self, request: &RecallRequest) -> Result<Patience<'_>> {
        match (request.deadline, &self.timer) {
            (None, _) => Ok(Patience::ENDLESS),
            (Some(deadline), Some(timer)) => Ok(Patience::new(&**timer, deadline)),
            (Some(deadline), None) => {
                Err(Error::invalid("deadline", deadline.as_millis(), "none: this manager has no timer"))
            }
        }
    }

    /// The newest messages that speak to the question; `None` where nobody keeps any.
    async fn recall_recent(&self, request: &RecallRequest) -> Result<Option<Recent>> {
        let is_asked = request.conversation && request.as_of.is_none();
        let Some(working) = self.working_memory.as_ref().filter(|_| is_asked) else { return Ok(None) };
        let scopes = [&request.scope].into_iter().chain(&request.also);
        let mut sessions: Vec<&Scope> = scopes.filter(|scope| scope.session().is_some()).collect();
        sessions.sort_unstable();
        sessions.dedup();
        if sessions.is_empty() {
            return Ok(None);
        }
        let mut conversation = Conversation::default();
        for session in sessions {
            let window = working.window(&WindowRequest::new(session.clone())).await?;
            conversation.add(session, window, request.filter.as_ref());
        }
        Ok(Some(conversation.candidates(&request.query, &request.strategy)))
    }

    async fn recall_durable(
        &self,
        request: &RecallRequest,
        best: Option<Best>,
        patience: Patience<'_>,
    ) -> Result<Durable> {
        let mut degraded = Vec::new();
        let embedding = self.question(request, patience, &mut degraded).await?;
        // What a filter says of the end is the caller's own answer to what has ended.
        let asks_for_ended = request.filter.as_ref().is_some_and(|filter| filter.names(&Field::ValidTo));
        let mut search = SearchRequest {
            scope: request.scope.clone(),
            also: request.also.clone(),
            // Words that weigh nothing need not be looked for, unless there is nothing else.
            text: (embedding.is_none() || !request.strategy.is_by_vector_alone()).then(|| request.query.clone()),
            embedding,
            filter: self.within_tiers(request.filter.clone()),
            candidates: self.candidates.max(request.limit),
            neighbours: request.strategy.uses_neighbours(),
            at_least: request.at_least.clone(),
            as_of: request.as_of,
            best,
        };
        let mut found = self.medium_term_provider.search(&search).await?;
        let compared = found.arms.iter().map(|arm| arm.considered).max().unwrap_or_default();
        let full = found.arms.iter().any(|arm| arm.returned >= search.candidates as u64);
        let mut ended = 0;
        if !asks_for_ended {
            let at = search.as_of.unwrap_or_else(|| self.clock.now());
            let all = found.candidates.len();
            found.candidates.retain(|candidate| candidate.memory.valid_to.is_none_or(|to| to > at));
            ended = (all - found.candidates.len()) as u64;
            // Few memories ever end: the store leaves them out only when they took the place of others.
            if ended > 0 && full {
                let not_ended = [Filter::not_ended_at(at)];
                search.filter = Some(Filter::And(not_ended.into_iter().chain(search.filter.take()).collect()));
                found = self.medium_term_provider.search(&search).await?;
            }
        }
        if found.arms.iter().any(|arm| arm.shortfall > 0) {
            degraded.push(Degradation::Shortfall);
        }
        if found.arms.iter().any(|arm| !arm.exact) {
            degraded.push(Degradation::Approximate);
        }
        Ok(Durable { found, degraded, seen: Seen { compared, ended, full } })
    }

    /// The question's vector; `None` while the embedder is away, or when it takes more than its part of the time.
    async fn question(
        &self,
        request: &RecallRequest,
        patience: Patience<'_>,
        degraded: &mut Vec<Degradation>,
    ) -> Result<Option<Embedding>> {
        if let Some(embedding) = &request.embedding {
            self.embedder.space().expect(embedding.space())?;
            return Ok(Some(embedding.clone()));
        }
        let query = [&*request.query];
        match patience.half().wait(self.embed(&self.embedder, &query, Purpose::Query)).await {
            Some(Ok(embeddings)) => return Ok(embeddings.into_iter().next()),
            Some(Err(Error::Embedder { retryable: true, .. })) => degraded.push(Degradation::EmbedderUnavailable),
            Some(Err(error)) => return Err(error),
            None => degraded.extend([Degradation::EmbedderUnavailable, Degradation::DeadlineExceeded]),
        }
        Ok(None)
    }

    /// The filter, narrowed to the tiers that are switched on.
    fn within_tiers(&self, filter: Option<Filter>) -> Option<Filter> {
        if self.long_term_enabled {
            return filter;
        }
        let kinds = MemoryKind::ALL
            .into_iter()
            .filter(|kind| kind.tier() != Tier::LongTerm)
            .map(|kind| kind.name().into())
            .collect();
        let tiers = Filter::Is(Field::Kind, Condition::In(kinds));
        Some(match filter {
            None => tiers,
            Some(filter) => Filter::And(vec![tiers, filter]),
        })
    }
}

/// How many of the best have to be among the candidates, where the best are enough. None where what a recall gives hangs on the
/// others too, or where something else than words and meaning speaks for a memory.
fn best_of(request: &RecallRequest) -> Option<usize> {
    let RecallRequest { strategy: FusionStrategy::Weighted(weights), limit, .. } = *request else { return None };
    let is_simple = weights.dense > 0.0
        && weights.recency == 0.0
        && weights.importance == 0.0
        && !request.explain
        && request.max_tokens.is_none()
        && request.filter.is_none()
        && request.as_of.is_none()
        // What a session's working memory holds is compared with all that is stored.
        && [&request.scope].into_iter().chain(&request.also).all(|scope| scope.session().is_none())
        // Who is named so gets a bonus for a word that no index is asked for.
        && (weights.actor == 0.0 || !fusion::names_will(&request.query));
    // Some more, for those that say the same.
    is_simple.then_some(limit + limit / 4 + 2)
}
