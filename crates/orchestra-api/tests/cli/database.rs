//! A database on a real Postgres.

use std::process::Command;

use memory_testkit::make;
use memory_testkit::services::{self, Service};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::runtime::Runtime;

use super::support::{Ran, bare, ran};

/// A database of its own, empty.
pub struct Database {
    options: PgConnectOptions,
    pub url: String,
    pub name: String,
}

impl Database {
    /// `None` where there is no server, which was said.
    pub fn new() -> Option<Self> {
        let server = services::url(Service::Postgres)?;
        let name = format!("test_{}", make::id().as_uuid().simple());
        let (server, _) = server.rsplit_once('/').unwrap();
        let database =
            Self { options: format!("{server}/postgres").parse().unwrap(), url: format!("{server}/{name}"), name };
        database.administer(&format!("CREATE DATABASE {}", database.name));
        Some(database)
    }

    /// Runs a statement in the server's own database.
    pub fn administer(&self, statement: &str) {
        execute(&self.options, statement);
    }

    /// Runs statements in this database.
    pub fn execute(&self, statements: &str) {
        execute(&self.options.clone().database(&self.name), statements);
    }

    /// Runs a statement in this database, and keeps its session open until what is given is dropped.
    pub fn hold(&self, statement: &str) -> (PgConnection, Runtime) {
        let runtime = runtime();
        let connection = runtime.block_on(async {
            let mut connection = PgConnection::connect_with(&self.options.clone().database(&self.name)).await.unwrap();
            connection.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
            connection
        });
        (connection, runtime)
    }

    /// The binary, with the URL of this database.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command.env("DATABASE_URL", &self.url);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(&self.command(arguments).output().unwrap())
    }
}

fn execute(options: &PgConnectOptions, statements: &str) {
    runtime().block_on(async {
        let mut connection = PgConnection::connect_with(options).await.unwrap();
        connection.execute(AssertSqlSafe(statements.to_owned())).await.unwrap();
        connection.close().await.unwrap();
    });
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
