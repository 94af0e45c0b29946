//! How long a recall waits for its parts, which run at once.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::Timer;

/// How long is waited, and by which timer; without one for as long as it takes.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a>(Option<(&'a dyn Timer, Duration)>);

impl<'a> Patience<'a> {
    /// For as long as it takes.
    pub(super) const ENDLESS: Self = Self(None);

    pub(super) fn new(timer: &'a dyn Timer, limit: Duration) -> Self {
        Self(Some((timer, limit)))
    }

    pub(super) fn half(self) -> Self {
        Self(self.0.map(|(timer, limit)| (timer, limit / 2)))
    }

    /// What is left of it after `passed`, by the clock.
    pub(super) fn rest(self, passed: chrono::TimeDelta) -> Self {
        let passed = passed.to_std().unwrap_or_default();
        Self(self.0.map(|(timer, limit)| (timer, limit.saturating_sub(passed))))
    }

    /// What `work` gives; `None` when it takes too long, and then it is dropped.
    pub(super) async fn wait<T>(self, work: impl Future<Output = T>) -> Option<T> {
        let Some((timer, limit)) = self.0 else { return Some(work.await) };
        let (mut work, mut over) = (pin!(work), timer.sleep(limit));
        std::future::poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => over.as_mut().poll(context).map(|()| None),
        })
        .await
    }
}

/// What both give, run at once.
pub(super) async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|context| {
        if first.is_none()
            && let Poll::Ready(done) = one.as_mut().poll(context)
        {
            first = Some(done);
        }
        if second.is_none()
            && let Poll::Ready(done) = other.as_mut().poll(context)
        {
            second = Some(done);
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (done, also_done) => {
                (first, second) = (done, also_done);
                Poll::Pending
            }
        }
    })
    .await
}
