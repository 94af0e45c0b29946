//! The schema, as migrations that are part of the program.

use sqlx::migrate::Migrator;

/// The migrations of the schema `orchestra`, in order. To be run as the owner of the database.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");
