//! The search of a user who has few memories, for a caller who wants the best of them alone: one statement that is planned once
//! for a connection, and a lesser one where no words are asked for. Words are scored here.

use std::time::Duration;

use memory_core::{Best, Candidate, Scope, SearchRequest};
use sqlx::postgres::{PgRow, PgValueFormat};
use sqlx::{Row as _, ValueRef as _};
use uuid::Uuid;

use crate::connections::Connections;
use crate::lexical;
use crate::provider::AlloyDbMemoryProvider;
use crate::rows::whole_micros;
use crate::scopes::Known;
use crate::search::{Report, read_by_vector, read_candidate};
use crate::statements::Repeat;

const SEARCH: &str = "\
    SELECT * FROM orchestra.search_small_scope($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::tsquery)";
const SEARCH_BY_VECTOR: &str = "\
    SELECT * FROM orchestra.search_small_scope_by_vector($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

/// A request of this kind.
pub(crate) struct SmallScope<'a> {
    request: &'a SearchRequest,
    best: Best,
    /// How many rows there are, where something is known of the scope.
    rows: Option<i64>,
}

/// What was found.
pub(crate) enum Found {
    Candidates {
        candidates: Vec<Candidate>,
        least_left_out: Option<f32>,
        report: Report,
    },
    /// The write that must be visible is not there yet.
    NotVisible,
    /// The scope is not small any more.
    TooMany,
}

impl<'a> SmallScope<'a> {
    /// None for a request of another kind, or of a scope that is known to be larger. One of which nothing is known is taken to be
    /// small: to find out costs little.
    pub(crate) fn of(request: &'a SearchRequest, known: Option<&Known>) -> Option<Self> {
        let (best, rows) = (request.best?, known.map(|known| known.rows));
        let is_one = request.also.is_empty() && request.scope.user().is_some();
        let is_plain = request.filter.is_none() && request.as_of.is_none();
        // Each arm gives all that it has.
        let is_small = rows.is_none_or(|rows| usize::try_from(rows).is_ok_and(|rows| rows <= request.candidates));
        (is_one && is_plain && is_small).then_some(Self { request, best, rows })
    }

    fn scope(&self) -> &'a Scope {
        &self.request.scope
    }
}

impl AlloyDbMemoryProvider {
    pub(crate) async fn search_small(
        &self,
        connections: &Connections,
        patience: Duration,
        small: &SmallScope<'_>,
        space: i16,
        at_least: Option<u64>,
        stems: Option<&[String]>,
    ) -> sqlx::Result<Found> {
        let vector =
            small.request.embedding.as_ref().map(|embedding| pgvector::Vector::from(embedding.values().to_vec()));
        let stems = stems.unwrap_or_default();
        let at_most = i32::try_from(small.request.candidates).unwrap_or(i32::MAX - 1);
        let keep = i32::try_from(small.best.count).unwrap_or(i32::MAX);
        let words = lexical::any_of(stems);
        let query = || {
            let query = self
                .scoped(if words.is_some() { SEARCH } else { SEARCH_BY_VECTOR }, small.scope())
                .bind(at_least.map(|transaction| transaction.to_string()))
                .bind(vector.clone())
                .bind(space)
                .bind(at_most)
                .bind(keep)
                .bind(whole_micros(small.best.at));
            match &words {
                Some(words) => query.bind(words.clone()),
                None => query,
            }
        };
        let rows = self.inner.statements.rows_within(connections, patience, Repeat::Harmless, query).await?;
        let Some(first) = rows.first() else { return Err(sqlx::Error::RowNotFound) };
        let Some(considered) = first.try_get::<Option<i64>, _>("considered")? else { return Ok(Found::NotVisible) };
        if considered > i64::from(at_most) {
            return Ok(Found::TooMany);
        }
        if small.rows != Some(considered) {
            let known = Known { rows: considered, compared: None, average_length: None, stems: None };
            self.inner.scopes.learn(&[small.scope()], space, known, Duration::ZERO);
        }
        let count = |name: &str| first.try_get::<i64, _>(name).map(i64::cast_unsigned);
        let compared = count("compared")?;
        let report = Report {
            visible: true,
            small: true,
            considered: considered.cast_unsigned(),
            compared,
            dense: compared,
            lexical: if words.is_some() { count("matched")? } else { 0 },
            ..Report::default()
        };
        // Without any the report stands alone.
        let given = if first.try_get::<Option<Uuid>, _>("id")?.is_some() { &rows[..] } else { &[] };
        let candidates: Vec<Candidate> = if words.is_some() {
            let scores = bm25(first, given, stems)?;
            given.iter().zip(scores).map(|(row, bm25)| read_candidate(row, bm25)).collect::<sqlx::Result<_>>()?
        } else {
            given.iter().map(read_by_vector).collect::<sqlx::Result<_>>()?
        };
        let stands = |candidate: &&Candidate| {
            candidate.similarity.is_some() && candidate.memory.valid_to.is_none_or(|to| to > small.best.at)
        };
        let is_whole = candidates.iter().filter(stands).count() as u64 >= count("standing")?;
        let least_left_out = if is_whole { None } else { first.try_get("least_similarity")? };
        Ok(Found::Candidates { candidates, least_left_out, report })
    }
}

/// The BM25 of each row, as `search_memories` would have it: every row with a stem of the query is here.
fn bm25(report: &PgRow, rows: &[PgRow], stems: &[String]) -> sqlx::Result<Vec<f32>> {
    let words: Vec<Vec<(usize, f64)>> = rows.iter().map(|row| frequencies(row, stems)).collect::<sqlx::Result<_>>()?;
    let mut with_stem = vec![0_u32; stems.len()];
    for &(stem, _) in words.iter().flatten() {
        with_stem[stem] += 1;
    }
    let worded = report.try_get::<i64, _>("worded")? as f64;
    let average = report.try_get::<Option<f64>, _>("average_length")?.unwrap_or_default().max(1.0);
    let idf = |with_stem: u32| {
        let with_stem = f64::from(with_stem);
        (1.0 + ((worded - with_stem).max(0.0) + 0.5) / (with_stem + 0.5)).ln()
    };
    let idf: Vec<f64> = with_stem.into_iter().map(idf).collect();
    rows.iter()
        .zip(words)
        .map(|(row, words)| {
            let length = f64::from(row.try_get::<i32, _>("length")?);
            let score = |(stem, frequency): (usize, f64)| {
                idf[stem] * frequency * 1.9 / (frequency + 0.9 * (0.6 + 0.4 * length / average))
            };
            Ok(words.into_iter().map(score).sum::<f64>() as f32)
        })
        .collect()
}

/// How often each stem of the query stands in a row: which stem, how often.
fn frequencies(row: &PgRow, stems: &[String]) -> sqlx::Result<Vec<(usize, f64)>> {
    let words = row.try_get_raw("words")?;
    if words.is_null() {
        return Ok(Vec::new());
    }
    let wrong = |source: memory_core::BoxError| sqlx::Error::ColumnDecode { index: "words".into(), source };
    if words.format() != PgValueFormat::Binary {
        return Err(wrong("a tsvector in its textual form".into()));
    }
    let found = lexical::frequencies(words.as_bytes().map_err(wrong)?, stems);
    found.ok_or_else(|| wrong("not a tsvector".into()))
}
