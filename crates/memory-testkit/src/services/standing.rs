//! Servers that stay until they are told to go, for development: `cargo xtask services`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::instance::Instance;
use super::{Service, Source, home, ownership};

/// How long one may take to start; an image may have to be fetched before.
const PATIENCE_TO_START: Duration = Duration::from_secs(90);
/// How long one may take to end: a Postgres writes what it has in memory.
const PATIENCE_TO_END: Duration = Duration::from_secs(30);

/// A server that [`up`] started.
#[derive(Debug)]
pub struct Standing {
    record: Record,
    answers: bool,
    replicas: Vec<Standing>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    instance: Instance,
    /// The process; none in a container.
    process: Option<u32>,
    /// Those of a Postgres.
    #[serde(default)]
    replicas: Vec<Record>,
}

impl Record {
    /// Writes it into the folder where [`Stand::status`] finds it.
    fn keep(&self, folder: &Path) -> Result<()> {
        ownership::write_file(&record(folder, self.instance.service), &serde_json::to_string(self)?)
    }
}

impl Standing {
    fn at(record: Record) -> Self {
        let answers = record.instance.ready().is_ok_and(|answering| answering == record.process);
        let replicas = record.replicas.iter().cloned().map(Self::at).collect();
        Self { record, answers, replicas }
    }

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

    /// The replicas that [`up_with_replicas`] gave it.
    #[must_use]
    pub fn replicas(&self) -> &[Standing] {
        &self.replicas
    }

    /// What a Postgres out of the wheels answers its superuser: the values of a row in one line, without a head.
    ///
    /// # Errors
    /// When it does not answer, refuses the statement, or stands in a container.
    pub fn ask(&self, statement: &str) -> Result<String> {
        self.record.instance.ask(statement)
    }
}

/// Servers that stand together. They are told from others by the folder of their records.
#[derive(Debug, Clone)]
pub struct Stand {
    folder: PathBuf,
    /// Whether they may be in containers, which have the same names in every folder.
    in_containers: bool,
}

impl Stand {
    /// Those of this checkout, for development.
    #[must_use]
    pub fn of_checkout() -> Self {
        Self { folder: home(), in_containers: true }
    }

    /// Those whose records are in `folder`, always out of the wheels.
    #[must_use]
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder, in_containers: false }
    }

    /// Whether a server of this kind can be started here.
    #[must_use]
    pub fn can_start(&self, service: Service) -> bool {
        self.source(service).is_ok()
    }

    fn source(&self, service: Service) -> Result<Source> {
        if self.in_containers { Source::find(service) } else { Source::wheels(service) }
    }

    /// The server of this kind that was started here, if any.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn status(&self, service: Service) -> Result<Option<Standing>> {
        let file = record(&self.folder, service);
        let record = match fs::read_to_string(&file) {
            Ok(record) => record,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let record: Record =
            serde_json::from_str(&record).with_context(|| format!("{}: is damaged; remove it", file.display()))?;
        Ok(Some(Standing::at(record)))
    }

    /// Starts a server that outlives this process, unless one stands already.
    ///
    /// # Errors
    /// When there is neither a Docker engine nor a wheel with the server, or it does not start.
    pub fn up(&self, service: Service) -> Result<Standing> {
        if let Some(standing) = self.status(service)?.filter(Standing::answers) {
            return Ok(standing);
        }
        self.down(service)?;
        self.stand(service, &self.source(service)?)
    }

    /// Starts a Postgres as [`up`](Self::up) does, always out of the wheels, and as many streaming replicas of it. Those
    /// that stand already stay; one that is added gets a copy of what there is.
    ///
    /// # Errors
    /// When there is no wheel, one of them does not start, or a Postgres stands in a container.
    pub fn up_with_replicas(&self, replicas: usize) -> Result<Standing> {
        let service = Service::Postgres;
        let mut record = match self.status(service)?.filter(Standing::answers) {
            Some(standing) => standing.record,
            None => {
                self.down(service)?;
                self.stand(service, &Source::wheels(service)?)?.record
            }
        };
        if record.instance.source == Source::Docker {
            bail!("the {service} in a container cannot have replicas: end it first, with `cargo xtask services down`");
        }
        let (kept, silent): (Vec<_>, Vec<_>) =
            std::mem::take(&mut record.replicas).into_iter().map(Standing::at).partition(Standing::answers);
        for replica in &silent {
            end(replica)?;
        }
        record.replicas = kept.into_iter().map(|replica| replica.record).collect();
        record.keep(&self.folder)?;
        for number in record.replicas.len()..replicas {
            let name = format!("memory-standing-{service}-{}-replica-{number}", std::process::id());
            let replica = begin(Instance::replica_of(&record.instance, &name)?)?;
            record.replicas.push(replica);
            // Also when the next one does not start, `down` ends this one.
            record.keep(&self.folder)?;
            record.instance.wait_until_followed_by(&record.replicas[number].instance)?;
        }
        Ok(Standing::at(record))
    }

    /// Ends the server that was started here, its replicas before it, and removes their data. Gives whether there was one.
    /// Only a process that was started is ended: when something else answers at its port by now, that is left alone.
    ///
    /// # Errors
    /// When it does not end.
    pub fn down(&self, service: Service) -> Result<bool> {
        let Some(standing) = self.status(service)? else { return Ok(false) };
        for replica in &standing.replicas {
            end(replica)?;
        }
        end(&standing)?;
        fs::remove_file(record(&self.folder, service))?;
        Ok(standing.answers)
    }

    fn stand(&self, service: Service, source: &Source) -> Result<Standing> {
        fs::create_dir_all(&self.folder)?;
        let instance = Instance::new(service, source, &format!("memory-standing-{service}-{}", std::process::id()))?;
        let record = begin(instance)?;
        record.keep(&self.folder)?;
        Ok(Standing { record, answers: true, replicas: Vec::new() })
    }
}

/// [`Stand::status`] of this checkout.
///
/// # Errors
/// As there.
pub fn status(service: Service) -> Result<Option<Standing>> {
    Stand::of_checkout().status(service)
}

/// [`Stand::up`] in this checkout.
///
/// # Errors
/// As there.
pub fn up(service: Service) -> Result<Standing> {
    Stand::of_checkout().up(service)
}

/// [`Stand::up_with_replicas`] in this checkout.
///
/// # Errors
/// As there.
pub fn up_with_replicas(replicas: usize) -> Result<Standing> {
    Stand::of_checkout().up_with_replicas(replicas)
}

/// [`Stand::down`] in this checkout.
///
/// # Errors
/// As there.
pub fn down(service: Service) -> Result<bool> {
    Stand::of_checkout().down(service)
}

/// Starts it, and waits until it answers. When it does not, nothing is left of it.
fn begin(instance: Instance) -> Result<Record> {
    let service = instance.service;
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
    Ok(Record { instance, process: process.map(|process| process.id()), replicas: Vec::new() })
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
            let mut server = instance.command(unpacked)?;
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

/// Ends one server, and removes its data.
fn end(Standing { record, answers, .. }: &Standing) -> Result<()> {
    let service = record.instance.service;
    match record.process {
        None => {
            let mut compose = Instance::compose(&project(service));
            succeed(compose.args(["down", "--volumes"]).envs(record.instance.variables(&[])))?;
        }
        Some(process) if *answers => {
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
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn record(folder: &Path, service: Service) -> PathBuf {
    folder.join(format!("{service}.standing"))
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
