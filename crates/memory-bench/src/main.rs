//! The benchmarks of Orchestra Memory, a file for each. `cargo xtask bench` runs them in a release build.
//!
//! Each prints what it compares side by side, measured in one run: the machines are shared, so ratios say more than
//! times.

mod api;
mod cache;
mod corpus;
mod cpu;
mod embed;
mod locomo;
mod migrate;
mod models;
mod pause;
mod recall;
mod report;
mod search;
mod statistics;
mod store;
mod topics;
mod write;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures Orchestra Memory and prints the comparison.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Cli {
    /// Print JSON in place of tables
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How long the embedders take for a text, tokeniser included, on one core
    Embed(embed::Args),
    /// How long an exact search takes, beside a plain read of the same bytes and other ways to search
    Search(search::Args),
    /// How well recall finds the right memories: each part of the default, and the default without it
    Recall(recall::Args),
    /// How fast memories are written durably, from one writer and from many
    Write(write::Args),
    /// How often the semantic cache is right, and how fast it is on Redis beside the least that can be sent there
    Cache(cache::Args),
    /// How the store on Postgres loads, writes and searches, beside the least that can be sent to the same Postgres
    Store(store::Args),
    /// What the server takes for each kind of call over HTTP, beside the least that can be sent and a bare handler
    Api(api::Args),
    /// How fast a whole memory is moved under live writes, beside COPY, and whether all of it is there then
    Migrate(migrate::Args),
    /// How long clients of a server wait while the memory is switched from one Postgres to another one and back
    Pause(pause::Args),
    /// The bare handler that the benchmark of the server starts
    #[command(hide = true)]
    BareServer(api::bare::Args),
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let report = match cli.command {
        Command::Embed(args) => embed::run(&args)?,
        Command::Search(args) => search::run(&args).await?,
        Command::Recall(args) => recall::run(&args).await?,
        Command::Write(args) => write::run(&args).await?,
        Command::Cache(args) => cache::run(&args).await?,
        Command::Store(args) => store::run(&args).await?,
        Command::Api(args) => api::run(&args).await?,
        Command::Migrate(args) => migrate::run(&args).await?,
        Command::Pause(args) => pause::run(&args).await?,
        Command::BareServer(args) => return api::bare::serve(&args).await,
    };
    report.print(cli.json)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
