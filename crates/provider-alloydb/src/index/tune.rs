//! Finds the least effort that keeps the recall that was promised.

use std::sync::Arc;
use std::time::{Duration, Instant};

use memory_core::{ArmReport, Embedding, EmbeddingSpace, Error, Result, Scope, SearchRequest};
use serde::Serialize;
use sqlx::Row as _;
use tracing::info;

use super::keeper::IndexKeeper;
use super::live::export;
use super::policy::IndexKind;
use super::spec::IndexSpec;
use super::state::InUse;
use crate::error::{failed, unusable};
use crate::provider::AlloyDbMemoryProvider;

const OPERATION: &str = "index tune";
/// Of a stored vector that is a query, so much is from another one: a question is near a memory, not the same. Their cosine
/// is about 0.8 then. Queries that are nearer to what is stored find more than questions do, and promise too much.
const FOREIGN: f32 = 0.75;
/// Similarities that are nearer are the same: 32-bit sums in another order.
const SAME: f32 = 1e-6;
/// How much of the table a sample is taken from, in blocks: 80 MB.
const SAMPLED_BLOCKS: f64 = 10_000.0;

/// How an index is tuned.
#[derive(Debug, Clone)]
pub struct TuneOptions {
    /// How many nearest are asked for; 10 unless told otherwise.
    pub k: usize,
    /// The share of them that is to be found; the configuration's `recall_target` unless given.
    pub target: Option<f32>,
    /// With how many queries; 100 unless told otherwise.
    pub sample: usize,
    /// Queries to prefer, as [`recorded_queries`](AlloyDbMemoryProvider::recorded_queries) gives them; stored vectors, each
    /// moved a little, fill the sample up.
    pub queries: Vec<TuneQuery>,
}

impl Default for TuneOptions {
    fn default() -> Self {
        Self { k: 10, target: None, sample: 100, queries: Vec::new() }
    }
}

/// A query to measure with.
#[derive(Debug, Clone)]
pub struct TuneQuery {
    /// Whose memories are searched.
    pub scope: Scope,
    /// The query's vector.
    pub embedding: Embedding,
}

impl TuneQuery {
    pub(super) fn request(&self, k: usize) -> SearchRequest {
        SearchRequest {
            scope: self.scope.clone(),
            also: Vec::new(),
            embedding: Some(self.embedding.clone()),
            text: None,
            filter: None,
            candidates: k,
            neighbours: false,
            at_least: None,
            as_of: None,
            best: None,
        }
    }
}

/// What tuning found, and has recorded.
#[derive(Debug, Clone, Serialize)]
pub struct Tuning {
    /// The effort that searches use from now on: the least that reached the target by more than chance, or the most that
    /// makes sense.
    pub effort: u32,
    /// The share of the true nearest that it finds: of whole tenants or of narrower scopes, whichever is less.
    pub recall: f32,
    /// What was to be reached.
    pub target: f32,
    /// Whether it was.
    pub is_reached: bool,
    /// How many nearest were asked for.
    pub k: usize,
    /// Over how many queries.
    pub queries: usize,
    /// Each effort that was tried, least first.
    pub points: Vec<TunePoint>,
}

/// What an effort gives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TunePoint {
    /// The lists that were probed, or the length of the list of candidates.
    pub effort: u32,
    /// As in [`Tuning::recall`].
    pub recall: f32,
    /// The standard error of `recall`, which another sample would differ by.
    pub margin: f32,
    /// Half of the searches took no longer, the round trip included.
    pub p50: Duration,
    /// 95 of 100 took no longer.
    pub p95: Duration,
}

/// What a search found.
pub(super) struct Found {
    /// Best first.
    pub similarities: Vec<f32>,
    pub arm: ArmReport,
}

/// A query with its true answer.
struct Probe {
    query: TuneQuery,
    exact: Vec<f32>,
}

impl IndexKeeper {
    /// Measures the index of a space with growing effort, and records the least that reaches the target.
    ///
    /// Queries are searched in scopes that are large enough to go through the index; `None` when there is no such scope:
    /// every search is exact then. Each query is compared in full once, which takes a second for a million rows.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such space or a setting is not possible, [`Error::Unusable`] when it has no
    /// index, [`Error::Backend`] when Postgres fails.
    pub async fn tune(&self, space: i16, options: &TuneOptions) -> Result<Option<Tuning>> {
        let target = options.target.unwrap_or(self.provider.inner.config.recall_target);
        if !(0.5..=1.0).contains(&target) {
            return Err(Error::invalid("target", target, "0.5 to 1.0"));
        }
        if options.k == 0 || options.sample == 0 {
            return Err(Error::invalid("k, sample", 0, "at least 1"));
        }
        let status = self.status_of(space).await?;
        let Some((name, spec)) = status.index.and_then(|index| Some((index.name, index.spec?))) else {
            let reason = format!("space {space} has no index that this version can tune: {}", status.decision.reason());
            return Err(unusable(reason, None));
        };
        let measured = self.measure(space, &status.space, &spec, status.rows, target, options).await;
        let Some(tuning) = measured.map_err(|error| failed(OPERATION, error))? else { return Ok(None) };
        self.record(space, &name, &tuning).await.map_err(|error| failed(OPERATION, error))?;
        export(&status.space, spec.kind(), tuning.recall);
        info!(space, effort = tuning.effort, recall = f64::from(tuning.recall), "a vector index was tuned");
        Ok(Some(tuning))
    }

    async fn measure(
        &self,
        space: i16,
        embedding_space: &EmbeddingSpace,
        spec: &IndexSpec,
        rows: u64,
        target: f32,
        options: &TuneOptions,
    ) -> sqlx::Result<Option<Tuning>> {
        let probes = self.probes(space, embedding_space, options).await?;
        if probes.is_empty() {
            return Ok(None);
        }
        let storage = self.provider.inner.config.storage;
        let most = spec.most_effort();
        let mut points: Vec<TunePoint> = Vec::new();
        // A graph's list of candidates holds at least what is asked for.
        let least = if spec.kind() == IndexKind::Hnsw { u32::try_from(options.k).unwrap_or(most).min(most) } else { 1 };
        let (mut too_little, mut effort) = (least - 1, least);
        // Doubled until it is enough, then halved between what was too little and what was enough.
        let mut enough = None;
        loop {
            let index = InUse::new(spec.clone(), effort, rows, storage);
            let point = self.point(&probes, space, &index, effort, options.k).await?;
            points.push(point);
            if point.recall - point.margin >= target {
                enough = Some(effort);
            } else {
                too_little = effort;
            }
            effort = match enough {
                None if effort == most => break,
                None => (effort * 2).min(most),
                Some(enough) if enough - too_little <= 1.max(too_little / 8) => break,
                Some(enough) => too_little.midpoint(enough),
            };
        }
        points.sort_by_key(|point| point.effort);
        let effort = enough.unwrap_or(most);
        let recall = points.iter().find(|point| point.effort == effort).map_or(0.0, |point| point.recall);
        let (k, queries) = (options.k, probes.len());
        Ok(Some(Tuning { effort, recall, target, is_reached: enough.is_some(), k, queries, points }))
    }

    async fn point(
        &self,
        probes: &[Probe],
        space: i16,
        index: &InUse,
        effort: u32,
        k: usize,
    ) -> sqlx::Result<TunePoint> {
        let mut took = Vec::with_capacity(probes.len());
        // Whole tenants, and what is narrower.
        let mut recalls = [Vec::new(), Vec::new()];
        for probe in probes {
            let begun = Instant::now();
            let found = self.provider.similarities(&probe.query.request(k), space, Some(index)).await?;
            took.push(begun.elapsed());
            recalls[usize::from(is_narrow(&probe.query.scope))].push(recall(&probe.exact, &found.similarities));
        }
        took.sort_unstable();
        let (recall, margin) = recalls
            .iter()
            .filter(|recalls| !recalls.is_empty())
            .map(|recalls| mean_and_error(recalls))
            .min_by(|a, b| (a.0 - a.1).total_cmp(&(b.0 - b.1)))
            .unwrap_or((0.0, 0.0));
        let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
        Ok(TunePoint { effort, recall, margin, p50: at(50), p95: at(95) })
    }

    /// Queries in large scopes, with what is nearest to each.
    async fn probes(&self, space: i16, of: &EmbeddingSpace, options: &TuneOptions) -> sqlx::Result<Vec<Probe>> {
        let mut probes = Vec::new();
        let recorded = options.queries.iter().filter(|query| **query.embedding.space() == *of);
        for query in recorded.take(options.sample) {
            probes.extend(self.probe(query.clone(), space, options.k).await?);
        }
        if probes.len() < options.sample {
            for (at, (scopes, embedding)) in self.sample(space, of, options.sample * 4).await?.into_iter().enumerate() {
                if probes.len() >= options.sample {
                    break;
                }
                // In turn the whole tenant, and the user where that one has much.
                for scope in scopes.into_iter().skip(at % 2) {
                    let query = TuneQuery { scope, embedding: embedding.clone() };
                    if let Some(probe) = self.probe(query, space, options.k).await? {
                        probes.push(probe);
                        break;
                    }
                }
            }
        }
        Ok(probes)
    }

    /// None where the scope is read whole anyway.
    async fn probe(&self, query: TuneQuery, space: i16, k: usize) -> sqlx::Result<Option<Probe>> {
        let found = self.provider.similarities(&query.request(k), space, None).await?;
        let is_large = found.arm.considered > u64::from(self.provider.inner.config.exact_up_to);
        Ok(is_large.then_some(Probe { query, exact: found.similarities }))
    }

    /// Stored vectors, each moved towards another, with the scopes they are in: the tenant, the user, the tenant again for
    /// who has little.
    async fn sample(
        &self,
        space: i16,
        of: &EmbeddingSpace,
        count: usize,
    ) -> sqlx::Result<Vec<(Vec<Scope>, Embedding)>> {
        let mut transaction = self.pool().begin().await?;
        let blocks: i64 =
            sqlx::query_scalar("SELECT pg_relation_size('orchestra.memories') / current_setting('block_size')::bigint")
                .fetch_one(&mut *transaction)
                .await?;
        sqlx::query("SET LOCAL ROLE orchestra_maintenance").execute(&mut *transaction).await?;
        let rows = sqlx::query(
            "SELECT tenant, user_id, coalesce(embedding, embedding_half::vector) AS embedding \
             FROM orchestra.memories TABLESAMPLE SYSTEM ($1) WHERE space = $2 ORDER BY random() LIMIT $3",
        )
        .bind((SAMPLED_BLOCKS / blocks.max(1) as f64 * 100.0).min(100.0) as f32)
        .bind(space)
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.rollback().await?;
        let space = Arc::new(of.clone());
        let wrong = |error: Error| sqlx::Error::Decode(Box::new(error));
        let vectors = rows
            .iter()
            .map(|row| row.try_get::<pgvector::Vector, _>("embedding").map(|vector| vector.to_vec()))
            .collect::<sqlx::Result<Vec<_>>>()?;
        let mut sample = Vec::with_capacity(rows.len());
        for (at, row) in rows.iter().enumerate() {
            let tenant = Scope::tenant(row.try_get::<String, _>("tenant")?).map_err(wrong)?;
            let mut scopes = vec![tenant.clone()];
            if let Some(user) = row.try_get::<Option<String>, _>("user_id")? {
                scopes.push(tenant.clone().with_user(user).map_err(wrong)?);
            }
            scopes.push(tenant);
            let other = &vectors[(at + 1) % vectors.len()];
            let moved = vectors[at].iter().zip(other).map(|(own, other)| own + FOREIGN * other).collect();
            sample.push((scopes, Embedding::new(space.clone(), moved).map_err(wrong)?));
        }
        Ok(sample)
    }

    /// Unless another index took the place of the one that was measured.
    async fn record(&self, space: i16, name: &str, tuning: &Tuning) -> sqlx::Result<()> {
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        sqlx::query(
            "UPDATE orchestra.index_state SET effort = $3, measured_recall = $4, measured_k = $5, \
             measured_queries = $6, measured_at = now() WHERE space = $1 AND name = $2",
        )
        .bind(space)
        .bind(name)
        .bind(tuning.effort.cast_signed())
        .bind(tuning.recall)
        .bind(count(tuning.k))
        .bind(count(tuning.queries))
        .execute(self.pool())
        .await?;
        Ok(())
    }
}

impl AlloyDbMemoryProvider {
    /// What a search by vector alone finds: through the index, or exactly.
    pub(super) async fn similarities(
        &self,
        request: &SearchRequest,
        space: i16,
        index: Option<&InUse>,
    ) -> sqlx::Result<Found> {
        let found =
            self.search_on(&self.inner.primary, self.inner.statements.patience(), request, space, None, index).await?;
        let mut found = found.ok_or_else(|| sqlx::Error::Protocol("a search without a token waited for one".into()))?;
        let mut similarities: Vec<f32> = found.candidates.iter().filter_map(|candidate| candidate.similarity).collect();
        similarities.sort_unstable_by(|a, b| b.total_cmp(a));
        let arm = found.arms.pop().ok_or_else(|| sqlx::Error::Protocol("the search gave no report".into()))?;
        Ok(Found { similarities, arm })
    }
}

/// The share of the true nearest that were found, 0 to 1. One that is as near as the last of them is as good.
pub(super) fn recall(exact: &[f32], found: &[f32]) -> f32 {
    let Some(last) = exact.last() else { return 1.0 };
    let hits = found.iter().filter(|similarity| **similarity >= last - SAME).count();
    hits.min(exact.len()) as f32 / exact.len() as f32
}

/// The mean, and its standard error.
fn mean_and_error(values: &[f32]) -> (f32, f32) {
    let count = values.len() as f32;
    let mean = values.iter().sum::<f32>() / count;
    let squares: f32 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0) / count).sqrt())
}

fn is_narrow(scope: &Scope) -> bool {
    scope.user().is_some() || scope.agent().is_some() || scope.session().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_as_near_as_the_last_is_as_good() {
        assert_eq!(recall(&[0.9, 0.8], &[0.9, 0.8]), 1.0);
        assert_eq!(recall(&[0.9, 0.8, 0.8], &[0.9, 0.8, 0.8, 0.8]), 1.0);
        assert_eq!(recall(&[0.9, 0.8], &[0.9, 0.7]), 0.5);
        assert_eq!(recall(&[], &[]), 1.0);
    }

    #[test]
    fn a_sample_says_how_sure_it_is() {
        assert_eq!(mean_and_error(&[1.0, 1.0, 1.0]), (1.0, 0.0));
        assert_eq!(mean_and_error(&[1.0]), (1.0, 0.0));
        let (mean, error) = mean_and_error(&[0.8, 1.0, 0.8, 1.0]);
        assert!((mean - 0.9).abs() < 1e-6 && (error - 0.0577).abs() < 1e-3, "{error}");
    }
}
