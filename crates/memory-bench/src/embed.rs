//! How long the embedders take.

use anyhow::Result;
use embedders::StaticEmbedder;
use memory_core::Embedding;

use crate::report::{Report, Table, Times, micros};
use crate::{corpus, models};

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    models: models::Args,
    /// Texts of each length; a hundredth of them for minilm-int8
    #[arg(long, default_value_t = 20_000)]
    texts: usize,
}

/// Embeds texts one at a time, on one core.
pub fn run(args: &Args) -> Result<Report> {
    let mut report = Report::default();
    let started = std::time::Instant::now();
    let of_static = StaticEmbedder::built_in();
    let loaded = started.elapsed();
    report.table(times("static-256, built in", args.texts, |text| of_static.embed_one(text)));
    report.note(format!("loading static-256, once in a process: {}", micros(loaded)));
    let started = std::time::Instant::now();
    match args.models.minilm()? {
        Some(minilm) => {
            let loaded = started.elapsed();
            report.table(times("minilm-int8", args.texts.div_ceil(100), |text| minilm.embed_one(text)));
            report.note(format!("loading minilm-int8, once in a process: {}", micros(loaded)));
        }
        None => report.note(models::ABSENT),
    }
    Ok(report)
}

fn times(embedder: &str, count: usize, embed: impl Fn(&str) -> Embedding) -> Table {
    let long = corpus::sentences(count.max(1), 1);
    let mut table = Table::new(
        format!("{embedder}: one text at a time, tokeniser included, one core"),
        &["text", "min", "p50", "p99", "texts/s"],
    );
    for words in [5, 10, 20, 100] {
        let texts: Vec<String> = (0..count)
            .map(|at| {
                let sentences = long.iter().cycle().skip(at).take(13);
                sentences.flat_map(|sentence| sentence.split(' ')).take(words).collect::<Vec<_>>().join(" ")
            })
            .collect();
        let times = Times::of(texts.len(), |at| {
            std::hint::black_box(embed(&texts[at % texts.len()]));
        });
        let [min, p50, p99] = times.cells();
        table.row([format!("{words} words"), min, p50, p99, format!("{:.0}", 1.0 / times.p50().as_secs_f64())]);
    }
    table
}
