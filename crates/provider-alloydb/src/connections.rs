//! A pool's connections, and those at hand that were just used.
//!
//! The driver's pool asks the server about each connection that is given back, which is a second round trip for every
//! statement. One whose answer was read to its end is in order, so it is kept at hand for a moment, and lent again without
//! the pool. Nobody waits for one that is at hand, and none is at hand for longer than the pool trusts those it has itself.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::runtime::Handle;

use crate::losses::{Losses, TRUSTED_FOR};
use crate::observe::PoolStatus;

/// A pool, and what of it is at hand.
pub(crate) struct Connections {
    pool: PgPool,
    losses: Arc<Losses>,
    at_hand: Arc<AtHand>,
    /// The most that are at hand. One is left for those who ask the pool itself.
    most: usize,
}

/// A connection that is lent. When it is dropped it goes back to the pool, which looks at it first.
pub(crate) struct Lent {
    pub connection: PoolConnection<Postgres>,
    /// When the pool lent it.
    since: Instant,
    /// How many losses were known then.
    losses: u64,
}

#[derive(Default)]
struct AtHand(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    /// The one that was used last comes last.
    lent: Vec<Lent>,
    /// How many wait for the pool.
    waiting: usize,
    /// Whether somebody gives back what is here for too long.
    is_watched: bool,
}

impl AtHand {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtHand {
    fn drop(&mut self) {
        if Handle::try_current().is_ok() {
            return;
        }
        // The runtime has ended, without which the pool takes nothing back.
        for lent in std::mem::take(&mut self.shelf().lent) {
            std::mem::forget(lent);
        }
    }
}

/// Somebody waits for the pool, as long as this is there.
struct Waiting<'a>(&'a AtHand);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.shelf().waiting -= 1;
    }
}

impl Connections {
    pub(crate) fn new(pool: PgPool, losses: Arc<Losses>) -> Self {
        let most = pool.options().get_max_connections().saturating_sub(1) as usize;
        Self { pool, losses, at_hand: Arc::default(), most }
    }

    /// The pool itself, for what is seldom asked.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(crate) async fn lend(&self) -> sqlx::Result<Lent> {
        let _waiting = {
            let mut shelf = self.at_hand.shelf();
            while let Some(lent) = shelf.lent.pop() {
                if self.is_trusted(&lent) {
                    return Ok(lent);
                }
            }
            shelf.waiting += 1;
            Waiting(&self.at_hand)
        };
        // Before it is lent, so that a loss meanwhile counts.
        let losses = self.losses.count();
        let connection = self.pool.acquire().await?;
        Ok(Lent { connection, since: Instant::now(), losses })
    }

    /// Takes back a connection whose answer was read to its end.
    pub(crate) fn take_back(&self, lent: Lent) {
        if !self.is_trusted(&lent) {
            return;
        }
        let mut shelf = self.at_hand.shelf();
        // Looked at here, with the shelf in hand: `close` clears it after the pool is closed.
        if shelf.waiting > 0 || shelf.lent.len() >= self.most || self.pool.is_closed() {
            return;
        }
        shelf.lent.push(lent);
        if !std::mem::replace(&mut shelf.is_watched, true) {
            tokio::spawn(watch(Arc::downgrade(&self.at_hand)));
        }
    }

    /// How it is now. The numbers are read one after the other, so that they may not quite fit together.
    pub(crate) fn status(&self) -> PoolStatus {
        let (at_hand, waiting) = {
            let shelf = self.at_hand.shelf();
            (shelf.lent.len(), shelf.waiting)
        };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let idle = count(self.pool.num_idle() + at_hand).min(self.pool.size());
        PoolStatus {
            busy: self.pool.size() - idle,
            idle,
            most: self.pool.options().get_max_connections(),
            waiting: count(waiting),
        }
    }

    /// Waits for the statements that run, and closes every connection.
    pub(crate) async fn close(&self) {
        let closed = self.pool.close();
        let at_hand = std::mem::take(&mut self.at_hand.shelf().lent);
        drop(at_hand);
        closed.await;
    }

    fn is_trusted(&self, lent: &Lent) -> bool {
        lent.since.elapsed() < TRUSTED_FOR && lent.losses == self.losses.count()
    }
}

/// Gives back to the pool what is at hand for too long, until nothing is.
async fn watch(at_hand: Weak<AtHand>) {
    loop {
        tokio::time::sleep(TRUSTED_FOR / 2).await;
        let Some(at_hand) = at_hand.upgrade() else { return };
        let mut shelf = at_hand.shelf();
        let old: Vec<Lent> = shelf.lent.extract_if(.., |lent| lent.since.elapsed() >= TRUSTED_FOR).collect();
        shelf.is_watched = !shelf.lent.is_empty();
        let is_over = !shelf.is_watched;
        drop(shelf);
        drop(old);
        if is_over {
            return;
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("pool", &self.pool).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use memory_testkit::services::{self, Service};
    use sqlx::Connection as _;
    use sqlx::postgres::PgPoolOptions;

    use super::*;

    fn connections(most: u32) -> Option<Connections> {
        let url = services::url(Service::Postgres)?;
        let options = PgPoolOptions::new().max_connections(most).acquire_timeout(Duration::from_secs(10));
        Some(Connections::new(options.connect_lazy(&url).unwrap(), Arc::default()))
    }

    fn at_hand(connections: &Connections) -> usize {
        connections.at_hand.shelf().lent.len()
    }

    #[tokio::test]
    async fn what_was_used_is_at_hand_until_a_loss_is_known_or_it_was_lent_for_too_long() {
        let Some(connections) = connections(3) else { return };
        connections.take_back(connections.lend().await.unwrap());
        assert_eq!((at_hand(&connections), connections.pool().num_idle()), (1, 0));
        let lent = connections.lend().await.unwrap();
        assert_eq!(at_hand(&connections), 0, "it is lent again");
        connections.losses.note();
        connections.take_back(lent);
        assert_eq!(at_hand(&connections), 0, "it may be lost too");
        connections.take_back(connections.lend().await.unwrap());
        connections.losses.note_read_only();
        let mut lent = connections.lend().await.unwrap();
        lent.connection.ping().await.unwrap();
        assert_eq!(lent.losses, 2, "it is one that the pool has looked at since");
        lent.since = Instant::now().checked_sub(TRUSTED_FOR).unwrap();
        connections.take_back(lent);
        assert_eq!(at_hand(&connections), 0);
        connections.close().await;
    }

    #[tokio::test]
    async fn nobody_waits_for_one_that_is_at_hand() {
        let Some(connections) = connections(2) else { return };
        let (first, second) = (connections.lend().await.unwrap(), connections.lend().await.unwrap());
        let waits = async {
            let third = connections.lend().await.unwrap();
            connections.take_back(third);
        };
        let gives = async {
            tokio::task::yield_now().await;
            connections.take_back(first);
            connections.take_back(second);
        };
        tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(waits, gives) }).await.expect("no wait");
        assert!(at_hand(&connections) <= 1, "one is left to those who ask the pool itself");
        tokio::time::timeout(Duration::from_secs(5), connections.pool().acquire()).await.expect("no wait").unwrap();
        connections.close().await;
    }

    #[tokio::test]
    async fn what_is_at_hand_goes_back_to_the_pool_and_is_closed_with_it() {
        let Some(connections) = connections(2) else { return };
        connections.take_back(connections.lend().await.unwrap());
        tokio::time::sleep(2 * TRUSTED_FOR).await;
        assert_eq!((at_hand(&connections), connections.pool().num_idle()), (0, 1));
        connections.take_back(connections.lend().await.unwrap());
        tokio::time::timeout(Duration::from_secs(5), connections.close()).await.expect("it is closed");
        assert_eq!(connections.pool().size(), 0);
    }

    #[test]
    fn a_runtime_may_end_first() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connections = runtime.block_on(async {
            let connections = connections(2)?;
            connections.take_back(connections.lend().await.unwrap());
            Some(connections)
        });
        drop(runtime);
        drop(connections);
    }
}
