//! The command line. Every command but `db`, `index`, `config` and `keys` is a call of the HTTP interface, in this process or over the
//! network ([`crate::client`]); what it prints is made here.
//!
//! Data goes to the standard output, everything else to the standard error. The exit code is 0 when it is done, 1 when
//! the caller made a mistake, 2 when we or the machine failed, 3 when `ask` has no answer, and 130 when it was interrupted.

mod arguments;
mod ask;
mod cache;
mod completions;
mod config;
mod connect;
mod consolidate;
mod database;
mod db;
mod demo;
mod export;
mod failure;
mod forget;
mod get;
mod history;
mod import;
mod index;
mod keys;
mod list;
mod mcp;
mod openapi;
mod recall;
mod rejections;
mod remember;
mod screen;
mod serve;
mod session;
mod stats;
mod update;
mod usage;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use failure::{Exit, Failure, Outcome};
use screen::Screen;

use crate::telemetry::{self, LogArgs};
use crate::traces::TraceSettings;

/// Memory for AI agents that lasts: remember, recall, correct and forget.
///
/// Everything works on a folder of this machine with nothing else installed. When a server runs on that folder, the
/// commands talk to it; with --url they talk to a server elsewhere.
#[derive(Debug, Parser)]
#[command(
    name = "orchestra",
    version,
    max_term_width = 100,
    after_help = "\
Start here:
  orchestra demo                                      a tour in a minute, in a folder of its own
  orchestra import chats.jsonl --user maya            bring in what you have
  orchestra recall 'where does maya like to sit?' --user maya
  orchestra serve                                     answer HTTP on 127.0.0.1:7070"
)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where and how")]
pub struct Globals {
    /// The folder that holds the memory. Default: orchestra in $XDG_DATA_HOME, or ~/.local/share/orchestra.
    #[arg(long, global = true, env = "ORCHESTRA_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Talk to the server at this URL. Default: the server that runs on the folder; else the folder is opened.
    #[arg(long, global = true, env = "ORCHESTRA_URL", value_name = "URL")]
    pub url: Option<String>,

    /// The tenant, when the folder is opened. A server has its own.
    #[arg(long, global = true, env = "ORCHESTRA_TENANT", value_name = "NAME", default_value = "default")]
    pub tenant: String,

    /// Print the interface's JSON, for programs.
    #[arg(long, global = true)]
    pub json: bool,

    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Remember(remember::Args),
    Recall(recall::Args),
    Ask(ask::Args),
    Get(get::Args),
    List(list::Args),
    Update(update::Args),
    Forget(forget::Args),
    Rejections(rejections::Args),
    History(history::Args),
    Import(import::Args),
    Export(export::Args),
    Consolidate(consolidate::Args),
    Session(session::Args),
    Cache(cache::Args),
    Stats(stats::Args),
    Usage(usage::Args),
    Mcp(mcp::Args),
    Db(db::Args),
    Index(index::Args),
    Config(config::Args),
    Keys(keys::Args),
    Openapi(openapi::Args),
    Demo(demo::Args),
    Completions(completions::Args),
}

/// Reads the arguments, runs the command and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to the standard output and are no mistake. A closed pipe is no mistake either.
            let _ = error.print();
            return if error.use_stderr() { Exit::Mistake.into() } else { ExitCode::SUCCESS };
        }
    };
    let screen = Screen::new(cli.globals.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Failure::ours(
                format!("the runtime did not start: {error}"),
                "free some memory or threads and try again",
            )
            .report();
        }
    };
    match runtime.block_on(run(cli, &screen)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli, screen: &Screen) -> Outcome {
    let globals = cli.globals;
    let begin = |filter, traces: &TraceSettings| {
        telemetry::init(&globals.log, filter, traces)
            .map_err(|error| Failure::mistake(format!("{error:#}"), "leave --log out, or give it a level"))
    };
    // A server tells what it does; a command only what went wrong.
    let command = match cli.command {
        Command::Serve(args) => {
            let settings = args.settings()?;
            let traces = begin("info", &settings.traces)?;
            let outcome = serve::run(*args, settings, screen).await;
            traces.end().await;
            return outcome;
        }
        command => command,
    };
    begin("warn", &TraceSettings::default())?;
    match command {
        Command::Mcp(args) => mcp::run(args, &globals, screen).await,
        Command::Demo(args) => demo::run(args, screen).await,
        Command::Db(args) => db::run(args, screen).await,
        Command::Index(args) => index::run(args, screen).await,
        Command::Config(args) => config::run(args, screen).await,
        Command::Keys(args) => keys::run(args, &globals, screen),
        Command::Openapi(openapi::Args {}) => openapi::run(),
        Command::Completions(args) => completions::run(args, &mut Cli::command()),
        command => {
            let session = connect::open(&globals).await?;
            let client = session.client();
            let outcome = match command {
                Command::Remember(args) => remember::run(args, client, screen).await,
                Command::Recall(args) => recall::run(args, client, screen).await,
                Command::Ask(args) => ask::run(args, client, screen).await,
                Command::Get(args) => get::run(args, client, screen).await,
                Command::List(args) => list::run(args, client, screen).await,
                Command::Update(args) => update::run(args, client, screen).await,
                Command::Forget(args) => forget::run(args, client, screen).await,
                Command::Rejections(args) => rejections::run(args, client, screen).await,
                Command::History(args) => history::run(args, client, screen).await,
                Command::Import(args) => import::run(args, session.tenant(), client, screen).await,
                Command::Export(args) => export::run(args, client, screen).await,
                Command::Consolidate(args) => consolidate::run(args, client, screen).await,
                Command::Session(args) => session::run(args, client, screen).await,
                Command::Cache(args) => cache::run(args, client, screen).await,
                Command::Stats(args) => stats::run(args, client, screen).await,
                Command::Usage(args) => usage::run(args, client, screen).await,
                Command::Serve(_)
                | Command::Mcp(_)
                | Command::Db(_)
                | Command::Index(_)
                | Command::Config(_)
                | Command::Keys(_)
                | Command::Openapi(_)
                | Command::Demo(_)
                | Command::Completions(_) => Ok(()),
            };
            session.close().await;
            outcome
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }
}
