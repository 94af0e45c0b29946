//! Servers that stay until they are told to go, for development: `cargo xtask services`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::instance::Instance;
use super::{Service, Source, home, ownership};

/// How long one may take to start; an image may have to be fetched before.
const PATIENCE_TO_START: Duration = Duration::from_secs(60);
/// How long one may take to end: a Postgres writes what it has in memory.
const PATIENCE_TO_END: Duration = Duration::from_secs(30);

/// A server that [`up`] started.
#[derive(Debug)]
pub struct Standing {
    record: Record,
    answers: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    instance: Instance,
    /// The process; none in a container.
    process: Option<u32>,
}

impl Standing {
    /// Where it is, with the password that it asks for.
    #[must_use]
    pub fn url(&self) -> String {
        self.record.instance.url()
    }

    /// Whether it answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.answers
    }
}

/// The server of this kind that [`up`] started in this checkout, if any.
///
/// # Errors
/// When its record cannot be read.
pub fn status(service: Service) -> Result<Option<Standing>> {
    let file = record(service);
    let record = match fs::read_to_string(&file) {
        Ok(record) => record,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let record: Record =
        serde_json::from_str(&record).with_context(|| format!("{}: is damaged; remove it", file.display()))?;
    let answers = record.instance.ready().is_ok_and(|answering| answering == record.process);
    Ok(Some(Standing { record, answers }))
}

/// Starts a server that outlives this process, unless one stands already.
///
/// # Errors
/// When there is neither a Docker engine nor a wheel with the server, or it does not start.
pub fn up(service: Service) -> Result<Standing> {
    if let Some(standing) = status(service)?.filter(Standing::answers) {
        return Ok(standing);
    }
    down(service)?;
    fs::create_dir_all(home())?;
    let source = Source::find(service)?;
    let instance = Instance::new(service, &source, &format!("memory-standing-{service}-{}", std::process::id()))?;
    let mut process = None;
    let started = start(&instance, &mut process).and_then(|()| wait(&instance, process.as_mut()));
    if let Err(error) = started {
        let error = error.context(format!("{service} did not start: {}", instance.log_end()));
        if let Some(mut process) = process {
            // It may have ended by itself.
            let _ = process.kill();
            process.wait()?;
        }
        fs::remove_dir_all(&instance.folder)?;
        return Err(error);
    }
    let record = Record { instance, process: process.map(|process| process.id()) };
    ownership::write_file(&self::record(service), &serde_json::to_string(&record)?)?;
    Ok(Standing { record, answers: true })
}

/// Starts it, in a container or as `process`.
fn start(instance: &Instance, process: &mut Option<Child>) -> Result<()> {
    let service = instance.service;
    match &instance.source {
        Source::Docker => {
            let mut compose = Instance::compose(&project(service));
            succeed(compose.args(["up", "--detach", service.name()]).envs(instance.variables(&[])))
        }
        Source::Wheels(unpacked) => {
            if let Some(mut preparation) = instance.preparation(unpacked)? {
                instance.place(&mut preparation);
                succeed(&mut preparation)?;
            }
            let mut server = instance.command(unpacked);
            instance.place(&mut server);
            let log = File::create(instance.folder.join("log"))?;
            server.stdout(log.try_clone()?).stderr(log);
            // Its own group: Ctrl-C in the terminal does not reach it.
            #[cfg(unix)]
            std::os::unix::process::CommandExt::process_group(&mut server, 0);
            *process = Some(server.spawn().context("its program cannot be started")?);
            Ok(())
        }
    }
}

/// Waits until it answers.
fn wait(instance: &Instance, mut process: Option<&mut Child>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE_TO_START;
    let expected = process.as_ref().map(|process| process.id());
    loop {
        match instance.ready() {
            Ok(answering) if answering == expected => return Ok(()),
            Ok(_) => bail!("another server has taken port {}; try again", instance.port),
            Err(error) => {
                let end = process.as_mut().map(|process| process.try_wait()).transpose()?.flatten();
                if end.is_some() || Instant::now() > deadline {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Ends the server that [`up`] started, and removes its data. Gives whether there was one. Only the process that was
/// started is ended: when something else answers at its port by now, that is left alone.
///
/// # Errors
/// When it does not end.
pub fn down(service: Service) -> Result<bool> {
    let Some(Standing { record, answers }) = status(service)? else { return Ok(false) };
    match record.process {
        None => {
            let mut compose = Instance::compose(&project(service));
            succeed(compose.args(["down", "--volumes"]).envs(record.instance.variables(&[])))?;
        }
        Some(process) if answers => {
            // What both take as: refuse new work, give up what runs, end in order.
            succeed(Command::new("sh").args(["-c", "kill -INT \"$0\"", &process.to_string()]))?;
            let deadline = Instant::now() + PATIENCE_TO_END;
            while !record.instance.has_ended() {
                if Instant::now() > deadline {
                    bail!("{service}, process {process}, does not end");
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        // It has ended by itself.
        Some(_) => {}
    }
    match fs::remove_dir_all(&record.instance.folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::remove_file(self::record(service))?,
    }
    Ok(answers)
}

fn record(service: Service) -> PathBuf {
    home().join(format!("{service}.standing"))
}

fn project(service: Service) -> String {
    format!("orchestra-memory-{service}")
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{}: {}", command.get_program().display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
