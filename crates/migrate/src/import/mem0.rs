//! A table of mem0's pgvector store: `id`, `vector`, `payload`.
//!
//! The payload says what the memory says (`data`), whose it is (`user_id`, `agent_id`, `run_id`, from its TypeScript `userId`
//! and so on) and when it was made; all else in it is metadata. What mem0 makes for its own search is left.

use async_trait::async_trait;
use memory_core::{EmbeddedMemory, MemoryKind, Metadata, Result, Timestamp};
use secrecy::SecretString;
use serde_json::Value;
use sqlx::postgres::PgRow;

use super::Import;
use super::row::{Found, Options, Row, Rows, id_of, time, vector};
use super::table::{Table, TableName, connect, text};

const PROVIDER: &str = "mem0";
/// What is read from the payload, or of use to mem0 alone.
const OF_MEM0: [&str; 14] = [
    "data",
    "hash",
    "text_lemmatized",
    "textLemmatized",
    "user_id",
    "userId",
    "agent_id",
    "agentId",
    "run_id",
    "runId",
    "created_at",
    "createdAt",
    "updated_at",
    "updatedAt",
];

/// A table of mem0's.
#[derive(Debug)]
pub struct Mem0 {
    table: Table,
    options: Options,
}

impl Mem0 {
    /// Opens a table; mem0 gives it the name of its collection, `mem0` or `memories` unless it was told otherwise.
    ///
    /// # Errors
    /// [`Error::Unusable`](memory_core::Error::Unusable) when there is no such table or it is none of mem0's, or as a
    /// database fails.
    pub async fn open(url: &SecretString, name: &TableName, options: Options) -> Result<Import> {
        let pool = connect(PROVIDER, url).await?;
        let table = Table::find(PROVIDER, &pool, name).await?;
        table.expect(&["id", "vector", "payload"])?;
        let tenant = options.tenant.clone();
        Import::of(Box::new(Self { table, options }), tenant).await
    }

    fn select(&self) -> String {
        // The vectors are most of the bytes.
        let vector = if self.options.space.is_some() { "vector::text" } else { "NULL::text" };
        format!("SELECT id::text, payload::text, {vector} FROM {}", self.table.quoted)
    }

    fn row(&self, row: &PgRow) -> Row {
        let key = text(row, 0).unwrap_or_default().to_owned();
        let payload = text(row, 1).map(serde_json::from_str::<Value>);
        let payload = match payload {
            Some(Ok(Value::Object(payload))) => Ok(payload),
            Some(Ok(other)) => Err(format!("payload: found {}, expected an object", kind_of(&other))),
            Some(Err(error)) => Err(format!("payload: {error}")),
            None => Err("payload: found null, expected an object".to_owned()),
        };
        let made_at = payload.as_ref().ok().and_then(|payload| made_at(payload).ok()).flatten();
        let memory = payload.and_then(|payload| self.memory(&key, payload, text(row, 2)));
        Row { key, order: (made_at, 0), memory }
    }

    fn memory(&self, key: &str, mut payload: Metadata, values: Option<&str>) -> Result<EmbeddedMemory, String> {
        if key.is_empty() {
            return Err("id: found null, expected a text".to_owned());
        }
        let Some(data) = payload.get("data").and_then(Value::as_str) else {
            return Err("payload.data: expected the text of the memory".to_owned());
        };
        let made_at = made_at(&payload)?;
        let found = Found {
            user: name(&payload, ["user_id", "userId"])?,
            agent: name(&payload, ["agent_id", "agentId"])?,
            session: name(&payload, ["run_id", "runId"])?,
            actor: name(&payload, ["actor_id", "actorId"])?,
            kind: match payload.get("memory_type").and_then(Value::as_str) {
                Some("procedural_memory") => MemoryKind::Procedural,
                _ => MemoryKind::Semantic,
            },
            valid_from: made_at,
            recorded_at: at(&payload, ["updated_at", "updatedAt"])?.or(made_at),
            expires_at: expiry(&payload),
            ..Found::new(id_of(PROVIDER, &self.options.tenant, key), data)
        };
        payload.retain(|member, _| !OF_MEM0.contains(&member.as_str()));
        let memory = Found { metadata: payload, ..found }.memory(&self.options, "import:mem0")?;
        Ok(EmbeddedMemory { memory, embedding: vector(values, self.options.space.as_ref())? })
    }
}

/// A member by either of its names, `null` and blank being none.
fn member<'a>(payload: &'a Metadata, names: [&str; 2]) -> Option<&'a Value> {
    names.iter().find_map(|name| payload.get(*name)).filter(|value| !value.is_null() && *value != "")
}

fn name(payload: &Metadata, names: [&str; 2]) -> Result<Option<String>, String> {
    match member(payload, names) {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(format!("payload.{}: found {}, expected a text", names[0], kind_of(other))),
    }
}

fn at(payload: &Metadata, names: [&str; 2]) -> Result<Option<Timestamp>, String> {
    let Some(value) = member(payload, names) else { return Ok(None) };
    let parsed = value.as_str().and_then(time);
    parsed.map(Some).ok_or_else(|| format!("payload.{}: found {value}, expected a time as in RFC 3339", names[0]))
}

fn made_at(payload: &Metadata) -> Result<Option<Timestamp>, String> {
    at(payload, ["created_at", "createdAt"])
}

/// The end of the last day that it holds on, or the time. What is neither stays what it is, metadata.
fn expiry(payload: &Metadata) -> Option<Timestamp> {
    let text = member(payload, ["expiration_date", "expirationDate"])?.as_str()?;
    let day = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    let end = |day: chrono::NaiveDate| Some(day.succ_opt()?.and_hms_opt(0, 0, 0)?.and_utc());
    day.and_then(end).or_else(|| time(text))
}

/// What a JSON value is, in words.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[async_trait]
impl Rows for Mem0 {
    fn provider(&self) -> &'static str {
        PROVIDER
    }

    async fn each(&self, take: &mut (dyn FnMut(Row) + Send)) -> Result<()> {
        self.table.each(self.select(), None, &mut |row| take(self.row(&row))).await
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Row>> {
        let statement = format!("{} WHERE {}", self.select(), self.table.is_one_of("id", 1));
        let rows = self.table.fetch(statement, keys, None).await?;
        Ok(rows.iter().map(|row| self.row(row)).collect())
    }

    async fn bytes(&self) -> Result<u64> {
        Ok(self.table.bytes)
    }
}
