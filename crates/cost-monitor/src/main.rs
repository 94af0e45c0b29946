//! `cost-monitor`: what an Orchestra Memory costs, and a brake.

mod cli;

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
            eprintln!("cost-monitor: {error:#}");
            // One is the caller's mistake, two is ours or the network's.
            ExitCode::from(if error.is::<cli::Mistake>() { 1 } else { 2 })
        }
    }
}
