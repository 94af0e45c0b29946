//! `orchestra rejections`.

use clap::Subcommand;

use super::failure::Outcome;
use super::screen::{Column, Screen};
use super::words;
use crate::client::{Client, Query, encode};

/// See which values are not written again, and take one back.
///
/// `orchestra forget --reject` rejects the values of what it forgets. Only hashes are kept of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra rejections list --user maya
  orchestra rejections lift 4f1c2a9e07b3d85f6a10c94be2d7738f5c06e1ab9d24f8730be5a6c1d92f4e68")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Lift(Lift),
}

/// List the rejected values, oldest first: by their keys, since what they say is not kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra rejections list --user maya --json")]
struct List {
    /// Only of this user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only of this agent.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// At most this many, 1 to 1000.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    limit: u64,
    /// Go on where the page before ended: the number that it gave.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// Take a rejection back, so that its value can be written again. What was forgotten stays forgotten.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra rejections lift 4f1c2a9e07b3d85f6a10c94be2d7738f5c06e1ab9d24f8730be5a6c1d92f4e68")]
struct Lift {
    /// The key, as the list shows it.
    key: String,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    match args.command {
        Command::List(args) => list(args, client, screen).await,
        Command::Lift(args) => lift(args, client, screen).await,
    }
}

async fn list(args: List, client: &Client, screen: &Screen) -> Outcome {
    let query = Query::new("/v1/rejections")
        .with("user", args.user)
        .with("agent", args.agent)
        .with("limit", Some(args.limit.to_string()))
        .with("cursor", args.cursor);
    let page = client.get(query.as_str()).await?;
    if screen.is_json() {
        return Ok(screen.json(&page)?);
    }
    let rejections = page["rejections"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rejections.is_empty() {
        screen.note("Nothing is rejected.");
        return Ok(());
    }
    let rows = rejections.iter().map(|rejection| {
        let field = |name| words::text(rejection, name).to_owned();
        vec![words::moment(&rejection["rejected_at"]), field("rejected_by"), words::scope(rejection), field("key")]
    });
    screen.table(&["When", "By", "Whose", "Key"].map(Column::new), rows.collect())?;
    if let Some(next) = page["next"].as_str() {
        screen.note(&screen.dim(&format!("There are more: add --cursor {next}.")));
    }
    Ok(())
}

async fn lift(args: Lift, client: &Client, screen: &Screen) -> Outcome {
    let answer = client.delete(&format!("/v1/rejections/{}", encode(&args.key))).await?;
    if screen.is_json() {
        return Ok(screen.json(&answer)?);
    }
    match answer["lifted"].as_bool() {
        Some(true) => screen.line(&format!("{} {}", screen.green("lifted"), args.key))?,
        _ => screen.note("There is no rejection of this key."),
    }
    Ok(())
}
