//! The memories of one user, and their search: as `search_small_scope` does it.

use std::collections::HashMap;
use std::sync::Arc;

use memory_core::{Best, Candidate, Embedding, Memory, Scope, Timestamp, arena};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::lexical::Statistics;
use crate::rows::read_memory;
use crate::small_scope::{Answer, binary_words, frequencies};

/// What a memory takes beside its text, vector, words and metadata, about.
const ROW_BYTES: usize = 600;

/// All memories of one user, in the order of first writing.
#[derive(Debug)]
pub(crate) struct User {
    rows: Vec<Row>,
    /// As `mark_of_user` gives it.
    pub mark: i64,
    /// How many losses of connections were known before it was read.
    pub losses: u64,
}

/// A memory, and what it is searched by.
#[derive(Debug)]
struct Row {
    memory: Arc<Memory>,
    session: Option<i64>,
    /// A `tsvector` in its binary form.
    words: Box<[u8]>,
    length: i32,
    /// With the number of its space.
    vector: Option<(i16, Box<[f32]>)>,
}

/// What is asked of the memories.
pub(crate) struct Question<'a> {
    pub scope: &'a Scope,
    pub now: Timestamp,
    pub embedding: Option<&'a Embedding>,
    pub space: i16,
    /// No lexical arm without.
    pub stems: &'a [String],
    pub best: Best,
}

/// A memory that is looked at.
struct Seen<'a> {
    row: &'a Row,
    similarity: Option<f32>,
    /// Which stems of the question stand in it, and how often.
    words: Vec<(usize, f64)>,
    /// Whether it has not ended.
    stands: bool,
    /// The turns before and after it in its session.
    beside: [Option<usize>; 2],
}

impl User {
    /// Of what `read_user` gave.
    pub(crate) fn read(rows: &[PgRow], losses: u64) -> sqlx::Result<Self> {
        let mut user = Self { rows: Vec::with_capacity(rows.len()), mark: 0, losses };
        for row in rows {
            user.mark ^= row.try_get::<i64, _>("mark")?;
            user.rows.push(Row::read(row)?);
        }
        Ok(user)
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.iter().map(Row::bytes).sum()
    }

    pub(crate) fn search(&self, question: &Question<'_>) -> sqlx::Result<Answer> {
        let seen = self.look(question)?;
        let mut nearest: Vec<f32> = seen.iter().filter(|seen| seen.stands).filter_map(|seen| seen.similarity).collect();
        let standing = nearest.len();
        let least_similarity = nearest.iter().copied().min_by(f32::total_cmp);
        // The similarity of the last of the nearest; where they are fewer, all are among them.
        let near = match question.best.count {
            keep if keep <= standing => *nearest.select_nth_unstable_by(keep - 1, |a, b| b.total_cmp(a)).1,
            _ => f32::NEG_INFINITY,
        };
        let has_word = |at: &usize| !seen[*at].words.is_empty();
        let is_chosen = |seen: &&Seen<'_>| {
            let is_near = || seen.similarity.is_some_and(|similarity| similarity >= near);
            !seen.words.is_empty() || seen.stands && (seen.beside.iter().flatten().any(has_word) || is_near())
        };
        let chosen: Vec<&Seen<'_>> = seen.iter().filter(is_chosen).collect();
        let lengths = || seen.iter().map(|seen| seen.row.length).filter(|length| *length > 0).map(f64::from);
        let worded = lengths().count() as f64;
        let statistics = Statistics { worded, average_length: lengths().sum::<f64>() / worded };
        let scores = statistics.bm25(question.stems, chosen.iter().map(|seen| (&*seen.words, seen.row.length)));
        let id = |at: Option<usize>| at.map(|at| seen[at].row.memory.id);
        let candidates = chosen.iter().zip(scores).map(|(seen, bm25)| Candidate {
            memory: seen.row.memory.clone(),
            similarity: seen.similarity,
            bm25,
            previous: id(seen.beside[0]),
            next: id(seen.beside[1]),
        });
        Ok(Answer {
            considered: seen.len() as u64,
            compared: seen.iter().filter(|seen| seen.similarity.is_some()).count() as u64,
            matched: seen.iter().filter(|seen| !seen.words.is_empty()).count() as u64,
            standing: standing as u64,
            least_similarity,
            candidates: candidates.collect(),
        })
    }

    /// The memories of the scope that have not expired.
    fn look<'a>(&'a self, question: &Question<'_>) -> sqlx::Result<Vec<Seen<'a>>> {
        let mut seen: Vec<Seen<'a>> = Vec::with_capacity(self.rows.len());
        let mut last_turns: HashMap<i64, usize> = HashMap::new();
        for row in self.rows.iter().filter(|row| row.is_in(question.scope, question.now)) {
            let before = match row.session {
                // Turns are given with the words, as search_small_scope does.
                Some(session) if !question.stems.is_empty() => last_turns.insert(session, seen.len()),
                _ => None,
            };
            if let Some(before) = before {
                seen[before].beside[1] = Some(seen.len());
            }
            seen.push(Seen {
                row,
                similarity: row.similarity(question),
                words: frequencies(&row.words, question.stems)?,
                stands: row.memory.valid_to.is_none_or(|to| to > question.best.at),
                beside: [before, None],
            });
        }
        Ok(seen)
    }
}

impl Row {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        let vector = match row.try_get::<Option<i16>, _>("space")? {
            Some(space) => Some((space, row.try_get::<pgvector::Vector, _>("embedding")?.to_vec().into())),
            None => None,
        };
        Ok(Self {
            memory: Arc::new(read_memory(row)?),
            session: row.try_get("session")?,
            words: binary_words(row)?.unwrap_or_default().into(),
            length: row.try_get("length")?,
            vector,
        })
    }

    fn bytes(&self) -> usize {
        let metadata = serde_json::to_vec(&self.memory.metadata).map_or(0, |json| 2 * json.len());
        let vector = self.vector.as_ref().map_or(0, |(_, values)| size_of_val::<[f32]>(values));
        ROW_BYTES + self.memory.text.len() + self.words.len() + metadata + vector
    }

    fn is_in(&self, scope: &Scope, now: Timestamp) -> bool {
        scope.covers(&self.memory.scope) && self.memory.expires_at.is_none_or(|at| at > now)
    }

    fn similarity(&self, question: &Question<'_>) -> Option<f32> {
        let (space, values) = self.vector.as_ref()?;
        let embedding = question.embedding.filter(|_| *space == question.space)?;
        Some(arena::dot(values, embedding.values()).clamp(-1.0, 1.0))
    }
}
