//! `orchestra mcp`.

mod install;

use std::io::IsTerminal;

use clap::Subcommand;

use super::failure::{Failure, Outcome};
use super::screen::Screen;
use super::{Globals, connect};
use crate::mcp::server;

/// Give a model this memory as tools (Model Context Protocol).
///
/// Speaks the protocol on the standard streams until the standard input ends: a client such as an editor or a chat
/// program starts it by itself, once it is told to with what `orchestra mcp install` prints. It works on the folder, or
/// with the server that runs on it: start `orchestra serve` when several clients share one memory. The server answers
/// the same protocol over HTTP, at /mcp.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  orchestra mcp install --client claude-code          what to put into which file
  orchestra mcp install --client cursor --http        the same for the server that runs
  orchestra mcp --data ./memory                       what the client then starts"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Install(install::Args),
}

pub async fn run(args: Args, globals: &Globals, screen: &Screen) -> Outcome {
    if let Some(Command::Install(args)) = args.command {
        return install::run(args, globals, screen).await;
    }
    let session = connect::open(globals).await?;
    if std::io::stdin().is_terminal() {
        screen.note(
            "Waiting for the messages of a client, which usually starts this by itself: `orchestra mcp install`.",
        );
    }
    let outcome = server::over_stdio(session.client().clone()).await;
    session.close().await;
    outcome.map_err(|error| Failure::mistake(format!("{error:#}"), "start it from a client: `orchestra mcp install`"))
}
