//! The server's life: open, listen, say where, answer, drain, close.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::config::Settings;
use crate::http::router;
use crate::metrics;
use crate::state::AppState;

/// What a running server says of itself in `server.json` in its data folder, for commands on the same machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFile {
    /// The base URL.
    pub url: String,
    /// The process.
    pub pid: u32,
}

/// Serves until the process is told to stop (SIGINT or SIGTERM), then drains and closes.
///
/// `on_ready` is called once requests are answered, with the address that was really bound. When told to stop, the
/// server takes no new connection, lets the requests in flight end within the grace period, and closes the store. A
/// second signal ends the process at once; what was acknowledged is safe even so.
///
/// # Errors
/// When the store cannot be opened, the address is taken, or the data folder cannot be written.
pub async fn serve(settings: Settings, on_ready: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    serve_until(settings, on_ready, stop_signal()?).await
}

/// As [`serve`], until `stop` ends.
///
/// # Errors
/// As [`serve`].
pub async fn serve_until(
    settings: Settings,
    on_ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    // Before the providers, which look for where to count.
    metrics::install();
    let state = AppState::open(&settings).await?;
    let stopped = listen_until(&settings, &state, on_ready, stop).await;
    // What the connections left of the grace period is for the work that goes on without them.
    let grace = match &stopped {
        Ok(stopped_at) => settings.shutdown_grace.saturating_sub(stopped_at.elapsed()),
        Err(_) => settings.shutdown_grace,
    };
    state.close(grace).await?;
    tracing::info!("server stopped");
    stopped.map(|_| ())
}

/// Gives when it was told to stop.
async fn listen_until(
    settings: &Settings,
    state: &AppState,
    on_ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Instant> {
    let listener = TcpListener::bind(settings.listen).await.with_context(|| {
        format!("cannot listen on {}; is another server there? --listen 127.0.0.1:0 takes a free port", settings.listen)
    })?;
    let address = listener.local_addr().context("cannot read the address that was bound")?;
    let announced = Announced::write(settings.server_file(), address)?;
    let (stopping, stopped) = oneshot::channel::<()>();
    // Without it small answers wait for the client's acknowledgement of the packet before.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
    });
    let server = axum::serve(listener, router(state.clone())).with_graceful_shutdown(async {
        // An error is the sender's end, which is a stop too.
        let _ = stopped.await;
    });
    let mut server = tokio::spawn(async move {
        tokio::select! {
            ended = server.into_future() => ended,
            () = metrics::keep_up() => Ok(()),
        }
    });
    tracing::info!(%address, data = %settings.data.display(), "server ready");
    on_ready(address);
    tokio::select! {
        ended = &mut server => {
            ended.context("the server's task failed")?.context("the server stopped accepting")?;
            Ok(Instant::now())
        }
        () = stop => {
            let stopped_at = Instant::now();
            tracing::info!(grace_seconds = settings.shutdown_grace.as_secs(), "server stopping");
            drop(announced);
            drop(stopping);
            match tokio::time::timeout(settings.shutdown_grace, &mut server).await {
                Ok(ended) => ended.context("the server's task failed")?.context("the server failed while it drained")?,
                Err(_) => {
                    tracing::warn!("connections cut off at the end of the grace period");
                    server.abort();
                }
            }
            Ok(stopped_at)
        }
    }
}

/// The address for a client on this machine: a server on every address is also on the loopback one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// The file that says where the server is. It goes when this is dropped.
struct Announced {
    path: PathBuf,
    content: Vec<u8>,
}

impl Announced {
    fn write(path: PathBuf, address: SocketAddr) -> anyhow::Result<Self> {
        let file = ServerFile { url: format!("http://{}", reachable(address)), pid: std::process::id() };
        let content = serde_json::to_vec(&file).context("cannot write server.json")?;
        write_atomically(&path, &content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, content })
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        // Another server's announcement, if one took the place, stays.
        if std::fs::read(&self.path).is_ok_and(|content| content == self.content)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "server.json not removed");
        }
    }
}

/// A reader sees the former file or the new one, never a part.
fn write_atomically(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut file, content)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Ends at the first SIGINT or SIGTERM. The second one ends the process.
#[cfg(unix)]
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::warn!("second signal, stopping at once");
            std::process::exit(1);
        });
    })
}

/// Ends at the first Ctrl-C. The second one ends the process.
#[cfg(not(unix))]
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot listen for Ctrl-C");
            std::future::pending::<()>().await;
        }
        tokio::spawn(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(1);
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_every_address_is_reached_on_loopback() {
        for (bound, told) in [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.7:80", "10.0.0.7:80")] {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), told);
        }
    }

    #[tokio::test]
    async fn a_server_says_where_it_is_while_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::for_data(folder.path());
        let file = settings.server_file();
        let (ready, is_ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve_until(settings, |address| ready.send(address).unwrap(), async {
            let _ = stopped.await;
        }));
        let address = is_ready.await.unwrap();
        let told: ServerFile = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(told, ServerFile { url: format!("http://{address}"), pid: std::process::id() });
        drop(stop);
        server.await.unwrap().unwrap();
        assert!(!file.exists());
    }
}
