//! A peer that answers as a test says, for what no real server can be brought to say. Tests with it have `mock` in their
//! names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Answers commands until the test ends.
pub struct Peer {
    pub url: String,
    /// How many commands came, without those that the driver begins a connection with.
    pub commands: Arc<AtomicU64>,
}

impl Peer {
    /// `answer` gives the whole reply, in the protocol, to a command given by its first word.
    pub async fn start(answer: fn(&str) -> &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("redis://{}", listener.local_addr().expect("an address"));
        let commands = Arc::new(AtomicU64::new(0));
        let counted = commands.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer, counted.clone()));
            }
        });
        Self { url, commands }
    }
}

/// `None` when the other side is gone.
async fn serve(stream: TcpStream, answer: fn(&str) -> &'static str, commands: Arc<AtomicU64>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let count = number(&mut stream).await?;
        let mut name = String::new();
        for at in 0..count {
            let mut word = vec![0; number(&mut stream).await? + 2];
            stream.read_exact(&mut word).await.ok()?;
            if at == 0 {
                name = String::from_utf8_lossy(&word).trim().to_uppercase();
            }
        }
        let reply = if name == "CLIENT" {
            "+OK\r\n"
        } else {
            commands.fetch_add(1, Ordering::Relaxed);
            answer(&name)
        };
        stream.write_all(reply.as_bytes()).await.ok()?;
    }
}

/// The number in a line such as `*3` or `$12`.
async fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim().get(1..)?.parse().ok()
}
