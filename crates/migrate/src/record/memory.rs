//! A record in memory, for moves that end with the process, as in tests.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Record, Records};
use crate::{Error, Result};

/// A record in memory.
#[derive(Debug, Default)]
pub struct MemoryRecords(Mutex<Option<Record>>);

#[async_trait]
impl Records for MemoryRecords {
    async fn load(&self) -> Result<Option<Record>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn store(&self, record: &Record) -> Result<()> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().map_or(0, |held| held.revision) + 1 != record.revision {
            return Err(Error::Superseded);
        }
        *held = Some(record.clone());
        Ok(())
    }
}
