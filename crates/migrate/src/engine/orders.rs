//! What somebody may order a move to do.

use memory_core::{Gate, Writers};

use super::{Engine, of};
use crate::record::{Colour, Phase, Record};
use crate::{Error, Result};

/// What somebody orders. It is recorded, and done by the steps that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Begin to copy.
    Start,
    /// Let this percentage of reads go to green.
    SwitchReads(u8),
    /// Let green be the store in use.
    SwitchWrites,
    /// Let blue be the store in use again.
    Rollback,
    /// Give the move up, before green is in use.
    Cancel,
    /// End the move: blue follows no more.
    Finalize,
}

impl Order {
    /// Whether this was ordered already and is being done: to go on is all that is left to whoever orders it again.
    #[must_use]
    pub fn is_under_way(self, record: &Record) -> bool {
        match (self, &record.phase) {
            (Self::Start, Phase::Preparing | Phase::Copying)
            | (Self::Cancel, Phase::Cancelling)
            | (Self::Finalize, Phase::Finalizing) => true,
            (Self::SwitchWrites, Phase::Switching { .. } | Phase::Opening { .. }) => record.active == Colour::Blue,
            (Self::Rollback, Phase::Switching { .. } | Phase::Opening { .. }) => record.active == Colour::Green,
            _ => false,
        }
    }
}

impl Engine {
    /// Records an order. The steps that carry it out follow.
    ///
    /// # Errors
    /// [`Error::Refused`] when it cannot be done now; nothing was changed then.
    pub async fn order(&mut self, order: Order) -> Result<()> {
        self.reload().await?;
        while self.record().releasing.is_some() && self.record().phase == Phase::Following {
            self.step().await?;
        }
        let next = self.answer(order).await?;
        self.put(next).await
    }

    /// What the record would be after an order; nothing is changed.
    ///
    /// # Errors
    /// As [`Self::order`].
    pub async fn answer(&self, order: Order) -> Result<Record> {
        let (record, now) = (self.record(), self.parts().clock.now());
        match order {
            Order::Start => {
                let size = self.check_start().await?;
                record.started(size, now)
            }
            Order::SwitchReads(percent) => record.reads_moved(percent, now),
            Order::SwitchWrites => self.switch(Colour::Green).await,
            Order::Rollback => self.switch(Colour::Blue).await,
            Order::Cancel => record.cancelled(now),
            Order::Finalize => record.finalized(now),
        }
    }

    async fn switch(&self, to: Colour) -> Result<Record> {
        let record = self.record();
        if record.active == to {
            return Err(Error::refused(format!("{to} is in use already"), "`status` shows what is going on"));
        }
        let lag = if record.phase == Phase::Following { self.lag().await? } else { 0 };
        record.switched(lag, self.parts().clock.now())
    }

    /// Refuses a move that cannot end well, and gives about how much there is to copy.
    async fn check_start(&self) -> Result<u64> {
        let [blue, green] = [Colour::Blue, Colour::Green].map(|colour| (colour, &self.parts().side(colour).replica));
        let gate = blue.1.gate().await.map_err(of(blue.0, "read the gate"))?;
        if let Gate { writers: Writers::Mover, epoch } = gate {
            let reason = format!("blue is closed to clients since epoch {epoch}: it is not the store in use");
            return Err(Error::refused(reason, "name the store that is in use as blue"));
        }
        // What was copied before is there, and is made what it is by now.
        let is_first = !self.record().may_copy_again();
        let there = green.1.size().await.map_err(of(green.0, "read the size"))?;
        if is_first && there.memories + there.others > 0 {
            let reason = format!("green is not empty: it has {} memories and {} others", there.memories, there.others);
            return Err(Error::refused(reason, "name an empty store as green"));
        }
        let size = blue.1.size().await.map_err(of(blue.0, "read the size"))?;
        Ok(size.memories + size.others)
    }
}
