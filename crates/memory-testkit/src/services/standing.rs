//! Servers that stay until they are told to go, for development: `cargo xtask services`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Service, Source, free_port, home, redis, root};

const PROJECT: &str = "orchestra-memory";

/// A server that [`up`] started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it is.
    pub service: Service,
    /// Where it is.
    pub url: String,
    /// Whether it answers.
    pub answers: bool,
    port: u16,
    /// The process; none when Docker runs it.
    pid: Option<u32>,
}

/// The server of this kind that [`up`] started in this checkout, if any.
///
/// # Errors
/// When its record cannot be read.
pub fn status(service: Service) -> Result<Option<Standing>> {
    let record = match fs::read_to_string(record(service)) {
        Ok(record) => record,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut words = record.split_whitespace();
    let port: u16 = words.next().unwrap_or_default().parse().context("the record of a standing server is damaged")?;
    let pid: Option<u32> = words.next().and_then(|pid| pid.parse().ok());
    let answering = redis::ready(port).ok();
    let answers = answering.is_some() && (pid.is_none() || pid == answering);
    Ok(Some(Standing { service, url: format!("redis://127.0.0.1:{port}"), answers, port, pid }))
}

/// Starts a server that outlives this process, unless one stands already.
///
/// # Errors
/// When there is neither a Docker engine nor a wheel with the server, or it does not start.
pub fn up(service: Service) -> Result<Standing> {
    if let Some(standing) = status(service)?.filter(|standing| standing.answers) {
        return Ok(standing);
    }
    fs::create_dir_all(home())?;
    let source = Source::find()?;
    let port = free_port()?;
    let docker = source == Source::Docker;
    match &source {
        Source::Docker => {
            let mut up = Command::new("docker");
            up.args(["compose", "--project-name", PROJECT, "up", "--detach", service.name()]);
            succeed(up.env("REDIS_PORT", port.to_string()))?;
        }
        Source::Wheels(programs) => {
            let log = home().join(format!("{service}.log"));
            let mut server = redis::command(programs, port, &home());
            succeed(server.args(["--daemonize", "yes"]).arg("--logfile").arg(log))?;
        }
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    let pid = loop {
        match redis::ready(port) {
            Ok(pid) => break pid,
            Err(error) if Instant::now() > deadline => return Err(error.context(format!("{service} did not start"))),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let pid = (!docker).then_some(pid);
    fs::write(record(service), format!("{port} {}", pid.map_or("docker".to_owned(), |pid| pid.to_string())))?;
    Ok(Standing { service, url: format!("redis://127.0.0.1:{port}"), answers: true, port, pid })
}

/// Ends the server that [`up`] started. Gives whether there was one. Only the process that was started is ended: when
/// something else answers at its port by now, that is left alone.
///
/// # Errors
/// When it does not end.
pub fn down(service: Service) -> Result<bool> {
    let Some(standing) = status(service)? else { return Ok(false) };
    if standing.pid.is_none() {
        succeed(Command::new("docker").args(["compose", "--project-name", PROJECT, "down", "--volumes"]))?;
    } else if standing.answers {
        redis::shut_down(standing.port)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while redis::ready(standing.port).is_ok() {
            if Instant::now() > deadline {
                bail!("{service} at port {} does not end", standing.port);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    fs::remove_file(record(service))?;
    Ok(standing.answers)
}

fn record(service: Service) -> PathBuf {
    home().join(format!("{service}.standing"))
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.current_dir(root()).output().with_context(|| format!("{command:?} cannot be started"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
