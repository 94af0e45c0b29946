//! The log: what is logged, in which form, to stderr.
//!
//! Spans: `http_request` with `method`, `path` (the route's pattern), `request_id`, and `tenant` and `key` (its prefix)
//! once the caller is known. Events with the target `audit` tell of writes and deletions. The event `request answered` ends it
//! with `status` and `duration_ms`. What memories, prompts and answers say is not logged, and no vector is.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How the log is written.
#[derive(Debug, Clone, Default, Args)]
pub struct LogArgs {
    /// What is logged, as a list of levels and modules, such as info or orchestra_api=debug,warn.
    #[arg(long, env = "ORCHESTRA_LOG", value_name = "FILTER", global = true)]
    pub log: Option<String>,

    /// How a line is written: for people, or as JSON for machines.
    #[arg(long, env = "ORCHESTRA_LOG_FORMAT", value_name = "FORMAT", default_value = "human", global = true)]
    pub log_format: LogFormat,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Sets the log up, once in a process. `default` is the filter where none is given.
///
/// # Errors
/// When the filter cannot be read, or the log was set up before.
pub fn init(args: &LogArgs, default: &str) -> anyhow::Result<()> {
    let filter = args.log.as_deref().filter(|filter| !filter.is_empty()).unwrap_or(default);
    let filter = EnvFilter::builder().parse(filter).map_err(|error| {
        anyhow::anyhow!(
            "log: given {filter:?}, allowed: levels and modules such as info or orchestra_api=debug ({error})"
        )
    })?;
    // It logs whole requests and answers, which is what memories say.
    let talkative =
        |metadata: &tracing::Metadata<'_>| metadata.target().starts_with("rmcp") && *metadata.level() > Level::WARN;
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(move |metadata| !talkative(metadata)));
    match args.log_format {
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_span_list(false)
                .with_writer(std::io::stderr);
            registry.with(layer).try_init()?;
        }
        LogFormat::Human => {
            let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry.with(tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(std::io::stderr)).try_init()?;
        }
    }
    Ok(())
}
