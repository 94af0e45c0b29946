//! The semantic cache: how often it is right, and how fast it is beside the least that can be sent to the same Redis.

mod calls;
mod goals;
mod mixed;
mod pairs;
mod served;
mod speed;

use anyhow::Result;

use self::goals::Goals;
use crate::report::Report;

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// What to measure: pairs, served, speed; several with commas
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Section::Pairs, Section::Served, Section::Speed])]
    only: Vec<Section>,
    #[command(flatten)]
    pairs: pairs::Args,
    #[command(flatten)]
    speed: speed::Args,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Section {
    /// How often the decision is right on labelled pairs, in process, at several thresholds
    Pairs,
    /// The same pairs stored in a real Redis and looked up there
    Served,
    /// How long lookups and stores take at several sizes, also with stores in between
    Speed,
}

/// Runs the sections in turn, then says which goals were met.
pub async fn run(args: &Args) -> Result<Report> {
    let (mut report, mut goals) = (Report::default(), Goals::default());
    let runs = |section| args.only.contains(&section);
    if runs(Section::Pairs) {
        pairs::run(&args.pairs, &mut report)?;
    }
    if runs(Section::Served) {
        served::run(&args.pairs, &mut report).await?;
    }
    if runs(Section::Speed) {
        speed::run(&args.speed, &mut report, &mut goals).await?;
        report.goals(goals.table());
    }
    Ok(report)
}
