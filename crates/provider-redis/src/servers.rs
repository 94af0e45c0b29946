//! The servers: how a connection to one is made, and which of a cluster has what.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memory_core::{Error, Result};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, RedisError,
    TlsCertificates, Value,
};
use secrecy::ExposeSecret as _;
use tokio::time::timeout;

use crate::config::RedisConfig;
use crate::credentials::CredentialsProvider;
use crate::error::{backend, unanswered, unusable};
use crate::index::is_refusal;
use crate::topology::{Node, Topology};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one node has to say which node has what.
const ASK_TIMEOUT: Duration = Duration::from_millis(250);

/// One server, or the nodes of a cluster. Connections to a node are shared.
///
/// The driver has a client of its own for clusters. It is not used, because it holds every call back while it looks
/// for a node that is gone: one node's outage would be all tenants'.
pub(crate) struct Servers {
    /// How to log in, and where the URL leads.
    info: ConnectionInfo,
    authority: Option<Vec<u8>>,
    credentials: Option<Arc<dyn CredentialsProvider>>,
    cluster: Option<Cluster>,
    /// The latest connection to each node; to where the URL leads, under `None`.
    connections: Mutex<HashMap<Option<Node>, Place>>,
}

struct Cluster {
    seeds: Vec<Node>,
    /// What a node said last, and when it was asked.
    found: tokio::sync::Mutex<Option<(Instant, Topology)>>,
}

/// Whoever holds the lock connects; the others wait and share what is made.
type Place = Arc<tokio::sync::Mutex<Option<Made>>>;

struct Made {
    at: Instant,
    connection: MultiplexedConnection,
}

impl Servers {
    /// # Errors
    /// [`Error::Unusable`] when the URL or the certificate authority is none. Nothing is connected to.
    pub(crate) fn new(config: &RedisConfig) -> Result<Self> {
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
        let authority = match &config.ca_file {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|error| {
                let reason = format!("{}: the certificate authority cannot be read", path.display());
                unusable(reason, Some(Box::new(error)))
            })?),
        };
        let cluster = if config.cluster {
            let seed = Node::of(info.addr())
                .ok_or_else(|| unusable("a cluster is reached by TCP, not by a socket of this machine".into(), None))?;
            // Checked by the configuration.
            let further = config.nodes.iter().filter_map(|address| Node::parse(address));
            let seeds = std::iter::once(seed).chain(further).collect();
            Some(Cluster { seeds, found: tokio::sync::Mutex::default() })
        } else {
            None
        };
        let credentials = config.credentials.clone();
        let servers = Self { info, authority, credentials, cluster, connections: Mutex::default() };
        servers.client(servers.info.clone())?;
        Ok(servers)
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    /// A connection to whoever has `slot`, made after `newer_than`: what was known before then has failed.
    pub(crate) async fn connect(&self, slot: u16, newer_than: Instant) -> Result<MultiplexedConnection> {
        let node = match &self.cluster {
            None => None,
            Some(cluster) => Some(self.owner(cluster, slot, newer_than).await?),
        };
        self.connection(node, newer_than).await
    }

    async fn connection(&self, node: Option<Node>, newer_than: Instant) -> Result<MultiplexedConnection> {
        let place = self.places().entry(node.clone()).or_default().clone();
        let mut made = place.lock().await;
        if let Some(made) = made.as_ref().filter(|made| made.at > newer_than) {
            return Ok(made.connection.clone());
        }
        let connection = self.dial(node.as_ref()).await?;
        *made = Some(Made { at: Instant::now(), connection: connection.clone() });
        Ok(connection)
    }

    async fn dial(&self, node: Option<&Node>) -> Result<MultiplexedConnection> {
        let mut info = self.info.clone();
        if let Some(node) = node {
            let address = node.address(info.addr());
            info = info.set_addr(address);
        }
        if let Some(provider) = &self.credentials {
            let credentials = provider.credentials().await.map_err(|error| unanswered("ask for credentials", error))?;
            let mut login = info.redis_settings().clone().set_password(credentials.password.expose_secret());
            if let Some(username) = credentials.username {
                login = login.set_username(username);
            }
            info = info.set_redis_settings(login);
        }
        // No limit on answers here: each call has its own, and a lookup's is another than a store's.
        let settings =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None);
        let client = self.client(info)?;
        let connecting = client.get_multiplexed_async_connection_with_config(&settings);
        connecting.await.map_err(|error| backend("connect", error))
    }

    fn client(&self, info: ConnectionInfo) -> Result<Client> {
        let Some(authority) = &self.authority else { return Client::open(info).map_err(unfit) };
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(authority.clone()) };
        Client::build_with_tls(info, certificates).map_err(|error| {
            let reason = "TLS cannot be set up with the certificate authority; is it PEM, and the URL rediss://?";
            unusable(reason.into(), Some(Box::new(error)))
        })
    }

    /// The node that has a slot, as a node says that is asked after `newer_than`.
    async fn owner(&self, cluster: &Cluster, slot: u16, newer_than: Instant) -> Result<Node> {
        let mut found = cluster.found.lock().await;
        if let Some((asked, topology)) = &*found
            && *asked > newer_than
            && let Some(owner) = topology.owner(slot)
        {
            return Ok(owner.clone());
        }
        let asked = Instant::now();
        let known = found.as_ref().map(|(_, topology)| topology);
        let (topology, owner) = self.discover(cluster, known, slot).await?;
        self.places().retain(|node, _| topology.nodes().any(|known| node.as_ref() == Some(known)));
        *found = Some((asked, topology));
        Ok(owner)
    }

    /// Asks one node after the other until one knows who has the slot: first those that a connection leads to, then all.
    async fn discover(&self, cluster: &Cluster, known: Option<&Topology>, slot: u16) -> Result<(Topology, Node)> {
        let of = |topology: Topology| topology.owner(slot).cloned().map(|owner| (topology, owner));
        let connected: Vec<_> = self
            .places()
            .iter()
            .filter_map(|(node, place)| Some((node.clone()?, place.try_lock().ok()?.as_ref()?.connection.clone())))
            .collect();
        for (node, connection) in connected {
            if let Ok(topology) = ask(connection, &node).await
                && let Some(found) = of(topology)
            {
                return Ok(found);
            }
        }
        let mut nodes: Vec<Node> = cluster.seeds.clone();
        for node in known.into_iter().flat_map(Topology::nodes) {
            if !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        let began = Instant::now();
        let mut failure = None;
        for node in nodes {
            let topology = match self.connection(Some(node.clone()), began).await {
                Ok(connection) => ask(connection, &node).await,
                Err(error) => Err(error),
            };
            match topology.map(of) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| unanswered("connect", "no node of the cluster has a slot of the cache")))
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Option<Node>, Place>> {
        // Every change is one insertion or removal: a panic elsewhere leaves nothing half done.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not how to log in.
        f.debug_struct("Servers").field("cluster", &self.is_cluster()).finish_non_exhaustive()
    }
}

/// What a node says of who has which slot.
async fn ask(mut connection: MultiplexedConnection, node: &Node) -> Result<Topology> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    match timeout(ASK_TIMEOUT, command.query_async::<Value>(&mut connection)).await {
        Ok(Ok(answer)) => Ok(Topology::read(&answer, node)),
        Ok(Err(error)) if is_refusal(&error) => {
            let reason = "the server does not say what nodes its cluster has; is it one? Else leave `cluster` off";
            Err(unusable(reason.into(), Some(Box::new(error))))
        }
        Ok(Err(error)) => Err(backend("connect", error)),
        Err(elapsed) => Err(unanswered("connect", elapsed)),
    }
}

/// The URL is not in the message: it may hold a password.
fn unfit(error: RedisError) -> Error {
    unusable("the URL is not one of Redis".into(), Some(Box::new(error)))
}
