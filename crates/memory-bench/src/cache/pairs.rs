//! How often the semantic cache is right, on labelled pairs of prompts.

use std::collections::BTreeMap;

use anyhow::Result;
use embedders::StaticEmbedder;
use memory_core::cache::decide;
use memory_core::{CacheMode, CachePolicy, Embedding};
use memory_testkit::labelled::{self, Pair};

use crate::models;
use crate::report::{Report, Table, Times, micros};

/// What to measure.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    pub models: models::Args,
    /// The threshold that the table by kind is for; 0.90 with static-256 and 0.85 with minilm-int8 unless given
    #[arg(long)]
    pub threshold: Option<f32>,
    /// Only the pairs of one split: dev, which the guard was written on, or test
    #[arg(long, value_parser = ["dev", "test"])]
    pub split: Option<String>,
    /// Also print the pairs of two meanings that the guard lets through at any similarity
    #[arg(long)]
    slips: bool,
}

/// A labelled pair with its similarity.
struct Scored {
    pair: Pair,
    similarity: f32,
}

impl Scored {
    fn hits(&self, threshold: f32, mode: CacheMode) -> bool {
        decide(&self.pair.asked, &self.pair.cached, self.similarity, CachePolicy { threshold, mode }).is_ok()
    }
}

/// The threshold that belongs to static-256.
pub const STATIC_THRESHOLD: f32 = 0.90;
/// The threshold that belongs to minilm-int8.
pub const MINILM_THRESHOLD: f32 = 0.85;

impl Args {
    /// The pairs that were asked for.
    pub fn pairs(&self) -> impl Iterator<Item = Pair> {
        labelled::pairs().into_iter().filter(|pair| self.split.as_ref().is_none_or(|split| *split == pair.split))
    }
}

/// Decides every pair at several thresholds, without and with the guard, by each embedder.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let of_static = StaticEmbedder::built_in();
    measure(args, report, StaticEmbedder::BUILT_IN_NAME, STATIC_THRESHOLD, |text| of_static.embed_one(text))?;
    match args.models.minilm()? {
        Some(minilm) => measure(args, report, "minilm-int8", MINILM_THRESHOLD, |text| minilm.embed_one(text))?,
        None => report.note(models::ABSENT),
    }
    report.note("hits: pairs of one meaning that are served. false hits: pairs of two meanings that are served.");
    Ok(())
}

fn measure(
    args: &Args,
    report: &mut Report,
    name: &str,
    threshold: f32,
    embed: impl Fn(&str) -> Embedding,
) -> Result<()> {
    let mut scored = Vec::new();
    for pair in args.pairs() {
        let similarity = embed(&pair.asked).similarity(&embed(&pair.cached))?;
        scored.push(Scored { pair, similarity });
    }
    report.table(by_threshold(&scored, name));
    report.table(by_kind(&scored, name, args.threshold.unwrap_or(threshold)));
    let times = Times::of(scored.len() * 20, |at| {
        let pair = &scored[at % scored.len()].pair;
        std::hint::black_box(memory_core::guard::compare(&pair.asked, &pair.cached));
    });
    let [_, p50, p99] = times.cells();
    report.note(format!(
        "{} pairs, embedder {name}; the guard takes p50 {p50}, p99 {p99}, at most {}",
        scored.len(),
        micros(times.percentile(1.0))
    ));
    if args.slips {
        for slip in scored.iter().filter(|scored| !scored.pair.same && scored.hits(-1.0, CacheMode::Guarded)) {
            let Pair { kind, cached, asked, .. } = &slip.pair;
            report.note(format!("[{kind}] {:.2} {cached:?} / {asked:?}", slip.similarity));
        }
    }
    Ok(())
}

fn by_threshold(scored: &[Scored], embedder: &str) -> Table {
    let columns = [
        "similarity at least",
        "hits",
        "false hits",
        "hits + guard",
        "false hits + guard",
        "precision",
        "precision + guard",
    ];
    let mut table = Table::new(format!("{embedder}: threshold alone, and with the guard"), &columns);
    for threshold in [-1.0, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95] {
        let count = |same: bool, mode: CacheMode| {
            let of: Vec<_> = scored.iter().filter(|scored| scored.pair.same == same).collect();
            (of.iter().filter(|scored| scored.hits(threshold, mode)).count(), of.len())
        };
        let precision = |mode| {
            let (hits, wrong) = (count(true, mode).0, count(false, mode).0);
            if hits + wrong == 0 {
                "-".to_owned()
            } else {
                format!("{:.1} %", 100.0 * hits as f64 / (hits + wrong) as f64)
            }
        };
        let name = if threshold < 0.0 { "any".to_owned() } else { format!("{threshold:.2}") };
        let [plain, guarded] = [CacheMode::Threshold, CacheMode::Guarded];
        table.row([
            name,
            share(count(true, plain)),
            share(count(false, plain)),
            share(count(true, guarded)),
            share(count(false, guarded)),
            precision(plain),
            precision(guarded),
        ]);
    }
    table
}

fn by_kind(scored: &[Scored], embedder: &str, threshold: f32) -> Table {
    let title = format!("{embedder}: served, by how the prompts differ, at {threshold:.2}");
    let mut table =
        Table::new(title, &["kind", "meaning", "pairs", "threshold alone", "with the guard", "guard, any similarity"]);
    let mut kinds: BTreeMap<(bool, &str), Vec<&Scored>> = BTreeMap::new();
    for scored in scored {
        kinds.entry((!scored.pair.same, &scored.pair.kind)).or_default().push(scored);
    }
    for ((different, kind), of) in kinds {
        let served =
            |threshold, mode| share((of.iter().filter(|scored| scored.hits(threshold, mode)).count(), of.len()));
        table.row([
            kind.to_owned(),
            if different { "different" } else { "same" }.to_owned(),
            of.len().to_string(),
            served(threshold, CacheMode::Threshold),
            served(threshold, CacheMode::Guarded),
            served(-1.0, CacheMode::Guarded),
        ]);
    }
    table
}

/// A count, and what part of the whole it is.
pub fn share((part, whole): (usize, usize)) -> String {
    format!("{part} ({:.1} %)", 100.0 * part as f64 / whole.max(1) as f64)
}
