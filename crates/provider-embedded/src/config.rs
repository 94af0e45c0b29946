//! How a provider is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use memory_core::{Clock, Timestamp};

/// How to open an [`EmbeddedProvider`](crate::EmbeddedProvider). Begin with [`new`](Self::new) and change what differs.
#[derive(Clone)]
pub struct EmbeddedConfig {
    /// The database file. It is made if it is not there, and its folder too.
    pub path: PathBuf,
    /// Tells the time, for expiry and for when versions were recorded.
    pub clock: Arc<dyn Clock>,
    /// How many bytes the search structures may take in memory; 2 GiB unless told otherwise. Over it, the (tenant, user)
    /// that was searched least recently is dropped and read from the file again when it is next needed. One search may
    /// go over it for as long as it runs.
    pub memory_budget_bytes: usize,
    /// How many cached answers are kept, over all tenants; 100,000 unless told otherwise. Over it, those that would
    /// expire first go.
    pub cache_max_entries: usize,
    /// Whether an answer may be filed only when the memories it depends on are in this store; true unless told
    /// otherwise. Switch it off where another store holds the memories. Forgotten memories are refused either way.
    pub cache_requires_memories: bool,
    /// How many requests are committed together at most; 256 unless told otherwise.
    pub group_commit_requests: usize,
    /// How large the file may grow, in bytes; without a limit unless told otherwise. A write that would go over it fails
    /// with [`Error::StorageFull`](memory_core::Error::StorageFull), as on a full disk.
    pub max_size_bytes: Option<u64>,
    /// How often what has expired is taken out of the file; a minute unless told otherwise. It is hidden before that.
    pub sweep_every: Duration,
    /// How many connections read; 4 unless told otherwise.
    pub read_connections: u32,
}

impl EmbeddedConfig {
    /// The defaults, with the system's clock.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            clock: Arc::new(|| Timestamp::from(SystemTime::now())),
            memory_budget_bytes: 2 << 30,
            cache_max_entries: 100_000,
            cache_requires_memories: true,
            group_commit_requests: 256,
            max_size_bytes: None,
            sweep_every: Duration::from_secs(60),
            read_connections: 4,
        }
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl fmt::Debug for EmbeddedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedConfig")
            .field("path", &self.path)
            .field("memory_budget_bytes", &self.memory_budget_bytes)
            .field("cache_max_entries", &self.cache_max_entries)
            .field("cache_requires_memories", &self.cache_requires_memories)
            .field("group_commit_requests", &self.group_commit_requests)
            .field("max_size_bytes", &self.max_size_bytes)
            .field("read_connections", &self.read_connections)
            .finish_non_exhaustive()
    }
}
