//! A real server, as a process that ends when this one does, however that goes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use orchestra_api::serve::ServerFile;

/// How long a server may take to begin, while what it needs is away for some seconds and the machine is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Says which process the server is, runs it as long as standard input is open, and kills it then.
const SUPERVISE: &str = r#"exec 3<&0
"$@" </dev/null >/dev/null 3<&- &
echo $!
while read -r _ <&3; do :; done
kill -KILL $! 2>/dev/null
wait $!"#;

/// A server on a data folder of its own, on a free port each time it is started.
pub struct ServerProcess {
    folder: PathBuf,
    config: PathBuf,
    log: PathBuf,
    supervisor: Option<Child>,
    /// The server itself, while it runs.
    pid: u32,
}

impl ServerProcess {
    /// A server that is not started. What it says is added to `log`.
    pub fn new(folder: PathBuf, config: PathBuf, log: PathBuf) -> Self {
        Self { folder, config, log, supervisor: None, pid: 0 }
    }

    /// Starts it, waits until it answers, and gives its URL.
    pub async fn start(&mut self) -> String {
        // A killed server leaves its file behind.
        let _ = fs::remove_file(self.folder.join("server.json"));
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new("sh");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORCHESTRA_")) {
            command.env_remove(name);
        }
        command.env("ORCHESTRA_LOG", "info").args([
            "-c",
            SUPERVISE,
            "supervise",
            env!("CARGO_BIN_EXE_orchestra"),
            "serve",
            "--config",
        ]);
        command.arg(&self.config).arg("--data").arg(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        // Ctrl-C reaches the campaign alone, whose end then ends the server, also a stopped one.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let supervisor = self.supervisor.insert(command.spawn().unwrap());
        let mut pid = String::new();
        BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        self.pid = pid.trim().parse().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ServerFile { url, .. }) = server_file(&self.folder) {
                return url;
            }
            let waits = self.is_alive() && Instant::now() < deadline;
            assert!(waits, "a server did not begin: {}", fs::read_to_string(&self.log).unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            drop(supervisor.stdin.take());
            supervisor.wait().unwrap();
        }
    }

    /// Asks it to stop, and waits until it has: nothing of what it was asked for is under way any more.
    pub async fn stop(&mut self) {
        self.signal("-TERM");
        let deadline = Instant::now() + PATIENCE;
        while server_file(&self.folder).is_some() || self.is_alive() {
            assert!(Instant::now() < deadline, "a server did not end: {}", self.log.display());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.kill();
    }

    /// Stops it without ending it.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Whether it runs, or is stopped.
    fn is_alive(&self) -> bool {
        // A line of numbers and marks, its state after the name in parentheses.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid.to_string()]).status().unwrap();
        assert!(status.success(), "kill {signal} {}", self.pid);
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn server_file(folder: &Path) -> Option<ServerFile> {
    serde_json::from_slice(&fs::read(folder.join("server.json")).ok()?).ok()
}
