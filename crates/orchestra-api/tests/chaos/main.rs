//! Two servers under a mixed load while everything that they are made of is killed, stopped and brought back, and a
//! checker that keeps its own account of every acknowledged write, deletion and token. docs/chaos.md tells how to run it
//! for longer.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod campaign;
mod client;
mod embedder;
mod faults;
mod model;
mod name;
mod process;
mod report;
mod stats;
mod verify;
mod worker;
mod world;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;

use campaign::Campaign;
use client::Client;
use faults::Faults;
use name::TENANTS;
use report::Report;
use worker::Worker;
use world::World;

/// How long the load lasts, in seconds.
const SECONDS: &str = "CHAOS_SECONDS";
/// What is to be repeated: the choices, not the times at which they fall.
const SEED: &str = "CHAOS_SEED";
/// Where the report goes as JSON.
const JSON: &str = "CHAOS_JSON";

/// In the ordinary tests.
const BRIEF: Duration = Duration::from_secs(20);
/// How many clients each tenant has.
const WORKERS: usize = 3;
/// The longest time without a failure.
const PAUSE: Duration = Duration::from_secs(6);
/// The same in a brief campaign.
const BRIEF_PAUSE: Duration = Duration::from_secs(2);
/// So many requests at least are done, or this tested nothing.
const LEAST: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_every_failure() {
    let length = std::env::var(SECONDS).map_or(BRIEF, |seconds| Duration::from_secs(seconds.parse().unwrap()));
    let seed = std::env::var(SEED).map_or_else(|_| random_seed(), |seed| seed.parse().unwrap());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let Some(world) = World::start(folder.clone()).await else { return };
    eprintln!("chaos: seed {seed}, {} s; logs in {}", length.as_secs(), folder.display());
    let report = run(&world, seed, length).await;
    eprintln!("\n{report}");
    if let Ok(file) = std::env::var(JSON) {
        fs::write(file, serde_json::to_string_pretty(&report).unwrap()).unwrap();
    }
    if !report.violations.is_empty() {
        world.keep_logs();
        fs::write(folder.join("report.json"), serde_json::to_string_pretty(&report).unwrap()).unwrap();
        panic!("{} violations; the logs are in {}", report.violations.len(), folder.display());
    }
    let done: u64 = report.counted.requests.values().map(|count| count.done).sum();
    assert!(done > LEAST && !report.faults.is_empty(), "{done} requests were done: this tested nothing");
    drop(world);
    fs::remove_dir_all(folder).unwrap();
}

async fn run(world: &World, seed: u64, length: Duration) -> Report {
    let campaign = Arc::new(Campaign::new(seed, Client::new(seed, world.urls.clone(), world.keys.clone())));
    let mut workers = JoinSet::new();
    for tenant in 0..TENANTS.len() {
        for worker in 0..WORKERS {
            workers.spawn(Worker::new(Arc::clone(&campaign), tenant, worker).run());
        }
    }
    let began = Instant::now();
    let faults = let_things_fail(world, &campaign, length).await;
    campaign.end();
    let seconds = began.elapsed().as_secs_f64();
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
    eprintln!("chaos: all is well again; everything is looked for");
    // What a stopped server was asked for may be under way: one that was told to stop has done it.
    for (at, server) in world.servers.iter().enumerate() {
        let mut server = server.lock().await;
        server.stop().await;
        campaign.client.moved(at, server.start().await);
    }
    verify::verify(&campaign).await;
    Report::new(&campaign, seconds, faults.counts)
}

/// One failure after the other for that time; all of them have ended when this returns.
async fn let_things_fail(world: &World, campaign: &Campaign, length: Duration) -> Faults {
    let longest_pause = if length < Duration::from_secs(60) { BRIEF_PAUSE } else { PAUSE };
    let mut faults = Faults::new(campaign.seed, world.servers.len());
    let began = Instant::now();
    loop {
        tokio::time::sleep(faults.pause(longest_pause)).await;
        if began.elapsed() >= length {
            return faults;
        }
        let failing = faults.next();
        let told: Vec<String> = failing.iter().map(ToString::to_string).collect();
        let (second, done) = (began.elapsed().as_secs(), campaign.client.stats.done());
        let found = campaign.model().violations().len();
        eprintln!("chaos: {second:>4} s, {done:>7} done, {found} violations: {}", told.join(" and "));
        match failing[..] {
            [one, other] => {
                tokio::join!(world.suffer(one, &campaign.client), world.suffer(other, &campaign.client));
            }
            _ => {
                for fault in failing {
                    world.suffer(fault, &campaign.client).await;
                }
            }
        }
    }
}

fn random_seed() -> u64 {
    // Short enough to be typed.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into()
}
