//! How long the built-in embedder takes.

use anyhow::Result;
use embedders::StaticEmbedder;

use crate::corpus;
use crate::report::{Report, Table, Times, micros};

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// Texts of each length
    #[arg(long, default_value_t = 20_000)]
    texts: usize,
}

/// Embeds texts one at a time, on one core.
pub fn run(args: &Args) -> Result<Report> {
    let started = std::time::Instant::now();
    let embedder = StaticEmbedder::built_in();
    let loaded = started.elapsed();
    let long = corpus::sentences(args.texts.max(1), 1);
    let mut table = Table::new(
        "built-in embedder, one text at a time, tokeniser included, one core",
        &["text", "min", "p50", "p99", "texts/s"],
    );
    for words in [5, 10, 20, 100] {
        let texts: Vec<String> = (0..args.texts)
            .map(|at| {
                let sentences = long.iter().cycle().skip(at).take(13);
                sentences.flat_map(|sentence| sentence.split(' ')).take(words).collect::<Vec<_>>().join(" ")
            })
            .collect();
        let times = Times::of(texts.len(), |at| {
            std::hint::black_box(embedder.embed_one(&texts[at % texts.len()]));
        });
        let [min, p50, p99] = times.cells();
        table.row([format!("{words} words"), min, p50, p99, format!("{:.0}", 1.0 / times.p50().as_secs_f64())]);
    }
    let mut report = Report::default();
    report.table(table);
    report.note(format!("loading the model, once in a process: {}", micros(loaded)));
    Ok(report)
}
