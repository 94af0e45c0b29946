//! A server that lives as long as its handle, and at most as long as this process.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::instance::{COMPOSE_FILE, Instance, quoted};
use super::{Service, Source, postgres, redis, root};

const SUPERVISE: &str = include_str!("supervise.sh");
/// How long a server may take to answer after it was started; an image may have to be fetched first.
const PATIENCE: Duration = Duration::from_secs(20);
const PATIENCE_WITH_EMULATOR: Duration = Duration::from_secs(90);
const PATIENCE_WITH_DOCKER: Duration = Duration::from_secs(300);
/// How many ports are tried: another process may take a free one first.
const PORTS: usize = 5;

/// A running server. It ends when this is dropped, or when this process ends in whatever way.
#[derive(Debug)]
pub struct Server {
    pub(super) instance: Instance,
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
        Self::start_from(&Source::find(service)?, service, settings)
    }

    /// As [`start`](Self::start), with a server that comes from there.
    pub(super) fn start_from(source: &Source, service: Service, settings: &[&str]) -> Result<Self> {
        Self::start_as(settings, service, |name| Instance::new(service, source, name))
    }

    /// As [`start`](Self::start), with a replica of this Postgres, which must be out of the wheels.
    pub(super) fn start_replica(&self, settings: &[&str]) -> Result<Self> {
        Self::start_as(settings, self.instance.service, |name| Instance::replica_of(&self.instance, name))
    }

    fn start_as(settings: &[&str], service: Service, make: impl Fn(&str) -> Result<Instance>) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mut tries = PORTS;
        loop {
            tries -= 1;
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("memory-test-{service}-{}-{number}", std::process::id());
            let mut server = Self::supervise(make(&name)?, &name, settings)?;
            match server.restart() {
                Ok(()) => return Ok(server),
                Err(_) if tries > 0 && server.instance.lost_its_port() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where the server is.
    #[must_use]
    pub fn url(&self) -> String {
        self.instance.url()
    }

    /// Where the server listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.instance.port
    }

    /// The folder that is removed with the server: its log is there, and its files unless it runs in a container, which
    /// has files of its own.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.instance.folder
    }

    /// The folder of the programs that the server came with, such as `psql` and `pg_basebackup` of a Postgres. None in a
    /// container.
    #[must_use]
    pub fn programs(&self) -> Option<PathBuf> {
        match (&self.instance.source, self.instance.service) {
            (Source::Docker, _) => None,
            (Source::Wheels(unpacked), Service::Postgres) => Some(unpacked.join(postgres::PROGRAMS)),
            (Source::Wheels(unpacked), _) => Some(unpacked.clone()),
        }
    }

    /// Kills the server, every process of it, with SIGKILL. What it had in memory is gone.
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

    /// Starts the killed server again, on the same port, and waits until it answers. A Postgres comes back with its
    /// data folder: everything that it acknowledged. The others come back empty.
    ///
    /// # Errors
    /// When it does not answer in time, or something else answers at its port.
    pub fn restart(&mut self) -> Result<()> {
        let pid: u32 = self.order("start")?.parse().context("the supervisor names the process")?;
        let patience = match (&self.instance.source, self.instance.service) {
            (Source::Docker, _) => PATIENCE_WITH_DOCKER,
            (_, Service::PubSub | Service::BigQuery) => PATIENCE_WITH_EMULATOR,
            _ => PATIENCE,
        };
        let deadline = Instant::now() + patience;
        loop {
            match self.instance.ready() {
                Ok(None) => return Ok(()),
                Ok(Some(answering)) if answering == pid => return Ok(()),
                Ok(Some(answering)) => bail!("process {answering} has taken port {}", self.instance.port),
                Err(error) if Instant::now() > deadline || self.order("alive")? == "no" => {
                    let service = self.instance.service;
                    return Err(error.context(format!("the {service} did not start: {}", self.instance.log_end())));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn supervise(instance: Instance, name: &str, settings: &[&str]) -> Result<Self> {
        let service = instance.service;
        let mut supervisor = Command::new("sh");
        supervisor.args(["-c", SUPERVISE, "supervise"]).arg(&instance.folder);
        let [kill, pause, resume, end] = match &instance.source {
            Source::Wheels(unpacked) => {
                let server = instance.command(unpacked)?;
                supervisor.arg(server.get_program()).args(server.get_args()).args(settings);
                let preparation = instance.preparation(unpacked)?;
                supervisor.env("PREPARE", preparation.map(|command| shown(&command)).unwrap_or_default());
                instance.place(&mut supervisor);
                match service {
                    // One process each, that keeps nothing.
                    Service::Redis | Service::PubSub | Service::BigQuery => {
                        [redis::KILL, redis::PAUSE, redis::RESUME, redis::KILL]
                    }
                    Service::Postgres => [postgres::KILL, postgres::PAUSE, postgres::RESUME, postgres::END],
                }
                .map(str::to_owned)
            }
            Source::Docker => {
                let up = Instance::compose(name);
                supervisor.arg(up.get_program()).args(up.get_args()).args(["up", service.name()]).current_dir(root());
                supervisor.envs(instance.variables(settings)).env("PREPARE", "");
                let compose = format!("docker compose --project-name {name} --file {COMPOSE_FILE}");
                // A killed container is kept, so that starting it again finds its files.
                ["kill", "pause", "unpause", "unpause; COMPOSE down --volumes --timeout 0"]
                    .map(|order| format!("{compose} {}", order.replace("COMPOSE", &compose)))
            }
        };
        supervisor.envs([("KILL", kill), ("PAUSE", pause), ("RESUME", resume), ("END", end)]);
        // Its own group: Ctrl-C in a terminal reaches the tests, whose end then ends the server.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut supervisor, 0);
        supervisor.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut supervisor = supervisor.spawn().context("sh cannot be started").inspect_err(|_| {
            // There is no supervisor to remove it.
            let _ = fs::remove_dir_all(&instance.folder);
        })?;
        let orders = supervisor.stdin.take();
        let answers = BufReader::new(supervisor.stdout.take().context("standard output is piped")?);
        Ok(Self { instance, supervisor, orders, answers })
    }

    fn order(&mut self, order: &str) -> Result<String> {
        let orders = self.orders.as_mut().context("the supervisor has no input")?;
        writeln!(orders, "{order}").context("the supervisor is gone")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("the supervisor is gone")?;
        Ok(answer.trim().to_owned())
    }
}

/// The command as a shell reads it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    quoted(&words.map(OsStr::to_string_lossy).collect::<Vec<_>>())
}

impl Drop for Server {
    fn drop(&mut self) {
        // Closing its input tells the supervisor to end. Nobody is left to tell when that fails.
        drop(self.orders.take());
        let _ = self.supervisor.wait();
    }
}
