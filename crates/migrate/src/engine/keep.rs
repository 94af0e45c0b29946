//! What is kept of blue before the move ends.

use std::path::Path;

use super::Engine;
use crate::dump::{self, Header};
use crate::record::{Colour, Phase};
use crate::{Error, Result};

impl Engine {
    /// Brings blue up to date and keeps a dump of it in a file, and records that. Nothing follows meanwhile, so what is in it is of
    /// one moment; the move goes on as before, and whoever fails here can still roll back.
    ///
    /// # Errors
    /// [`Error::Refused`] where the move cannot be finalized, blue can only be read or does not catch up, or the file is
    /// another's; [`Error::Superseded`] where another mover has come meanwhile; or as blue and the file.
    pub async fn keep_dump(&mut self, path: &Path) -> Result<()> {
        self.reload().await?;
        self.record.finalized(self.now())?;
        if self.record.one_way {
            return Err(Error::refused("blue can only be read", "it is as it was: finalize without a dump"));
        }
        while self.record.releasing.is_some() && self.record.phase == Phase::Following {
            self.step().await?;
        }
        if !self.is_mover {
            // From here on what a former mover still has under way changes nothing on blue.
            self.take_over().await?;
        }
        if !self.follow_through().await? {
            let reason =
                "blue does not catch up: a transaction that is under way on green keeps changes from being read";
            return Err(Error::refused(reason, "end that transaction, and finalize again"));
        }
        // What was followed may have been somebody else's order.
        self.record.finalized(self.now())?;
        let (plan, blue) = (self.record.plan.clone(), self.parts.side(Colour::Blue).replica.clone());
        let kept = dump::write(path, Header::new(&plan, self.now()), &*blue, plan.batch).await?;
        self.put(self.record.dumped(kept, self.now())).await
    }
}
