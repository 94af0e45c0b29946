//! The log: what is logged, in which form, to stderr.
//!
//! Spans: `http_request` with `method`, `path` (the route's pattern), `request_id`, and `tenant` and `key` (its prefix)
//! once the caller is known. Events with the target `audit` tell of writes and deletions. The event `request answered` ends it
//! with `status` and `duration_ms`. What memories, prompts and answers say is not logged, and no vector is.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing::Level;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::traces::{TraceSettings, Traces};

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

/// Sets the log up, once in a process, and the export of traces, which ends with what this gives. `default` is the filter
/// of the log where none is given.
///
/// # Errors
/// When the filter cannot be read, the export cannot begin, or the log was set up before.
pub fn init(args: &LogArgs, default: &str, traces: &TraceSettings) -> anyhow::Result<Traces> {
    let filter = args.log.as_deref().filter(|filter| !filter.is_empty()).unwrap_or(default);
    let filter = EnvFilter::builder().parse(filter).map_err(|error| {
        anyhow::anyhow!(
            "log: given {filter:?}, allowed: levels and modules such as info or orchestra_api=debug ({error})"
        )
    })?;
    let logged = filter.and(filter_fn(is_logged));
    let (traces, exported) = Traces::begin(traces)?;
    let log = match args.log_format {
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .with_filter(logged)
            .boxed(),
        LogFormat::Human => {
            let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(std::io::stderr).with_filter(logged).boxed()
        }
    };
    // Only the layers there are: beside a layer that may be none, the registry makes each span that nobody wants.
    let layers: Vec<_> = std::iter::once(log).chain(exported.map(Layer::boxed)).collect();
    tracing_subscriber::registry().with(layers).try_init()?;
    Ok(traces)
}

/// Whether the log may have it at all.
fn is_logged(metadata: &tracing::Metadata<'_>) -> bool {
    // It logs whole requests and answers, which is what memories say.
    let is_talkative = metadata.target().starts_with("rmcp") && *metadata.level() > Level::WARN;
    // `http_request` says the same.
    let is_for_traces = metadata.target() == "orchestra_api::traces" && metadata.is_span();
    !is_talkative && !is_for_traces
}
