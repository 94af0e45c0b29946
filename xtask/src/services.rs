//! `cargo xtask services`: real servers to work with by hand.

use anyhow::Result;
use memory_testkit::services::{self, Service};

/// What to do with the servers.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Start every server that does not stand yet; it stays until `down`
    Up,
    /// End the servers that `up` started
    Down,
    /// Show the servers that `up` started
    Status,
    /// Print the URLs for a shell: `eval "$(cargo xtask services env)"`
    Env,
}

/// Does it.
pub fn run(command: &Command) -> Result<()> {
    for &service in Service::ALL {
        match command {
            Command::Up => println!("{service}\t{}", services::up(service)?.url),
            Command::Down => {
                println!("{service}\t{}", if services::down(service)? { "ended" } else { "did not stand" });
            }
            Command::Status => match services::status(service)? {
                Some(standing) if standing.answers => println!("{service}\t{}", standing.url),
                Some(standing) => println!("{service}\t{} does not answer; `services up` starts another", standing.url),
                None => println!("{service}\tdoes not stand"),
            },
            Command::Env => {
                if let Some(standing) = services::status(service)?.filter(|standing| standing.answers) {
                    println!("export {}={}", service.url_variable(), standing.url);
                }
            }
        }
    }
    Ok(())
}
