//! The copy: a group of pages at a time, and then what changed meanwhile.

use chrono::TimeDelta;
use futures_util::{TryStreamExt as _, stream};
use memory_core::{ScanPage, ScanPosition};

use super::{Engine, of};
use crate::Result;

/// The most pages that are copied before what changed is followed.
const GROUP: usize = 8;
/// How many pages are written at once. While they are, the next one is read.
const AT_ONCE: usize = 2;

/// How far a group has come.
struct Reading {
    /// Where the next page begins; none behind the last one.
    next: Option<Option<ScanPosition>>,
    pages: usize,
    /// How long the store took to answer.
    answered: TimeDelta,
}

impl Engine {
    /// Copies a group of pages, and then what changed meanwhile: not before all of them are written, since what a page says of an
    /// item may be older than its change.
    pub(super) async fn copy(&mut self) -> Result<()> {
        let began = self.now();
        let most = self.group();
        let mut reading =
            Reading { next: Some(self.record.copied.after.clone()), pages: 0, answered: TimeDelta::zero() };
        let mut items = 0;
        {
            let pages = stream::try_unfold((&mut reading, most), async |(reading, most)| {
                let Some(after) = reading.next.take_if(|_| reading.pages < most) else { return Ok(None) };
                let asked = self.now();
                let page = self.read_page(after.as_ref()).await?;
                reading.answered += self.now() - asked;
                reading.pages += 1;
                reading.next = page.next.map(Some);
                Ok(Some((page.items, (reading, most))))
            });
            let written = pages.map_ok(async |page| {
                let count = page.len();
                if count > 0 {
                    self.write(page).await?;
                }
                Ok(count)
            });
            let mut written = std::pin::pin!(written.try_buffer_unordered(AT_ONCE));
            while let Some(count) = written.try_next().await? {
                items += count;
            }
        }
        self.follow().await?;
        let lag = self.lag().await?;
        let ended = self.now();
        self.put(self.record.copied(items as u64, reading.next.flatten(), lag, ended)).await?;
        let pause = self.pace.pause(items, reading.answered, ended - began);
        if !pause.is_zero() {
            self.parts.timer.sleep(pause).await;
        }
        Ok(())
    }

    /// How many pages make a group: no more than may be copied in a second.
    fn group(&self) -> usize {
        let plan = &self.record.plan;
        let allowed = plan.items_per_second.map_or(GROUP, |most| most as usize / plan.batch);
        allowed.clamp(1, GROUP)
    }

    async fn read_page(&self, after: Option<&ScanPosition>) -> Result<ScanPage> {
        let active = self.record.active;
        self.active().scan(after, self.record.plan.batch).await.map_err(of(active, "scan"))
    }
}
