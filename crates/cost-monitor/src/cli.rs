//! The command line.

mod metrics;
mod watch;

use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use chrono::{Days, NaiveDate, Utc};
use clap::{Args, Parser, Subcommand};
use cost_monitor::auth::Access;
use cost_monitor::billing::EXPORT;
use cost_monitor::metrics::Figures;
use cost_monitor::price::Price;
use cost_monitor::report::{self, Report};
use cost_monitor::simulate::Simulation;
use cost_monitor::tables::{self, PRICES};
use cost_monitor::usage;
use cost_monitor::views::Views;
use cost_monitor::warehouse::{Place, Warehouse};

/// What the caller has to mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Mistake(String);

fn mistake(message: impl Into<String>) -> anyhow::Error {
    Mistake(message.into()).into()
}

/// What an Orchestra Memory costs, and a brake
///
/// Reads the billing export in BigQuery and the messages of a budget. Credentials are Google's application default
/// credentials; BIGQUERY_EMULATOR_HOST and PUBSUB_EMULATOR_HOST name emulators to use instead.
#[derive(Parser)]
#[command(name = "cost-monitor", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Levels and modules of the log, on standard error
    #[arg(long, env = "COST_MONITOR_LOG", default_value = "info", global = true)]
    pub log: String,
}

#[derive(Subcommand)]
enum Command {
    /// The views over the billing export, and the tables beside it
    #[command(subcommand)]
    Views(ViewsCommand),
    /// Load usage files of the memory's server (`usage.file`); what is loaded already is left out
    Usage {
        #[command(flatten)]
        place: PlaceArgs,
        /// The files, oldest first or in any order
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Load a file of prices: a JSON array, in the form of monitoring/schemas/prices.json, that takes the place of all prices
    Prices {
        #[command(flatten)]
        place: PlaceArgs,
        /// The file
        file: PathBuf,
    },
    /// Show what the memory costs
    Report {
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        span: Span,
        #[command(flatten)]
        metrics: metrics::MetricsArgs,
        /// Write a page of its own instead, with plots
        #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "csv"])]
        html: Option<PathBuf>,
        /// Print everything as JSON
        #[arg(long, conflicts_with = "csv")]
        json: bool,
        /// Print the daily costs as CSV
        #[arg(long)]
        csv: bool,
    },
    /// Show what each month cost, and what the newest will have cost
    Forecast {
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        span: Span,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a SKU of the invoice day by day
    Explain {
        #[command(flatten)]
        place: PlaceArgs,
        /// Its id or its name, as `report` shows them
        sku: String,
        /// The currency
        #[arg(long, default_value = "USD")]
        currency: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a billing export, usage and prices as they could be, into the emulator
    Simulate {
        #[command(flatten)]
        place: PlaceArgs,
        /// How many days, up to today
        #[arg(long, default_value_t = 90)]
        days: u32,
        /// Lines of the export on each day
        #[arg(long, default_value_t = 280)]
        lines: u32,
        /// How many tenants there are
        #[arg(long, default_value_t = 8)]
        tenants: u32,
        /// Another seed, other figures
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The day after the last one; today unless given
        #[arg(long)]
        until: Option<NaiveDate>,
    },
    /// Check the credentials: whether Google gives an access token for them, which is not shown
    Access,
    /// Act on the messages of a budget until it is stopped
    Watch(watch::WatchArgs),
    /// What is in force because of alerts
    #[command(subcommand)]
    Brake(watch::BrakeCommand),
}

#[derive(Subcommand)]
enum ViewsCommand {
    /// Show what `apply` would do
    Plan(PlaceArgs),
    /// Make what is missing, and replace views that differ
    Apply(PlaceArgs),
    /// Remove the views; tables stay
    Drop {
        #[command(flatten)]
        place: PlaceArgs,
        /// Do it; otherwise it is only shown
        #[arg(long)]
        apply: bool,
    },
}

/// Where the figures are.
#[derive(Args, Clone)]
pub(crate) struct PlaceArgs {
    /// The project of the dataset, which pays for the queries
    #[arg(long, env = "COST_MONITOR_PROJECT")]
    pub(crate) project: String,
    /// The dataset of the billing export
    #[arg(long, env = "COST_MONITOR_DATASET")]
    pub(crate) dataset: String,
    /// Where the dataset is
    #[arg(long, env = "COST_MONITOR_LOCATION", default_value = "US")]
    pub(crate) location: String,
    /// The table of the standard or the detailed export: gcp_billing_export_resource_v1_…
    #[arg(long, env = "COST_MONITOR_EXPORT", default_value = EXPORT.name)]
    pub(crate) export: String,
    /// An emulator to use instead of BigQuery
    #[arg(long, env = "BIGQUERY_EMULATOR_HOST", value_name = "URL")]
    pub(crate) bigquery_emulator: Option<String>,
}

impl PlaceArgs {
    pub(crate) async fn connect(&self) -> Result<Warehouse> {
        let place =
            Place::new(&self.project, &self.dataset, &self.location).map_err(|error| mistake(error.to_string()))?;
        Ok(Warehouse::connect(place, self.bigquery_emulator.as_deref()).await?)
    }
}

#[derive(Args)]
struct Span {
    /// How many days, up to the newest
    #[arg(long, default_value_t = 90)]
    days: u32,
    /// The currency
    #[arg(long, default_value = "USD")]
    currency: String,
}

impl Cli {
    /// Does it.
    ///
    /// # Errors
    /// When that fails; [`Mistake`] where the caller can mend it.
    pub async fn run(self) -> Result<()> {
        match self.command {
            Command::Views(command) => views(command).await,
            Command::Usage { place, files } => load_usage(&place, &files).await,
            Command::Prices { place, file } => load_prices(&place, &file).await,
            Command::Report { place, span, metrics, html, json, csv } => {
                let warehouse = place.connect().await?;
                let (publisher, budget) = (metrics.publisher(&warehouse)?, metrics.budget()?);
                let report = read(&warehouse, &span).await?;
                if let Some(publisher) = publisher {
                    let points = Figures::read(&warehouse).await.context(UNREADABLE)?.points(budget, Utc::now());
                    publisher.write(&points, Utc::now()).await?;
                    eprintln!("{} metrics were written", points.len());
                }
                if let Some(file) = html {
                    std::fs::write(&file, report.html())
                        .with_context(|| format!("{}: cannot be written", file.display()))?;
                    eprintln!("{} was written", file.display());
                    return Ok(());
                }
                match (json, csv) {
                    (true, _) => say(&serde_json::to_string_pretty(&report)?),
                    (_, true) => say(report.csv().trim_end()),
                    _ => say(report::table(&report).trim_end()),
                }
            }
            Command::Forecast { place, span, json } => {
                let report = read(&place.connect().await?, &span).await?;
                if json {
                    return say(&serde_json::to_string_pretty(&report.monthly)?);
                }
                if let Some((month, net, forecast)) = report.newest_month() {
                    let forecast = forecast.map_or("too early to tell".to_owned(), |amount| amount.to_string());
                    say(&format!("{month}: {net} {} so far, at its end {forecast}\n", report.currency))?;
                }
                say(&report::forecast(&report))
            }
            Command::Explain { place, sku, currency, json } => {
                let days = report::explain(&place.connect().await?, &sku, &currency).await?;
                if json {
                    return say(&serde_json::to_string_pretty(&days)?);
                }
                let explained = report::explained(&days);
                let none =
                    || mistake(format!("no line of the invoice has the SKU {sku:?}; `cost-monitor report` shows them"));
                say(explained.ok_or_else(none)?.trim_end())
            }
            Command::Simulate { place, days, lines, tenants, seed, until } => {
                let until = until.unwrap_or_else(|| Utc::now().date_naive());
                let first = until - Days::new(u64::from(days));
                let project = place.project.clone();
                simulate(&place, &Simulation { project, first, days, lines_per_day: lines, tenants, seed }).await
            }
            Command::Access => {
                Access::google()?.token().await?;
                say("Google gives an access token")
            }
            Command::Watch(args) => watch::watch(args).await,
            Command::Brake(command) => watch::brake(command).await,
        }
    }
}

/// Prints; whoever has stopped to listen is no error.
fn say(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

const UNREADABLE: &str = "the views cannot be read; `cost-monitor views apply` makes them";

async fn read(warehouse: &Warehouse, span: &Span) -> Result<Report> {
    Report::read(warehouse, span.days, &span.currency).await.context(UNREADABLE)
}

async fn views(command: ViewsCommand) -> Result<()> {
    let (place, apply, drop) = match &command {
        ViewsCommand::Plan(place) => (place, false, false),
        ViewsCommand::Apply(place) => (place, true, false),
        ViewsCommand::Drop { place, apply } => (place, *apply, true),
    };
    let warehouse = place.connect().await?;
    let views = Views::new(&warehouse, &place.export).map_err(|error| mistake(error.to_string()))?;
    if drop {
        if !apply {
            return say("every view of the plan would be removed; add --apply to do it");
        }
        let dropped = views.drop().await?;
        return say(&format!("removed: {}", if dropped.is_empty() { "none".to_owned() } else { dropped.join(", ") }));
    }
    let plan = views.plan().await?;
    say(plan.to_string().trim_end())?;
    match (plan.is_empty(), apply) {
        (true, _) => say("nothing is to be done"),
        (false, false) => say("`cost-monitor views apply` does this"),
        (false, true) => {
            views.apply(&plan).await.context("is the billing export's table there?")?;
            say("done")
        }
    }
}

async fn load_usage(place: &PlaceArgs, files: &[PathBuf]) -> Result<()> {
    let warehouse = place.connect().await?;
    warehouse.ensure_dataset().await?;
    warehouse.ensure_table(tables::USAGE.name, &tables::USAGE).await?;
    for file in files {
        let open = File::open(file).map_err(|error| mistake(format!("{}: {error}", file.display())))?;
        let (rows, damaged) = usage::read(BufReader::new(open))?;
        for line in damaged {
            eprintln!("{}: line {line} is damaged, and left out", file.display());
        }
        usage::store(&warehouse, &rows).await?;
        eprintln!("{}: {} events", file.display(), rows.len());
    }
    Ok(())
}

async fn load_prices(place: &PlaceArgs, file: &PathBuf) -> Result<()> {
    let text = std::fs::read(file).map_err(|error| mistake(format!("{}: {error}", file.display())))?;
    let prices: Vec<Price> =
        serde_json::from_slice(&text).map_err(|error| mistake(format!("{}: {error}", file.display())))?;
    if let Some(price) = prices.iter().find(|price| price.per == 0) {
        return Err(mistake(format!(
            "{}: the price of {} is for no unit; `per` is at least 1",
            file.display(),
            price.sku
        )));
    }
    let warehouse = place.connect().await?;
    warehouse.ensure_dataset().await?;
    warehouse.ensure_table(PRICES.name, &PRICES).await?;
    warehouse.load(PRICES.name, &PRICES, &prices, true).await?;
    eprintln!("{} prices", prices.len());
    Ok(())
}

async fn simulate(place: &PlaceArgs, simulation: &Simulation) -> Result<()> {
    let warehouse = place.connect().await?;
    if !warehouse.is_emulator() {
        return Err(mistake("figures that are made up go into an emulator only; set BIGQUERY_EMULATOR_HOST"));
    }
    warehouse.ensure_dataset().await?;
    if !warehouse.ensure_table(&place.export, &EXPORT).await? {
        return Err(mistake(format!("{} is there already; name another --export or --dataset", place.export)));
    }
    for table in tables::ALL {
        warehouse.ensure_table(table.name, &table).await?;
    }
    warehouse.load(PRICES.name, &PRICES, &simulation.prices(), true).await?;
    for day in 0..simulation.days {
        warehouse.load(&place.export, &EXPORT, &simulation.lines(day), false).await?;
        warehouse.load(tables::USAGE.name, &tables::USAGE, &simulation.usage(day), false).await?;
        eprint!("\rday {} of {}", day + 1, simulation.days);
    }
    eprintln!(": {} lines", u64::from(simulation.days) * u64::from(simulation.lines_per_day));
    Ok(())
}
