//! A record in a file, for movers on one machine.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::{Record, Records};
use crate::{Error, Result};

/// How long ago a file must have changed for its time to tell the next change from this one.
const TOLD_APART: Duration = Duration::from_secs(1);

/// A record in a file, as JSON. A file beside it, with `.lock` behind its name, keeps two writers apart.
#[derive(Debug, Clone)]
pub struct FileRecords {
    path: PathBuf,
    /// When the file had changed that was read last, how long it was, and the revision in it.
    seen: Arc<Mutex<Option<(SystemTime, u64, u64)>>>,
}

impl FileRecords {
    /// The record in the file at `path`, which need not be there yet; its folder is.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), seen: Arc::default() }
    }

    fn read(&self) -> Result<Option<Record>> {
        let failed = |source: memory_core::BoxError| Error::Record { operation: "read", source };
        match fs::read(&self.path) {
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|error| failed(error.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// As [`Records::other_than`]: a file that has not changed is not read again.
    fn read_other_than(&self, revision: u64) -> Result<Option<Record>> {
        let stands = fs::metadata(&self.path).and_then(|file| Ok((file.modified()?, file.len()))).ok();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.filter(|(modified, bytes, _)| stands == Some((*modified, *bytes)));
        if known.is_some_and(|(.., known)| known == revision) {
            return Ok(None);
        }
        let record = self.read()?;
        *seen = match (&record, stands) {
            (Some(record), Some((modified, bytes))) if modified.elapsed().is_ok_and(|age| age > TOLD_APART) => {
                Some((modified, bytes, record.revision))
            }
            _ => None,
        };
        Ok(record.filter(|record| record.revision != revision))
    }

    fn write(&self, record: &Record) -> Result<()> {
        let failed = |source: memory_core::BoxError| Error::Record { operation: "written", source };
        // The lock ends with the file handle, so also with the process.
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(beside(&self.path, ".lock"));
        let lock = lock.map_err(|error| failed(error.into()))?;
        lock.lock().map_err(|error| failed(error.into()))?;
        if self.read()?.map_or(0, |held| held.revision) + 1 != record.revision {
            return Err(Error::Superseded);
        }
        let json = serde_json::to_vec_pretty(record).map_err(|error| failed(error.into()))?;
        replace(&self.path, &json).map_err(|error| failed(error.into()))
    }
}

#[async_trait]
impl Records for FileRecords {
    async fn load(&self) -> Result<Option<Record>> {
        self.read()
    }

    async fn other_than(&self, revision: u64) -> Result<Option<Record>> {
        self.read_other_than(revision)
    }

    async fn store(&self, record: &Record) -> Result<()> {
        let (this, record) = (self.clone(), record.clone());
        let written = tokio::task::spawn_blocking(move || this.write(&record)).await;
        written.map_err(|error| Error::Record { operation: "written", source: error.into() })?
    }
}

/// A reader sees the file as it was or as it is now, also after the power went.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let new = beside(path, ".new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
