//! A move of the memory, followed: which store is in use, and both of them open as they are needed.
//!
//! Each store has tiers of its own: providers, embedders, cache, and what runs beside the requests. So vectors of two models never
//! meet, and what a store told of itself goes to no other one.

pub mod mirror;
pub mod sessions;
pub mod store;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use migrate::record::file::FileRecords;
use migrate::record::postgres::PostgresRecords;
use migrate::record::{Colour, Records};
use migrate::serving::{Serving, Watch};
use secrecy::ExposeSecret;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout_at;

use self::mirror::Mirror;
use crate::brake::BudgetBrake;
use crate::config::{MoveSettings, Settings};
use crate::error::chain;
use crate::side;
use crate::state::tiers::{self, Tiers};
use crate::state::{MoveReadiness, TierStatus};

const IN_USE: &str = "orchestra_move_in_use";
const SWITCHING: &str = "orchestra_move_switching";
/// Searches that went to green by the share of the record.
pub(crate) const SHARED: &str = "orchestra_move_shared_total";
const LOOK_FAILURES: &str = "orchestra_move_record_failures_total";
const WAITED: &str = "orchestra_move_waited_total";
const WAITED_SECONDS: &str = "orchestra_move_waited_seconds";

/// How often the record is looked at.
const EVERY: Duration = Duration::from_millis(50);
/// How often while a switch is under way, or somebody waits for one.
const SOON: Duration = Duration::from_millis(10);
/// The pause between two attempts to open a store, or to read the record at a start.
const PAUSE: Duration = Duration::from_millis(500);
/// How much of requests is held while they wait for the end of a switch, in KiB.
const ROOM_KIB: usize = 256 << 10;

pub(crate) fn describe() {
    describe_gauge!(IN_USE, Unit::Count, "Which store of the move is in use");
    describe_gauge!(SWITCHING, Unit::Count, "Whether a switch is under way");
    describe_counter!(SHARED, Unit::Count, "Searches that went to green while blue is in use, by outcome");
    mirror::describe();
    describe_counter!(LOOK_FAILURES, Unit::Count, "Looks at the record of the move that failed");
    describe_counter!(WAITED, Unit::Count, "Requests that waited for the end of a switch, by how that ended");
    describe_histogram!(WAITED_SECONDS, Unit::Seconds, "How long requests waited for the end of a switch");
}

/// The tiers of both stores, as far as they are open. Without a move there is one store, which is blue.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    blue: OnceLock<Tiers>,
    green: OnceLock<Tiers>,
}

impl Sides {
    fn of(&self, colour: Colour) -> &OnceLock<Tiers> {
        match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        }
    }

    /// Those of this store, when they are open.
    pub fn get(&self, colour: Colour) -> Option<&Tiers> {
        self.of(colour).get()
    }

    /// Those of this store, or of the other one while it is not open: one of them is.
    pub fn get_or_other(&self, colour: Colour) -> &Tiers {
        self.get(colour).or_else(|| self.get(colour.other())).expect("a state is made of a store that is open")
    }

    /// Takes in what was opened.
    pub fn put(&self, colour: Colour, tiers: Tiers) {
        let _ = self.of(colour).set(tiers);
    }

    /// Closes what is open.
    pub async fn close(&self) -> anyhow::Result<()> {
        let mut closed = Ok(());
        for tiers in [&self.blue, &self.green].into_iter().filter_map(OnceLock::get) {
            closed = closed.and(tiers.close().await);
        }
        closed
    }
}

/// Which store of a move something is of.
#[derive(Debug, Clone)]
pub struct Side {
    /// The store.
    pub colour: Colour,
    moving: Weak<Moving>,
}

impl Side {
    /// Whether it is the one in use.
    pub fn is_in_use(&self) -> bool {
        self.moving.upgrade().is_some_and(|moving| moving.serving().active == self.colour)
    }
}

/// A move that is followed.
#[derive(Debug)]
pub struct Moving {
    blue: Settings,
    green: Settings,
    wait: Duration,
    /// Whether both stores have their sessions on the same Redis.
    one_redis: bool,
    mirror: Mirror,
    sides: Arc<Sides>,
    brake: Arc<BudgetBrake>,
    watch: Mutex<Watch>,
    /// Told anew also when a store was opened.
    serving: watch::Sender<Serving>,
    waiting: AtomicUsize,
    hurry: Notify,
    room: Arc<Semaphore>,
    opening: [Mutex<()>; 2],
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The store in use.
    pub colour: Colour,
    /// What was known then.
    revision: u64,
}

impl Moving {
    /// Reads the record, and opens the store that it says is in use.
    ///
    /// # Errors
    /// When the record cannot be read in time: a server that does not know which store is in use could answer out of one that
    /// knows nothing of the last writes. As [`AppState::open`](crate::state::AppState::open) for that store.
    pub(crate) async fn begin(
        settings: &Settings,
        moves: &MoveSettings,
        sides: Arc<Sides>,
    ) -> anyhow::Result<Arc<Self>> {
        let (records, green) = named(settings, moves).await?;
        let redis = [settings.redis_url().await?, green.redis_url().await?];
        let [of_blue, of_green] = redis.each_ref().map(|url| url.as_ref().map(ExposeSecret::expose_secret));
        let is_paid = tiers::is_paid(settings) || tiers::is_paid(&green);
        let brake = Arc::new(BudgetBrake::new(settings.brake_file.clone(), is_paid));
        crate::state::look(&brake);
        let moving = Arc::new(Self {
            blue: settings.clone(),
            green,
            wait: moves.wait,
            one_redis: of_blue.is_some() && of_blue == of_green,
            mirror: Mirror::new(moves.mirror_percent),
            sides,
            brake,
            watch: Mutex::new(Watch::new(records)),
            serving: watch::Sender::new(Serving::UNPLANNED),
            waiting: AtomicUsize::new(0),
            hurry: Notify::new(),
            room: Arc::new(Semaphore::new(ROOM_KIB)),
            opening: Default::default(),
        });
        let began = Instant::now();
        while let Err(error) = moving.look().await {
            if began.elapsed() + PAUSE >= settings.startup_patience {
                return Err(anyhow::Error::from(error).context(
                    "the record of the move cannot be read, and without it nobody knows which store is in use; \
                     startup_patience_seconds is how long a start waits for it",
                ));
            }
            tracing::warn!(causes = chain(&error), "the record of the move is not there yet");
            tokio::time::sleep(PAUSE).await;
        }
        let Serving { active, revision, .. } = moving.serving();
        tracing::info!(in_use = %active, revision, "a move is followed");
        moving.clone().opened(active).await?;
        Ok(moving)
    }

    /// What is known of the move.
    pub(crate) fn serving(&self) -> Serving {
        *self.serving.borrow()
    }

    /// How far it is, for whoever asks whether requests can be sent.
    pub(crate) fn readiness(&self) -> MoveReadiness {
        let serving = self.serving();
        let status = |colour| match self.sides.get(colour) {
            Some(_) => TierStatus::Ready,
            None if serving.needs(colour) => TierStatus::Away,
            None => TierStatus::Off,
        };
        MoveReadiness {
            in_use: name(serving.active),
            switching: serving.is_switching,
            reads_on_green: serving.reads_on_green,
            blue: status(Colour::Blue),
            green: status(Colour::Green),
        }
    }

    /// The brake of both stores' embedders.
    pub(crate) fn brake(&self) -> &Arc<BudgetBrake> {
        &self.brake
    }

    /// The recalls that green answers too.
    pub(crate) fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// The longest that a request waits.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// Reads the record now.
    pub(crate) async fn look(&self) -> migrate::Result<Serving> {
        let mut watch = self.watch.lock().await;
        let serving = watch.look().await?;
        let changed = self.serving.send_if_modified(|known| std::mem::replace(known, serving) != serving);
        if changed {
            let Serving { active, is_switching, revision, .. } = serving;
            tracing::debug!(revision, in_use = %active, is_switching, "the move went on");
        }
        for colour in [Colour::Blue, Colour::Green] {
            gauge!(IN_USE, "store" => name(colour)).set(f64::from(u8::from(serving.active == colour)));
        }
        gauge!(SWITCHING).set(f64::from(u8::from(serving.is_switching)));
        Ok(serving)
    }

    /// Looks at the record for as long as it is polled. While it cannot be read what it said last stands: a store that is not in
    /// use any more takes no writes.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut fails = false;
        loop {
            match self.look().await {
                Ok(_) if std::mem::take(&mut fails) => tracing::info!("the record of the move is read again"),
                Ok(_) => {}
                Err(error) => {
                    counter!(LOOK_FAILURES).increment(1);
                    if !std::mem::replace(&mut fails, true) {
                        tracing::warn!(
                            causes = chain(&error),
                            "the record of the move cannot be read; what it said stands"
                        );
                    }
                }
            }
            let is_soon = self.serving().is_switching || self.waiting.load(Ordering::Relaxed) > 0;
            let _ = tokio::time::timeout(if is_soon { SOON } else { EVERY }, self.hurry.notified()).await;
        }
    }

    /// Opens the stores that are needed, for as long as it is polled.
    pub(crate) async fn keep_open(self: Arc<Self>) {
        let mut serving = self.serving.subscribe();
        loop {
            let now = *serving.borrow_and_update();
            let mut lacks_one = false;
            for colour in [now.active, now.active.other()] {
                if now.needs(colour)
                    && self.sides.get(colour).is_none()
                    && let Err(error) = self.clone().opened(colour).await
                {
                    lacks_one = true;
                    tracing::warn!(store = %colour, causes = chain(error.as_ref()), "a store of the move is not open; it is tried again");
                }
            }
            if lacks_one {
                tokio::time::sleep(PAUSE).await;
            } else if serving.changed().await.is_err() {
                return;
            }
        }
    }

    /// Opens a store, unless it is.
    ///
    /// # Errors
    /// As [`AppState::open`](crate::state::AppState::open).
    pub(crate) async fn opened(self: Arc<Self>, colour: Colour) -> anyhow::Result<()> {
        let _alone = self.opening[usize::from(colour == Colour::Green)].lock().await;
        if self.sides.get(colour).is_some() {
            return Ok(());
        }
        let settings = match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        };
        let side = Side { colour, moving: Arc::downgrade(&self) };
        let tiers = Tiers::open(settings, &self.brake, Some(side)).await.with_context(|| format!("{colour}"))?;
        self.sides.put(colour, tiers);
        self.serving.send_modify(|_| {});
        Ok(())
    }

    /// The store in use, once it is open; for a write once no switch is under way. `None` when that is not so in time.
    pub(crate) async fn place(&self, writes: bool, until: Instant) -> Option<Place> {
        self.once(until, |serving| !(writes && serving.is_switching)).await
    }

    /// Where to send what was refused at a place: as [`Self::place`], once more is known than was then.
    pub(crate) async fn next_place(&self, former: Place, until: Instant) -> Option<Place> {
        self.once(until, |serving| {
            !serving.is_switching && (serving.active != former.colour || serving.revision != former.revision)
        })
        .await
    }

    async fn once(&self, until: Instant, is_so: impl Fn(&Serving) -> bool) -> Option<Place> {
        let place = |serving: &Serving| {
            (self.sides.get(serving.active).is_some() && is_so(serving))
                .then_some(Place { colour: serving.active, revision: serving.revision })
        };
        if let Some(place) = place(&self.serving.borrow()) {
            return Some(place);
        }
        let began = Instant::now();
        let waits = Waits::new(self);
        let mut serving = self.serving.subscribe();
        let found = timeout_at(until.into(), serving.wait_for(|serving| place(serving).is_some())).await;
        let found = found.ok().and_then(Result::ok).and_then(|serving| place(&serving));
        drop(waits);
        let outcome = if found.is_some() { "ended" } else { "gave_up" };
        counter!(WAITED, "outcome" => outcome).increment(1);
        histogram!(WAITED_SECONDS).record(began.elapsed());
        found
    }

    /// Room to hold a request of so many bytes while it waits; none where too much waits already.
    pub(crate) fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(1024).max(1)).ok()?;
        self.room.clone().try_acquire_many_owned(kib).ok()
    }
}

/// The record of the move that the settings name, and the settings of green.
async fn named(settings: &Settings, moves: &MoveSettings) -> anyhow::Result<(Arc<dyn Records>, Settings)> {
    let records: Arc<dyn Records> = match (&moves.record, settings.move_record_url().await?) {
        (_, Some(url)) => Arc::new(PostgresRecords::reader(&url, &moves.name).context("move.record_url")?),
        (Some(file), None) => Arc::new(FileRecords::new(file)),
        (None, None) => anyhow::bail!("a move is configured without its record"),
    };
    let green = Settings::of_file(&moves.green).context("move.green cannot be used")?;
    if side::place(settings).await? == side::place(&green).await? {
        anyhow::bail!("move.green: {} names the store of this server, which is blue", moves.green.display());
    }
    Ok((records, green))
}

/// Whether the move that the settings name can be followed, and how far it is.
pub(crate) async fn tried(settings: &Settings, moves: &MoveSettings) -> anyhow::Result<String> {
    let (records, _) = named(settings, moves).await?;
    let Serving { revision, active, .. } = Watch::new(records).look().await.context("the record cannot be read")?;
    Ok(if revision == 0 { "none is planned yet".into() } else { format!("{active} is in use") })
}

/// As labels and answers name it.
fn name(colour: Colour) -> &'static str {
    match colour {
        Colour::Blue => "blue",
        Colour::Green => "green",
    }
}

/// Has the record looked at more often while somebody waits.
struct Waits<'a>(&'a Moving);

impl<'a> Waits<'a> {
    fn new(moving: &'a Moving) -> Self {
        if moving.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            moving.hurry.notify_one();
        }
        Self(moving)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
