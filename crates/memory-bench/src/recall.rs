//! How well recall finds the right memories, on labelled conversations.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use embedders::StaticEmbedder;
use memory_core::{
    ConsolidateRequest, Draft, Embedder as _, FusionStrategy, Memory, MemoryKind, MemoryStore, Metadata, Origin,
    RecallRequest, RememberRequest, Scope, TieredMemoryManager, Weights, Writer,
};
use memory_testkit::labelled::{self, Conversation, Question, Turn};
use memory_testkit::services::{self, Service};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, MIGRATOR};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::locomo;
use crate::report::{Report, Table, Times, micros};

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// Measure on LoCoMo conversations in these files, which you bring, in place of the labelled set of the repository
    #[arg(long, num_args = 1.., value_name = "FILE")]
    locomo: Vec<PathBuf>,
    /// Also print the questions whose answer is not among the first ten of the default
    #[arg(long)]
    misses: bool,
    /// Leave out the comparison with the store on Postgres
    #[arg(long)]
    no_postgres: bool,
    /// Also compare facts that were said once with facts that were said three times, before and after consolidation
    #[arg(long)]
    consolidate: bool,
}

/// What of a turn goes into the index, beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Indexed {
    /// Its vector is made together with the turn before it.
    context: bool,
    /// Its words are indexed with its date and its speaker.
    date_and_speaker: bool,
    written: Written,
}

/// How a turn is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Written {
    /// As a turn of its session.
    Turn,
    /// As a fact of its user.
    Once,
    /// As a fact, in three spellings.
    Thrice,
    /// The same, and then consolidated.
    Consolidated,
}

const WHOLE: Indexed = Indexed { context: true, date_and_speaker: true, written: Written::Turn };
const PLAIN: Indexed = Indexed { context: false, date_and_speaker: false, written: Written::Turn };

/// Which provider holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Store {
    Embedded,
    Postgres,
}

/// A way to recall: where it is stored, what is indexed, and how the arms are put together.
struct Variant {
    name: &'static str,
    store: Store,
    indexed: Indexed,
    strategy: FusionStrategy,
}

fn variants(postgres: bool, consolidate: bool) -> Vec<Variant> {
    let default = Weights::default();
    let plain = Weights { neighbours: 0.0, actor: 0.0, ..default };
    let store = Store::Embedded;
    let weighted =
        |name, indexed, weights| Variant { name, store, indexed, strategy: FusionStrategy::Weighted(weights) };
    let mut variants = vec![
        weighted("dense alone", PLAIN, Weights { dense: 1.0, ..plain }),
        weighted("BM25 alone", PLAIN, Weights { dense: 0.0, ..plain }),
        Variant { name: "RRF, k = 60", store, indexed: PLAIN, strategy: FusionStrategy::RRF },
        weighted("weighted 0.5", PLAIN, plain),
        weighted("default", WHOLE, default),
        weighted("  without the turn before in the vector", Indexed { context: false, ..WHOLE }, default),
        weighted("  without date and speaker in the words", Indexed { date_and_speaker: false, ..WHOLE }, default),
        weighted("  without lending to neighbours", WHOLE, Weights { neighbours: 0.0, ..default }),
        weighted("  without the actor's bonus", WHOLE, Weights { actor: 0.0, ..default }),
        weighted("  without vectors", WHOLE, Weights { dense: 0.0, ..default }),
        weighted("  without words", WHOLE, Weights { dense: 1.0, neighbours: 0.0, ..default }),
        Variant { name: "  with RRF in place of the weights", store, indexed: WHOLE, strategy: FusionStrategy::RRF },
    ];
    if consolidate {
        for (name, written) in [
            ("facts, said once", Written::Once),
            ("  said three times", Written::Thrice),
            ("  said three times, consolidated", Written::Consolidated),
        ] {
            variants.push(weighted(name, Indexed { written, ..WHOLE }, default));
        }
    }
    if postgres {
        let on_postgres = weighted("  on Postgres in place of the embedded provider", WHOLE, default);
        variants.push(Variant { store: Store::Postgres, ..on_postgres });
    }
    variants
}

/// Indexes the conversations in every way that a variant needs, and asks every question of every variant.
pub async fn run(args: &Args) -> Result<Report> {
    let (conversations, questions) = match args.locomo.as_slice() {
        [] => (labelled::conversations(), labelled::questions()),
        files => locomo::read(files)?,
    };
    let postgres = if args.no_postgres { None } else { services::url(Service::Postgres) };
    let mut memories: BTreeMap<(Store, Indexed), Indexing> = BTreeMap::new();
    let columns = ["", "recall@1", "recall@5", "recall@10", "recall@20", "hit@10", "MRR", "nDCG@10"];
    let mut overall = Table::new("recall on labelled conversations", &columns);
    let mut by_kind: BTreeMap<&str, Vec<(&str, f64)>> = BTreeMap::new();
    let mut report = Report::default();
    let mut times = Vec::new();
    let mut misses = Vec::new();
    for variant in variants(postgres.is_some(), args.consolidate) {
        let indexing = match memories.entry((variant.store, variant.indexed)) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => {
                let postgres = postgres.as_deref().filter(|_| variant.store == Store::Postgres);
                place.insert(Indexing::of(&conversations, variant.indexed, postgres).await?)
            }
        };
        let mut all = Vec::new();
        let mut kinds: BTreeMap<&str, Vec<Score>> = BTreeMap::new();
        for question in &questions {
            let start = Instant::now();
            let ranked = indexing.ask(question, variant.strategy).await?;
            let score = Score::of(&ranked, &question.relevant);
            if variant.name == "default" {
                times.push(start.elapsed());
                if score.at_10 == 0.0 {
                    misses.push(format!("missed [{}] {}", question.kind, question.question));
                }
            }
            kinds.entry(&question.kind).or_default().push(score);
            all.push(score);
        }
        let mean = Score::mean(&all);
        let percent = |share: f64| format!("{:.1}", 100.0 * share);
        let shares = [mean.at_1, mean.at_5, mean.at_10, mean.at_20, mean.hit_at_10].map(percent);
        overall.row(
            [variant.name.to_owned()]
                .into_iter()
                .chain(shares)
                .chain([mean.reciprocal_rank, mean.ndcg_at_10].map(|v| format!("{v:.3}"))),
        );
        for (kind, scores) in kinds {
            by_kind.entry(kind).or_default().push((variant.name, Score::mean(&scores).at_10));
        }
    }
    report.table(overall);
    report.table(kinds_table(&questions, &by_kind));
    let sessions = conversations.iter().flat_map(|conversation| &conversation.sessions);
    let turns: usize = sessions.map(|session| session.turns.len()).sum();
    let times = Times::from_times(times);
    report.note(format!(
        "{} questions over {turns} turns, embedder static-256; recall takes p50 {}, p99 {}",
        questions.len(),
        micros(times.p50()),
        micros(times.percentile(0.99))
    ));
    let interval = 196.0 * (0.25 / questions.len() as f64).sqrt();
    report.note(format!(
        "shares in percent; with so many questions a share is sure to ±{interval:.0} points at most (95 %)"
    ));
    if args.misses {
        misses.into_iter().for_each(|miss| report.note(miss));
    }
    Ok(report)
}

fn kinds_table(questions: &[Question], by_kind: &BTreeMap<&str, Vec<(&str, f64)>>) -> Table {
    let names: Vec<&str> = by_kind.values().next().into_iter().flatten().map(|(name, _)| name.trim()).collect();
    let shown = ["dense alone", "BM25 alone", "RRF, k = 60", "weighted 0.5", "default"];
    let mut table =
        Table::new("recall@10 by what makes the question hard", &[&["kind", "questions"], &shown[..]].concat());
    for (kind, scores) in by_kind {
        let count = questions.iter().filter(|question| question.kind == *kind).count();
        let cells = shown
            .iter()
            .filter_map(|name| names.iter().position(|other| other == name))
            .map(|at| format!("{:.1}", 100.0 * scores[at].1));
        table.row([(*kind).to_owned(), count.to_string()].into_iter().chain(cells));
    }
    table
}

/// The conversations in a store of their own.
struct Indexing {
    manager: TieredMemoryManager,
    _folder: tempfile::TempDir,
}

impl Indexing {
    /// In the embedded provider, or in a database of its own on a Postgres.
    async fn of(conversations: &[Conversation], indexed: Indexed, postgres: Option<&str>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let provider: Arc<dyn MemoryStore> = match postgres {
            None => Arc::new(EmbeddedProvider::open(EmbeddedConfig::new(folder.path().join("memory.db"))).await?),
            Some(url) => Arc::new(on_postgres(url).await?),
        };
        let embedder = Arc::new(StaticEmbedder::built_in());
        let manager = TieredMemoryManager::builder(chrono::Utc::now, || uuid::Uuid::now_v7().into())
            .medium_term_provider(provider)
            .embedder(embedder.clone())
            .build()?;
        for conversation in conversations {
            for session in &conversation.sessions {
                let scope = Scope::tenant("bench")?.with_user(&conversation.user)?.with_session(&session.id)?;
                let mut drafts = Vec::with_capacity(session.turns.len());
                let user = Scope::tenant("bench")?.with_user(&conversation.user)?;
                for turn in &session.turns {
                    let mut draft = draft(&scope, turn);
                    if indexed.date_and_speaker {
                        draft.valid_from = Some(session.date);
                    }
                    if !indexed.context {
                        draft.embedding = Some(embedder.embed_one(&turn.text));
                    }
                    drafts.push(draft);
                }
                if !indexed.date_and_speaker {
                    // The speaker is indexed with the words, and so is left out here; the actor's bonus goes with it.
                    drafts.iter_mut().for_each(|draft| draft.actor = None);
                }
                drafts = match indexed.written {
                    Written::Turn => drafts,
                    Written::Once => as_facts(drafts, &user, 1),
                    Written::Thrice | Written::Consolidated => as_facts(drafts, &user, 3),
                };
                let origin = Origin::new(Writer::Import, "bench");
                manager.remember(RememberRequest { drafts, origin, idempotency: None }).await?;
            }
        }
        if indexed.written == Written::Consolidated {
            let mut request = ConsolidateRequest::new(Scope::tenant("bench")?);
            loop {
                request.cursor = manager.consolidate(&request).await?.next;
                if request.cursor.is_none() {
                    break;
                }
            }
        }
        Ok(Self { manager, _folder: folder })
    }

    /// The ids of the turns that a question recalls, best first.
    async fn ask(&self, question: &Question, strategy: FusionStrategy) -> Result<Vec<String>> {
        let scope = Scope::tenant("bench")?.with_user(&question.user)?;
        let request = RecallRequest { limit: 20, strategy, ..RecallRequest::new(scope, &question.question) };
        let report = self.manager.recall(request).await?;
        // What is there twice takes two places and answers once.
        let mut seen = HashSet::new();
        let once = |id: String| if seen.insert(id.clone()) { id } else { String::new() };
        Ok(report.memories.iter().map(|recalled| turn_id(&recalled.memory)).map(once).collect())
    }
}

/// An empty store in a database of its own.
async fn on_postgres(url: &str) -> Result<AlloyDbMemoryProvider> {
    let name = format!("bench_{}", uuid::Uuid::now_v7().simple());
    let options: PgConnectOptions = url.parse()?;
    let mut connection = PgConnection::connect_with(&options).await?;
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    let mut connection = PgConnection::connect_with(&options.database(&name)).await?;
    MIGRATOR.run_direct(None, &mut connection, false).await?;
    let mut config = AlloyDbConfig::from_url(url)?;
    config.database = name;
    config.role = Some("orchestra_app".into());
    config.vector_dim = StaticEmbedder::built_in().space().dimensions;
    Ok(AlloyDbMemoryProvider::connect(config).await?)
}

fn draft(scope: &Scope, turn: &Turn) -> Draft {
    Draft {
        kind: MemoryKind::Message,
        actor: Some(turn.speaker.clone()),
        metadata: Metadata::from_iter([("turn".to_owned(), turn.id.as_str().into())]),
        ..Draft::new(scope.clone(), &turn.text)
    }
}

/// The turns as facts of their user, each in so many spellings.
fn as_facts(turns: Vec<Draft>, user: &Scope, spellings: usize) -> Vec<Draft> {
    let spell = |turn: &Draft, spelling: usize| match spelling {
        0 => turn.text.clone(),
        1 => format!("{} ", turn.text.trim_end_matches('.')),
        _ => turn.text.to_lowercase(),
    };
    let fact = |turn: &Draft, spelling| Draft {
        kind: MemoryKind::Semantic,
        scope: user.clone(),
        text: spell(turn, spelling),
        ..turn.clone()
    };
    turns.iter().flat_map(|turn| (0..spellings).map(move |spelling| fact(turn, spelling))).collect()
}

fn turn_id(memory: &Memory) -> String {
    memory.metadata["turn"].as_str().unwrap_or_default().to_owned()
}

/// How well one ranking, or the mean of many, finds what is relevant.
#[derive(Debug, Clone, Copy, Default)]
struct Score {
    at_1: f64,
    at_5: f64,
    at_10: f64,
    at_20: f64,
    hit_at_10: f64,
    reciprocal_rank: f64,
    ndcg_at_10: f64,
}

impl Score {
    fn of(ranked: &[String], relevant: &[String]) -> Self {
        let wanted: HashSet<&String> = relevant.iter().collect();
        let found_by: HashMap<usize, usize> = [1, 5, 10, 20]
            .map(|k| (k, ranked.iter().take(k).filter(|id| wanted.contains(id)).count()))
            .into_iter()
            .collect();
        let recall_at = |k: usize| found_by[&k] as f64 / wanted.len() as f64;
        let first = ranked.iter().position(|id| wanted.contains(id));
        // Järvelin and Kekäläinen 2002, with a gain of 1 for a relevant turn.
        let discount = |place: usize| 1.0 / ((place + 2) as f64).log2();
        let gained: f64 = ranked
            .iter()
            .take(10)
            .enumerate()
            .filter(|(_, id)| wanted.contains(id))
            .map(|(place, _)| discount(place))
            .sum();
        let ideal: f64 = (0..wanted.len().min(10)).map(discount).sum();
        Self {
            at_1: recall_at(1),
            at_5: recall_at(5),
            at_10: recall_at(10),
            at_20: recall_at(20),
            hit_at_10: f64::from(u8::from(found_by[&10] > 0)),
            reciprocal_rank: first.map_or(0.0, |place| 1.0 / (place + 1) as f64),
            ndcg_at_10: gained / ideal,
        }
    }

    fn mean(scores: &[Self]) -> Self {
        let mean = |part: fn(&Self) -> f64| scores.iter().map(part).sum::<f64>() / scores.len().max(1) as f64;
        Self {
            at_1: mean(|score| score.at_1),
            at_5: mean(|score| score.at_5),
            at_10: mean(|score| score.at_10),
            at_20: mean(|score| score.at_20),
            hit_at_10: mean(|score| score.hit_at_10),
            reciprocal_rank: mean(|score| score.reciprocal_rank),
            ndcg_at_10: mean(|score| score.ndcg_at_10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_follow_their_definitions() {
        let ids = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let score = Score::of(&ids(&["x", "a", "y", "b"]), &ids(&["a", "b", "c"]));
        assert_eq!((score.at_1, score.at_5), (0.0, 2.0 / 3.0));
        assert_eq!((score.hit_at_10, score.reciprocal_rank), (1.0, 0.5));
        let gained = 1.0 / 3_f64.log2() + 1.0 / 5_f64.log2();
        let ideal = 1.0 + 1.0 / 3_f64.log2() + 0.5;
        assert!((score.ndcg_at_10 - gained / ideal).abs() < 1e-12);
    }
}
