//! The two stores of a move: where each is, and how it is opened.

mod import;

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use migrate::dump::Dump;
use migrate::engine::Side;
use migrate::http::HttpReplica;
use migrate::import::LeftOut;
use migrate::probe::AnswerCache;
use migrate::record::Colour;
use orchestra_api::config::{Secret, Settings};
use orchestra_api::side;
use secrecy::SecretString;

use crate::arguments::Place;
use crate::mistake::mistake;
pub use import::Library;

/// How many rows that do not come along are named.
const NAMED: usize = 10;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// What the configuration of a server names.
    Config(PathBuf),
    /// The store of a running server, at this URL; of one that follows the move with `#blue` or `#green` behind it.
    Server(String),
    /// A dump that a move kept of its blue.
    Dump(PathBuf),
    /// What a library made: a file, or the description of a table.
    Import(Library, PathBuf),
}

impl FromStr for At {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Server(text.trim_end_matches('/').to_owned()));
        }
        if let Some(path) = text.strip_prefix("dump:") {
            return Ok(Self::Dump(path.into()));
        }
        let import = text.split_once(':').and_then(|(name, path)| Some((Library::of(name)?, path)));
        Ok(match import {
            Some((library, path)) => Self::Import(library, path.into()),
            None => Self::Config(text.into()),
        })
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(file) => write!(f, "{}", file.display()),
            Self::Server(url) => f.write_str(url),
            Self::Dump(path) => write!(f, "dump:{}", path.display()),
            Self::Import(library, path) => write!(f, "{library}:{}", path.display()),
        }
    }
}

/// Both stores, open.
pub struct Sides {
    pub blue: Side,
    pub green: Side,
    /// What of blue does not come along, and why.
    left_out: Vec<LeftOut>,
    opened: Vec<side::Opened>,
}

/// What is needed to open a side.
enum Ready<'a> {
    Config(&'a Path, Box<Settings>),
    Server(HttpReplica),
    Dump(&'a Path),
    Import(Library, &'a Path),
}

impl Sides {
    /// Opens both. `recorded_at` is when a row of a source was recorded that does not say it.
    pub async fn open(place: &Place, recorded_at: DateTime<Utc>) -> Result<Self> {
        let blue = ready(&place.blue, Colour::Blue, place.blue_key_file.as_deref()).await?;
        let green = ready(&place.green, Colour::Green, place.green_key_file.as_deref()).await?;
        if let Ready::Import(..) | Ready::Dump(_) = green {
            return Err(mistake(format!("{} can only be read; name a store to move to as green", place.green)));
        }
        if where_is(&place.blue, &blue).await? == where_is(&place.green, &green).await? {
            return Err(mistake("blue and green are the same store"));
        }
        let (mut left_out, mut opened) = (Vec::new(), Vec::new());
        let mut open = async |at: &At, ready: Ready<'_>| match ready {
            Ready::Config(file, settings) => {
                let store =
                    side::open(&settings).await.with_context(|| format!("{} cannot be opened", file.display()))?;
                let side = Side {
                    replica: store.replica.clone(),
                    search: Some(Arc::new(migrate::probe::Direct(store.store.clone()))),
                    embedder: Some(store.embedder.clone()),
                    answers: match &store.answers {
                        side::Answers::None => AnswerCache::None,
                        side::Answers::Elsewhere => AnswerCache::Unknown("keeps them in a file of its server"),
                        side::Answers::Cache { cache, by } => {
                            AnswerCache::Cache { cache: cache.clone(), by: by.clone() }
                        }
                    },
                    is_read_only: false,
                };
                opened.push(store);
                anyhow::Ok(side)
            }
            Ready::Server(server) => {
                let embedder = server.embedder().await.with_context(|| format!("{at} does not answer"))?;
                let (replica, search) = (Arc::new(server.clone()), Arc::new(server));
                Ok(Side {
                    replica,
                    search: Some(search),
                    embedder: Some(Arc::new(embedder)),
                    answers: AnswerCache::Unknown("is a server, whose cache is its own"),
                    is_read_only: false,
                })
            }
            Ready::Dump(file) => {
                let dump = Dump::open(file, Arc::new(Utc::now)).await;
                Ok(Side::read_only(dump.with_context(|| format!("{at} cannot be opened"))?))
            }
            Ready::Import(library, file) => {
                let import = library.open(file, &place.tenant, recorded_at).await;
                let import = import.with_context(|| format!("{at} cannot be opened"))?;
                left_out.extend_from_slice(import.left_out());
                Ok(Side::read_only(import))
            }
        };
        let (blue, green) = (open(&place.blue, blue).await?, open(&place.green, green).await?);
        Ok(Self { blue, green, left_out, opened })
    }

    /// Says what of blue does not come along.
    pub fn tell_left_out(&self) {
        if self.left_out.is_empty() {
            return;
        }
        eprintln!("{} rows of blue do not come along:", self.left_out.len());
        for LeftOut { key, reason } in self.left_out.iter().take(NAMED) {
            eprintln!("  {key}: {reason}");
        }
        if self.left_out.len() > NAMED {
            eprintln!("  and {} more", self.left_out.len() - NAMED);
        }
    }

    pub async fn close(self) {
        for opened in self.opened {
            if let Err(error) = opened.close().await {
                eprintln!("orchestra-migrate: a store was not closed: {error:#}");
            }
        }
    }
}

async fn ready<'a>(at: &'a At, colour: Colour, key_file: Option<&Path>) -> Result<Ready<'a>> {
    Ok(match at {
        At::Config(file) => {
            let settings = Settings::of_file(file).map_err(|error| mistake(format!("{}: {error}", file.display())))?;
            Ready::Config(file, Box::new(settings))
        }
        At::Server(url) => {
            let key = key(colour, key_file).await?;
            let (url, side) = match url.split_once('#') {
                None => (url.as_str(), None),
                Some((url, "blue")) => (url, Some(Colour::Blue)),
                Some((url, "green")) => (url, Some(Colour::Green)),
                Some((_, other)) => {
                    return Err(mistake(format!("#{other} is no side of a server; write #blue or #green")));
                }
            };
            let server = HttpReplica::new(url, key.as_ref()).map_err(|error| mistake(error.to_string()))?;
            Ready::Server(match side {
                Some(side) => server.of_side(side),
                None => server,
            })
        }
        At::Dump(file) => Ready::Dump(file),
        At::Import(library, file) => Ready::Import(*library, file),
    })
}

/// Where a store is, to tell two apart.
async fn where_is(at: &At, ready: &Ready<'_>) -> Result<String> {
    Ok(match ready {
        Ready::Config(_, settings) => side::place(settings).await?,
        Ready::Server(_) | Ready::Dump(_) | Ready::Import(..) => at.to_string(),
    })
}

/// The key for a server: out of a file, else of the environment, else none.
async fn key(colour: Colour, file: Option<&Path>) -> Result<Option<SecretString>> {
    let (variable, flag) = match colour {
        Colour::Blue => ("ORCHESTRA_MIGRATE_BLUE_KEY", "--blue-key-file"),
        Colour::Green => ("ORCHESTRA_MIGRATE_GREEN_KEY", "--green-key-file"),
    };
    let secret = match file {
        Some(file) => Secret::File(file.to_owned()),
        None if std::env::var_os(variable).is_none() => return Ok(None),
        None => Secret::Env(variable.to_owned()),
    };
    secret.read(flag, "").await.map(Some).map_err(|error| mistake(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_told_by_its_beginning() {
        let at = |text: &str| text.parse::<At>().unwrap_or_else(|never| match never {});
        assert_eq!(at("blue.yaml"), At::Config("blue.yaml".into()));
        assert_eq!(at("http://127.0.0.1:7070/"), At::Server("http://127.0.0.1:7070".into()));
        for (text, library) in [("jsonl:a.jsonl", Library::Jsonl), ("mem0:a.yaml", Library::Mem0)] {
            assert_eq!(at(text).to_string(), text);
            assert!(matches!(at(text), At::Import(found, _) if found == library), "{text}");
        }
        assert_eq!(at("dump:a.gz"), At::Dump("a.gz".into()));
        assert_eq!(at("dump:a.gz").to_string(), "dump:a.gz");
        assert_eq!(at("langchain:x"), At::Import(Library::Langchain, "x".into()));
        assert_eq!(at("other:x"), At::Config("other:x".into()), "a file may have any name");
    }
}
