//! The log of what was written and deleted, by whom. Ids are in it, texts never.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use memory_core::{ForgetReceipt, InsertReceipt, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use super::Identity;

/// Where the lines go.
#[derive(Debug)]
pub enum AuditLog {
    /// To the log, as events with the target `audit`.
    Log,
    /// To a file that only its owner reads, a JSON object a line.
    File(Mutex<File>),
}

/// A write or a deletion that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Who asked for it.
    pub identity: &'a Identity,
    /// The request's id.
    pub request_id: &'a str,
    /// What was asked for, such as `memories.add`.
    pub operation: &'a str,
    /// What came of it.
    pub touched: &'a Touched,
    /// The answer's status.
    pub status: u16,
}

/// What a request wrote or deleted: its handler puts it beside the answer.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    /// Of memories, or of cache entries.
    pub ids: Vec<Uuid>,
    /// Whether it only said what it would do.
    pub dry_run: bool,
}

impl Touched {
    /// One memory or cache entry.
    #[must_use]
    pub fn one(id: Uuid) -> Self {
        Self { ids: vec![id], dry_run: false }
    }
}

impl From<&InsertReceipt> for Touched {
    fn from(receipt: &InsertReceipt) -> Self {
        Self { ids: receipt.items.iter().map(|item| item.id.as_uuid()).collect(), dry_run: false }
    }
}

impl From<&ForgetReceipt> for Touched {
    fn from(receipt: &ForgetReceipt) -> Self {
        let ids = receipt.forgotten.iter().chain(&receipt.derived).map(|id| id.as_uuid()).collect();
        Self { ids, dry_run: receipt.dry_run }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    request_id: &'a str,
    tenant: &'a str,
    key: Option<&'a str>,
    operation: &'a str,
    ids: &'a [Uuid],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    status: u16,
}

impl AuditLog {
    /// The log, or the file at `path`, which is added to.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::Log) };
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).with_context(|| format!("cannot open the audit file {}", path.display()))?;
        Ok(Self::File(Mutex::new(file)))
    }

    /// Writes an event down. When the file cannot take it the log says so: the write it tells of is done and stays.
    pub fn record(&self, event: Event<'_>) {
        let Event { identity, request_id, operation, touched, status } = event;
        let line = Line {
            time: chrono::Utc::now(),
            request_id,
            tenant: identity.tenant.tenant_name(),
            key: identity.key.as_deref(),
            operation,
            ids: &touched.ids,
            dry_run: touched.dry_run,
            status,
        };
        match self {
            Self::Log => {
                let Line { tenant, key, dry_run, .. } = line;
                let ids = line.ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",");
                tracing::info!(target: "audit", request_id, tenant, key, operation, ids, dry_run, status);
            }
            Self::File(file) => {
                let written = serde_json::to_vec(&line).map_err(std::io::Error::other).and_then(|mut text| {
                    text.push(b'\n');
                    // In one call, so that lines of several processes do not mix.
                    file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text)
                });
                if let Err(error) = written {
                    tracing::error!(%error, request_id, operation, "audit line not written");
                }
            }
        }
    }
}
