//! `orchestra-migrate`: moves a whole Orchestra Memory from one store to another while it is in use.

mod arguments;
mod cli;
mod finalize;
mod mistake;
mod orders;
mod progress;
mod report;
mod run;
mod show;
mod sides;
mod stress;
mod window;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(&cli.log);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orchestra-migrate: {error:#}");
            // One is for the caller to mend, two is ours or the machine's.
            let refused = error.downcast_ref::<migrate::Error>().is_some_and(|error| !error.is_retryable());
            ExitCode::from(if refused || error.is::<mistake::Mistake>() { 1 } else { 2 })
        }
    }
}
