//! The servers of a local deployment, apart from those of `cargo xtask services`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use memory_testkit::services::{Service, Stand, Standing};

/// The servers whose records are in one folder.
#[derive(Debug)]
pub struct Servers(Stand);

/// A database and its replicas.
#[derive(Debug)]
pub struct Database {
    /// The primary, with the password of its owner.
    pub url: String,
    /// The replicas.
    pub replicas: Vec<String>,
}

impl Servers {
    /// Those whose records are in `folder`.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self(Stand::in_folder(folder))
    }

    fn status(&self, service: Service) -> Result<Standing> {
        let standing = self.0.status(service)?.filter(Standing::answers);
        standing.with_context(|| format!("no {service} of this deployment answers"))
    }

    /// Where the Redis is.
    pub fn redis(&self) -> Result<String> {
        Ok(self.status(Service::Redis)?.url())
    }

    /// Starts a Redis unless it stands.
    pub fn start_redis(&self) -> Result<()> {
        self.0.up(Service::Redis).map(drop)
    }

    /// Where the database is, with those of its replicas that answer.
    pub fn postgres(&self) -> Result<Database> {
        let standing = self.status(Service::Postgres)?;
        let replicas = standing.replicas().iter().filter(|replica| replica.answers());
        Ok(Database { url: standing.url(), replicas: replicas.map(Standing::url).collect() })
    }

    /// Starts a database, and as many replicas of it, unless they stand.
    pub fn start_postgres(&self, replicas: usize) -> Result<()> {
        self.0.up_with_replicas(replicas).map(drop)
    }

    /// What the database answers to its owner.
    pub fn ask(&self, statement: &str) -> Result<String> {
        self.status(Service::Postgres)?.ask(statement)
    }

    /// Where the emulators are.
    pub fn emulators(&self) -> Result<String> {
        let mut told = Vec::new();
        for service in emulators() {
            if self.0.can_start(service) {
                told.push(format!("{service} at {}", self.status(service)?.url()));
            } else {
                // That of Pub/Sub comes with the Google Cloud CLI, and can be fetched in no other way.
                told.push(format!("{service} is left out: it is not installed"));
            }
        }
        Ok(told.join(", "))
    }

    /// Starts the emulators unless they stand.
    pub fn start_emulators(&self) -> Result<()> {
        let mut startable = emulators().filter(|service| self.0.can_start(*service));
        startable.try_for_each(|service| self.0.up(service).map(drop))
    }

    /// Ends all of them, and removes their data. Gives what was ended.
    pub fn down(&self) -> Result<Vec<String>> {
        let mut ended = Vec::new();
        for &service in Service::ALL {
            if self.0.down(service)? {
                ended.push(format!("the {service}"));
            }
        }
        Ok(ended)
    }
}

/// What stands in for services of Google Cloud.
fn emulators() -> impl Iterator<Item = Service> {
    Service::ALL.iter().copied().filter(|service| !matches!(service, Service::Redis | Service::Postgres))
}
