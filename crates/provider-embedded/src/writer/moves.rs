//! A move of the store: who may write to it, who follows its changes, and what the mover writes.

use memory_core::{Error, Gate, Result, Writers};

use super::{Task, Transaction};
use crate::error::backend;
use crate::replica::not_captured;
use crate::rows::{micros, writers_name};
use crate::sql::replica;

/// A step of a move.
#[derive(Debug)]
pub(crate) enum Move {
    Capture(String),
    Release(String),
    /// Up to this change of the stream.
    Acknowledge(String, i64),
    Write {
        epoch: u64,
        items: Vec<memory_core::Item>,
    },
    SetGate(Gate),
}

impl Task {
    /// Whether the gate keeps it out. What no move takes along is not kept out: cached answers, sessions, and who follows.
    pub(super) fn check_gate(&self, gate: Gate) -> Result<()> {
        let is_open = match self {
            Self::Insert(_) | Self::Update { .. } | Self::AddVector(..) | Self::Reject(_) | Self::Lift(..) => {
                gate.writers == Writers::Clients
            }
            Self::Forget(request) => request.dry_run || gate.writers == Writers::Clients,
            Self::Move(Move::Write { epoch, .. }) => gate.writers == Writers::Mover && gate.epoch == *epoch,
            Self::FileAnswer(..)
            | Self::Prolong(_)
            | Self::Invalidate(_)
            | Self::Follow(_)
            | Self::Append(_)
            | Self::ClearSession(_)
            | Self::ForgetSessions(_)
            | Self::Move(_)
            | Self::RemoveExpired
            | Self::Close => true,
        };
        if is_open { Ok(()) } else { Err(Error::Fenced { epoch: gate.epoch }) }
    }
}

impl Transaction<'_> {
    pub(super) async fn take_step(&mut self, step: &Move) -> Result<()> {
        match step {
            Move::Capture(stream) => self.capture(stream).await,
            Move::Release(stream) => self.release(stream).await,
            Move::Acknowledge(stream, position) => self.acknowledge(stream, *position).await,
            Move::Write { items, .. } => self.put_items(items).await,
            Move::SetGate(gate) => self.set_gate(*gate).await,
        }
    }

    async fn capture(&mut self, stream: &str) -> Result<()> {
        self.execute("capture", sqlx::query(replica::CAPTURE).bind(stream)).await?;
        self.progress.is_captured = true;
        self.set_clock().await
    }

    /// Tells the triggers what time it is.
    pub(super) async fn set_clock(&mut self) -> Result<()> {
        self.execute("note the time", sqlx::query(replica::SET_CLOCK).bind(micros(self.now))).await
    }

    async fn release(&mut self, stream: &str) -> Result<()> {
        self.execute("release", sqlx::query(replica::RELEASE).bind(stream)).await?;
        self.execute("release", sqlx::query(replica::REMOVE_ACKNOWLEDGED)).await?;
        let query = sqlx::query_scalar(replica::IS_CAPTURED).fetch_one(&mut *self.connection);
        self.progress.is_captured = query.await.map_err(|error| backend("release", error))?;
        Ok(())
    }

    async fn acknowledge(&mut self, stream: &str, position: i64) -> Result<()> {
        let query = sqlx::query(replica::ACKNOWLEDGE).bind(stream).bind(position);
        let done = query.execute(&mut *self.connection).await.map_err(|error| backend("acknowledge", error))?;
        if done.rows_affected() == 0 {
            return Err(not_captured(stream));
        }
        self.execute("acknowledge", sqlx::query(replica::REMOVE_ACKNOWLEDGED)).await
    }

    async fn set_gate(&mut self, gate: Gate) -> Result<()> {
        let stands = self.progress.gate;
        if gate == stands {
            return Ok(());
        }
        if gate.epoch <= stands.epoch {
            return Err(Error::Fenced { epoch: stands.epoch });
        }
        let query = sqlx::query(replica::SET_GATE).bind(gate.epoch.cast_signed()).bind(writers_name(gate.writers));
        self.execute("set gate", query).await?;
        self.progress.gate = gate;
        Ok(())
    }
}
