//! A collection of LangChain's `PGVector`, of which two layouts are about: that of `langchain-community`, with rows by a `uuid`
//! and a `custom_id` that need not be unique, and that of `langchain-postgres`, with rows by an `id` that is a text.
//!
//! A document has a text and metadata, and neither an owner nor a time. Where members of its metadata say whose it is,
//! [`Members`] names them.

use async_trait::async_trait;
use memory_core::{EmbeddedMemory, Metadata, Result};
use secrecy::SecretString;
use serde_json::Value;
use sqlx::postgres::PgRow;

use super::Import;
use super::mem0::kind_of;
use super::row::{Found, Options, Row, Rows, id_of, vector};
use super::table::{Table, TableName, connect, text};

const PROVIDER: &str = "langchain";

/// The members of a document's metadata that say whose it is.
#[derive(Debug, Clone, Default)]
pub struct Members {
    /// The user.
    pub user: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The session.
    pub session: Option<String>,
}

/// A collection of LangChain's.
#[derive(Debug)]
pub struct Langchain {
    collections: Table,
    embeddings: Table,
    /// The column that names a row.
    id: &'static str,
    collection: String,
    members: Members,
    options: Options,
}

impl Langchain {
    /// Opens a collection, of the tables of a schema or of those that the connection sees.
    ///
    /// # Errors
    /// [`Error::Unusable`](memory_core::Error::Unusable) when there are no such tables or they are none of LangChain's, or
    /// as a database fails. A collection that is not there is one without rows.
    pub async fn open(
        url: &SecretString,
        schema: Option<String>,
        collection: &str,
        members: Members,
        options: Options,
    ) -> Result<Import> {
        let pool = connect(PROVIDER, url).await?;
        let table = |table: &str| TableName { schema: schema.clone(), table: table.to_owned() };
        let collections = Table::find(PROVIDER, &pool, &table("langchain_pg_collection")).await?;
        let embeddings = Table::find(PROVIDER, &pool, &table("langchain_pg_embedding")).await?;
        collections.expect(&["uuid", "name"])?;
        let id = if embeddings.columns.contains_key("id") { "id" } else { "uuid" };
        embeddings.expect(&[id, "collection_id", "embedding", "document", "cmetadata"])?;
        let (collection, tenant) = (collection.to_owned(), options.tenant.clone());
        Import::of(Box::new(Self { collections, embeddings, id, collection, members, options }), tenant).await
    }

    /// The rows of the collection, whose name is bound as `number`.
    fn select(&self, number: usize) -> String {
        let vector = if self.options.space.is_some() { "embedding::text" } else { "NULL::text" };
        let custom = if self.embeddings.columns.contains_key("custom_id") { "custom_id::text" } else { "NULL::text" };
        format!(
            "SELECT {}::text, document::text, cmetadata::text, {vector}, {custom} FROM {} \
             WHERE collection_id IN (SELECT uuid FROM {} WHERE name = ${number})",
            self.id, self.embeddings.quoted, self.collections.quoted
        )
    }

    fn row(&self, row: &PgRow) -> Row {
        let key = text(row, 0).unwrap_or_default().to_owned();
        Row { memory: self.memory(&key, row), key, order: (None, 0) }
    }

    fn memory(&self, key: &str, row: &PgRow) -> Result<EmbeddedMemory, String> {
        if key.is_empty() {
            return Err(format!("{}: found null, expected a text", self.id));
        }
        let document = text(row, 1).ok_or("document: found null, expected a text")?;
        let mut metadata = match text(row, 2).map(serde_json::from_str::<Value>) {
            None | Some(Ok(Value::Null)) => Metadata::new(),
            Some(Ok(Value::Object(metadata))) => metadata,
            Some(Ok(other)) => return Err(format!("cmetadata: found {}, expected an object", kind_of(&other))),
            Some(Err(error)) => return Err(format!("cmetadata: {error}")),
        };
        let member = |name: &Option<String>| match name.as_ref().and_then(|name| Some((name, metadata.get(name)?))) {
            None | Some((_, Value::Null)) => Ok(None),
            Some((_, Value::String(name))) => Ok(Some(name.clone())),
            Some((_, Value::Number(number))) => Ok(Some(number.to_string())),
            Some((name, other)) => Err(format!("cmetadata.{name}: found {}, expected a text", kind_of(other))),
        };
        let (user, agent, session) =
            (member(&self.members.user)?, member(&self.members.agent)?, member(&self.members.session)?);
        // What the application calls the document, where the row has another name.
        if let Some(custom) = text(row, 4).filter(|custom| *custom != key) {
            metadata.entry("custom_id").or_insert_with(|| custom.into());
        }
        let source = format!("{PROVIDER}/{}", self.collection);
        let id = id_of(&source, &self.options.tenant, key);
        let found = Found { user, agent, session, metadata, ..Found::new(id, document) };
        let memory = found.memory(&self.options, "import:langchain")?;
        Ok(EmbeddedMemory { memory, embedding: vector(text(row, 3), self.options.space.as_ref())? })
    }
}

#[async_trait]
impl Rows for Langchain {
    fn provider(&self) -> &'static str {
        PROVIDER
    }

    async fn each(&self, take: &mut (dyn FnMut(Row) + Send)) -> Result<()> {
        let mut take = |row: PgRow| take(self.row(&row));
        self.embeddings.each(self.select(1), Some(&self.collection), &mut take).await
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Row>> {
        let statement = format!("{} AND {}", self.select(2), self.embeddings.is_one_of(self.id, 1));
        let rows = self.embeddings.fetch(statement, keys, Some(&self.collection)).await?;
        Ok(rows.iter().map(|row| self.row(row)).collect())
    }

    async fn bytes(&self) -> Result<u64> {
        Ok(self.embeddings.bytes)
    }
}
