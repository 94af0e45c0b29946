//! What every request shares: the tiers, the settings, and the gate that it came in by.

pub(crate) mod tiers;
pub mod trial;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use memory_core::{Result, Scope, TieredMemoryManager};
use migrate::record::Colour;
use provider_alloydb::AlloyDbMemoryProvider;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::tiers::Tiers;
use crate::background::{self, Background};
use crate::brake::BudgetBrake;
use crate::config::{Settings, ShortTermProvider};
use crate::identity::gate::Gate;
use crate::moving::{Moving, Sides};
use crate::usage::UsageLog;

/// How many requests are worked on at once; more wait for their turn.
const MAX_IN_FLIGHT: u32 = 512;

/// What every request shares. A clone shares the same. One that is of a store is about that one; another one is
/// about the store that is in use.
#[derive(Debug, Clone)]
pub struct AppState {
    shared: Arc<Shared>,
    colour: Option<Colour>,
}

#[derive(Debug)]
struct Shared {
    sides: Arc<Sides>,
    moving: Option<Arc<Moving>>,
    settings: Settings,
    gate: Gate,
    usage: Arc<UsageLog>,
    brake: Arc<BudgetBrake>,
    started: Instant,
    in_flight: Arc<Semaphore>,
    background: Mutex<Option<Background>>,
}

impl AppState {
    /// Opens the providers that the settings name and puts the tiers together. Makes the data folder if need be. Where the
    /// settings name a move, it is the store in use that is opened; the other one is in the background, when it is needed.
    ///
    /// Redis is connected to in the background: while it is away every lookup is a miss. The database of the memories is
    /// waited for as long as the settings say, and so is the record of the move.
    ///
    /// # Errors
    /// When the folder cannot be made, the file in it is not a memory or is open in another process, a secret is not
    /// there, the database cannot be used or is not there in time, the embedder is not set up, or the record of the move cannot
    /// be read.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let sides = Arc::new(Sides::default());
        let usage = Arc::new(UsageLog::open(&settings.usage)?);
        let (brake, moving) = match &settings.moves {
            None => {
                let brake = Arc::new(BudgetBrake::new(settings.brake_file.clone(), tiers::is_paid(settings)));
                look(&brake);
                sides.put(Colour::Blue, Tiers::open(settings, &brake, None).await?);
                (brake, None)
            }
            Some(moves) => {
                let moving = Moving::begin(settings, moves, sides.clone()).await?;
                (moving.brake().clone(), Some(moving))
            }
        };
        let background = background::of_process(&usage, &brake, moving.as_ref());
        Self::assemble(sides, moving, settings.clone(), usage, brake, Some(background))
    }

    /// The state over tiers that the caller put together.
    ///
    /// # Errors
    /// When the settings name a tenant that is not acceptable, or the keys file or the audit file cannot be used.
    pub fn new(manager: TieredMemoryManager, settings: Settings) -> anyhow::Result<Self> {
        let sides = Arc::new(Sides::default());
        sides.put(Colour::Blue, Tiers::of(manager, settings.clone()));
        let usage = Arc::new(UsageLog::open(&settings.usage)?);
        let brake = Arc::new(BudgetBrake::new(None, false));
        Self::assemble(sides, None, settings, usage, brake, None)
    }

    fn assemble(
        sides: Arc<Sides>,
        moving: Option<Arc<Moving>>,
        settings: Settings,
        usage: Arc<UsageLog>,
        brake: Arc<BudgetBrake>,
        background: Option<Background>,
    ) -> anyhow::Result<Self> {
        let gate = Gate::open(&settings)?;
        let in_flight = Arc::new(Semaphore::new(MAX_IN_FLIGHT as usize));
        let shared = Shared {
            sides,
            moving,
            settings,
            gate,
            usage,
            brake,
            started: Instant::now(),
            in_flight,
            background: Mutex::new(background),
        };
        Ok(Self { shared: Arc::new(shared), colour: None })
    }

    /// The same, about this store of the move; `None` while it is not open.
    #[must_use]
    pub(crate) fn of_store(&self, colour: Colour) -> Option<Self> {
        self.shared.sides.get(colour)?;
        Some(Self { shared: self.shared.clone(), colour: Some(colour) })
    }

    /// The move that is followed.
    pub(crate) fn moving(&self) -> Option<&Arc<Moving>> {
        self.shared.moving.as_ref()
    }

    fn tiers(&self) -> &Tiers {
        let colour = self.colour.or_else(|| Some(self.moving()?.serving().active)).unwrap_or(Colour::Blue);
        self.shared.sides.get_or_other(colour)
    }

    /// The tiers.
    #[must_use]
    pub fn manager(&self) -> &TieredMemoryManager {
        &self.tiers().manager
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The whole of the tenant of a caller that needs no key. A handler takes the tenant from the caller's
    /// [`Identity`](crate::identity::Identity) and not from here.
    #[must_use]
    pub fn tenant(&self) -> &Scope {
        &self.gate().owner().tenant
    }

    /// Who may come in.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// What a budget that is nearly spent asks for.
    #[must_use]
    pub fn brake(&self) -> &BudgetBrake {
        &self.shared.brake
    }

    /// What tenants used.
    #[must_use]
    pub fn usage(&self) -> &UsageLog {
        &self.shared.usage
    }

    /// The database of the memories, where they are in one.
    pub(crate) fn database(&self) -> Option<&AlloyDbMemoryProvider> {
        self.tiers().database()
    }

    /// What the tiers were opened by.
    pub(crate) fn tiers_settings(&self) -> &Settings {
        &self.tiers().settings
    }

    /// How each tier is now.
    ///
    /// # Errors
    /// As [`memory_core::MemoryStore::health`]: without the durable store nothing can be done. Without the cache everything can.
    pub async fn readiness(&self) -> Result<Readiness> {
        self.manager().health().await?;
        let tiers = self.tiers();
        let Settings { short_term_provider, medium_term_provider, .. } = &tiers.settings;
        let short_term = match tiers.redis() {
            _ if *short_term_provider == ShortTermProvider::None => TierStatus::Off,
            Some(redis) if !redis.health().connected => TierStatus::Away,
            _ => TierStatus::Ready,
        };
        Ok(Readiness {
            status: TierStatus::Ready,
            short_term: TierReadiness { provider: short_term_provider.name(), status: short_term },
            medium_term: TierReadiness { provider: medium_term_provider.name(), status: TierStatus::Ready },
            moves: self.moving().map(|moving| moving.readiness()),
        })
    }

    /// How long the state has been open.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// A turn to work on a request; none after [`close`](Self::close) began.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.shared.in_flight.clone().acquire_owned().await.ok()
    }

    /// Waits until no request is worked on, at most `grace`, takes no more, and closes the providers.
    ///
    /// # Errors
    /// When the embedded provider cannot put its files in order. What was acknowledged is safe even then.
    pub async fn close(&self, grace: Duration) -> anyhow::Result<()> {
        let drained = tokio::time::timeout(grace, self.shared.in_flight.acquire_many(MAX_IN_FLIGHT)).await;
        if drained.is_err() {
            let in_flight = MAX_IN_FLIGHT as usize - self.shared.in_flight.available_permits();
            tracing::warn!(in_flight, "requests cut off at the end of the grace period");
        }
        self.shared.in_flight.close();
        drop(self.shared.background.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.shared.usage.end_window(chrono::Utc::now());
        if let Err(error) = self.shared.usage.write() {
            tracing::error!(%error, "the last usage events were not written");
        }
        self.shared.sides.close().await
    }
}

/// Looks at the brake before anything is embedded.
pub(crate) fn look(brake: &BudgetBrake) {
    if let Err(error) = brake.look() {
        tracing::warn!(%error, "the budget's brake cannot be read; until it can, none is in force");
    }
}

/// How a tier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TierStatus {
    /// It answers.
    Ready,
    /// It does not; it is connected to again in the background.
    Away,
    /// The settings name none.
    Off,
}

/// How the server is: what `/readyz` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Readiness {
    /// Whether requests can be sent.
    pub status: TierStatus,
    /// The semantic cache.
    pub short_term: TierReadiness,
    /// The memories.
    pub medium_term: TierReadiness,
    /// The move that is followed; absent where none is.
    #[serde(rename = "move", skip_serializing_if = "Option::is_none")]
    pub moves: Option<MoveReadiness>,
}

/// How far a move is that a server follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct MoveReadiness {
    /// The store that is in use: `blue` or `green`.
    pub in_use: &'static str,
    /// Whether a switch is under way, and writes wait.
    pub switching: bool,
    /// The percentage of searches that may go to green while blue is in use.
    pub reads_on_green: u8,
    /// Blue, the server's own store: `off` where it is not needed.
    pub blue: TierStatus,
    /// Green, the store that the memory is moved to: `off` where it is not needed.
    pub green: TierStatus,
}

/// How one tier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct TierReadiness {
    /// Who provides it.
    pub provider: &'static str,
    /// How it is.
    pub status: TierStatus,
}
