//! `cargo xtask services`: real servers to work with by hand.

use anyhow::Result;
use memory_testkit::services::{self, Service};
use serde_json::json;

/// What to do with the servers.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Start a Redis and a Postgres, unless they stand already; they stay until `down`
    ///
    /// With Docker where an engine answers, else out of Python wheels. Only this machine can connect. `env` then tells
    /// programs where they are.
    Up,
    /// End the servers that `up` started, and remove their data
    Down,
    /// Show the servers that `up` started
    Status {
        /// Print a JSON array; `state` is one of answers, silent, absent
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
    for &service in Service::ALL {
        match command {
            Command::Up => println!("{service}\t{}", services::up(service)?.url()),
            Command::Down => {
                println!("{service}\t{}", if services::down(service)? { "ended" } else { "did not stand" });
            }
            Command::Status { .. } => match services::status(service)? {
                Some(standing) if standing.answers() => println!("{service}\t{}", standing.url()),
                Some(standing) => {
                    println!("{service}\t{} does not answer; `services up` starts another", standing.url());
                }
                None => println!("{service}\tdoes not stand"),
            },
            Command::Env => {
                if let Some(standing) = services::status(service)?.filter(services::Standing::answers) {
                    println!("export {}={}", service.url_variable(), standing.url());
                }
            }
        }
    }
    Ok(())
}

fn state(service: Service) -> Result<serde_json::Value> {
    let standing = services::status(service)?;
    let state = standing.as_ref().map_or("absent", |one| if one.answers() { "answers" } else { "silent" });
    Ok(json!({
        "service": service.name(),
        "state": state,
        "variable": service.url_variable(),
        "url": standing.map(|one| one.url()),
    }))
}
