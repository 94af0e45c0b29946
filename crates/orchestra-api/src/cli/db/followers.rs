//! `orchestra db followers`, `orchestra db unfollow`.

use chrono::Utc;
use provider_alloydb::{AlloyDbConfig, Follower, SchemaStatus};
use serde_json::json;

use super::super::database::{Database, failure};
use super::super::failure::{Failure, Outcome};
use super::super::screen::{Column, Screen};
use super::super::words;

/// Show who follows the changes of the memories, and how far each has come.
///
/// A cache that is not in the database follows it: what it has not been told of is kept. It moves when it passes a change;
/// one that has nothing to pass stays where it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra db followers --json")]
pub struct Followers {
    #[command(flatten)]
    database: Database,
}

/// Forget a follower that has left, so that nothing is kept for it any more.
///
/// Empty the cache that it followed for, should that be used again. One that goes on is known again at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra db unfollow old-cache --yes")]
pub struct Unfollow {
    /// Its name.
    name: String,
    /// Do it; without this it is only said what would be done.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    database: Database,
}

pub async fn list(args: &Followers, screen: &Screen) -> Outcome {
    let followers = provider_alloydb::followers(&args.database.config()?).await.map_err(failure)?;
    if screen.is_json() {
        return Ok(screen.json(&json!({"followers": followers}))?);
    }
    if followers.is_empty() {
        return Ok(screen.line("nobody follows: no cache elsewhere has to be told of changes")?);
    }
    let columns = [
        Column::new("Follower"),
        Column::new("Position"),
        Column::new("Behind").right(),
        Column::new("Oldest"),
        Column::new("Moved"),
    ];
    Ok(screen.table(&columns, followers.iter().map(row).collect())?)
}

fn row(follower: &Follower) -> Vec<String> {
    vec![
        follower.name.clone(),
        follower.position.clone(),
        words::count(follower.changes),
        follower.oldest.map_or_else(String::new, |at| words::moment(&json!(at))),
        words::moment(&json!(follower.moved_at)),
    ]
}

pub async fn unfollow(args: &Unfollow, screen: &Screen) -> Outcome {
    let (config, name) = (args.database.config()?, &args.name);
    let followers = provider_alloydb::followers(&config).await.map_err(failure)?;
    let Some(follower) = followers.iter().find(|follower| follower.name == *name) else {
        return Err(Failure::mistake(format!("nobody follows as {name}"), "`orchestra db followers` shows who does"));
    };
    let (changes, is_removed) = (follower.changes, args.yes);
    if is_removed {
        provider_alloydb::remove_follower(&config, name).await.map_err(failure)?;
    }
    if screen.is_json() {
        return Ok(screen.json(&json!({"name": name, "changes": changes, "is_removed": is_removed}))?);
    }
    let changes = if changes == 1 { "one change is".into() } else { format!("{} changes are", words::count(changes)) };
    screen.line(&if is_removed {
        format!("{} {name}: {changes} no longer kept for it", screen.green("forgot"))
    } else {
        format!("{} {name}: {changes} kept for it; --yes does it", screen.yellow("would forget"))
    })?;
    Ok(())
}

/// Adds a warning for each follower that seems to have left: the outbox grows as long as it is known.
pub async fn warn_of_those_who_left(status: &mut SchemaStatus, config: &AlloyDbConfig) {
    let followers = match provider_alloydb::followers(config).await {
        Ok(followers) => followers,
        Err(error) => return tracing::debug!(%error, "who follows is not known"),
    };
    let now = Utc::now();
    status.warnings.extend(followers.iter().filter(|follower| follower.seems_gone(now)).map(|Follower { name, moved_at, changes, .. }| {
        format!(
            "the follower {name} has passed nothing since {}, and {} changes are kept for it: start what follows as it, or \
             forget it with `orchestra db unfollow {name} --yes`",
            moved_at.format("%Y-%m-%d %H:%M UTC"),
            words::count(*changes)
        )
    }));
}
