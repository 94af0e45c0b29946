//! What changed nothing, while a move may be under way. The database refuses clients' writes to a store that follows another one
//! where they change something. Where nothing changes, that may be since the store is behind: then it is none of its business.

use memory_core::{Error, ForgetReceipt, Gate, InsertReceipt, InsertStatus, Result, Writers};
use sqlx::Row as _;

use crate::error::failed;
use crate::provider::AlloyDbMemoryProvider;
use crate::statements::Repeat;

const GATE: &str = "SELECT epoch, writers = 'clients' AS is_open FROM orchestra.gate";

impl AlloyDbMemoryProvider {
    /// Who may write here, as this is asked.
    pub(crate) async fn gate_now(&self, operation: &'static str) -> Result<Gate> {
        let failed = |error| failed(operation, error);
        let query = || sqlx::query(GATE);
        let row = self.inner.statements.row(&self.inner.primary, Repeat::Harmless, query).await.map_err(failed)?;
        let is_open: bool = row.try_get("is_open").map_err(failed)?;
        Ok(Gate {
            epoch: row.try_get::<i64, _>("epoch").map_err(failed)?.cast_unsigned(),
            writers: if is_open { Writers::Clients } else { Writers::Mover },
        })
    }

    /// To be asked after a write that changed nothing: whether it is to be done again, since this store may have been opened after it.
    ///
    /// # Errors
    /// [`Error::Fenced`] when it is not the store in use.
    pub(crate) async fn may_have_been_opened(&self, operation: &'static str) -> Result<bool> {
        match self.gate_now(operation).await? {
            Gate { epoch, writers: Writers::Mover } => Err(Error::Fenced { epoch }),
            Gate { epoch, writers: Writers::Clients } => Ok(epoch > 0),
        }
    }
}

/// Whether an answer is about what is there, and nothing was written.
pub(crate) fn judges<T>(done: &Result<T>) -> bool {
    matches!(
        done,
        Err(Error::NotFound(_)
            | Error::VersionConflict { .. }
            | Error::IdTaken(_)
            | Error::Forgotten(_)
            | Error::ValueRejected { .. })
    )
}

/// Whether nothing was inserted, by what is there. What is told of a write of before was found here, and is the same everywhere.
pub(crate) fn inserted_nothing(done: &Result<InsertReceipt>) -> bool {
    let is_new = |receipt: &InsertReceipt| receipt.items.iter().any(|item| item.status == InsertStatus::Created);
    judges(done) || done.as_ref().is_ok_and(|receipt| !receipt.replayed && !is_new(receipt))
}

/// Whether nothing was there to forget.
pub(crate) fn forgot_nothing(done: &Result<ForgetReceipt>) -> bool {
    let is_empty = |receipt: &ForgetReceipt| receipt.forgotten.is_empty() && receipt.derived.is_empty();
    judges(done) || done.as_ref().is_ok_and(|receipt| !receipt.dry_run && is_empty(receipt))
}
