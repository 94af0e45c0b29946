//! Whole moves by the real program between real databases, under clients of real servers, while the program and the servers are
//! killed. docs/chaos.md tells how to run more of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod account;
mod clients;
mod mover;
mod process;
mod report;
mod run;
mod world;

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use memory_testkit::services::{self, Service};

use report::Report;

/// How many moves.
const RUNS: &str = "CHAOS_RUNS";
/// What is to be repeated: the choices, not the times at which they fall.
const SEED: &str = "CHAOS_SEED";
/// Where the report goes as JSON.
const JSON: &str = "CHAOS_JSON";
/// In the ordinary tests: one without a rollback and one with.
const BRIEF: u64 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_killed_anywhere_loses_and_resurrects_nothing() {
    let Some(url) = services::url(Service::Postgres) else { return };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runs = std::env::var(RUNS).map_or(BRIEF, |runs| runs.parse().unwrap());
    let seed = std::env::var(SEED).map_or_else(|_| random_seed(), |seed| seed.parse().unwrap());
    let mut report = Report::default();
    for at in 0..runs {
        // Each can be repeated by itself: the seed of a run is the campaign's and its number.
        let done = run::run(&url, seed + at).await;
        eprintln!("{done}");
        report.runs.push(done);
    }
    eprintln!("\n{report}");
    if let Ok(file) = std::env::var(JSON) {
        fs::write(file, serde_json::to_string_pretty(&report).unwrap()).unwrap();
    }
    assert!(report.is_clean(), "the seeds that failed are above; CHAOS_RUNS=1 CHAOS_SEED=… repeats one");
}

fn random_seed() -> u64 {
    // Short enough to be typed.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into()
}
