//! A server that lives as long as its handle, and at most as long as this process.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Service, Source, free_port, redis, root};

const SUPERVISE: &str = include_str!("supervise.sh");
/// How long a server may take to answer after it was started; an image may have to be fetched first.
const PATIENCE: Duration = Duration::from_secs(20);
const PATIENCE_WITH_DOCKER: Duration = Duration::from_secs(300);
/// How many ports are tried: another process may take a free one first.
const PORTS: usize = 5;

/// A running server. It ends when this is dropped, or when this process ends in whatever way.
#[derive(Debug)]
pub struct Server {
    service: Service,
    source: Source,
    port: u16,
    folder: PathBuf,
    supervisor: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a server on a free port, with more settings at the end of its command line, and waits until it answers.
    ///
    /// # Errors
    /// When there is neither a Docker engine nor a wheel with the server, or it does not start; the message has the
    /// end of its log.
    pub fn start(service: Service, settings: &[&str]) -> Result<Self> {
        let source = Source::find()?;
        let mut last = None;
        for _ in 0..PORTS {
            let mut server = Self::supervise(service, source.clone(), free_port()?, settings)?;
            match server.restart() {
                Ok(()) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no port was tried")?)
    }

    /// Where the server is.
    #[must_use]
    pub fn url(&self) -> String {
        match self.service {
            Service::Redis => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// Where the server listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that is removed with the server: its log is there, and its files unless it runs in a container, which
    /// has files of its own.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Kills the server with SIGKILL. What it had in memory is gone.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.order("kill").map(drop)
    }

    /// Stops the server without ending it: connections stay open and nothing is answered.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn pause(&mut self) -> Result<()> {
        self.order("pause").map(drop)
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn resume(&mut self) -> Result<()> {
        self.order("resume").map(drop)
    }

    /// Starts the killed server again, on the same port and empty, and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer in time, or something else answers at its port.
    pub fn restart(&mut self) -> Result<()> {
        let pid: u32 = self.order("start")?.parse().context("the supervisor names the process")?;
        let docker = self.source == Source::Docker;
        let deadline = Instant::now() + if docker { PATIENCE_WITH_DOCKER } else { PATIENCE };
        loop {
            match redis::ready(self.port) {
                // In a container the server sees a process number of its own.
                Ok(answering) if docker || answering == pid => return Ok(()),
                Ok(answering) => bail!("process {answering} has taken port {}", self.port),
                Err(error) if Instant::now() > deadline || self.order("alive")? == "no" => {
                    return Err(error.context(format!("the {} did not start: {}", self.service, self.log_end())));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn supervise(service: Service, source: Source, port: u16, settings: &[&str]) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("memory-test-{service}-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        let mut supervisor = Command::new("sh");
        supervisor.args(["-c", SUPERVISE, "supervise"]).arg(&folder);
        match &source {
            Source::Wheels(programs) => {
                let server = redis::command(programs, port, &folder);
                supervisor.arg(server.get_program()).args(server.get_args()).args(settings);
                supervisor.envs([
                    ("KILL", "kill -KILL $server"),
                    ("PAUSE", "kill -STOP $server"),
                    ("RESUME", "kill -CONT $server"),
                ]);
            }
            Source::Docker => {
                let compose = ["docker", "compose", "--project-name", &name, "--file", "compose.yaml"];
                supervisor.args(compose).args(["up", service.name()]).env("REDIS_PORT", port.to_string());
                supervisor.env("REDIS_SETTINGS", quoted(settings));
                let compose = compose.join(" ");
                supervisor.env("KILL", format!("{compose} kill; {compose} rm --force"));
                supervisor.env("PAUSE", format!("{compose} pause"));
                supervisor.env("RESUME", format!("{compose} unpause"));
            }
        }
        // Its own group: Ctrl-C in a terminal reaches the tests, whose end then ends the server.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut supervisor, 0);
        supervisor.current_dir(root()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut supervisor = supervisor.spawn().context("sh cannot be started")?;
        let orders = supervisor.stdin.take();
        let answers = BufReader::new(supervisor.stdout.take().context("standard output is piped")?);
        Ok(Self { service, source, port, folder, supervisor, orders, answers })
    }

    fn order(&mut self, order: &str) -> Result<String> {
        let orders = self.orders.as_mut().context("the supervisor has no input")?;
        writeln!(orders, "{order}").context("the supervisor is gone")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("the supervisor is gone")?;
        Ok(answer.trim().to_owned())
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// The words as one that compose.yaml splits again as a shell would.
fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!(" '{}'", word.replace('\'', r"'\''"))).collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        // Closing its input tells the supervisor to end. Nobody is left to tell when that fails.
        drop(self.orders.take());
        let _ = self.supervisor.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_stay_whole() {
        let words = ["--replicaof", "127.0.0.1 7000", "it's", "", "$(x);"];
        let script = format!("printf '%s\\n' {}", quoted(&words));
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().lines().collect::<Vec<_>>(), words);
    }
}
