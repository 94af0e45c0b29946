//! `cargo xtask services`: real servers to work with by hand.

use anyhow::{Result, bail};
use memory_testkit::services::{self, Service, Standing};
use serde_json::json;

/// Enough for one to fail while another is replaced.
const REPLICAS: usize = 3;
/// Lists the URLs of the replicas, separated by commas.
const REPLICAS_VARIABLE: &str = "DATABASE_REPLICA_URLS";

/// What to do with the servers.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Start a Redis and a Postgres, unless they stand already; they stay until `down`
    ///
    /// With Docker where an engine answers, else out of Python wheels. Only this machine can connect. `env` then tells
    /// programs where they are.
    Up {
        /// Start these instead, of redis, postgres, pubsub, bigquery; the last two are emulators, for the cost-monitor
        #[arg(value_parser = named, conflicts_with = "all")]
        services: Vec<Service>,
        /// Start one of each kind
        #[arg(long)]
        all: bool,
        /// Give the Postgres three streaming replicas; then it is out of a wheel, also with Docker
        #[arg(long)]
        ha: bool,
    },
    /// End the servers that `up` started, and remove their data
    Down,
    /// Show the servers that `up` started
    Status {
        /// Print a JSON array; `state` is one of answers, silent, absent, and `replicas` has those of a Postgres
        #[arg(long)]
        json: bool,
    },
    /// Print the URLs for a shell: `eval "$(cargo xtask services env)"`
    Env,
}

/// Does it.
pub fn run(command: &Command) -> Result<()> {
    if let Command::Status { json: true } = command {
        let states = Service::ALL.iter().map(|&service| state(service)).collect::<Result<Vec<_>>>()?;
        println!("{}", serde_json::to_string_pretty(&states)?);
        return Ok(());
    }
    let chosen = match command {
        Command::Up { all: false, services, .. } if services.is_empty() => Service::STORES,
        Command::Up { all: false, services, ha } if *ha && !services.contains(&Service::Postgres) => {
            bail!("--ha is for a Postgres, and {} is not one; name postgres too", services[0])
        }
        Command::Up { all: false, services, .. } => services,
        _ => Service::ALL,
    };
    for &service in chosen {
        match command {
            Command::Up { ha, .. } => {
                let with_replicas = *ha && service == Service::Postgres;
                let standing =
                    if with_replicas { services::up_with_replicas(REPLICAS)? } else { services::up(service)? };
                show(service, &standing);
            }
            Command::Down => {
                println!("{service}\t{}", if services::down(service)? { "ended" } else { "did not stand" });
            }
            Command::Status { .. } => match services::status(service)? {
                Some(standing) => show(service, &standing),
                None => println!("{service}\tdoes not stand"),
            },
            Command::Env => {
                if let Some(standing) = services::status(service)?.filter(Standing::answers) {
                    println!("export {}={}", service.url_variable(), standing.url());
                    let replicas = standing.replicas().iter().filter(|replica| replica.answers());
                    let urls: Vec<String> = replicas.map(Standing::url).collect();
                    if !urls.is_empty() {
                        println!("export {REPLICAS_VARIABLE}={}", urls.join(","));
                    }
                }
            }
        }
    }
    Ok(())
}

fn named(name: &str) -> Result<Service, String> {
    let found = Service::ALL.iter().find(|service| service.name() == name);
    found.copied().ok_or_else(|| "there is redis, postgres, pubsub and bigquery".to_owned())
}

/// A line for the server, then one for each of its replicas.
fn show(service: Service, standing: &Standing) {
    let line = |name: &str, standing: &Standing, command: &str| {
        let silent =
            if standing.answers() { String::new() } else { format!(" does not answer; `{command}` starts another") };
        println!("{name}\t{}{silent}", standing.url());
    };
    line(service.name(), standing, "services up");
    for replica in standing.replicas() {
        line("replica", replica, "services up --ha");
    }
}

fn state(service: Service) -> Result<serde_json::Value> {
    let standing = services::status(service)?;
    let replicas = standing.as_ref().map_or(&[][..], Standing::replicas);
    let replicas = replicas.iter().map(|replica| json!({ "state": answer(replica), "url": replica.url() }));
    Ok(json!({
        "service": service.name(),
        "state": standing.as_ref().map_or("absent", answer),
        "variable": service.url_variable(),
        "url": standing.as_ref().map(Standing::url),
        "replicas": replicas.collect::<Vec<_>>(),
    }))
}

fn answer(standing: &Standing) -> &'static str {
    if standing.answers() { "answers" } else { "silent" }
}
