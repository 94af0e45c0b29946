//! `orchestra db`.

mod followers;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use provider_alloydb::{AlloyDbConfig, AppUser, MigrationState, MigrationStatus, SchemaStatus};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::database::{Database, failure};
use super::failure::{Failure, Outcome};
use super::screen::{Column, Screen};
use super::words;

/// The environment variable with the password of `--app-user`. There is no flag for it: flags show in process lists.
const APP_PASSWORD: &str = "ORCHESTRA_APP_PASSWORD";

/// Prepare a Postgres or AlloyDB for the memory, and show how it stands.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  export DATABASE_URL=postgres://owner:secret@10.0.0.5/memory?sslmode=require
  orchestra db status
  orchestra db migrate")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Migrate(Migrate),
    Status(Status),
    Followers(followers::Followers),
    Unfollow(followers::Unfollow),
}

/// Apply the migrations that a database lacks.
///
/// Each is applied whole or not at all; run again it goes on, or finds nothing to do. Programs that work with the
/// database go on meanwhile. The database is Postgres 15 or later with pgvector 0.8.2 or later, or AlloyDB; the role owns
/// it, and where that may not create the extensions vector and btree_gin, an administrator has done so.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra db migrate --dry-run
  ORCHESTRA_APP_PASSWORD=secret orchestra db migrate --app-user memory")]
struct Migrate {
    #[command(flatten)]
    database: Database,
    /// Show what would be applied, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Make this role, or bring it up to date: programs connect as it, and it has the rights of orchestra_app alone. A
    /// new one needs a password, in the environment variable ORCHESTRA_APP_PASSWORD or in a file.
    #[arg(long, value_name = "NAME")]
    app_user: Option<String>,
    /// A file with the password of that role, in its first line.
    #[arg(long, value_name = "FILE", requires = "app_user")]
    app_password_file: Option<PathBuf>,
}

/// Show which migrations a database has.
///
/// Exits with 0 when it has all of this program's, with 1 when some are pending or were changed, and with 2 when that
/// could not be found out. Those of a later program are no fault: its schema serves this one too. Warns of a follower that
/// seems to have left: what it has not passed is kept for it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra db status --json")]
struct Status {
    #[command(flatten)]
    database: Database,
}

pub async fn run(args: Args, screen: &Screen) -> Outcome {
    match args.command {
        Command::Migrate(args) => migrate(args, screen).await,
        Command::Status(args) => status(&args, screen).await,
        Command::Followers(args) => followers::list(&args, screen).await,
        Command::Unfollow(args) => followers::unfollow(&args, screen).await,
    }
}

async fn migrate(args: Migrate, screen: &Screen) -> Outcome {
    let config = args.database.config()?;
    if args.dry_run {
        return dry_run(&config, screen).await;
    }
    let password = app_password(args.app_password_file.as_deref())?;
    let report = provider_alloydb::migrate(&config, |migration| {
        let took = migration.took_ms.unwrap_or_default();
        screen.note(&format!("{} {}, {took:.0} ms", screen.green("applied"), name(migration)));
    });
    let report = report.await.map_err(failure)?;
    let app_user = match &args.app_user {
        None => None,
        Some(name) => Some(provider_alloydb::create_app_user(&config, name, password.as_ref()).await.map_err(failure)?),
    };
    warn(&report.status, screen);
    if screen.is_json() {
        return Ok(screen.json(&json!({
            "applied": report.applied,
            "took_ms": report.took_ms,
            "app_user": app_user.map(app_user_in_words),
            "status": status_body(&report.status),
        }))?);
    }
    let applied = match report.applied.len() {
        0 => "nothing to apply".into(),
        count => format!("{} applied in {:.1} s", migrations(count), report.took_ms / 1e3),
    };
    screen.line(&format!("{applied}: the database {} is up to date", report.status.database))?;
    if let (Some(name), Some(done)) = (&args.app_user, app_user) {
        screen.line(&format!("the role {name} was {}; programs can connect as it", app_user_in_words(done)))?;
    }
    Ok(())
}

async fn dry_run(config: &AlloyDbConfig, screen: &Screen) -> Outcome {
    let mut status = provider_alloydb::status(config).await.map_err(failure)?;
    warn(&status, screen);
    if !status.problems.is_empty() {
        return Err(Failure::ours(status.problems.join("; "), "correct that, then run it again"));
    }
    status.migrations.retain(|migration| migration.state == MigrationState::Pending);
    if screen.is_json() {
        return Ok(screen.json(&json!({"pending": status.migrations}))?);
    }
    if status.migrations.is_empty() {
        return Ok(screen.line("nothing to apply")?);
    }
    for migration in &status.migrations {
        screen.line(&format!("would apply {}", name(migration)))?;
    }
    Ok(())
}

async fn status(args: &Status, screen: &Screen) -> Outcome {
    let config = args.database.config()?;
    let mut status = provider_alloydb::status(&config).await.map_err(failure)?;
    if status.is_current() {
        followers::warn_of_those_who_left(&mut status, &config).await;
    }
    warn(&status, screen);
    if screen.is_json() {
        screen.json(&status_body(&status))?;
    } else {
        let pgvector =
            status.pgvector.as_deref().map_or("no pgvector yet".into(), |version| format!("pgvector {version}"));
        screen.note(&format!(
            "The database {}: Postgres {}, {pgvector}",
            screen.bold(&status.database),
            status.postgres
        ));
        let columns =
            [Column::new("Migration"), Column::new("State"), Column::new("Applied"), Column::new("ms").right()];
        screen.table(&columns, status.migrations.iter().map(row).collect())?;
    }
    if !status.problems.is_empty() {
        return Err(Failure::mistake(status.problems.join("; "), "correct that, then run `orchestra db migrate`"));
    }
    match status.count(MigrationState::Pending) {
        0 => Ok(()),
        1 => Err(Failure::mistake("one migration is pending", "`orchestra db migrate` applies it")),
        count => {
            Err(Failure::mistake(format!("{} are pending", migrations(count)), "`orchestra db migrate` applies them"))
        }
    }
}

fn row(migration: &MigrationStatus) -> Vec<String> {
    vec![
        name(migration),
        migration.state.name().into(),
        migration.applied_at.map_or_else(String::new, |at| words::moment(&json!(at))),
        migration.took_ms.map_or_else(String::new, |took| format!("{took:.0}")),
    ]
}

fn status_body(status: &SchemaStatus) -> Value {
    let mut body = json!(status);
    body["is_current"] = status.is_current().into();
    body
}

fn warn(status: &SchemaStatus, screen: &Screen) {
    for warning in &status.warnings {
        screen.note(&format!("{}: {warning}", screen.yellow("warning")));
    }
}

/// `0004 create memories`.
fn name(migration: &MigrationStatus) -> String {
    format!("{:04} {}", migration.version, migration.description)
}

fn migrations(count: usize) -> String {
    if count == 1 { "one migration".into() } else { format!("{count} migrations") }
}

fn app_user_in_words(app_user: AppUser) -> &'static str {
    match app_user {
        AppUser::Created => "created",
        _ => "updated",
    }
}

fn app_password(file: Option<&Path>) -> Outcome<Option<SecretString>> {
    let password = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| Failure::io(file.display(), &error))?;
            text.lines().next().map(str::to_owned)
        }
        None => std::env::var(APP_PASSWORD).ok(),
    };
    Ok(password.filter(|password| !password.is_empty()).map(Into::into))
}
