//! The search: one statement, and what it reports put in the core's words.

use std::sync::Arc;
use std::time::{Duration, Instant};

use memory_core::{
    Arm, ArmReport, Candidate, Candidates, Error, IndexUse, MemoryId, Result, Scope, SearchRequest, WriteToken,
};
use metrics::counter;
use serde::Deserialize;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{Postgres, Row as _};
use tracing::debug;
use uuid::Uuid;

use crate::connections::Connections;
use crate::error::{damaged, failed, is_passing, lacks_the_schema};
use crate::filter::compile;
use crate::index::InUse;
use crate::lexical;
use crate::provider::AlloyDbMemoryProvider;
use crate::rows::{in_range, read_memory, whole_micros};
use crate::scopes::Known;
use crate::small_scope::{Found, SmallScope};
use crate::statements::Repeat;

const SEARCH: &str = "\
    SELECT * FROM orchestra.search_memories($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
const SEARCH_FORMER: &str = "\
    SELECT * FROM orchestra.search_former_memories($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
/// The parameter of a filter's values inside the function.
const ARGUMENTS: &str = "$6";
/// Searches that were answered, by `endpoint`: `replica` or `primary`.
pub(crate) const SEARCHES: &str = "memory_alloydb_searches_total";
/// Replicas that were asked in vain, by `reason`: `away`, or `behind` the write that a search must see.
pub(crate) const FALLBACKS: &str = "memory_alloydb_replica_fallbacks_total";
/// A space that no vector is in.
const NO_SPACE: i16 = -1;

/// The first row of an answer.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Report {
    /// Whether the write that was asked for is there.
    #[serde(default = "yes")]
    pub visible: bool,
    #[serde(default)]
    pub considered: u64,
    #[serde(default)]
    pub compared: u64,
    #[serde(default)]
    pub dense: u64,
    #[serde(default)]
    pub lexical: u64,
    #[serde(default)]
    pub by_index: bool,
    #[serde(default)]
    pub repaired: bool,
    pub effort: Option<u32>,
    #[serde(default)]
    pub small: bool,
    pub known: Option<Known>,
}

fn yes() -> bool {
    true
}

impl AlloyDbMemoryProvider {
    pub(crate) async fn find(&self, request: &SearchRequest) -> Result<Candidates> {
        let at_least = request.at_least.as_ref().map(|token| self.transaction(token)).transpose()?;
        let space = match &request.embedding {
            None => None,
            Some(embedding) => {
                self.check_dimensions(embedding.space())?;
                self.space("search", embedding.space(), false).await?
            }
        };
        let space = space.unwrap_or(NO_SPACE);
        let index = self.index_of(space);
        let found = match self.find_on_replicas(request, space, at_least, index.as_deref()).await? {
            Some(found) => found,
            None => {
                let (primary, patience) = (&self.inner.primary, self.inner.statements.patience());
                let found = self.search_on(primary, patience, request, space, at_least, index.as_deref()).await;
                let found = found.map_err(|error| failed("search", error))?;
                counter!(SEARCHES, "endpoint" => "primary").increment(1);
                match (found, &request.at_least) {
                    (Some(found), _) => found,
                    (None, Some(token)) => return Err(Error::NotYetVisible(token.clone())),
                    (None, None) => return Err(damaged("search", "what was not asked for is not visible")),
                }
            }
        };
        if let Some(index) = &index
            && found.arms.iter().any(|arm| arm.index.is_some())
        {
            self.observe(request, space, index);
        }
        Ok(found)
    }

    /// None when the primary has to be asked: every replica is away, or has not come so far.
    async fn find_on_replicas(
        &self,
        request: &SearchRequest,
        space: i16,
        at_least: Option<u64>,
        index: Option<&InUse>,
    ) -> Result<Option<Candidates>> {
        for replica in self.replicas() {
            // Another search may have found out while this one waited for others.
            if replica.is_away() {
                continue;
            }
            let patience = self.replica_patience();
            let found = self.search_on(&replica.connections, patience, request, space, at_least, index).await;
            replica.note(&found);
            let reason = match found {
                Ok(Some(found)) => {
                    counter!(SEARCHES, "endpoint" => "replica").increment(1);
                    return Ok(Some(found));
                }
                Ok(None) => "behind",
                // Where the primary lacks it too, that one tells.
                Err(error) if lacks_the_schema(&error) => "behind",
                Err(error) if is_passing(&error) => "away",
                Err(error) => return Err(failed("search", error)),
            };
            counter!(FALLBACKS, "reason" => reason).increment(1);
        }
        Ok(None)
    }

    /// None when the write that must be visible is not there yet. Exact without an index.
    pub(crate) async fn search_on(
        &self,
        connections: &Connections,
        patience: Duration,
        request: &SearchRequest,
        space: i16,
        at_least: Option<u64>,
        index: Option<&InUse>,
    ) -> sqlx::Result<Option<Candidates>> {
        let filter = request.filter.as_ref().map(|filter| compile(filter, ARGUMENTS));
        let (scopes, now) = (request.scopes(), self.now());
        let as_of = request.as_of.filter(|at| *at < now).map(in_range);
        let stems = request.text.as_deref().map(lexical::query);
        let mut known = self.inner.scopes.get(&scopes, space, stems.as_deref().unwrap_or_default());
        if let Some(small) = SmallScope::of(request, known.as_ref()) {
            match self.search_small(connections, patience, &small, space, at_least, stems.as_deref()).await? {
                Found::Candidates { candidates, least_left_out, report } => {
                    return Ok(Some(Candidates { candidates, arms: arms(request, &report, None), least_left_out }));
                }
                Found::NotVisible => return Ok(None),
                // What was known of it was of a time before it grew.
                Found::TooMany => known = None,
            }
        }
        let vector = request.embedding.as_ref().map(|embedding| pgvector::Vector::from(embedding.values().to_vec()));
        let query = || {
            let query = self
                .within(if as_of.is_some() { SEARCH_FORMER } else { SEARCH }, &scopes)
                .bind(at_least.map(|transaction| transaction.to_string()))
                .bind(vector.clone())
                .bind(space)
                .bind(stems.clone())
                .bind(filter.as_ref().map(|filter| filter.sql.clone()))
                .bind(filter.as_ref().map(|filter| Json(filter.arguments.clone())))
                .bind(i32::try_from(request.candidates).unwrap_or(i32::MAX))
                .bind(request.neighbours);
            match as_of {
                Some(at) => query.bind(at),
                None => query
                    .bind(i32::try_from(self.inner.config.exact_up_to).unwrap_or(i32::MAX))
                    .bind(known.as_ref().map(Json))
                    .bind(index.map(|index| Json(index.search.clone()))),
            }
        };
        let rows = self.inner.statements.rows_within(connections, patience, Repeat::Harmless, query).await?;
        let Some((first, rest)) = rows.split_first() else { return Err(sqlx::Error::RowNotFound) };
        let Json(report): Json<Report> = first.try_get("report")?;
        if !report.visible {
            return Ok(None);
        }
        match &report.known {
            // Read whole, and so known to the last row.
            Some(known) if report.small && request.filter.is_none() => {
                let rows = i64::try_from(report.considered).unwrap_or(i64::MAX);
                self.inner.scopes.learn(&scopes, space, Known { rows, ..known.clone() }, Duration::ZERO);
            }
            Some(known) if !report.small && self.inner.scopes.is_due(&scopes, space, known) => {
                tokio::spawn(self.clone().measure(scopes.into_iter().cloned().collect(), space));
            }
            _ => {}
        }
        let candidates = rest.iter().map(|row| read_candidate(row, row.try_get("bm25")?));
        let candidates = candidates.collect::<sqlx::Result<_>>()?;
        Ok(Some(Candidates { candidates, arms: arms(request, &report, index), least_left_out: None }))
    }

    /// A statement with its first parameters: the parts of the scopes and the time.
    fn within<'q>(&self, statement: &'static str, scopes: &[&Scope]) -> Query<'q, Postgres, PgArguments> {
        let parts = |part: fn(&Scope) -> Option<&str>| {
            scopes.iter().map(|scope| part(scope).map(str::to_owned)).collect::<Vec<_>>()
        };
        sqlx::query(statement)
            .bind(scopes[0].tenant_name().to_owned())
            .bind(parts(Scope::user))
            .bind(parts(Scope::agent))
            .bind(parts(Scope::session))
            .bind(whole_micros(self.now()))
    }

    /// Counts what is in large scopes, beside the searches.
    async fn measure(self, scopes: Vec<Scope>, space: i16) {
        let scopes: Vec<&Scope> = scopes.iter().collect();
        let statement = "SELECT * FROM orchestra.measure_scopes($1, $2, $3, $4, $5, $6)";
        let query = || self.within(statement, &scopes).bind(space);
        let connections = self.replicas().first().map_or(&self.inner.primary, |replica| &replica.connections);
        let begun = Instant::now();
        let measured = self.inner.statements.row(connections, Repeat::Harmless, query).await;
        let known = measured.and_then(|row| {
            let (rows, compared) = (row.try_get("rows")?, row.try_get("compared")?);
            let Json(stems) = row.try_get("stems")?;
            let average_length = Some(row.try_get("average_length")?);
            Ok(Known { rows, compared: Some(compared), average_length, stems: Some(stems) })
        });
        match known {
            Ok(known) => self.inner.scopes.learn(&scopes, space, known, begun.elapsed()),
            // The guess stays; it is measured again when it next comes due.
            Err(error) => debug!(error = &error as &dyn std::error::Error, "a scope was not measured"),
        }
    }

    /// The transaction that a token names.
    fn transaction(&self, token: &WriteToken) -> Result<u64> {
        let allowed = "a token that a write to this store gave";
        let wrong = || Error::invalid("at_least", token, allowed);
        let (instance, transaction) = token.0.rsplit_once(':').ok_or_else(wrong)?;
        if instance != self.inner.instance {
            return Err(wrong());
        }
        transaction.parse().map_err(|_| wrong())
    }
}

/// A candidate of a row, with the BM25 of its words.
pub(crate) fn read_candidate(row: &PgRow, bm25: f32) -> sqlx::Result<Candidate> {
    let beside = |name: &str| Ok::<_, sqlx::Error>(row.try_get::<Option<Uuid>, _>(name)?.map(MemoryId::from));
    Ok(Candidate { bm25, previous: beside("previous")?, next: beside("next")?, ..read_by_vector(row)? })
}

/// A candidate of a row that says nothing of words.
pub(crate) fn read_by_vector(row: &PgRow) -> sqlx::Result<Candidate> {
    Ok(Candidate {
        memory: Arc::new(read_memory(row)?),
        similarity: row.try_get::<Option<f32>, _>("similarity")?.map(|similarity| similarity.clamp(-1.0, 1.0)),
        bm25: 0.0,
        previous: None,
        next: None,
    })
}

fn arms(request: &SearchRequest, report: &Report, index: Option<&InUse>) -> Vec<ArmReport> {
    let mut arms = Vec::with_capacity(2);
    if request.embedding.is_some() {
        arms.push(ArmReport {
            arm: Arm::Dense,
            exact: !report.by_index || report.repaired,
            considered: report.compared,
            returned: report.dense,
            // Memories without a vector, or with one of another space only, could not be compared.
            shortfall: report.considered.saturating_sub(report.compared),
            index: index.filter(|_| report.by_index).map(|index| IndexUse {
                kind: index.kind().name().to_owned(),
                effort: report.effort.unwrap_or_default(),
                repaired: report.repaired,
            }),
        });
    }
    if request.text.is_some() {
        arms.push(ArmReport {
            arm: Arm::Lexical,
            exact: report.small,
            considered: report.considered,
            returned: report.lexical,
            shortfall: 0,
            index: None,
        });
    }
    arms
}
