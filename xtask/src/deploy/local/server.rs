//! The server of a local deployment: how it is started, told apart from other processes, and ended.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::keys::APP_ROLE;
use super::{Local, free_address, host_and_port};
use crate::deploy::record::Revision;
use crate::deploy::step::failure;
use crate::http::Client;

const PATIENCE_TO_START: Duration = Duration::from_secs(60);
/// More than the grace that the server gives to requests in flight.
const PATIENCE_TO_END: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// A server's process, which may have been started by an earlier run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Process {
    /// The process.
    pub pid: u32,
    /// Its program: a process of that number with another one is a stranger.
    program: PathBuf,
}

/// How a revision is started.
pub struct Plan {
    program: PathBuf,
    config: PathBuf,
    data: PathBuf,
    log: PathBuf,
    /// Where the servers are that it uses. Their ports change when they are started anew; the settings stay.
    places: Vec<(&'static str, String)>,
}

impl Plan {
    /// Writes the settings of the revision where it has none yet.
    pub fn new(local: &Local, revision: &Revision, listen: SocketAddr) -> Result<Self> {
        let folder = local.revision_folder(revision.number);
        let config = folder.join("orchestra.yaml");
        if !config.exists() {
            // JSON is YAML too.
            fs::write(&config, serde_json::to_string_pretty(&settings(local, listen))?)
                .with_context(|| format!("{}: cannot be written", config.display()))?;
        }
        let database = local.servers.postgres()?;
        let primary = host_and_port(&database.url)?;
        let (host, port) = primary.rsplit_once(':').context("the database names no port")?;
        let replicas = database.replicas.iter().map(|url| host_and_port(url)).collect::<Result<Vec<_>>>()?;
        let places = vec![
            ("ORCHESTRA_REDIS_URL", local.servers.redis()?),
            ("ORCHESTRA_ALLOYDB_HOST", host.to_owned()),
            ("ORCHESTRA_ALLOYDB_PORT", port.to_owned()),
            ("ORCHESTRA_ALLOYDB_READ_HOSTS", replicas.join(",")),
        ];
        let log = local.path("server.log");
        Ok(Self { program: PathBuf::from(&revision.image), config, data: local.data(), log, places })
    }

    /// Starts it on another port, waits until it is ready, and ends it.
    pub fn try_beside(&self) -> Result<()> {
        let address = free_address()?;
        // Its own folder, because the server's says where the one is that serves; the keys are those of all.
        let data = self.data.with_extension("trial");
        fs::create_dir_all(&data)?;
        let keys = self.data.join("keys.json");
        let trial = Self {
            data: data.clone(),
            program: self.program.clone(),
            config: self.config.clone(),
            log: self.log.clone(),
            places: self.places.clone(),
        };
        let mut child = trial.command(address, &keys)?.spawn().context("the server cannot be started")?;
        let ready = wait_until_ready(address, || child.try_wait().is_ok_and(|end| end.is_none()), &self.log);
        terminate(child.id());
        child.wait()?;
        let _ = fs::remove_dir_all(data);
        ready
    }

    /// Starts it, to stay.
    pub fn spawn(&self, listen: SocketAddr) -> Result<Process> {
        let child: Child =
            self.command(listen, &self.data.join("keys.json"))?.spawn().context("the server cannot be started")?;
        Ok(Process { pid: child.id(), program: self.program.clone() })
    }

    fn command(&self, listen: SocketAddr, keys: &Path) -> Result<Command> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        clean(&mut command);
        command.args(["serve", "--listen", &listen.to_string(), "--config"]).arg(&self.config);
        command.arg("--data").arg(&self.data).env("ORCHESTRA_AUTH_KEYS_FILE", keys);
        command.envs(self.places.iter().map(|(name, place)| (name, place)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Its own group: Ctrl-C in the terminal does not reach it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok(command)
    }
}

/// What is the same wherever the servers are.
fn settings(local: &Local, listen: SocketAddr) -> serde_json::Value {
    json!({
        "listen": listen.to_string(),
        "short_term_provider": "redis",
        "medium_term_provider": "alloydb",
        "auth": { "audit_file": local.path("audit.jsonl") },
        "models": crate::process::root().join("target/assets"),
        "alloydb": {
            "user": APP_ROLE,
            "password": { "file": local.secret("app_password") },
            "database": "postgres",
            // The servers of this machine have no certificate, and listen on loopback addresses only.
            "tls": "disable",
            "high_availability": true,
        },
    })
}

/// Takes this project's variables out of what a command inherits: it is set by its configuration alone.
pub fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ORCHESTRA_") {
            command.env_remove(&name);
        }
    }
}

impl Process {
    /// Whether it runs, and is the server.
    pub fn is_alive(&self) -> bool {
        command_line(self.pid).is_some_and(|line| line.contains(&*self.program.to_string_lossy()))
    }

    /// Waits until it answers that it is ready.
    pub fn wait_until_ready(&mut self, address: SocketAddr) -> Result<()> {
        let log = self.program.ancestors().nth(3).map(|folder| folder.join("server.log")).unwrap_or_default();
        wait_until_ready(address, || self.is_alive(), &log)
    }

    /// Ends it: requests in flight get to their end. One that is not the server any more is left alone.
    pub fn stop(&self) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        terminate(self.pid);
        let deadline = Instant::now() + PATIENCE_TO_END;
        while self.is_alive() {
            if Instant::now() > deadline {
                bail!("the server, process {}, does not end", self.pid);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// Whether a server at this address says that it is ready.
pub fn is_ready(address: SocketAddr) -> bool {
    Client::new(&format!("http://{address}"), None).get("/readyz").is_ok_and(|answer| answer.status == 200)
}

fn wait_until_ready(address: SocketAddr, mut is_alive: impl FnMut() -> bool, log: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE_TO_START;
    while !is_ready(address) {
        if !is_alive() || Instant::now() > deadline {
            return Err(failure(
                format!("the server did not become ready: {}", last_lines(log)),
                format!("read {}; `orchestra config check --connect` tries each provider", log.display()),
            ));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

/// Asks a process to end.
fn terminate(pid: u32) {
    // That it has ended already is no fault.
    let _ = Command::new("sh").args(["-c", "kill -TERM \"$0\" 2>/dev/null", &pid.to_string()]).status();
}

/// How a process was started; none where it has ended.
pub fn command_line(pid: u32) -> Option<String> {
    if Path::new("/proc/self/cmdline").exists() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        return Some(String::from_utf8_lossy(&line).replace('\0', " "));
    }
    let output = Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
