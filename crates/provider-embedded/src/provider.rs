//! The provider: opening, closing, and handing requests to the writer.

use std::fmt;
use std::sync::Arc;

use memory_core::{Error, Result, Timestamp, WriteToken};
use sqlx::sqlite::SqlitePool;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::EmbeddedConfig;
use crate::error::{closed, damaged, unusable};
use crate::lock::ProcessLock;
use crate::schema::{self, Opened};
use crate::shelves::Shelves;
use crate::tenants::Tenants;
use crate::writer::{Answer, Progress, Removals, Request, Task, Writer};

/// How many requests may wait for the writer before the next caller waits to hand in its own.
const QUEUE: usize = 1024;

/// A durable store of memories and a semantic cache in one SQLite file. A clone is another handle on the same store.
#[derive(Clone)]
pub struct EmbeddedProvider {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub config: EmbeddedConfig,
    pub readers: SqlitePool,
    pub tenants: Arc<Tenants>,
    pub shelves: Arc<Shelves>,
    /// Held by a search of what was known at a former time: each reads all of its scopes, so there is one at a time.
    pub former: Arc<tokio::sync::Mutex<()>>,
    writer: mpsc::Sender<Request>,
    instance: Arc<str>,
    visible: watch::Receiver<u64>,
}

impl EmbeddedProvider {
    /// Opens the store at `config.path`, and makes it if it is not there. Call it in a tokio runtime, which then also
    /// runs the writer.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the file is not a store of ours, is damaged, was written by a newer version, cannot be
    /// written, or is in use by another process; the file is left as it was. [`Error::StorageFull`] when there is no room
    /// to make it.
    pub async fn open(config: EmbeddedConfig) -> Result<Self> {
        // On a task of its own, so that a caller who gives up leaves no half-opened store, and so that the driver's
        // lifetimes stay out of the caller's future.
        tokio::spawn(Self::open_here(config)).await.map_err(|error| damaged("open", error))?
    }

    async fn open_here(config: EmbeddedConfig) -> Result<Self> {
        let path = &config.path;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| {
                unusable(folder, "cannot be used as a folder; give one this process may write to", Some(error.into()))
            })?;
        }
        let lock = ProcessLock::acquire(path)?;
        let Opened { writer: connection, readers, instance, sequence, next_position, cache_entries, gate, is_captured } =
            schema::open(&config).await?;
        let instance: Arc<str> = instance.into();
        let (visible_sender, visible) = watch::channel(sequence);
        let tenants = Arc::new(Tenants::new(readers.clone(), visible.clone(), config.memory_budget_bytes));
        let shelves = Arc::new(Shelves::new(readers.clone()));
        let progress = Progress {
            instance: instance.clone(),
            sequence,
            next_position,
            cache_entries,
            gate,
            is_captured,
            spaces: std::collections::HashMap::new(),
        };
        let (sender, queue) = mpsc::channel(QUEUE);
        let writer = Writer {
            connection,
            config: config.clone(),
            progress,
            tenants: tenants.clone(),
            shelves: shelves.clone(),
            visible: visible_sender,
            removals: Removals::new(),
            // The process before may have been killed between forgetting and emptying the log.
            log_holds_forgotten: true,
            lock,
        };
        tokio::spawn(writer.run(queue));
        let former = Arc::default();
        let inner = Inner { config, readers, tenants, shelves, former, writer: sender, instance, visible };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Writes what is queued, closes the file and releases it for another process. Calls that come later fail.
    ///
    /// A process that ends without this, however it ends, loses nothing that was acknowledged. Closing an already closed
    /// store does nothing.
    ///
    /// # Errors
    /// [`Error::Backend`] when the runtime is shutting down.
    pub async fn close(&self) -> Result<()> {
        // Readers first: while they hold the log open it cannot be put into the file.
        let readers = self.inner.readers.clone();
        tokio::spawn(async move { readers.close().await }).await.map_err(|error| damaged("close", error))?;
        let (answer, closed) = oneshot::channel();
        if self.inner.writer.send(Request { task: Task::Close, answer }).await.is_ok() {
            let _ = closed.await;
        }
        Ok(())
    }

    pub(crate) async fn write(&self, operation: &'static str, task: Task) -> Result<Answer> {
        let (answer, answered) = oneshot::channel();
        self.inner.writer.send(Request { task, answer }).await.map_err(|_| closed(operation))?;
        answered.await.map_err(|_| closed(operation))?
    }

    pub(crate) fn writer_is_alive(&self) -> bool {
        !self.inner.writer.is_closed()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.config.clock.now()
    }

    /// Checks that a read sees the write of `token`. Here every acknowledged write is seen, so only a token that is not
    /// from this store, or from a later state of it than it was restored to, is refused.
    /// The last write that everyone sees.
    pub(crate) fn visible(&self) -> u64 {
        *self.inner.visible.borrow()
    }

    pub(crate) fn check_visible(&self, token: &WriteToken) -> Result<()> {
        let parts =
            token.0.split_once('-').and_then(|(instance, sequence)| Some((instance, sequence.parse::<u64>().ok()?)));
        match parts {
            Some((instance, sequence)) if instance == &*self.inner.instance => {
                if sequence <= *self.inner.visible.borrow() { Ok(()) } else { Err(Error::NotYetVisible(token.clone())) }
            }
            _ => Err(Error::invalid("at_least", token, "a token that this store gave with a write")),
        }
    }
}

impl fmt::Debug for EmbeddedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedProvider").field("path", &self.inner.config.path).finish_non_exhaustive()
    }
}
