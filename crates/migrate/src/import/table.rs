//! Tables of a Postgres that are read and never written to.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use memory_core::{Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Row as _};

/// The name of a table, as a user gives it: `memories`, or with its schema `app.memories`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// The schema; without it the table is looked for where the connection looks for tables.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (schema, table) = match text.split_once('.') {
            Some((schema, table)) => (Some(schema.to_owned()), table),
            None => (None, text),
        };
        let is_empty = table.is_empty() || schema.as_ref().is_some_and(String::is_empty);
        if is_empty || text.contains('\0') {
            return Err(Error::invalid("table", text, "a table's name, such as memories or app.memories"));
        }
        Ok(Self { schema, table: table.to_owned() })
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.schema.iter().try_for_each(|schema| write!(f, "{schema}."))?;
        f.write_str(&self.table)
    }
}

/// A database, and a table in it as the server found it.
#[derive(Debug, Clone)]
pub(super) struct Table {
    provider: &'static str,
    pool: PgPool,
    /// Its name as the server quotes it.
    pub quoted: String,
    /// The types of its columns, by their names.
    pub columns: BTreeMap<String, String>,
    pub bytes: u64,
}

/// Opens a database for reading only.
pub(super) async fn connect(provider: &'static str, url: &SecretString) -> Result<PgPool> {
    // Without the driver's reason, which may quote the URL.
    let options = parse(url.expose_secret()).ok_or_else(|| Error::Unusable {
        provider,
        reason: "the URL is none of a Postgres; expected postgres://user:password@host:5432/database".into(),
        source: None,
    })?;
    let options = options.application_name("orchestra-migrate").options([("default_transaction_read_only", "on")]);
    let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(30));
    pool.connect_with(options).await.map_err(|error| backend(provider, "connect", error))
}

/// The options of a URL, also of one that names a driver of Python's, as in `postgresql+psycopg://`.
fn parse(url: &str) -> Option<PgConnectOptions> {
    let (scheme, rest) = url.split_once("://")?;
    match scheme.split('+').next() {
        Some("postgres" | "postgresql") => format!("postgres://{rest}").parse().ok(),
        _ => None,
    }
}

/// The table, its columns and its size. The server's own catalogue says how its name is quoted.
const FIND: &str = "\
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), pg_total_relation_size(c.oid), \
        a.attname::text, format_type(a.atttypid, NULL) \
    FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
    WHERE c.relname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
        AND CASE WHEN $2::text IS NULL THEN pg_catalog.pg_table_is_visible(c.oid) ELSE n.nspname = $2 END";

impl Table {
    /// Finds a table, also one whose name was folded to lower case when it was made.
    pub async fn find(provider: &'static str, pool: &PgPool, name: &TableName) -> Result<Self> {
        for table in [name.table.clone(), name.table.to_lowercase()] {
            let query = sqlx::query(FIND).bind(&table).bind(&name.schema);
            let rows = query.fetch_all(pool).await.map_err(|error| backend(provider, "look for the table", error))?;
            let Some(first) = rows.first() else { continue };
            let read = |error| backend(provider, "look for the table", error);
            let columns = rows.iter().map(|row| Ok((row.try_get(2)?, row.try_get(3)?)));
            return Ok(Self {
                provider,
                pool: pool.clone(),
                quoted: first.try_get(0).map_err(read)?,
                bytes: first.try_get::<i64, _>(1).map_err(read)?.unsigned_abs(),
                columns: columns.collect::<sqlx::Result<_>>().map_err(read)?,
            });
        }
        let reason = format!("there is no table {name}; give its name, with its schema where it needs one");
        Err(Error::Unusable { provider, reason, source: None })
    }

    /// Refuses a table that lacks a column.
    pub fn expect(&self, columns: &[&str]) -> Result<()> {
        match columns.iter().find(|column| !self.columns.contains_key(**column)) {
            None => Ok(()),
            Some(missing) => {
                let reason = format!("{} has no column {missing}; expected {}", self.quoted, columns.join(", "));
                Err(Error::Unusable { provider: self.provider, reason, source: None })
            }
        }
    }

    /// The condition that a column is one of the texts that are bound as `number`. An index on it is of use.
    pub fn is_one_of(&self, column: &'static str, number: usize) -> String {
        match self.columns.get(column).map(String::as_str) {
            Some("uuid") => format!("{column} = ANY (${number}::text[]::uuid[])"),
            Some("text" | "character varying") => format!("{column} = ANY (${number}::text[])"),
            _ => format!("{column}::text = ANY (${number}::text[])"),
        }
    }

    /// Gives each row of a statement. `statement` is of our own words and names that the server quoted.
    pub async fn each(
        &self,
        statement: String,
        bound: Option<&str>,
        take: &mut (dyn FnMut(PgRow) + Send),
    ) -> Result<()> {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        if let Some(bound) = bound {
            query = query.bind(bound);
        }
        let mut rows = query.fetch(&self.pool);
        while let Some(row) = rows.try_next().await.map_err(|error| backend(self.provider, "read", error))? {
            take(row);
        }
        Ok(())
    }

    /// The rows of some keys, which are bound first. As [`Self::each`].
    pub async fn fetch(&self, statement: String, keys: &[String], bound: Option<&str>) -> Result<Vec<PgRow>> {
        let mut query = sqlx::query(AssertSqlSafe(statement)).bind(keys);
        if let Some(bound) = bound {
            query = query.bind(bound);
        }
        query.fetch_all(&self.pool).await.map_err(|error| backend(self.provider, "read", error))
    }
}

/// A text of a row, by its place. A column that is no text is a mistake in the statement.
pub(super) fn text(row: &PgRow, column: usize) -> Option<&str> {
    row.try_get(column).expect("the statement reads texts alone")
}

fn backend(provider: &'static str, operation: &'static str, error: sqlx::Error) -> Error {
    let retryable = matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut);
    Error::Backend { provider, operation, retryable, source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_name_a_driver() {
        for url in ["postgres://u:p@h:5433/d", "postgresql://u:p@h:5433/d", "postgresql+psycopg2://u:p@h:5433/d"] {
            let options = parse(url).unwrap_or_else(|| panic!("{url}"));
            assert_eq!((options.get_host(), options.get_port(), options.get_database()), ("h", 5433, Some("d")));
        }
        assert!(parse("mysql://u:p@h/d").is_none() && parse("host=h").is_none());
    }

    #[test]
    fn a_name_has_a_table_and_may_have_a_schema() {
        let parse = |text: &str| text.parse::<TableName>();
        assert_eq!(parse("memories").unwrap(), TableName { schema: None, table: "memories".into() });
        assert_eq!(parse("app.memories").unwrap().to_string(), "app.memories");
        for wrong in ["", "app.", ".memories", "a\0b"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
