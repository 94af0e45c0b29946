//! One address for whichever server is the primary.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Leads new connections to a server, or to none: they are then closed. Those that there are stay where they are.
pub struct Proxy {
    pub port: u16,
    server: Arc<AtomicU16>,
    made: Arc<AtomicU64>,
}

impl Proxy {
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (server, made) = (Arc::new(AtomicU16::new(server)), Arc::new(AtomicU64::new(0)));
        let (current, counted) = (server.clone(), made.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = current.load(Ordering::SeqCst);
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    if port != 0
                        && let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await
                    {
                        // It ends with an error when either side is killed.
                        _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { port, server, made }
    }

    pub fn point_to(&self, server: Option<u16>) {
        self.server.store(server.unwrap_or(0), Ordering::SeqCst);
    }

    /// How many connections came.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }
}
