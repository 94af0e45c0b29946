//! The real server, as a process.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use orchestra_api::serve::ServerFile;

/// How long the server may take to begin, or to end.
const DEADLINE: Duration = Duration::from_secs(30);

/// A server on a free port. It is killed when this is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts a server over `data` and waits until it says where it is.
    pub async fn start(data: &Path) -> Self {
        // Its words are shown when it does not begin, and are out of the way of the test's own when it does.
        let said = data.join("stderr.txt");
        let child = Command::new(env!("CARGO_BIN_EXE_orchestra"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("ORCHESTRA_LOG", "warn")
            .env("ORCHESTRA_CACHE_EMBEDDER", "static-256")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let begun = Instant::now();
        loop {
            // A killed server leaves its file behind: only the one with this process's id counts.
            if let Some(file) = server_file(data)
                && file.pid == server.child.id()
            {
                server.address = file.url.strip_prefix("http://").unwrap().parse().unwrap();
                return server;
            }
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the server ended at its start: {status}: {}", std::fs::read_to_string(said).unwrap());
            }
            assert!(begun.elapsed() < DEADLINE, "the server did not begin");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends the process as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the server to stop.
    pub fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end of its own.
    pub async fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < DEADLINE, "the server did not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `server.json` in `data` says.
pub fn server_file(data: &Path) -> Option<ServerFile> {
    serde_json::from_slice(&std::fs::read(data.join("server.json")).ok()?).ok()
}
