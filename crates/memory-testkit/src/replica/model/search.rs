//! Searching the model: everything is compared.

use std::collections::BTreeSet;
use std::sync::Arc;

use memory_core::arena::{Bm25Query, Bm25Statistics, LexicalArena};
use memory_core::{
    Arm, ArmReport, Candidate, Candidates, Embedding, Memory, MemoryId, SearchRequest, Timestamp, WholeMemory,
};

use super::State;

/// A version that a search is of.
struct Row<'a> {
    ordinal: u64,
    memory: &'a Memory,
    embedding: Option<&'a Embedding>,
}

pub(super) fn search(state: &State, request: &SearchRequest, now: Timestamp) -> Candidates {
    let as_of = request.as_of.filter(|at| *at < now);
    let mut there: Vec<Row<'_>> = state.memories.values().filter_map(|whole| version(whole, as_of, now)).collect();
    there.sort_by_key(|row| row.ordinal);
    let is_asked = |row: &Row<'_>| {
        request.covers(&row.memory.scope) && request.filter.as_ref().is_none_or(|filter| filter.matches(row.memory))
    };
    let asked: Vec<usize> = (0..there.len()).filter(|at| is_asked(&there[*at])).collect();
    let similarity = |at: usize| {
        let (asked, held) = (request.embedding.as_ref()?, there[at].embedding?);
        asked.similarity(held).ok()
    };
    let mut found = BTreeSet::new();
    let mut arms = Vec::new();
    if request.embedding.is_some() {
        let scored: Vec<_> = asked.iter().filter_map(|&at| Some((similarity(at)?, at))).collect();
        let (considered, shortfall) = (scored.len(), asked.len() - scored.len());
        let best = first(scored, request.candidates);
        arms.push(report(Arm::Dense, considered, best.len(), shortfall));
        found.extend(best);
    }
    let scores = request.text.as_deref().map(|text| lexical(&there, &asked, text)).unwrap_or_default();
    if request.text.is_some() {
        let best = first(scores.iter().map(|&(at, score)| (score, at)).collect(), request.candidates);
        arms.push(report(Arm::Lexical, asked.len(), best.len(), 0));
        if request.neighbours {
            let beside = best.iter().flat_map(|&at| <[_; 2]>::from(beside(&there, at))).flatten();
            found.extend(beside.filter(|at| is_asked(&there[*at])));
        }
        found.extend(best);
    }
    let candidates = found.into_iter().map(|at| {
        let (previous, next) = beside(&there, at);
        let id = |at: usize| -> MemoryId { there[at].memory.id };
        Candidate {
            memory: Arc::new(there[at].memory.clone()),
            similarity: similarity(at),
            bm25: scores.iter().find(|(row, _)| *row == at).map_or(0.0, |(_, score)| *score),
            previous: previous.map(id),
            next: next.map(id),
        }
    });
    Candidates { candidates: candidates.collect(), arms, least_left_out: None }
}

/// The turns beside a memory in its session.
pub(super) fn neighbours<'a>(
    state: &'a State,
    whole: &WholeMemory,
    now: Timestamp,
) -> (Option<&'a WholeMemory>, Option<&'a WholeMemory>) {
    let scope = &whole.current.memory.scope;
    let turns = || {
        let all = state.memories.values().filter(|_| scope.session().is_some());
        all.filter(|turn| turn.current.memory.scope == *scope && !turn.current.memory.is_expired(now))
    };
    let before = turns().filter(|turn| turn.ordinal < whole.ordinal).max_by_key(|turn| turn.ordinal);
    let after = turns().filter(|turn| turn.ordinal > whole.ordinal).min_by_key(|turn| turn.ordinal);
    (before, after)
}

/// The version that stood at a time, or stands now.
fn version(whole: &WholeMemory, as_of: Option<Timestamp>, now: Timestamp) -> Option<Row<'_>> {
    if whole.current.memory.is_expired(now) {
        return None;
    }
    let former = whole.former.iter().map(|former| &former.version);
    let mut versions = former.chain([&whole.current]).rev();
    let version = versions.find(|version| as_of.is_none_or(|at| version.memory.recorded_at <= at))?;
    Some(Row { ordinal: whole.ordinal, memory: &version.memory, embedding: version.embedding.as_ref() })
}

fn beside(there: &[Row<'_>], at: usize) -> (Option<usize>, Option<usize>) {
    let scope = &there[at].memory.scope;
    let is_turn = |other: &usize| scope.session().is_some() && there[*other].memory.scope == *scope;
    ((0..at).rev().find(is_turn), (at + 1..there.len()).find(is_turn))
}

/// The BM25 of the rows that were asked for, by their own statistics.
fn lexical(there: &[Row<'_>], asked: &[usize], text: &str) -> Vec<(usize, f32)> {
    let mut arena = LexicalArena::default();
    for (row, &at) in asked.iter().enumerate() {
        arena.set(row, &there[at].memory.lexical_text());
    }
    let query = Bm25Query::new(text);
    let mut statistics = Bm25Statistics::default();
    arena.add_statistics(&query, &mut statistics, true, |_| true);
    arena.scores(&query, &statistics, |_| true).iter().map(|(row, score)| (asked[row], score)).collect()
}

/// The rows of the highest scores, ties by the order of first writing.
fn first(mut scored: Vec<(f32, usize)>, limit: usize) -> Vec<usize> {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.truncate(limit);
    scored.into_iter().map(|(_, at)| at).collect()
}

fn report(arm: Arm, considered: usize, returned: usize, shortfall: usize) -> ArmReport {
    ArmReport {
        arm,
        exact: true,
        considered: considered as u64,
        returned: returned as u64,
        shortfall: shortfall as u64,
        index: None,
    }
}
