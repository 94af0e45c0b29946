//! The candidates of a recall, from the partitions of its scopes. Pure and exact.

use std::cmp::Ordering;

use memory_core::arena::{Bm25Query, Bm25Scores, Bm25Statistics, VectorArena};
use memory_core::{Arm, ArmReport, Candidate, Candidates, SearchRequest, Timestamp};

use crate::partition::Partition;

/// Searches the partitions that hold the request's scopes.
pub(crate) fn search(partitions: &[&Partition], request: &SearchRequest, now: Timestamp) -> Candidates {
    let parts: Vec<Part<'_>> = partitions.iter().map(|partition| Part::new(partition, request, now)).collect();
    let mut arms = Vec::with_capacity(2);
    let mut found: Vec<Place> = Vec::new();
    if let Some(embedding) = &request.embedding {
        let (report, best) = dense_arm(&parts, embedding.values(), request.candidates);
        arms.push(report);
        found.extend(best);
    }
    let mut scores = Vec::new();
    if let Some(text) = &request.text {
        scores = lexical_scores(&parts, &Bm25Query::new(text));
        let (report, best) = lexical_arm(&parts, &scores, request.candidates);
        arms.push(report);
        if request.neighbours {
            for &Place { part, row } in &best {
                let (previous, next) = parts[part as usize].partition.neighbours(row, now);
                let beside =
                    [previous, next].into_iter().flatten().filter(|&row| parts[part as usize].keeps(row as usize));
                found.extend(beside.map(|row| Place { part, row }));
            }
        }
        found.extend(best);
    }
    found.sort_unstable();
    found.dedup();
    let query = request.embedding.as_ref().map(|embedding| embedding.values());
    let candidates = found
        .into_iter()
        .filter_map(|Place { part, row }| {
            let bm25 = scores.get(part as usize).map_or(0.0, |scores| scores.get(row as usize));
            parts[part as usize].candidate(row, query, bm25, now)
        })
        .collect();
    Candidates { candidates, arms, least_left_out: None }
}

/// A row of one of the partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    part: u32,
    row: u32,
}

/// A partition, and which of its rows the request may see.
struct Part<'a> {
    partition: &'a Partition,
    eligible: Eligible,
    /// The arena of the request's space, if the partition has vectors in it.
    arena: Option<&'a VectorArena>,
}

/// Which rows pass the scope, the filter and the clock. Found once and asked by both arms.
enum Eligible {
    All,
    Some { bits: Vec<u64>, count: usize },
}

impl<'a> Part<'a> {
    fn new(partition: &'a Partition, request: &SearchRequest, now: Timestamp) -> Self {
        let embedding = request.embedding.as_ref();
        let of_space = |embedding: &memory_core::Embedding| {
            partition.spaces.iter().find(|(space, _)| space == embedding.space()).map(|(_, arena)| arena)
        };
        Self { partition, eligible: eligible(partition, request, now), arena: embedding.and_then(of_space) }
    }

    fn keeps(&self, row: usize) -> bool {
        match &self.eligible {
            Eligible::All => true,
            Eligible::Some { bits, .. } => bits[row / 64] >> (row % 64) & 1 == 1,
        }
    }

    fn keeps_all(&self) -> bool {
        matches!(self.eligible, Eligible::All)
    }

    fn count(&self) -> u64 {
        match self.eligible {
            Eligible::All => self.partition.live() as u64,
            Eligible::Some { count, .. } => count as u64,
        }
    }

    fn position(&self, row: u32) -> u64 {
        self.partition.rows()[row as usize].position
    }

    fn candidate(&self, row: u32, query: Option<&[f32]>, bm25: f32, now: Timestamp) -> Option<Candidate> {
        let id = |row: u32| self.partition.rows()[row as usize].memory.as_ref().map(|memory| memory.id);
        let (previous, next) = self.partition.neighbours(row, now);
        Some(Candidate {
            memory: self.partition.rows()[row as usize].memory.clone()?,
            similarity: query.zip(self.arena).and_then(|(query, arena)| arena.similarity(query, row as usize)),
            bm25,
            previous: previous.and_then(id),
            next: next.and_then(id),
        })
    }
}

fn eligible(partition: &Partition, request: &SearchRequest, now: Timestamp) -> Eligible {
    let covered: Vec<bool> = partition.scopes.iter().map(|rows| request.covers(&rows.scope)).collect();
    let expired = partition.has_expired(now);
    if request.filter.is_none() && !expired && covered.iter().all(|covers| *covers) {
        return Eligible::All;
    }
    let mut bits = vec![0_u64; partition.rows().len().div_ceil(64)];
    let mut count = 0;
    for (at, row) in partition.rows().iter().enumerate() {
        let passes = covered[row.scope as usize]
            && row.memory.as_ref().is_some_and(|memory| {
                !(expired && memory.is_expired(now))
                    && request.filter.as_ref().is_none_or(|filter| filter.matches(memory))
            });
        bits[at / 64] |= u64::from(passes) << (at % 64);
        count += usize::from(passes);
    }
    Eligible::Some { bits, count }
}

fn dense_arm(parts: &[Part<'_>], query: &[f32], limit: usize) -> (ArmReport, Vec<Place>) {
    let mut best: Vec<(f32, u64, Place)> = Vec::new();
    let mut considered = 0;
    for (number, part) in parts.iter().enumerate() {
        let Some(arena) = part.arena else { continue };
        let nearest = match part.eligible {
            Eligible::All => {
                considered += arena.live() as u64;
                arena.nearest(query, limit, |_| true)
            }
            Eligible::Some { .. } => arena.nearest(query, limit, |row| {
                let keeps = part.keeps(row);
                considered += u64::from(keeps);
                keeps
            }),
        };
        best.extend(nearest.into_iter().map(|(row, similarity)| {
            let place = Place { part: number as u32, row: row as u32 };
            (similarity, part.position(place.row), place)
        }));
    }
    let best = first(best, limit);
    // Memories without a vector, or with one of another space only, could not be compared.
    let shortfall = parts.iter().map(Part::count).sum::<u64>() - considered;
    (ArmReport { arm: Arm::Dense, exact: true, considered, returned: best.len() as u64, shortfall, index: None }, best)
}

/// The BM25 of the matching rows of each part, all by the statistics of the whole scope.
fn lexical_scores(parts: &[Part<'_>], query: &Bm25Query) -> Vec<Bm25Scores> {
    let mut statistics = Bm25Statistics::default();
    for part in parts {
        part.partition.lexical.add_statistics(query, &mut statistics, part.keeps_all(), |row| part.keeps(row));
    }
    let scores = |part: &Part<'_>| part.partition.lexical.scores(query, &statistics, |row| part.keeps(row));
    parts.iter().map(scores).collect()
}

fn lexical_arm(parts: &[Part<'_>], scores: &[Bm25Scores], limit: usize) -> (ArmReport, Vec<Place>) {
    let mut best = Vec::with_capacity(scores.iter().map(Bm25Scores::len).sum());
    for (number, (part, scores)) in parts.iter().zip(scores).enumerate() {
        best.extend(scores.iter().map(|(row, score)| {
            let place = Place { part: number as u32, row: row as u32 };
            (score, part.position(place.row), place)
        }));
    }
    let best = first(best, limit);
    let considered = parts.iter().map(Part::count).sum();
    (
        ArmReport {
            arm: Arm::Lexical,
            exact: true,
            considered,
            returned: best.len() as u64,
            shortfall: 0,
            index: None,
        },
        best,
    )
}

/// The places of the highest `limit` scores, ties by position.
fn first(mut scored: Vec<(f32, u64, Place)>, limit: usize) -> Vec<Place> {
    if scored.len() > limit {
        scored.select_nth_unstable_by(limit, |a, b| match b.0.total_cmp(&a.0) {
            Ordering::Equal => a.1.cmp(&b.1),
            unequal => unequal,
        });
        scored.truncate(limit);
    }
    scored.into_iter().map(|(_, _, place)| place).collect()
}
