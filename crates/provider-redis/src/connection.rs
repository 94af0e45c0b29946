//! The connection: one, shared by all calls, and made again in the background when it is lost.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{Duration, Instant};

use memory_core::{Error, Result};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, RedisError,
    TlsCertificates,
};
use secrecy::ExposeSecret as _;
use tracing::{info, warn};

use crate::config::RedisConfig;
use crate::error::{backend, unusable};
use crate::index::{Differing, Indexes};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long making the indexes again may take.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses between attempts to connect double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(250);
/// A connection that is lost again this soon is not made again at once.
const UNSTEADY: Duration = Duration::from_secs(1);

/// The way to Redis. Clones lead the same way.
#[derive(Debug, Clone)]
pub(crate) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    indexes: Arc<Indexes>,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Option<MultiplexedConnection>,
    /// Which connection it is, so that a late failure of a former one does not end this one.
    number: u64,
    reconnecting: bool,
    since: Option<Instant>,
}

impl Link {
    /// A way that nobody has gone yet.
    pub(crate) fn new(config: &RedisConfig, indexes: Arc<Indexes>) -> Result<Self> {
        let client = client(config)?;
        Ok(Self(Arc::new(Inner { client, indexes, state: RwLock::default() })))
    }

    /// Connects and makes sure of the indexes.
    pub(crate) async fn connect(&self) -> Result<()> {
        self.0.set(self.0.open(Differing::Refused).await?);
        Ok(())
    }

    /// A connection of its own, for finding out what the server can do.
    pub(crate) async fn to_probe(&self) -> Result<MultiplexedConnection> {
        self.0.dial().await
    }

    /// The connection, unless it is being made.
    pub(crate) fn connection(&self) -> Option<(MultiplexedConnection, u64)> {
        let state = self.0.read();
        state.live.clone().map(|live| (live, state.number))
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
            let unsteady = state.since.is_some_and(|since| since.elapsed() < UNSTEADY);
            if unsteady { LAST_PAUSE } else { Duration::ZERO }
        };
        tokio::spawn(reconnect(Arc::downgrade(&self.0), first_pause));
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
    let mut told = false;
    loop {
        tokio::time::sleep(pause).await;
        // Nobody is left who would use it.
        let Some(inner) = inner.upgrade() else { return };
        match inner.open(Differing::Followed).await {
            Ok(connection) => {
                inner.set(connection);
                info!("connected to redis again");
                return;
            }
            Err(error) => {
                // Once an outage, not once an attempt.
                if !std::mem::replace(&mut told, true) {
                    warn!(error = &error as &dyn std::error::Error, "redis cannot be reached");
                }
            }
        }
        pause = (pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
    }
}

impl Inner {
    /// A connection to a server that is ready and has every index.
    async fn open(&self, differing: Differing) -> Result<MultiplexedConnection> {
        let prepare = async {
            let mut connection = self.dial().await?;
            for shard in self.indexes.keys.shards() {
                self.indexes.ensure(&mut connection, shard, differing).await?;
            }
            Ok(connection)
        };
        match tokio::time::timeout(CONNECT_TIMEOUT + PREPARE_TIMEOUT, prepare).await {
            Ok(done) => done,
            Err(elapsed) => Err(crate::error::unanswered("connect", elapsed)),
        }
    }

    async fn dial(&self) -> Result<MultiplexedConnection> {
        // No limit on answers here: each call has its own, and a lookup's is another than a store's.
        let settings =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&settings);
        connecting.await.map_err(|error| backend("connect", error))
    }

    fn set(&self, connection: MultiplexedConnection) {
        let mut state = self.write();
        *state = State {
            live: Some(connection),
            number: state.number + 1,
            reconnecting: false,
            since: Some(Instant::now()),
        };
    }

    // Every change is a single assignment or a few that cannot panic: a poisoned lock holds a whole state.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a failed call says of the connection: whether to make another, and what to use until then. `None` where that
/// would change nothing, as when the server has no memory left.
pub(crate) fn verdict(error: &RedisError) -> Option<Meanwhile> {
    use redis::ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
    match error.clone().into_server_errors() {
        // The server answers, but another may be the master by now, at the same name.
        Some(refusals) => {
            let elsewhere =
                refusals.iter().any(|(_, refusal)| matches!(refusal.kind(), Some(ReadOnly | BusyLoading | MasterDown)));
            elsewhere.then_some(Meanwhile::Former)
        }
        None => {
            let lost = error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error();
            lost.then_some(Meanwhile::None)
        }
    }
}

fn client(config: &RedisConfig) -> Result<Client> {
    // The url is not in the message: it may hold a password.
    let unfit = |error: RedisError| unusable("the URL is not one of Redis".into(), Some(Box::new(error)));
    let parsed: ConnectionInfo = config.url.expose_secret().into_connection_info().map_err(unfit)?;
    let mut login = parsed.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    if let Some(username) = &config.username {
        login = login.set_username(username);
    }
    if let Some(password) = &config.password {
        login = login.set_password(password.expose_secret());
    }
    // Off by default in this driver; on, small commands go out at once.
    let info = parsed.set_redis_settings(login).set_tcp_settings(TcpSettings::default().set_nodelay(true));
    // Some other crate may have chosen the process's cryptography before; then that is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(path) = &config.ca_file else { return Client::open(info).map_err(unfit) };
    let authority = std::fs::read(path).map_err(|error| {
        unusable(format!("{}: the certificate authority cannot be read", path.display()), Some(Box::new(error)))
    })?;
    Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(authority) }).map_err(|error| {
        Error::Unusable {
            provider: crate::error::PROVIDER,
            reason: format!("TLS cannot be set up with {}; is the URL rediss://?", path.display()),
            source: Some(Box::new(error)),
        }
    })
}
