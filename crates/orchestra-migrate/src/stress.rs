//! The stress test from the command line.

use std::fmt::Write as _;

use anyhow::Result;
use clap::ValueEnum;
use ground_truth::soak::{Size, Soak, soak};
use ground_truth::{Made, Wanted, cuda};
use migrate::engine::Engine;
use migrate::record::Colour;
use migrate::stress::knee::Rise;
use migrate::stress::step::Step;
use migrate::stress::{Loaded, Options, Stress, Told};

use crate::cli::Cli;
use crate::mistake::mistake;
use crate::show;

/// What the command `stress` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    load: Load,
    /// How many different queries are sent
    #[arg(long, default_value_t = 200, value_name = "N")]
    queries: usize,
    /// Keep the GPU busy for so long in place of all this, and verify what it computes
    #[arg(long, value_name = "SECONDS")]
    pub gpu_soak: Option<f64>,
}

/// How a store is loaded.
#[derive(Debug, clap::Args)]
pub struct Load {
    /// The first rate, in requests a second; each further one is half as much again
    #[arg(long, default_value_t = 50.0, value_name = "N")]
    rate_start: f64,
    /// The highest rate
    #[arg(long, default_value_t = 20_000.0, value_name = "N")]
    max_rate: f64,
    /// How long a rate is tried
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    step_seconds: f64,
    /// The longest p99 of a rate that holds; without it ten times that of one request after the other, at least 20
    #[arg(long, value_name = "MS")]
    p99_ms: Option<f64>,
    /// What the exact answers are computed on
    #[arg(long, value_enum, default_value_t = Truth::Auto)]
    truth: Truth,
    /// The rate that green has to hold, in requests a second, in place of what blue holds; blue is not loaded then
    #[arg(long, value_name = "N")]
    stress_rate: Option<f64>,
    /// Do not load blue, the store in use
    #[arg(long)]
    green_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Truth {
    /// A CUDA GPU where one is, and the CPU otherwise
    Auto,
    Cpu,
    /// A CUDA GPU; without one it is refused
    Cuda,
}

impl Args {
    pub fn options(&self) -> Options {
        self.load.options(self.queries)
    }
}

impl Load {
    pub fn options(&self, queries: usize) -> Options {
        let truth = match self.truth {
            Truth::Auto => Wanted::Auto,
            Truth::Cpu => Wanted::Cpu,
            Truth::Cuda => Wanted::Cuda,
        };
        Options {
            rise: Rise { start: self.rate_start, most: self.max_rate, ..Rise::default() },
            step_ms: (self.step_seconds * 1000.0) as u64,
            p99_ms: self.p99_ms,
            queries,
            truth,
            blue: !self.green_only && self.stress_rate.is_none(),
            rate: self.stress_rate,
            ..Options::default()
        }
    }
}

/// Loads the stores, and decides by it.
pub async fn run(cli: &Cli, engine: &mut Engine, options: &Options) -> Result<()> {
    if cli.is_dry() {
        println!("{}", would(options)?);
        return Ok(());
    }
    load(cli, engine, options).await?;
    let Some(stress) = &engine.record().stress else { return Ok(()) };
    let gate = stress.gate(engine.record().plan.gates.recall);
    if cli.json {
        println!("{}", serde_json::to_string_pretty(&(stress, &gate))?);
    } else {
        print!("{}{}", summary(stress), show::gate(&gate));
    }
    if gate.holds { Ok(()) } else { Err(mistake("the stress test's gate does not hold")) }
}

/// Loads the stores, and tells on standard error how it goes.
pub async fn load(cli: &Cli, engine: &mut Engine, options: &Options) -> Result<()> {
    options.check()?;
    if options.blue {
        cli.agrees("load blue, the store in use, until it does not keep up (--green-only leaves it alone)")?;
    }
    engine.stress(options, |colour, now| eprintln!("{}", line(colour, now))).await?;
    Ok(())
}

/// What a dry run says.
pub fn would(options: &Options) -> Result<String> {
    options.check()?;
    let by = match options.truth {
        Wanted::Cpu => "the CPU".to_owned(),
        Wanted::Auto | Wanted::Cuda => match cuda::open() {
            Ok(device) => device.name().to_owned(),
            Err(why) => format!("the CPU ({why})"),
        },
    };
    Ok(format!(
        "would load green{} with {} queries, from {:.0} a second up to at most {:.0}, {:.1} s each rate, and compare what is \
         found with exact answers by {by}",
        if options.blue { ", then blue, the store in use," } else { "" },
        options.queries,
        options.rise.start,
        options.rise.most,
        options.step_ms as f64 / 1000.0
    ))
}

/// Keeps the GPU busy for so many seconds, and verifies all it computes.
pub fn keep_busy(cli: &Cli, seconds: f64) -> Result<()> {
    if !(seconds > 0.0 && seconds <= 86_400.0) {
        return Err(mistake("--gpu-soak is not more than 0 and at most 86400 seconds"));
    }
    if cli.is_dry() {
        println!("would keep the GPU busy for {seconds:.0} s");
        return Ok(());
    }
    let no_gpu = |why| mistake(format!("no GPU can be used: {why}"));
    let mut device = cuda::open().map_err(no_gpu)?;
    let mut told = 0.0;
    let shown = soak(&mut *device, Size::default(), |now| {
        if now.seconds >= told + 1.0 {
            told = now.seconds;
            eprintln!(
                "{:.0} s: {} products, {:.1} TFLOP/s, {} wrong",
                now.seconds, now.products, now.tflops, now.mismatches
            );
        }
        now.seconds < seconds
    });
    let shown = shown.map_err(no_gpu)?;
    if cli.json {
        println!("{}", serde_json::to_string_pretty(&shown)?);
    } else {
        println!("{}", soaked(&shown));
    }
    if shown.mismatches == 0 { Ok(()) } else { Err(mistake("the GPU computes wrongly: do not use it")) }
}

fn soaked(soak: &Soak) -> String {
    format!(
        "{}: {} products in {:.1} s, {:.1} TFLOP/s, {} wrong; {} values of the first one were computed on the CPU too and \
         differ by at most {:.1e}, {:.1e} may be",
        soak.by, soak.products, soak.seconds, soak.tflops, soak.mismatches, soak.checked, soak.deviation, soak.allowed
    )
}

fn line(colour: Colour, now: Told<'_>) -> String {
    match now {
        Told::Truth(made) => format!("{colour}: exact answers {}", found_by(made)),
        Told::Alone(step) => format!("{colour}: one after the other, {}", times(step)),
        Told::Step(step) => {
            let held = if step.held { "holds" } else { "does not hold" };
            format!("{colour}: {:.0}/s {held}, {}", step.rate, times(step))
        }
    }
}

fn times(step: &Step) -> String {
    format!(
        "p50/p99 {:.1}/{:.1} ms, {} failed, {} given up, recall {:.3}",
        step.p50_us as f64 / 1000.0,
        step.p99_us as f64 / 1000.0,
        step.failed,
        step.timed_out,
        step.recall()
    )
}

fn found_by(made: &Made) -> String {
    let mut text =
        format!("of {} queries among {} vectors by {} in {:.1} s", made.queries, made.vectors, made.by, made.seconds);
    if made.checked > 0 {
        let _ = write!(
            text,
            ", {} products checked, off by at most {:.1e} of {:.1e}",
            made.checked, made.deviation, made.allowed
        );
    }
    if let Some(why) = &made.why_not_gpu {
        let _ = write!(text, " (no GPU: {why})");
    }
    text
}

/// All rates of both stores.
fn summary(stress: &Stress) -> String {
    let mut text = String::new();
    let sides = [(Colour::Green, Some(&stress.green)), (Colour::Blue, stress.blue.as_ref())];
    for (colour, loaded) in sides {
        let Some(Loaded { truth, alone, p99_limit_us, steps, .. }) = loaded else { continue };
        let _ = writeln!(
            text,
            "{colour}: exact answers {}\n{:>9} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>8} {:>7}",
            found_by(truth),
            "rate/s",
            "offered",
            "answered",
            "p50 ms",
            "p95",
            "p99",
            "p99.9",
            "longest",
            "failed",
            "given up",
            "recall"
        );
        let mut row = |name: String, step: &Step, mark: &str| {
            let ms = |micros: u64| format!("{:.1}", micros as f64 / 1000.0);
            let _ = writeln!(
                text,
                "{name:>9} {:>9.1} {:>9.1} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>8} {:>7.3} {mark}",
                step.offered,
                step.achieved,
                ms(step.p50_us),
                ms(step.p95_us),
                ms(step.p99_us),
                ms(step.p999_us),
                ms(step.max_us),
                step.failed,
                step.timed_out,
                step.recall()
            );
        };
        row("alone".to_owned(), alone, "");
        for step in steps {
            row(format!("{:.0}", step.rate), step, if step.held { "holds" } else { "does not hold" });
        }
        let _ = writeln!(text, "a rate holds up to a p99 of {:.1} ms", *p99_limit_us as f64 / 1000.0);
    }
    text
}
