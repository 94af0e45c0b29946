//! Where time and ids come from. The core has no clock and no randomness of its own: both are injected, so tests can
//! hold time still and every decision stays a function of its values.

use std::pin::Pin;
use std::time::Duration;

use crate::MemoryId;

/// A moment, in UTC. Stores keep microseconds.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// Tells the time. Any function that returns a [`Timestamp`] is a clock: `chrono::Utc::now` is the usual one.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

impl<F: Fn() -> Timestamp + Send + Sync> Clock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}

/// Waits. Any function that gives a future which ends after a while is a timer: `tokio::time::sleep` is the usual one.
pub trait Timer: Send + Sync {
    /// Ends once `duration` has passed.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl<F, S> Timer for F
where
    F: Fn(Duration) -> S + Send + Sync,
    S: Future<Output = ()> + Send + 'static,
{
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self(duration))
    }
}

/// Makes new ids. Any function that returns a [`MemoryId`] is a source:
/// `|| MemoryId::from(uuid::Uuid::now_v7())` is the usual one.
pub trait IdSource: Send + Sync {
    /// An id that was never given before; ids made later sort later (`UUIDv7`).
    fn next_id(&self) -> MemoryId;
}

impl<F: Fn() -> MemoryId + Send + Sync> IdSource for F {
    fn next_id(&self) -> MemoryId {
        self()
    }
}
