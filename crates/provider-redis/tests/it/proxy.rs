//! A way to a server that can be led elsewhere, as a name is when another server takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use tokio::net::{TcpListener, TcpStream};

pub struct Proxy {
    pub url: String,
    target: Arc<AtomicU16>,
    connections: Arc<AtomicU64>,
}

impl Proxy {
    /// Leads to a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("redis://{}", listener.local_addr().expect("an address"));
        let (target, connections) = (Arc::new(AtomicU16::new(port)), Arc::new(AtomicU64::new(0)));
        let (now, counted) = (target.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let port = now.load(Ordering::Relaxed);
                tokio::spawn(async move {
                    // When nobody is there the client is hung up on.
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { url, target, connections }
    }

    /// Leads new connections to another port. Those that stand stay where they are.
    pub fn lead_to(&self, port: u16) {
        self.target.store(port, Ordering::Relaxed);
    }

    /// How many connections were asked for so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}
