//! The deployment on this machine: real parts, behind loopback addresses, that stay until they are taken down.

mod keys;
mod server;
mod servers;
mod steps;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

pub use servers::Servers;
pub use steps::STEPS;

use super::record::{Record, Revision};
use super::runner::Target;
use super::step::{Failure, failure};
use crate::process::root;

/// What is particular to this machine.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "With --target local")]
#[group(skip)]
pub struct Settings {
    /// Where the server listens, a loopback address. Default: a port that is free at the first deployment, and stays
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Deploy this program in place of one that is built here
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// End the deployment: the server, and the servers that were started for it, with their data
    #[arg(long, conflicts_with_all = ["apply", "rollback"])]
    pub down: bool,
}

/// What runs here, as the record has it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LocalState {
    /// Where the server listens.
    pub listen: Option<SocketAddr>,
    /// The server's process.
    pub server: Option<server::Process>,
}

impl LocalState {
    /// Whether there is nothing to record.
    pub fn is_empty(&self) -> bool {
        self.listen.is_none() && self.server.is_none()
    }
}

/// The deployment.
#[derive(Debug)]
pub struct Local {
    record: Record,
    folder: PathBuf,
    settings: Settings,
    source: String,
    servers: Servers,
}

impl Target for Local {
    fn record(&mut self) -> &mut Record {
        &mut self.record
    }

    fn source(&self) -> &str {
        &self.source
    }

    fn run_name(&self) -> String {
        let of = |name: &str, value: Option<String>| value.map(|value| format!(" {name}={value}")).unwrap_or_default();
        let binary = self.settings.binary.as_ref().map(|file| file.display().to_string());
        let listen = self.settings.listen.map(|address| address.to_string());
        format!("{}{}{}", self.source, of("binary", binary), of("listen", listen))
    }
}

impl Local {
    /// The deployment whose files are in `folder`.
    pub fn new(record: Record, folder: PathBuf, settings: Settings, source: String) -> Self {
        let servers = Servers::in_folder(folder.join("services"));
        Self { record, folder, settings, source, servers }
    }

    /// Where the server answers, once that is known.
    pub fn url(&self) -> Option<String> {
        self.record.local.listen.map(|address| format!("http://{address}"))
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The servers that it uses.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// How the server's process was started; none where it does not run.
    pub fn command_line(&self) -> Option<String> {
        self.record.local.server.as_ref().and_then(|server| server::command_line(server.pid))
    }

    /// Builds the vector indexes that are due.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn build_indexes(&self) -> Result<()> {
        self.owner(&["index", "build"]).map(drop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder of the server's own files: its keys, and where it says that it is.
    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn revision_folder(&self, number: u32) -> PathBuf {
        self.path("revisions").join(number.to_string())
    }

    /// The program of the newest revision.
    fn program(&self) -> Result<PathBuf> {
        let newest = self.record.revisions.last().context("no program was deployed yet")?;
        Ok(PathBuf::from(&newest.image))
    }

    /// Runs the newest revision's program to its end, and gives what it printed. `variables` may hold secrets, which the
    /// arguments must not.
    fn orchestra(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<String> {
        let mut command = Command::new(self.program()?);
        server::clean(&mut command);
        command.args(arguments).envs(variables.iter().copied());
        ran(&mut command, "read the reason; `orchestra <command> --help` says more")
    }

    /// Chooses where the server listens, for good.
    fn choose_address(&mut self) -> Result<()> {
        let address = match self.settings.listen {
            Some(address) => address,
            None => free_address()?,
        };
        if !address.ip().is_loopback() {
            return Err(failure(
                format!("{address} is reached by other machines, and the server speaks plain HTTP"),
                "choose a loopback address such as --listen 127.0.0.1:7070, and put a proxy with TLS in front of it",
            ));
        }
        self.record.local.listen = Some(address);
        self.record.write()
    }

    /// Builds the program, or takes the one that was given, and keeps it as a revision unless it is that of the newest.
    fn build(&mut self) -> Result<()> {
        place_model()?;
        let built = match &self.settings.binary {
            Some(file) => file.clone(),
            None => super::build_server()?,
        };
        let program = fs::read(&built).with_context(|| format!("{}: cannot be read", built.display()))?;
        if self.program().is_ok_and(|newest| fs::read(newest).is_ok_and(|newest| newest == program)) {
            return Ok(());
        }
        let number = self.record.next_number();
        let folder = self.revision_folder(number);
        fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        let kept = folder.join(format!("orchestra{}", std::env::consts::EXE_SUFFIX));
        copy_whole(&built, &kept)?;
        self.record.revisions.push(Revision {
            number,
            source: self.source.clone(),
            image: kept.display().to_string(),
            ..Revision::default()
        });
        self.record.write()
    }

    /// Lets the revision serve: it is tried beside the one that serves, then takes its place. Where it does not answer, the
    /// former one serves on.
    fn switch_to(&mut self, number: u32) -> Result<()> {
        let revision = self.record.revision(number).context("there is no such revision")?.clone();
        let listen = self.record.local.listen.context("step network was not done")?;
        let plan = server::Plan::new(self, &revision, listen)?;
        // Beside the one that serves: what does not come up here takes nobody's place.
        plan.try_beside()?;
        self.stop_server()?;
        let mut process = plan.spawn(listen)?;
        self.record.local.server = Some(process.clone());
        self.record.write()?;
        if let Err(error) = process.wait_until_ready(listen) {
            process.stop()?;
            self.record.local.server = None;
            let former = self.record.live().cloned().filter(|former| former.number != number);
            if let Some(former) = former {
                let mut process = server::Plan::new(self, &former, listen)?.spawn(listen)?;
                self.record.local.server = Some(process.clone());
                self.record.write()?;
                process.wait_until_ready(listen)?;
            }
            return Err(error);
        }
        self.record.current = Some(number);
        if let Some(revision) = self.record.revision(number) {
            revision.was_live = true;
        }
        self.record.write()
    }

    fn stop_server(&mut self) -> Result<()> {
        if let Some(process) = self.record.local.server.take() {
            process.stop()?;
        }
        self.record.write()
    }

    /// Whether this revision serves.
    fn serves(&self, number: u32) -> bool {
        let process = self.record.local.server.as_ref();
        self.record.current == Some(number)
            && process.is_some_and(server::Process::is_alive)
            && self.record.local.listen.is_some_and(server::is_ready)
    }

    /// Lets the former revision serve again.
    ///
    /// # Errors
    /// When there is none, or it does not come up: then the present one serves on.
    pub fn roll_back(&mut self) -> Result<()> {
        let former = self.record.former()?.number;
        self.switch_to(former)
    }

    /// Ends what was started for the deployment, and removes its files.
    ///
    /// # Errors
    /// When something does not end.
    pub fn down(&mut self) -> Result<Vec<String>> {
        let mut ended = Vec::new();
        if let Some(process) = &self.record.local.server {
            ended.push(format!("the server, process {}", process.pid));
        }
        self.stop_server()?;
        ended.extend(self.servers.down()?);
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).with_context(|| format!("{}: stays", self.folder.display()))?;
        }
        Ok(ended)
    }
}

/// The folder of the files of a deployment.
pub fn folder_of(home: &Path, environment: &str) -> PathBuf {
    home.join(format!("local-{environment}"))
}

/// Runs a command to its end and gives what it printed.
///
/// # Errors
/// A [`Failure`] with the command, what it said, and `fix`.
pub fn ran(command: &mut Command, fix: &str) -> Result<String> {
    let shown = crate::process::show(command);
    let output = command.current_dir(root()).output().with_context(|| format!("{shown}: cannot be started"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure { command: shown, reason, fix: fix.to_owned() }.into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Places the model of the semantic cache, unless it is there. Without it the server goes on with the one inside it, which
/// takes fewer questions for alike.
fn place_model() -> Result<()> {
    if root().join("target/assets/minilm-int8/model.onnx").exists() {
        return Ok(());
    }
    let xtask = std::env::current_exe().context("this program does not know where it is")?;
    if let Err(error) = ran(Command::new(xtask).args(["assets", "minilm-int8"]), "cargo xtask assets minilm-int8") {
        eprintln!(
            "      the model of the cache cannot be placed, so the one inside the server does its work: {error:#}"
        );
    }
    Ok(())
}

/// A copy that is there whole or not at all.
fn copy_whole(from: &Path, to: &Path) -> Result<()> {
    let part = to.with_extension("part");
    let copied = fs::copy(from, &part).and_then(|_| fs::rename(&part, to));
    copied.with_context(|| format!("{}: cannot be copied to {}", from.display(), to.display()))
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).context("no port is free")?;
    Ok(listener.local_addr()?)
}

/// What of a `postgres://` URL of this machine is needed to connect as another user.
fn host_and_port(url: &str) -> Result<&str> {
    let Some((_, rest)) = url.rsplit_once('@') else { bail!("the URL of the database names no host") };
    Ok(rest.split('/').next().unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_database_is_read_without_its_password() {
        assert_eq!(host_and_port("postgres://postgres:p%40ss@127.0.0.1:5433/postgres").unwrap(), "127.0.0.1:5433");
        assert!(host_and_port("redis://127.0.0.1:1").is_err());
    }

    #[test]
    fn steps_come_after_what_they_need() {
        super::super::step::check_order(STEPS);
    }
}
