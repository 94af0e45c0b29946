//! A highly available Postgres: a primary and its streaming replicas, each a server of its own.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::server::Server;
use super::{Service, Source, eventually, postgres};

/// The settings with which a commit returns when a replica has it too, on disk: losing the primary then loses nothing
/// that was acknowledged. While no replica answers, no commit returns. A promoted replica holds to it as well.
pub const SYNCHRONOUS: &[&str] = &["-c", "synchronous_standby_names=ANY 1 (*)"];

/// What a replica has received, in bytes of the log; nothing as long as it still receives.
const RECEIVED: &str = "select greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0' \
                        where not exists (select from pg_stat_wal_receiver)";

/// A primary and its replicas, with one password. Each can be killed, paused and started again on its own, and keeps its
/// place here whatever becomes of it. They end when this is dropped, or when this process ends in whatever way.
#[derive(Debug)]
#[non_exhaustive]
pub struct PostgresCluster {
    /// The one that was the primary at first.
    pub primary: Server,
    /// Those that were its replicas at first.
    pub replicas: Vec<Server>,
}

impl PostgresCluster {
    pub(super) fn start(replicas: usize, settings: &[&str]) -> Result<Self> {
        let primary = Server::start_from(&Source::wheels(Service::Postgres)?, Service::Postgres, settings)?;
        let start = || {
            let replica = primary.start_replica(settings)?;
            primary.instance.wait_until_followed_by(&replica.instance)?;
            Ok(replica)
        };
        let replicas = thread::scope(|scope| {
            let starting: Vec<_> = (0..replicas).map(|_| scope.spawn(start)).collect();
            starting.into_iter().map(|one| one.join().expect("it does not panic")).collect::<Result<_>>()
        })?;
        Ok(Self { primary, replicas })
    }

    /// The index of the replica that has received the most among those that answer: promoting it loses the least, and the
    /// others of them can follow it. Waits until they have noticed that the primary is gone: it must be killed before.
    ///
    /// # Errors
    /// When no replica answers, or one still receives something.
    pub fn furthest(&self) -> Result<usize> {
        let mut furthest = None;
        let answering = self.replicas.iter().enumerate().filter(|(_, replica)| replica.instance.ready().is_ok());
        for (at, replica) in answering {
            let mut received = String::new();
            eventually(&format!("replica {at} receives nothing more"), || {
                received = replica.instance.ask(RECEIVED)?;
                Ok(!received.is_empty())
            })?;
            let received: u64 = received.parse().context("a position is a number of bytes")?;
            furthest = furthest.max(Some((received, at)));
        }
        furthest.map(|(_, at)| at).context("no replica answers")
    }

    /// Makes a replica a primary. It takes writes when this returns, and the primary that there was is not asked: when it
    /// still runs, there are two. The other replicas stay with the old one until they are told to
    /// [`follow`](Self::follow).
    ///
    /// # Errors
    /// When it does not answer, or is a primary already.
    ///
    /// # Panics
    /// When there is no such replica.
    pub fn promote(&self, at: usize) -> Result<()> {
        match self.replicas[at].instance.ask("select pg_promote()")?.as_str() {
            "t" => Ok(()),
            _ => bail!("replica {at} is not promoted in time"),
        }
    }

    /// Makes the replica `at` follow the one that was promoted, and waits until it has caught up with it. It stays so
    /// when it is started again.
    ///
    /// # Errors
    /// When one of them does not answer, or `at` has received more than the other had when that was promoted: see
    /// [`furthest`](Self::furthest).
    ///
    /// # Panics
    /// When there is no such replica.
    pub fn follow(&self, at: usize, promoted: usize) -> Result<()> {
        let [replica, promoted] = [at, promoted].map(|at| &self.replicas[at].instance);
        self.set(at, "primary_conninfo", &postgres::upstream(promoted.port, replica.port))?;
        promoted.wait_until_followed_by(replica)
    }

    /// Makes a replica show what the primary commits only after that time; zero ends it, also for what is being held
    /// back. It receives and acknowledges everything as before.
    ///
    /// # Errors
    /// When it does not answer.
    ///
    /// # Panics
    /// When there is no such replica.
    pub fn delay(&self, at: usize, by: Duration) -> Result<()> {
        self.set(at, "recovery_min_apply_delay", &by.as_millis().to_string())
    }

    /// Changes a setting of a replica, for good. The value is in the setting's own unit and has no quotes.
    fn set(&self, at: usize, setting: &str, value: &str) -> Result<()> {
        let replica = &self.replicas[at].instance;
        replica.ask(&format!("alter system set {setting} = '{value}'"))?;
        replica.ask("select pg_reload_conf()")?;
        // A new connection has it when the server has told its other processes too.
        eventually(&format!("replica {at} takes {setting} = {value}"), || {
            Ok(replica.ask(&format!("select setting from pg_settings where name = '{setting}'"))? == value)
        })
    }
}
