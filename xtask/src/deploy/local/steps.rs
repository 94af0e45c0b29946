//! The steps of the deployment on this machine.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::keys::APP_ROLE;
use super::{Local, server};
use crate::deploy::dashboards;
use crate::deploy::step::{Step, StepName as S, failure};
use crate::http::Client;

/// How many replicas the database has: one may fail while another is replaced.
const REPLICAS: usize = 3;

/// Every step, in the order of what each needs.
pub const STEPS: &[Step<Local>] = &[
    Step {
        name: S::Network,
        about: "choose the loopback address of the server",
        needs: &[],
        commands: |_| Vec::new(),
        is_done: |local| {
            Ok(local.record.local.listen.is_some_and(|now| local.settings.listen.is_none_or(|to| to == now)))
        },
        act: Local::choose_address,
        verify: |local| {
            let address = local.record.local.listen.context("no address was chosen")?;
            if !address.ip().is_loopback() {
                bail!("{address} is no loopback address");
            }
            Ok(format!("{address}, which only this machine reaches"))
        },
    },
    Step {
        name: S::Secrets,
        about: "generate the password of the runtime role",
        needs: &[],
        commands: |_| Vec::new(),
        is_done: |local| Ok(local.secret("app_password").exists()),
        act: |local| local.make_secrets(),
        verify: |local| only_owner_reads(&local.secret("app_password")),
    },
    Step {
        name: S::Redis,
        about: "start a Redis with vector search",
        needs: &[],
        commands: |_| Vec::new(),
        is_done: |local| Ok(local.servers.redis().is_ok()),
        act: |local| local.servers.start_redis(),
        verify: |local| Ok(format!("answers at {}, with its search module", local.servers.redis()?)),
    },
    Step {
        name: S::Alloydb,
        about: "start a Postgres with pgvector, in place of AlloyDB",
        needs: &[],
        commands: |_| Vec::new(),
        is_done: |local| Ok(local.servers.postgres().is_ok()),
        act: |local| local.servers.start_postgres(0),
        verify: |local| {
            let version = local.servers.ask("select current_setting('server_version')")?;
            Ok(format!("answers at {}, version {version}", super::host_and_port(&local.servers.postgres()?.url)?))
        },
    },
    Step {
        name: S::Ha,
        about: "give the Postgres three streaming replicas",
        needs: &[S::Alloydb],
        commands: |_| Vec::new(),
        is_done: |local| Ok(local.servers.postgres().is_ok_and(|database| database.replicas.len() >= REPLICAS)),
        act: |local| local.servers.start_postgres(REPLICAS),
        verify: |local| {
            let streaming = "select count(*) from pg_stat_replication where state = 'streaming'";
            let count: usize = local.servers.ask(streaming)?.parse()?;
            if count < REPLICAS {
                bail!("{count} of {REPLICAS} replicas follow the primary");
            }
            Ok(format!("{count} replicas follow the primary"))
        },
    },
    Step {
        name: S::Image,
        about: "build the server, and keep it as a revision",
        needs: &[],
        commands: |local| match &local.settings.binary {
            Some(_) => Vec::new(),
            None => vec!["cargo build --release --locked --package orchestra-api".into()],
        },
        // Only a build tells: cargo knows whether there is something to do, and equal programs are one revision.
        is_done: |_| Ok(false),
        act: Local::build,
        verify: |local| {
            let version = local.orchestra(&["--version"], &[])?;
            let newest = local.record.revisions.last().context("no revision was kept")?;
            Ok(format!("revision {} is {}", newest.number, version.trim()))
        },
    },
    Step {
        name: S::Migrations,
        about: "bring the schema up to date, and make the runtime role",
        needs: &[S::Alloydb, S::Image, S::Secrets],
        commands: |_| vec![format!("orchestra db migrate --app-user {APP_ROLE} --app-password-file …")],
        is_done: |local| Ok(local.owner(&["db", "status"]).is_ok() && role(local).is_ok()),
        act: |local| {
            let password = local.secret("app_password").display().to_string();
            local.owner(&["db", "migrate", "--app-user", APP_ROLE, "--app-password-file", &password]).map(drop)
        },
        verify: |local| {
            local.owner(&["db", "status"])?;
            role(local)
        },
    },
    Step {
        name: S::Iam,
        about: "make an API key for each of two tenants",
        needs: &[S::Image, S::Secrets],
        commands: |_| vec!["orchestra keys create --scopes read,write …".into()],
        is_done: |local| Ok(local.has_keys()),
        act: |local| local.make_keys(),
        verify: |local| {
            only_owner_reads(&local.secret("api_key"))?;
            let keys = local.orchestra(&["keys", "list", "--json", "--keys-file", &local.keys_file()], &[])?;
            let keys: Value = serde_json::from_str(&keys)?;
            let count = keys["keys"].as_array().map_or(0, Vec::len);
            if count < 2 {
                bail!("the file of keys holds {count} of 2");
            }
            Ok(format!("{count} keys, none of them an administrator's"))
        },
    },
    Step {
        name: S::Indexes,
        about: "build the vector indexes that are due",
        needs: &[S::Migrations],
        commands: |_| vec!["orchestra index build".into()],
        is_done: |local| Ok(local.owner(&["index", "status"]).is_ok()),
        act: |local| local.build_indexes(),
        verify: |local| {
            local.owner(&["index", "status"])?;
            Ok("every space has the index that it is to have".into())
        },
    },
    Step {
        name: S::Monitoring,
        about: "start the emulators of Pub/Sub and BigQuery",
        needs: &[],
        commands: |_| Vec::new(),
        is_done: |local| Ok(local.servers.emulators().is_ok()),
        act: |local| local.servers.start_emulators(),
        verify: |local| local.servers.emulators(),
    },
    Step {
        name: S::Dashboards,
        about: "check the dashboards, and keep them beside",
        needs: &[],
        commands: |_| Vec::new(),
        is_done: |local| Ok(dashboards::are_kept(&local.path("dashboards"))),
        act: |local| dashboards::keep(&local.path("dashboards")),
        verify: |local| dashboards::verify(&local.path("dashboards")),
    },
    Step {
        name: S::Api,
        about: "try the newest revision beside the one that serves, then let it serve",
        needs: &[S::Network, S::Redis, S::Alloydb, S::Ha, S::Image, S::Migrations, S::Iam],
        commands: |_| vec!["orchestra serve --config …".into()],
        is_done: |local| Ok(local.record.revisions.last().is_some_and(|newest| local.serves(newest.number))),
        act: |local| {
            let newest = local.record.revisions.last().context("step image was not done")?.number;
            local.switch_to(newest)
        },
        verify: |local| {
            let (current, listen) = (local.record.current, local.record.local.listen);
            let (Some(current), Some(listen)) = (current, listen) else { bail!("nothing serves") };
            if !server::is_ready(listen) {
                bail!("the server does not say that it is ready");
            }
            let url = format!("http://{listen}");
            let key = std::fs::read_to_string(local.secret("api_key"))?;
            let answer = Client::new(&url, Some(key.trim().to_owned())).get("/v1/identity")?;
            if answer.status != 200 {
                bail!("the deployment's key is answered with {}", answer.status);
            }
            Ok(format!("revision {current} answers at {url}"))
        },
    },
];

impl Local {
    /// Runs a command of the program as the owner of the database. Its URL is in the environment, so that the password is
    /// not among the arguments.
    pub(super) fn owner(&self, arguments: &[&str]) -> Result<String> {
        self.orchestra(arguments, &[("DATABASE_URL", &self.servers.postgres()?.url)])
    }
}

/// Checks that the runtime role can do no more than serve.
fn role(local: &Local) -> Result<String> {
    let rights = "select rolcanlogin and not (rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication) \
                  from pg_roles where rolname = 'orchestra_server'";
    match &*local.servers.ask(rights)? {
        "t" => Ok(format!("all migrations are applied; {APP_ROLE} is under row security and owns nothing")),
        "" => bail!("the role {APP_ROLE} is not there"),
        _ => Err(failure(
            format!("the role {APP_ROLE} has more rights than it needs"),
            format!("ALTER ROLE {APP_ROLE} NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS NOREPLICATION"),
        )),
    }
}

#[cfg(unix)]
fn only_owner_reads(file: &std::path::Path) -> Result<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode =
        std::fs::metadata(file).with_context(|| format!("{}: is not there", file.display()))?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{}: others can read it", file.display());
    }
    Ok("only their owner reads them".into())
}

#[cfg(not(unix))]
fn only_owner_reads(file: &std::path::Path) -> Result<String> {
    std::fs::metadata(file).with_context(|| format!("{}: is not there", file.display()))?;
    Ok("they are there".into())
}
