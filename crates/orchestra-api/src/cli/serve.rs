//! `orchestra serve`.

use std::path::PathBuf;

use super::failure::{Failure, Outcome};
use super::screen::Screen;
use super::{connect, import};
use crate::config::{MediumTermProvider, ServerArgs, Settings};

/// Answer HTTP until told to stop.
///
/// The memory is in the folder; nothing else needs to run, unless --config sets it on Redis and Postgres. Commands on the same folder find the server by themselves.
/// SIGINT or SIGTERM stops it: requests in flight get to their end.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra serve
  orchestra serve --listen 127.0.0.1:8080 --data ./memory --import chats.jsonl --import notes.md
  orchestra serve --config orchestra.yaml
  curl -s localhost:7070/v1/memories/search -H 'content-type: application/json' \\
       -d '{\"query\": \"where does maya like to sit?\", \"scope\": {\"user\": \"maya\"}}'")]
pub struct Args {
    /// Import this file before listening; may be given more than once. See `orchestra import --help`.
    #[arg(long, value_name = "FILE")]
    import: Vec<PathBuf>,

    #[command(flatten)]
    server: ServerArgs,
}

impl Args {
    /// What the server is set to.
    pub fn settings(&self) -> Outcome<Settings> {
        Settings::from_args(&self.server)
            .map_err(|error| Failure::mistake(error.to_string(), "`orchestra serve --help` lists every setting"))
    }
}

pub async fn run(args: Args, settings: Settings, screen: &Screen) -> Outcome {
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    if !args.import.is_empty() {
        let session = connect::open_folder(&settings).await?;
        let outcome =
            import::run(import::Args::of_files(args.import), session.tenant(), session.client(), screen).await;
        session.close().await;
        outcome?;
    }
    let place = match settings.medium_term_provider {
        MediumTermProvider::Embedded => format!("in {}", settings.data.display()),
        MediumTermProvider::AlloyDb => "on AlloyDB or Postgres".into(),
    };
    let ready = |address| {
        screen
            .note(&format!("Orchestra Memory answers on http://{address}, with the memory {place}. Ctrl-C stops it."));
    };
    crate::serve::serve(settings, ready).await.map_err(|error| {
        let message = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
        Failure::ours(
            message,
            "another server may have the address or the folder: try --listen 127.0.0.1:0, or --data DIR; `orchestra \
             config check --connect` tries each provider",
        )
    })
}
