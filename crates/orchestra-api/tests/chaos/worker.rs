//! One client: it alone writes its memories, one request after the other, and reads them and others' in between.

pub mod answers;
pub mod reads;
mod sessions;
mod writes;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::campaign::Campaign;
use crate::client::Request;
use crate::model::Tick;
use crate::name::Name;
use memory_testkit::random::Random;

/// What memories are about.
const WORDS: &[&str] = &[
    "harbour", "lantern", "violin", "glacier", "orchard", "compass", "marble", "thunder", "saffron", "meadow",
    "anchor", "cinnamon", "falcon", "granite", "hammock", "island", "jasmine", "kettle", "lemon", "mosaic", "nectar",
    "obsidian", "pepper", "quartz", "raven", "silver", "tunnel", "umbrella", "velvet", "walnut", "yellow", "zephyr",
];

/// So many memories share a group, by which they are forgotten together.
const GROUP: usize = 6;
/// As many requests under an idempotency key are kept to be sent again.
const KEPT_REQUESTS: usize = 20;

pub struct Worker {
    campaign: Arc<Campaign>,
    tenant: usize,
    worker: usize,
    random: Random,
    /// How many memories it has named.
    named: usize,
    /// Those that are there, for all it knows.
    mine: Vec<Mine>,
    /// Memories of which the write or the deletion was never answered: they are left alone.
    lost_track: Vec<Name>,
    sessions: Vec<sessions::Session>,
    /// The last write or deletion that gave a token.
    last: Option<Token>,
    keyed: VecDeque<Keyed>,
}

/// A memory that this worker keeps.
#[derive(Debug, Clone)]
struct Mine {
    name: Name,
    id: String,
    /// The store's version, and the attempt that it holds.
    version: u64,
    attempt: usize,
    /// An update is in doubt.
    in_doubt: bool,
}

/// A write token, and what it lets a read see.
#[derive(Debug, Clone)]
struct Token {
    token: String,
    name: Name,
    /// What was known when the write was sent is seen with it.
    sent: Tick,
    /// The memory is seen with it as it was known to be by then.
    known: Tick,
}

/// A write under an idempotency key, and the ids that it made.
struct Keyed {
    request: Request,
    names: Vec<Name>,
    ids: Vec<String>,
}

impl Worker {
    pub fn new(campaign: Arc<Campaign>, tenant: usize, worker: usize) -> Self {
        let random = Random::of_part(campaign.seed, 1 + (tenant * 100 + worker) as u64);
        Self {
            campaign,
            tenant,
            worker,
            random,
            named: 0,
            mine: Vec::new(),
            lost_track: Vec::new(),
            sessions: Vec::new(),
            last: None,
            keyed: VecDeque::new(),
        }
    }

    /// Works until the campaign is over.
    pub async fn run(mut self) {
        while !self.campaign.is_over() {
            self.step().await;
            let pause = self.random.between(Duration::from_millis(5), Duration::from_millis(60));
            tokio::time::sleep(pause).await;
        }
    }

    async fn step(&mut self) {
        match self.random.below(100) {
            0..12 => self.remember(1, true).await,
            12..17 => self.remember(4, true).await,
            17..21 => self.remember(1, false).await,
            21..25 => self.remember_without_key().await,
            25..37 => self.update().await,
            37..44 => self.forget_one().await,
            44..46 => self.forget_group().await,
            46..48 => self.send_again().await,
            48..53 => self.say().await,
            53..55 => self.read_session().await,
            55..56 => self.forget_session().await,
            56..64 => self.get().await,
            64..67 => self.history().await,
            67..70 => self.list().await,
            70..78 => self.search_with_token().await,
            78..82 => self.search_without_token().await,
            82..85 => self.ask_for_others().await,
            85..92 => self.file_answer().await,
            _ => self.look_up().await,
        }
    }

    fn new_name(&mut self) -> Name {
        self.named += 1;
        Name { tenant: self.tenant, worker: self.worker, number: self.named }
    }

    fn words(&mut self) -> String {
        let words: Vec<&str> = (0..5).filter_map(|_| self.random.one_of(WORDS).copied()).collect();
        words.join(" ")
    }

    fn user(&self) -> String {
        format!("w{}", self.worker)
    }

    /// One of its memories of which nothing is in doubt.
    fn certain(&mut self) -> Option<Mine> {
        let certain: Vec<&Mine> = self.mine.iter().filter(|mine| !mine.in_doubt).collect();
        self.random.one_of(&certain).map(|mine| (*mine).clone())
    }
}
