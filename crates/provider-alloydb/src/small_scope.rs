//! The search of a user who has few memories, for a caller who wants the best of them alone: one statement that is planned once
//! for a connection, and a lesser one where no words are asked for. Words are scored here.

use std::time::Duration;

use memory_core::{Best, Candidate, Scope, SearchRequest};
use sqlx::postgres::{PgRow, PgValueFormat};
use sqlx::{Row as _, ValueRef as _};
use tracing::debug;
use uuid::Uuid;

use crate::connections::Connections;
use crate::lexical::{self, Statistics};
use crate::provider::AlloyDbMemoryProvider;
use crate::recall_cache::{self, MOST_ROWS, Question, User};
use crate::rows::whole_micros;
use crate::scopes::Known;
use crate::search::{Report, read_by_vector, read_candidate};
use crate::statements::Repeat;

const SEARCH: &str = "\
    SELECT * FROM orchestra.search_small_scope($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::tsquery)";
const SEARCH_BY_VECTOR: &str = "\
    SELECT * FROM orchestra.search_small_scope_by_vector($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const MARK: &str = "SELECT orchestra.mark_of_user($1, $2, $3, $4)";
const READ: &str = "SELECT * FROM orchestra.read_user($1, $2, $3)";

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

/// What was found in a scope, as the store reports it.
pub(crate) struct Answer {
    /// How many memories there are in it.
    pub considered: u64,
    /// How many of them have a vector in the space.
    pub compared: u64,
    /// How many have a stem of the query.
    pub matched: u64,
    /// How many that were compared have not ended, given or not, and the least similarity of these.
    pub standing: u64,
    pub least_similarity: Option<f32>,
    pub candidates: Vec<Candidate>,
}

/// What was found in what is at hand.
enum AtHand {
    Answer(Answer),
    /// The write that must be visible is not there yet.
    NotVisible,
    /// It is not at hand, or not any more.
    Nothing,
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
        let stems = stems.unwrap_or_default();
        let answer = match self.search_at_hand(connections, patience, small, space, at_least, stems).await? {
            AtHand::Answer(answer) => Some(answer),
            AtHand::NotVisible => None,
            AtHand::Nothing => self.search_there(connections, patience, small, space, at_least, stems).await?,
        };
        let Some(answer) = answer else { return Ok(Found::NotVisible) };
        if answer.considered > small.request.candidates as u64 {
            return Ok(Found::TooMany);
        }
        let rows = answer.considered.cast_signed();
        if small.rows != Some(rows) {
            let known = Known { rows, compared: None, average_length: None, stems: None };
            self.inner.scopes.learn(&[small.scope()], space, known, Duration::ZERO);
        }
        let report = Report {
            visible: true,
            small: true,
            considered: answer.considered,
            compared: answer.compared,
            dense: answer.compared,
            lexical: answer.matched,
            ..Report::default()
        };
        let stands = |candidate: &&Candidate| {
            candidate.similarity.is_some() && candidate.memory.valid_to.is_none_or(|to| to > small.best.at)
        };
        let is_whole = answer.candidates.iter().filter(stands).count() as u64 >= answer.standing;
        let least_left_out = answer.least_similarity.filter(|_| !is_whole);
        Ok(Found::Candidates { candidates: answer.candidates, least_left_out, report })
    }

    /// By what is at hand of the user, where it is still so.
    async fn search_at_hand(
        &self,
        connections: &Connections,
        patience: Duration,
        small: &SmallScope<'_>,
        space: i16,
        at_least: Option<u64>,
        stems: &[String],
    ) -> sqlx::Result<AtHand> {
        let (cache, scope) = (&self.inner.recall_cache, small.scope());
        let Some(user) = cache.get(scope, self.inner.statements.losses().count()) else {
            if cache.is_wanted(scope) {
                tokio::spawn(self.clone().keep_at_hand(scope.clone()));
            }
            recall_cache::count("miss");
            return Ok(AtHand::Nothing);
        };
        let query = || {
            sqlx::query(MARK)
                .bind(scope.tenant_name())
                .bind(scope.user())
                .bind(at_least.map(|transaction| transaction.to_string()))
                .bind(i32::try_from(user.rows() + 1).unwrap_or(i32::MAX))
        };
        let row = self.inner.statements.rows_within(connections, patience, Repeat::Harmless, query).await?;
        let row = row.first().ok_or(sqlx::Error::RowNotFound)?;
        let Some(mark) = row.try_get::<Option<Vec<i64>>, _>(0)? else { return Ok(AtHand::NotVisible) };
        if mark != [user.rows() as i64, user.mark] {
            cache.forget(scope);
            recall_cache::count("changed");
            return Ok(AtHand::Nothing);
        }
        recall_cache::count("hit");
        let question = Question {
            scope,
            now: whole_micros(self.now()),
            embedding: small.request.embedding.as_ref(),
            space,
            stems,
            best: Best { at: whole_micros(small.best.at), ..small.best },
        };
        user.search(&question).map(AtHand::Answer)
    }

    /// Reads a user who is searched again and again, beside the searches.
    async fn keep_at_hand(self, scope: Scope) {
        let losses = self.inner.statements.losses().count();
        let connections = self.replicas().first().map_or(&self.inner.primary, |replica| &replica.connections);
        let most = i32::try_from(MOST_ROWS + 1).unwrap_or(i32::MAX);
        let query = || sqlx::query(READ).bind(scope.tenant_name()).bind(scope.user()).bind(most);
        let rows = self.inner.statements.rows(connections, Repeat::Harmless, query).await;
        let user = rows.and_then(|rows| match rows.len() {
            0..=MOST_ROWS => User::read(&rows, losses).map(Some),
            _ => Ok(None),
        });
        if let Err(error) = &user {
            debug!(error = error as &dyn std::error::Error, "a user was not read");
        }
        self.inner.recall_cache.put(&scope, user.ok().flatten());
    }

    /// By Postgres. None when the write that must be visible is not there yet.
    async fn search_there(
        &self,
        connections: &Connections,
        patience: Duration,
        small: &SmallScope<'_>,
        space: i16,
        at_least: Option<u64>,
        stems: &[String],
    ) -> sqlx::Result<Option<Answer>> {
        let vector =
            small.request.embedding.as_ref().map(|embedding| pgvector::Vector::from(embedding.values().to_vec()));
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
        let Some(considered) = first.try_get::<Option<i64>, _>("considered")? else { return Ok(None) };
        let count = |name: &str| first.try_get::<i64, _>(name).map(i64::cast_unsigned);
        // Without any the report stands alone.
        let given = if first.try_get::<Option<Uuid>, _>("id")?.is_some() { &rows[..] } else { &[] };
        let candidates: Vec<Candidate> = if words.is_some() {
            let words = given.iter().map(|row| Ok((words_of(row, stems)?, row.try_get("length")?)));
            let words: Vec<(Vec<(usize, f64)>, i32)> = words.collect::<sqlx::Result<_>>()?;
            let statistics = Statistics {
                worded: first.try_get::<i64, _>("worded")? as f64,
                average_length: first.try_get::<Option<f64>, _>("average_length")?.unwrap_or_default(),
            };
            let scores = statistics.bm25(stems, words.iter().map(|(words, length)| (&**words, *length)));
            given.iter().zip(scores).map(|(row, bm25)| read_candidate(row, bm25)).collect::<sqlx::Result<_>>()?
        } else {
            given.iter().map(read_by_vector).collect::<sqlx::Result<_>>()?
        };
        Ok(Some(Answer {
            considered: considered.cast_unsigned(),
            compared: count("compared")?,
            matched: if words.is_some() { count("matched")? } else { 0 },
            standing: count("standing")?,
            least_similarity: first.try_get("least_similarity")?,
            candidates,
        }))
    }
}

/// Which stems of the query stand in a row, and how often.
fn words_of(row: &PgRow, stems: &[String]) -> sqlx::Result<Vec<(usize, f64)>> {
    binary_words(row)?.map_or_else(|| Ok(Vec::new()), |words| frequencies(words, stems))
}

/// A row's `tsvector` in its binary form, if it has one.
pub(crate) fn binary_words(row: &PgRow) -> sqlx::Result<Option<&[u8]>> {
    let words = row.try_get_raw("words")?;
    if words.is_null() {
        return Ok(None);
    }
    if words.format() != PgValueFormat::Binary {
        return Err(wrong_words("a tsvector in its textual form".into()));
    }
    words.as_bytes().map(Some).map_err(wrong_words)
}

/// How often each stem of the query stands in a `tsvector`: which stem, how often.
pub(crate) fn frequencies(words: &[u8], stems: &[String]) -> sqlx::Result<Vec<(usize, f64)>> {
    if stems.is_empty() {
        return Ok(Vec::new());
    }
    lexical::frequencies(words, stems).ok_or_else(|| wrong_words("not a tsvector".into()))
}

fn wrong_words(source: memory_core::BoxError) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: "words".into(), source }
}
