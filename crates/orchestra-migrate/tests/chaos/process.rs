//! A real server, as a process that ends when this one does, however that goes.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use orchestra_api::serve::ServerFile;

/// How long a server may take to begin on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Says which process the program is, runs it as long as standard input is open, and kills it then.
const SUPERVISE: &str = r#"exec 3<&0
"$@" </dev/null >/dev/null 3<&- &
echo $!
while read -r _ <&3; do :; done
kill -KILL $! 2>/dev/null
wait $!"#;

/// A server on a data folder of its own, on a free port each time it is started.
pub struct ServerProcess {
    program: PathBuf,
    config: PathBuf,
    data: PathBuf,
    log: PathBuf,
    supervisor: Option<Child>,
    pid: u32,
}

impl ServerProcess {
    /// A server that is not started. What it says is added to `log`.
    pub fn new(config: PathBuf, data: PathBuf, log: PathBuf) -> Self {
        Self { program: program(), config, data, log, supervisor: None, pid: 0 }
    }

    /// Starts it, waits until it answers, and gives its URL.
    pub async fn start(&mut self) -> String {
        // A killed server leaves its file behind.
        let _ = fs::remove_file(self.data.join("server.json"));
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new("sh");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORCHESTRA_")) {
            command.env_remove(name);
        }
        command.env("ORCHESTRA_LOG", "info").args(["-c", SUPERVISE, "supervise"]).arg(&self.program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&self.config).arg("--data").arg(&self.data);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let supervisor = self.supervisor.insert(command.spawn().unwrap());
        let mut pid = String::new();
        BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        self.pid = pid.trim().parse().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ServerFile { url, .. }) = server_file(&self.data) {
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

    fn is_alive(&self) -> bool {
        // A line of numbers and marks, its state after the name in parentheses.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
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

/// The server's program. A test of the whole workspace has built it beside the program that is tested, and so has `cargo xtask
/// chaos migrate`; a test of this package alone takes what is there, or builds it.
fn program() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_orchestra-migrate"))
        .with_file_name(format!("orchestra{}", std::env::consts::EXE_SUFFIX));
    if !beside.exists() {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let built = build.args(["build", "--quiet", "--package", "orchestra-api", "--bin", "orchestra"]).status();
        assert!(built.unwrap().success(), "the server is not built");
    }
    beside
}
