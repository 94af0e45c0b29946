//! What goes wrong: which part, in what way, for how long.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use memory_testkit::services::Server;
use tokio::task::spawn_blocking;

use crate::client::Client;
use crate::world::World;
use memory_testkit::random::Random;

/// A part that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Server(usize),
    Redis,
    Postgres,
    Replica,
    Embedder,
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Every process of it is killed; an embedder refuses connections.
    Killed,
    /// Nothing of it runs, and its connections stay open.
    Stopped,
    Slow,
    Refusing,
}

/// One failure, which ends after a time.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub part: Part,
    pub way: Way,
    pub lasts: Duration,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:.1} s", self.kind(), self.lasts.as_secs_f64())
    }
}

impl Fault {
    /// What it is counted as.
    pub fn kind(&self) -> String {
        let part = match self.part {
            Part::Server(_) => "server",
            Part::Redis => "redis",
            Part::Postgres => "postgres",
            Part::Replica => "replica",
            Part::Embedder => "embedder",
        };
        let way = match self.way {
            Way::Killed => "killed",
            Way::Stopped => "stopped",
            Way::Slow => "slow",
            Way::Refusing => "refusing",
        };
        format!("{part} {way}")
    }

    fn of(part: Part, random: &mut Random) -> Self {
        let ways: &[Way] = match part {
            Part::Embedder => &[Way::Killed, Way::Stopped, Way::Slow, Way::Refusing],
            _ => &[Way::Killed, Way::Stopped],
        };
        let way = random.one_of(ways).copied().unwrap_or(Way::Killed);
        let lasts = match way {
            // An embedder that is away is asked again for some seconds before it is done without.
            Way::Killed if part != Part::Embedder => random.between(Duration::from_millis(50), Duration::from_secs(3)),
            _ => random.between(Duration::from_secs(1), Duration::from_secs(8)),
        };
        Self { part, way, lasts }
    }
}

/// The failures of a campaign, in rounds: in each one every part fails once, in another order, now and then two at once.
#[derive(Debug)]
pub struct Faults {
    random: Random,
    round: Vec<Part>,
    servers: usize,
    /// How many of each kind there were.
    pub counts: BTreeMap<String, u64>,
}

impl Faults {
    pub fn new(seed: u64, servers: usize) -> Self {
        Self { random: Random::of_part(seed, 0), round: Vec::new(), servers, counts: BTreeMap::new() }
    }

    /// What fails next, at once.
    pub fn next(&mut self) -> Vec<Fault> {
        let how_many = if self.random.percent(25) { 2 } else { 1 };
        (0..how_many).filter_map(|_| self.one()).collect()
    }

    /// For how long everything is well before that.
    pub fn pause(&mut self, longest: Duration) -> Duration {
        self.random.between(longest / 6, longest)
    }

    fn one(&mut self) -> Option<Fault> {
        if self.round.is_empty() {
            self.round.extend([Part::Redis, Part::Postgres, Part::Replica, Part::Embedder]);
            self.round.extend((0..self.servers).map(Part::Server));
            self.random.shuffle(&mut self.round);
        }
        let fault = Fault::of(self.round.pop()?, &mut self.random);
        *self.counts.entry(fault.kind()).or_default() += 1;
        Some(fault)
    }
}

impl World {
    /// Lets it happen, and returns when the part is there again.
    pub async fn suffer(&self, fault: Fault, client: &Client) {
        match fault.part {
            Part::Server(at) => {
                let mut server = self.servers[at].lock().await;
                match fault.way {
                    Way::Killed => {
                        server.kill();
                        tokio::time::sleep(fault.lasts).await;
                        client.moved(at, server.start().await);
                    }
                    _ => {
                        server.pause();
                        tokio::time::sleep(fault.lasts).await;
                        server.resume();
                    }
                }
            }
            Part::Redis => fail(&self.redis, fault).await,
            Part::Postgres => fail(&self.primary, fault).await,
            Part::Replica => fail(&self.replica, fault).await,
            Part::Embedder => {
                let mut embedder = self.embedder.lock().await;
                match fault.way {
                    Way::Killed => embedder.go_away().await,
                    Way::Stopped => embedder.hang(),
                    Way::Slow => embedder.slow_down(Duration::from_millis(700)),
                    Way::Refusing => embedder.refuse(),
                }
                tokio::time::sleep(fault.lasts).await;
                match fault.way {
                    Way::Killed => embedder.come_back().await,
                    _ => embedder.recover(),
                }
            }
        }
    }
}

async fn fail(server: &Arc<Mutex<Server>>, fault: Fault) {
    let server = Arc::clone(server);
    let failing = spawn_blocking(move || {
        let mut server = server.lock().unwrap();
        if fault.way == Way::Killed {
            server.kill().unwrap();
            std::thread::sleep(fault.lasts);
            start_again(&mut server);
        } else {
            server.pause().unwrap();
            std::thread::sleep(fault.lasts);
            server.resume().unwrap();
        }
    });
    failing.await.unwrap();
}

/// A busy machine takes longer to start a server than the testkit waits.
fn start_again(server: &mut Server) {
    for _ in 0..3 {
        if server.restart().is_ok() {
            return;
        }
        server.kill().unwrap();
    }
    server.restart().unwrap();
}
