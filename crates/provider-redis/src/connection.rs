//! The connection: one, shared by all calls, and made again in the background when it is lost.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{Duration, Instant};

use memory_core::{Error, Result};
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use tracing::{info, warn};

use crate::breaker::Breaker;
use crate::config::RedisConfig;
use crate::error::{told, unanswered, unusable};
use crate::index::{Differing, Indexes};
use crate::keys::Shard;
use crate::metrics::Metrics;
use crate::servers::Servers;
use crate::topology::slot;

/// How long connecting may take, with finding out what the server can do and making the indexes.
const OPEN_TIMEOUT: Duration = Duration::from_secs(6);
/// The pauses between attempts to connect double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(250);
/// The pause while somebody has to change something, on the server or here.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// A connection that is lost again this soon is not made again at once.
const UNSTEADY: Duration = Duration::from_secs(1);

/// The way to the entries of some shards, all on one server: to one server there is one way for all shards; in a
/// cluster each shard has its own, so that a node that is gone takes nothing but its own shards with it. Clones lead the
/// same way.
#[derive(Debug, Clone)]
pub(crate) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    common: Arc<Common>,
    shards: Vec<Shard>,
    breaker: Breaker,
    state: RwLock<State>,
}

/// What all ways of a provider have in common.
#[derive(Debug)]
pub(crate) struct Common {
    servers: Servers,
    pub indexes: Indexes,
    pub metrics: Metrics,
}

#[derive(Debug)]
struct State {
    live: Option<MultiplexedConnection>,
    /// Which connection it is, so that a late failure of a former one does not end this one.
    number: u64,
    reconnecting: bool,
    since: Option<Instant>,
    /// What was connected, or said of a cluster, before then is of no use: it is what failed.
    newer_than: Instant,
    failure: Option<Failure>,
}

/// Why the last attempt to connect failed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    /// It may be otherwise next time.
    Passing(String),
    /// Somebody has to change something; calls say so, though there may be a former connection.
    Refused(String),
}

impl Common {
    /// # Errors
    /// [`Error::Unusable`] when a setting is wrong by itself. Nothing is connected to.
    pub(crate) fn new(config: &RedisConfig, indexes: Indexes) -> Result<Arc<Self>> {
        let servers = Servers::new(config)?;
        Ok(Arc::new(Self { servers, indexes, metrics: Metrics::new() }))
    }

    /// Ways that nobody has gone yet: one, or in a cluster one for each shard, in order.
    pub(crate) fn links(self: &Arc<Self>, config: &RedisConfig) -> Vec<Link> {
        let link = |shards| {
            let state = State {
                live: None,
                number: 0,
                reconnecting: false,
                since: None,
                newer_than: Instant::now(),
                failure: None,
            };
            let breaker = Breaker::new(config.breaker_failures, config.breaker_pause);
            Link(Arc::new(Inner { common: self.clone(), shards, breaker, state: RwLock::new(state) }))
        };
        if self.servers.is_cluster() {
            self.indexes.keys.shards().map(|shard| link(vec![shard])).collect()
        } else {
            vec![link(self.indexes.keys.shards().collect())]
        }
    }

    /// A connection to where a shard is.
    pub(crate) async fn reach(&self, shard: Shard, newer_than: Instant) -> Result<MultiplexedConnection> {
        self.servers.connect(slot(&self.indexes.keys.index(shard)), newer_than).await
    }

    /// Whether this cache can be on that server.
    async fn examine(&self, connection: &mut MultiplexedConnection, shard: Shard) -> Result<()> {
        if self.indexes.capabilities().is_some() {
            return Ok(());
        }
        match self.indexes.probe(connection, shard).await {
            // A replica cannot be tried out. It serves lookups if it has the index; a store makes another be looked for.
            Err(error) if says(&error, ServerErrorKind::ReadOnly) => Ok(()),
            probed => probed.map(drop),
        }
    }
}

impl Link {
    /// Connects and makes sure of the indexes.
    pub(crate) async fn connect(&self) -> Result<()> {
        let newer_than = self.0.read().newer_than;
        self.0.set(self.0.open(newer_than, Differing::Refused).await?);
        Ok(())
    }

    /// The same in the background, as often as it takes. Calls are refused until then.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub(crate) fn connect_in_background(&self) {
        let number = self.0.read().number;
        self.renew(number, Meanwhile::None);
    }

    /// The connection and its number.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the server refused this cache, else [`Error::Backend`] while it is being connected to.
    pub(crate) fn connection(&self, operation: &'static str) -> Result<(MultiplexedConnection, u64)> {
        let state = self.0.read();
        match (&state.live, &state.failure) {
            (_, Some(Failure::Refused(reason))) => Err(unusable(reason.clone(), None)),
            (Some(live), _) => Ok((live.clone(), state.number)),
            (None, Some(Failure::Passing(reason))) => Err(unanswered(operation, format!("not connected: {reason}"))),
            (None, None) => Err(unanswered(operation, "not connected; connecting goes on in the background")),
        }
    }

    /// Whether a call may go now.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        self.0.breaker.admits(now)
    }

    /// A call was answered. Gives whether none was for a while before.
    pub(crate) fn answered(&self) -> bool {
        let closed = self.0.breaker.succeeded();
        if closed {
            self.0.common.metrics.breakers_open.decrement(1.0);
        }
        closed
    }

    /// A call was not answered. Gives whether calls are refused from now on.
    pub(crate) fn unanswered(&self, now: Instant) -> bool {
        let opened = self.0.breaker.failed(now);
        if opened {
            self.0.common.metrics.breakers_open.increment(1.0);
            self.0.common.metrics.breaker_openings.increment(1);
        }
        opened
    }

    /// Whether there is a connection, whether calls are refused, and why there is none or it cannot be used.
    pub(crate) fn health(&self) -> (bool, bool, Option<String>) {
        let state = self.0.read();
        let (refused, reason) = match &state.failure {
            Some(Failure::Refused(reason)) => (true, Some(reason)),
            Some(Failure::Passing(reason)) => (false, Some(reason)),
            None => (false, None),
        };
        (state.live.is_some() && !refused, self.0.breaker.is_open(), reason.cloned())
    }

    /// Makes another connection, unless the one of this number is no longer the one. It makes sure of the indexes too.
    pub(crate) fn renew(&self, number: u64, meanwhile: Meanwhile) {
        let first_pause = {
            let mut state = self.0.write();
            if state.number != number {
                return;
            }
            if meanwhile == Meanwhile::None {
                state.live = None;
            }
            if std::mem::replace(&mut state.reconnecting, true) {
                return;
            }
            // Not the present: another way may have made a connection to the same node since, and that will do.
            state.newer_than = state.since.unwrap_or(state.newer_than);
            let unsteady = state.since.is_some_and(|since| since.elapsed() < UNSTEADY);
            if unsteady { LAST_PAUSE } else { Duration::ZERO }
        };
        tokio::spawn(reconnect(Arc::downgrade(&self.0), first_pause));
    }

    /// Makes sure of the indexes, in the background.
    pub(crate) fn look_after_the_indexes(&self) {
        let number = self.0.read().number;
        self.renew(number, Meanwhile::Former);
    }
}

/// What calls get until the other connection is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    /// The former one: it still answers some of them.
    Former,
    /// None.
    None,
}

async fn reconnect(inner: Weak<Inner>, first_pause: Duration) {
    let mut pause = first_pause;
    loop {
        tokio::time::sleep(pause).await;
        // Nobody is left who would use it.
        let Some(inner) = inner.upgrade() else { return };
        let (newer_than, differing) = {
            let state = inner.read();
            // Once it was as asked for: another since then is somebody's rebuild.
            (state.newer_than, if state.number == 0 { Differing::Refused } else { Differing::Followed })
        };
        match inner.open(newer_than, differing).await {
            Ok(connection) => {
                inner.set(connection);
                info!("connected to redis");
                return;
            }
            Err(error) => {
                pause = (pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
                let failure = match error {
                    Error::Unusable { reason, .. } => {
                        pause = REFUSED_PAUSE;
                        Failure::Refused(reason)
                    }
                    error @ Error::Invalid { .. } => {
                        pause = REFUSED_PAUSE;
                        Failure::Refused(error.to_string())
                    }
                    error => Failure::Passing(told(&error)),
                };
                inner.failed(failure);
            }
        }
    }
}

impl Inner {
    /// A connection to a server that is ready and has every index.
    async fn open(&self, newer_than: Instant, differing: Differing) -> Result<MultiplexedConnection> {
        let common = &*self.common;
        let prepare = async {
            let Some(&first) = self.shards.first() else { return Err(unanswered("connect", "there is no shard")) };
            let mut connection = common.reach(first, newer_than).await?;
            common.examine(&mut connection, first).await?;
            for &shard in &self.shards {
                common.indexes.ensure(&mut connection, shard, differing).await?;
            }
            Ok(connection)
        };
        match tokio::time::timeout(OPEN_TIMEOUT, prepare).await {
            Ok(Err(error)) if !common.servers.is_cluster() && says(&error, ServerErrorKind::Moved) => {
                Err(unusable("the server is a node of a cluster; set `cluster`".into(), None))
            }
            Ok(done) => done,
            Err(elapsed) => Err(unanswered("connect", elapsed)),
        }
    }

    fn set(&self, connection: MultiplexedConnection) {
        let mut state = self.write();
        state.live = Some(connection);
        state.number += 1;
        if state.number > 1 {
            self.common.metrics.reconnects.increment(1);
        }
        state.reconnecting = false;
        state.since = Some(Instant::now());
        state.failure = None;
    }

    fn failed(&self, failure: Failure) {
        let mut state = self.write();
        state.newer_than = Instant::now();
        // Once for each reason, not once an attempt.
        if state.failure.as_ref() == Some(&failure) {
            return;
        }
        match &failure {
            Failure::Passing(reason) => warn!(reason, "redis cannot be reached"),
            Failure::Refused(reason) => warn!(reason, "redis cannot be used"),
        }
        state.failure = Some(failure);
    }

    // Every change is a few assignments that cannot panic: a poisoned lock holds a whole state.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.breaker.is_open() {
            self.common.metrics.breakers_open.decrement(1.0);
        }
    }
}

/// Whether the server refused something for this reason.
fn says(error: &Error, kind: ServerErrorKind) -> bool {
    let Error::Backend { source, .. } = error else { return false };
    source.downcast_ref::<RedisError>().is_some_and(|error| error.kind() == ErrorKind::Server(kind))
}

/// What a failed call says of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is there and would say the same on another connection, as when it has no memory left.
    There,
    /// It is there, but another may be the master by now, at the same name or of the same slot.
    Elsewhere,
    /// It is there and answers nothing yet.
    NotReady,
    /// The connection is lost.
    Lost,
}

pub(crate) fn verdict(error: &RedisError) -> Verdict {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    let Some(refusals) = error.clone().into_server_errors() else {
        let lost = error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error();
        return if lost { Verdict::Lost } else { Verdict::There };
    };
    let any = |kinds: &[ServerErrorKind]| {
        refusals.iter().any(|(_, refusal)| refusal.kind().is_some_and(|kind| kinds.contains(&kind)))
    };
    if any(&[BusyLoading, MasterDown, ClusterDown]) {
        Verdict::NotReady
    } else if any(&[ReadOnly, Moved, Ask, TryAgain]) {
        Verdict::Elsewhere
    } else {
        Verdict::There
    }
}
