//! The schema: its migrations, which are part of the program, what a database has of them, and how it gets the rest.

mod app_user;
mod examination;
mod status;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use memory_core::{Error, Result};
use secrecy::ExposeSecret as _;
use sqlx::migrate::{Migrate as _, MigrateError, Migration, Migrator};
use sqlx::postgres::{PgConnectOptions, PgDatabaseError};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

pub use app_user::{AppUser, create_app_user};
pub use status::{MigrationState, MigrationStatus, SchemaStatus};

use crate::config::AlloyDbConfig;
use crate::error::{PROVIDER, failed, is_passing, unusable};
use examination::Examination;

/// Where it is written down which migrations a database has: in the schema itself, whatever the search path is.
const TABLE: &str = "orchestra.migrations";

/// The migrations of the schema `orchestra`, in order. To be run as the owner of the database: [`migrate`] does, and says
/// what is in the way.
pub static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("../../migrations");
    migrator.create_schema("orchestra");
    migrator.dangerous_set_table_name(TABLE);
    // A later program has been here. Its schema serves this one too: see migrations/README.md.
    migrator.set_ignore_missing(true);
    migrator
});

/// What [`migrate`] did.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct MigrationReport {
    /// The migrations that were applied by this call, in order.
    pub applied: Vec<MigrationStatus>,
    /// How the database stands now.
    pub status: SchemaStatus,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
}

/// What a database has of the schema, and whether it can have the rest. Changes nothing; `config` may name any role that
/// may read the table of migrations, as its owner.
///
/// # Errors
/// [`Error::Unusable`] for a role that may not look, [`Error::Backend`] while the server cannot be reached or refuses the
/// role.
pub async fn status(config: &AlloyDbConfig) -> Result<SchemaStatus> {
    let mut connection = connect(config).await?;
    let status = read(&mut connection).await;
    close(connection).await;
    status
}

/// Brings a database to this program's schema and tells `on_applied` of each migration once it is there. `config` names the
/// owner of the database, or of the schema; neither its pool sizes nor its timeouts count here.
///
/// Each migration is one transaction, so that an interruption leaves nothing half done, and whoever comes second waits and
/// finds it there. No session state is used: it works through a pooler in transaction mode. The timeout of statements is
/// off, but a migration that waits five seconds for a table that others use gives up, since everyone else waits behind it.
///
/// # Errors
/// [`Error::Unusable`] when somebody has to change something: the server, an extension, a right, or a migration that was
/// changed after it was applied. [`Error::Backend`] when the server cannot be reached, and, retryable, when a table was in
/// use. What was applied before stays.
pub async fn migrate(config: &AlloyDbConfig, on_applied: impl FnMut(&MigrationStatus)) -> Result<MigrationReport> {
    let mut connection = connect(config).await?;
    let report = advance(&mut connection, on_applied).await;
    close(connection).await;
    report
}

async fn advance(
    connection: &mut PgConnection,
    mut on_applied: impl FnMut(&MigrationStatus),
) -> Result<MigrationReport> {
    let start = Instant::now();
    let before = read(connection).await?;
    if !before.problems.is_empty() {
        return Err(unusable(before.problems.join("; "), None));
    }
    let mut applied = Vec::new();
    for (migration, known) in MIGRATOR.iter().zip(&before.migrations) {
        if known.state != MigrationState::Applied
            && let Some(took) = apply(connection, migration).await?
        {
            let status = MigrationStatus::applied_now(migration, took);
            on_applied(&status);
            applied.push(status);
        }
    }
    let status = read(connection).await?;
    Ok(MigrationReport { applied, status, took_ms: start.elapsed().as_secs_f64() * 1e3 })
}

/// Applies a migration, unless the database has it. Gives how long that took.
async fn apply(connection: &mut PgConnection, migration: &Migration) -> Result<Option<Duration>> {
    let error = |error| explain(migration, error);
    let mut transaction = begin(connection).await.map_err(error)?;
    // One at a time, and in a transaction: a pooler may give the next one another session.
    sqlx::query("SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true)")
        .execute(&mut *transaction)
        .await
        .map_err(error)?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('orchestra migrations', 0))")
        .execute(&mut *transaction)
        .await
        .map_err(error)?;
    let is_made: bool =
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL, set_config('lock_timeout', '5s', true)")
            .bind(TABLE)
            .fetch_one(&mut *transaction)
            .await
            .map_err(error)?;
    if !is_made {
        let at_migration = |error| explain_migration(migration, error);
        transaction.create_schema_if_not_exists("orchestra").await.map_err(at_migration)?;
        transaction.ensure_migrations_table(TABLE).await.map_err(at_migration)?;
    }
    let there =
        transaction.list_applied_migrations(TABLE).await.map_err(|error| explain_migration(migration, error))?;
    if let Some(there) = there.iter().find(|there| there.version == migration.version) {
        return if there.checksum == migration.checksum { Ok(None) } else { Err(unusable(changed(migration), None)) };
    }
    let took = transaction.apply(TABLE, migration).await.map_err(|error| explain_migration(migration, error))?;
    transaction.commit().await.map_err(error)?;
    Ok(Some(took))
}

pub(crate) async fn connect(config: &AlloyDbConfig) -> Result<PgConnection> {
    // Nothing is prepared, and nothing is asked for at the start: right with a pooler and without.
    let mut config = config.clone();
    config.pooler = true;
    let mut endpoints = config.endpoints()?;
    let mut options: PgConnectOptions = endpoints.swap_remove(0);
    if let Some(provider) = &config.password_provider {
        let password = provider.password().await.map_err(|source| Error::Backend {
            provider: PROVIDER,
            operation: "connect",
            retryable: true,
            source,
        })?;
        options = options.password(password.expose_secret());
    }
    PgConnection::connect_with(&options.application_name("orchestra db"))
        .await
        .map_err(|error| failed("connect", error))
}

/// Says goodbye. What was committed is there, whether or not the server hears it.
pub(crate) async fn close(connection: PgConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "connection not closed in order");
    }
}

/// A transaction that sees what others have committed, whatever the role's defaults are.
pub(crate) async fn begin(connection: &mut PgConnection) -> sqlx::Result<Transaction<'_, Postgres>> {
    connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await
}

async fn read(connection: &mut PgConnection) -> Result<SchemaStatus> {
    let failed = |error| failed("read the schema's state", error);
    // One transaction, so that a pooler does not part what belongs together.
    let mut transaction = connection.begin().await.map_err(failed)?;
    let examination = Examination::of(&mut transaction).await.map_err(failed)?;
    let status = SchemaStatus::read(&mut transaction, &examination).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(status)
}

fn name(migration: &Migration) -> String {
    format!("{:04} ({})", migration.version, migration.description)
}

fn changed(migration: &Migration) -> String {
    format!(
        "migration {} was changed after this database had it; what was applied stays as it is: put the former text back, and \
         the change into a migration of its own",
        name(migration)
    )
}

fn explain_migration(migration: &Migration, error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => explain(migration, error),
        error => unusable(format!("migration {} was not applied", name(migration)), Some(Box::new(error))),
    }
}

/// Why a migration was not applied, and what to do. The server's own words are the error's source.
fn explain(migration: &Migration, error: sqlx::Error) -> Error {
    if is_passing(&error) {
        return Error::Backend { provider: PROVIDER, operation: "migrate", retryable: true, source: Box::new(error) };
    }
    let mut reason = format!("migration {} was not applied, and left nothing behind", name(migration));
    if let sqlx::Error::Database(database) = &error
        && let Some(database) = database.try_downcast_ref::<PgDatabaseError>()
    {
        if database.code() == "42501" && database.message().contains("extension") {
            reason.push_str(
                "; let an administrator run CREATE EXTENSION vector and CREATE EXTENSION btree_gin in this database (on \
                 AlloyDB a member of alloydbsuperuser)",
            );
        } else if let Some(hint) = database.hint() {
            reason.push_str("; ");
            reason.push_str(hint.trim_end_matches('.'));
        }
    }
    unusable(reason, Some(Box::new(error)))
}
