//! Requests that are due by a schedule, whether or not those before were answered.
//!
//! How long a request took is counted from when it was due. A client that sends the next one when the last one is answered sends
//! none while the server stalls, and so misses what everybody else waits for: coordinated omission (Tene, "How NOT to measure
//! latency", Strange Loop 2015).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::random::Random;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Requests a second on average; they come at random, as those of many clients do (a Poisson process).
    pub rate: f64,
    /// For how long requests are due.
    pub lasts: Duration,
    /// How long after it was due a request is given up, whether or not it was sent.
    pub patience: Duration,
    /// The most that are under way at once. Those that are due wait for one to end, and that is counted in.
    pub at_once: usize,
    /// The same seed gives the same schedule.
    pub seed: u64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was answered.
    Answered(T),
    /// It failed.
    Failed,
    /// It was given up.
    TimedOut,
}

/// A request that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent<T> {
    /// When it was due, from the beginning.
    pub due: Duration,
    /// How long after that it was handed to be sent. More than a few milliseconds says that this machine is too slow to load
    /// anything.
    pub late: Duration,
    /// How long after it was due it ended.
    pub took: Duration,
    /// What became of it.
    pub outcome: Outcome<T>,
}

impl Load {
    /// When requests are due, from the beginning, in order.
    #[must_use]
    pub fn schedule(&self) -> Vec<Duration> {
        let (mut random, mut due, mut at) = (Random::new(self.seed), Vec::new(), 0.0);
        let lasts = self.lasts.as_secs_f64();
        loop {
            at += -random.unit().ln() / self.rate;
            if at >= lasts {
                return due;
            }
            due.push(Duration::from_secs_f64(at));
        }
    }

    /// Sends it all, and waits until all is over. `ask` is called with the number of each request. Times are those of tokio's
    /// timer, which wakes up to a millisecond late.
    pub async fn send<T, E, F>(&self, ask: impl Fn(usize) -> F) -> Vec<Sent<T>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (began, places) = (Instant::now(), Arc::new(Semaphore::new(self.at_once)));
        let mut under_way = JoinSet::new();
        for (number, due) in self.schedule().into_iter().enumerate() {
            let due_at = began + due;
            sleep_until(due_at).await;
            let (late, until) = (due_at.elapsed(), due_at + self.patience);
            let (answer, places) = (ask(number), places.clone());
            under_way.spawn(async move {
                let in_time = timeout_at(until, async {
                    // It is never closed.
                    let _place = places.acquire_owned().await;
                    answer.await
                });
                let outcome = match in_time.await {
                    Ok(Ok(answer)) => Outcome::Answered(answer),
                    Ok(Err(_)) => Outcome::Failed,
                    Err(_) => Outcome::TimedOut,
                };
                Sent { due, late, took: due_at.elapsed(), outcome }
            });
        }
        let mut sent = Vec::with_capacity(under_way.len());
        while let Some(joined) = under_way.join_next().await {
            // Only a request that panicked is lost, and the panic was told.
            sent.extend(joined.ok());
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: (Duration, Duration) = (Duration::from_millis(1000), Duration::from_millis(1300));
    const LASTS: Duration = Duration::from_secs(4);

    fn load(rate: f64) -> Load {
        Load { rate, lasts: LASTS, patience: Duration::from_secs(2), at_once: 64, seed: 1 }
    }

    /// Answers within a millisecond, but for a stall.
    async fn stalling(began: Instant) -> Result<(), ()> {
        if (STALL.0..STALL.1).contains(&began.elapsed()) {
            sleep_until(began + STALL.1).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }

    fn p99(mut took: Vec<Duration>) -> Duration {
        took.sort_unstable();
        took[(took.len() * 99).div_ceil(100) - 1]
    }

    #[test]
    fn a_schedule_has_its_rate_and_is_the_same_again() {
        let schedule = load(1000.0).schedule();
        assert!((3800..4200).contains(&schedule.len()), "{}", schedule.len());
        assert!(schedule.is_sorted() && schedule.last() < Some(&LASTS));
        assert_eq!(schedule, load(1000.0).schedule());
        assert_ne!(schedule, Load { seed: 2, ..load(1000.0) }.schedule());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_shows_in_what_was_due_meanwhile_and_hardly_to_a_client_that_waits() {
        let began = Instant::now();
        let sent = load(100.0).send(|_| stalling(began)).await;
        assert!((350..450).contains(&sent.len()), "{}", sent.len());
        assert!(sent.iter().all(|sent| sent.outcome == Outcome::Answered(())));
        let open = p99(sent.iter().map(|sent| sent.took).collect());

        // The same server and about the same rate, the next one sent ten milliseconds after the answer.
        let (began, mut took) = (Instant::now(), Vec::new());
        while began.elapsed() < LASTS {
            let sent = Instant::now();
            stalling(began).await.expect("it answers");
            took.push(sent.elapsed());
            tokio::time::sleep(Duration::from_millis(9)).await;
        }
        assert!(took.len() > 300, "{}", took.len());
        let closed = p99(took);
        assert!(open > Duration::from_millis(200) && closed < Duration::from_millis(5), "{open:?}, {closed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn too_much_is_late_and_given_up_and_not_sent_more_slowly() {
        // Four at once, 100 ms each: 40 a second.
        let slow = |_| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok::<_, ()>(())
        };
        let load = Load { at_once: 4, ..load(200.0) };
        let sent = load.send(slow).await;
        assert_eq!(sent.len(), load.schedule().len(), "every one of them");
        assert!(sent.iter().all(|sent| sent.late <= Duration::from_millis(2)));
        let given_up = sent.iter().filter(|sent| sent.outcome == Outcome::TimedOut).count();
        assert!(given_up * 10 > sent.len() * 6, "{given_up} of {}", sent.len());
        assert!(sent.iter().all(|sent| sent.took <= load.patience + Duration::from_millis(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_told_apart() {
        let sent = load(50.0).send(|number| async move { if number % 2 == 0 { Ok(number) } else { Err(()) } }).await;
        let failed = sent.iter().filter(|sent| sent.outcome == Outcome::Failed).count();
        assert_eq!(failed, sent.len() / 2);
    }
}
