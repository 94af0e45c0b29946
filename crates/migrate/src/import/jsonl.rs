//! A file as `orchestra export` writes it: one memory a line, oldest first.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use memory_core::{EmbeddedMemory, Error, MemoryId, MemoryKind, Metadata, Result, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::Import;
use super::row::{Found, Options, Row, Rows};

const PROVIDER: &str = "jsonl";

/// Opens a file. There are no vectors in it, so the options' space is of no use.
///
/// # Errors
/// [`Error::Unusable`] when it cannot be read.
pub async fn open(path: &Path, options: Options) -> Result<Import> {
    let tenant = options.tenant.clone();
    Import::of(Box::new(Lines { path: path.to_owned(), options }), tenant).await
}

#[derive(Debug, Clone)]
struct Lines {
    path: PathBuf,
    options: Options,
}

/// One line. What a store says of a memory by itself is read over.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Uuid,
    #[serde(default)]
    scope: Names,
    kind: MemoryKind,
    text: String,
    actor: Option<String>,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default = "half")]
    importance: f32,
    #[serde(default)]
    evidence: Vec<Uuid>,
    valid_from: Option<Timestamp>,
    valid_to: Option<Timestamp>,
    recorded_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    #[serde(default, rename = "version")]
    _version: Option<u64>,
    #[serde(default, rename = "origin")]
    _origin: Option<Value>,
    #[serde(default, rename = "superseded_at")]
    _superseded_at: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    user: Option<String>,
    agent: Option<String>,
    session: Option<String>,
}

fn half() -> f32 {
    0.5
}

/// A row's key: its line, from 1, and where it begins.
fn key(line: u64, offset: u64) -> String {
    format!("{line}:{offset}")
}

impl Lines {
    fn row(&self, line: u64, offset: u64, bytes: &[u8]) -> Row {
        Row { key: key(line, offset), order: (None, line), memory: self.memory(bytes) }
    }

    fn memory(&self, bytes: &[u8]) -> Result<EmbeddedMemory, String> {
        let line: Line = serde_json::from_slice(bytes)
            .map_err(|error| format!("{error}; expected a memory as `orchestra export` writes it"))?;
        let found = Found {
            user: line.scope.user,
            agent: line.scope.agent,
            session: line.scope.session,
            kind: line.kind,
            actor: line.actor,
            metadata: line.metadata,
            importance: line.importance,
            evidence: line.evidence.into_iter().map(MemoryId::from).collect(),
            valid_from: line.valid_from,
            valid_to: line.valid_to,
            recorded_at: line.recorded_at,
            expires_at: line.expires_at,
            ..Found::new(line.id.into(), line.text)
        };
        Ok(EmbeddedMemory { memory: found.memory(&self.options, "import:orchestra")?, embedding: None })
    }

    /// Each line from a place in the file, with its number and where it begins, until there is enough.
    fn read_on(&self, mut take: impl FnMut(Row) -> bool) -> io::Result<()> {
        let mut file = BufReader::new(File::open(&self.path)?);
        let (mut offset, mut line) = (0, 0);
        loop {
            let mut bytes = Vec::new();
            let read = file.read_until(b'\n', &mut bytes)?;
            if read == 0 {
                return Ok(());
            }
            line += 1;
            if !bytes.trim_ascii().is_empty() && !take(self.row(line, offset, bytes.trim_ascii())) {
                return Ok(());
            }
            offset += read as u64;
        }
    }

    fn read_at(&self, keys: &[String]) -> io::Result<Vec<Row>> {
        let mut file = BufReader::new(File::open(&self.path)?);
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            let Some((line, offset)) = parse(key) else { continue };
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            file.read_until(b'\n', &mut bytes)?;
            rows.push(self.row(line, offset, bytes.trim_ascii()));
        }
        Ok(rows)
    }

    fn failed(&self, error: io::Error) -> Error {
        let reason = format!("{} cannot be read", self.path.display());
        Error::Unusable { provider: PROVIDER, reason, source: Some(error.into()) }
    }
}

fn parse(key: &str) -> Option<(u64, u64)> {
    let (line, offset) = key.split_once(':')?;
    Some((line.parse().ok()?, offset.parse().ok()?))
}

/// Runs what reads a file beside the runtime, not in it.
async fn beside<T: Send + 'static>(run: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let failed = |error: tokio::task::JoinError| Error::Backend {
        provider: PROVIDER,
        operation: "read",
        retryable: false,
        source: error.into(),
    };
    tokio::task::spawn_blocking(run).await.map_err(failed)?
}

#[async_trait]
impl Rows for Lines {
    fn provider(&self) -> &'static str {
        PROVIDER
    }

    fn name_of(&self, key: &str) -> String {
        parse(key).map_or_else(|| key.to_owned(), |(line, _)| format!("line {line}"))
    }

    async fn each(&self, take: &mut (dyn FnMut(Row) + Send)) -> Result<()> {
        let (lines, (sender, mut rows)) = (self.clone(), tokio::sync::mpsc::channel(64));
        let reading = beside(move || {
            let read = lines.read_on(|row| sender.blocking_send(row).is_ok());
            read.map_err(|error| lines.failed(error))
        });
        let taking = async {
            while let Some(row) = rows.recv().await {
                take(row);
            }
        };
        tokio::join!(reading, taking).0
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Row>> {
        let (lines, keys) = (self.clone(), keys.to_vec());
        beside(move || lines.read_at(&keys).map_err(|error| lines.failed(error))).await
    }

    async fn bytes(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.path).map_err(|error| self.failed(error))?.len())
    }
}
