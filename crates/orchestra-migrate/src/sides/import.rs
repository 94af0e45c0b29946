//! What people have elsewhere: files, and tables that a description in YAML names.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use memory_core::EmbeddingSpace;
use migrate::import::{Import, Langchain, Mem0, Members, Options, TableName, open_jsonl};
use orchestra_api::config::Secret;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::mistake::mistake;

/// What made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// `orchestra export`.
    Jsonl,
    /// mem0, in a pgvector table.
    Mem0,
    /// LangChain, in a `PGVector` collection.
    Langchain,
}

impl Library {
    pub fn of(name: &str) -> Option<Self> {
        [Self::Jsonl, Self::Mem0, Self::Langchain].into_iter().find(|library| library.to_string() == name)
    }

    /// Opens a file, or the table that a file describes.
    pub async fn open(self, file: &Path, tenant: &str, recorded_at: DateTime<Utc>) -> Result<Import> {
        let tenant = tenant.to_owned();
        Ok(match self {
            Self::Jsonl => open_jsonl(file, Options { tenant, space: None, recorded_at }).await?,
            Self::Mem0 => {
                let Mem0Table { url, table, space } = described(file)?;
                let name: TableName = table.parse().map_err(|error: memory_core::Error| mistake(error.to_string()))?;
                Mem0::open(&url.read().await?, &name, Options { tenant, space: space_of(space)?, recorded_at }).await?
            }
            Self::Langchain => {
                let Collection { url, collection, schema, user, agent, session, space } = described(file)?;
                let (url, members) = (url.read().await?, Members { user, agent, session });
                let options = Options { tenant, space: space_of(space)?, recorded_at };
                Langchain::open(&url, schema, &collection, members, options).await?
            }
        })
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jsonl => "jsonl",
            Self::Mem0 => "mem0",
            Self::Langchain => "langchain",
        })
    }
}

/// A table of mem0's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mem0Table {
    url: Url,
    table: String,
    space: Option<Space>,
}

/// A collection of LangChain's, and the members of its metadata that say whose a document is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Collection {
    url: Url,
    collection: String,
    schema: Option<String>,
    user: Option<String>,
    agent: Option<String>,
    session: Option<String>,
    space: Option<Space>,
}

/// Where the URL of the database is: it has a password in it, so it does not stand in the description.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Url {
    Env(String),
    File(PathBuf),
}

impl Url {
    async fn read(self) -> Result<SecretString> {
        let secret = match self {
            Self::Env(name) => Secret::Env(name),
            Self::File(path) => Secret::File(path),
        };
        secret.read("url", "").await.map_err(|error| mistake(error.to_string()))
    }
}

/// What made the vectors, to take them over.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Space {
    model: String,
    revision: String,
    dimensions: usize,
}

fn space_of(space: Option<Space>) -> Result<Option<Arc<EmbeddingSpace>>> {
    let made = space.map(|Space { model, revision, dimensions }| EmbeddingSpace::new(model, revision, dimensions));
    Ok(made.transpose().map_err(|error| mistake(error.to_string()))?.map(Arc::new))
}

fn described<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    // As JSON, so that a mapping of one key names where a secret is.
    let value: serde_json::Value =
        yaml_serde::from_str(&text).map_err(|error| mistake(format!("{}: {error}", file.display())))?;
    serde_json::from_value(value).map_err(|error| mistake(format!("{}: {error}", file.display())))
}
