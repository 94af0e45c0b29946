//! One move from beginning to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memory_core::{Error, InsertBatch, MemoryStore as _};
use memory_testkit::make;

use crate::clients::{CLIENTS, Clients, Done};
use crate::mover::Mover;
use crate::report::Run;
use crate::world::{SIDES, World};
use memory_testkit::random::Random;

/// The memories that each client writes before the move begins.
const MEMORIES: usize = 40;
/// Between two deaths of a server.
const QUIET: Duration = Duration::from_secs(4);

/// Moves a memory, with the choices of a seed.
pub async fn run(server: &str, seed: u64) -> Run {
    let began = Instant::now();
    // Two of every four, one of which is rolled back.
    let follows = seed % 4 < 2;
    let mut world = World::start(server, seed, follows).await;
    let mut mover = Mover::new(world.folder(), seed);
    let clients = Clients::start(seed, &world.urls, follows, MEMORIES).await;
    let is_over = AtomicBool::new(false);
    let server_kills = AtomicUsize::new(0);
    // Every other one, so that half of any campaign is.
    let rolls_back = seed % 2 == 1;
    let moved = tokio::join!(
        async {
            let moved = go(&mut mover, rolls_back, seed).await;
            is_over.store(true, Ordering::Relaxed);
            moved
        },
        kill_servers(&world, seed, &is_over, &server_kills)
    );
    let done = clients.end().await;
    let ended = match moved.0 {
        // So that what blue lacks is no news from a client's failure.
        Ok(()) => end(&mut mover).await,
        failed => failed,
    };
    // While one side is behind there is nothing to compare.
    let is_over = ended.is_ok();
    let mut violations: Vec<String> = ended.err().into_iter().collect();
    violations.extend(done.violations.iter().cloned());
    if is_over {
        violations.extend(check(&world, &done).await);
    }
    let kept = (!violations.is_empty()).then(|| {
        let folder = world.keep();
        std::fs::write(folder.join("commands.txt"), mover.told.join("\n")).unwrap();
        folder.display().to_string()
    });
    let history = mover.record()["history"].to_string();
    world.end().await;
    let (there, forgotten) = done.account.counts();
    Run {
        seed,
        seconds: began.elapsed().as_secs_f64(),
        followed: follows,
        rolled_back: rolls_back,
        mover_kills: mover.kills,
        server_kills: server_kills.into_inner(),
        writes: done.writes,
        reads: done.reads,
        fenced: done.fenced,
        in_doubt: done.in_doubt,
        there,
        forgotten,
        longest_ms: done.longest.as_millis(),
        undone: history.matches("switch undone").count(),
        violations,
        kept,
    }
}

/// The move while clients write, up to green in use and blue following.
async fn go(mover: &mut Mover, rolls_back: bool, seed: u64) -> Result<(), String> {
    let mut random = Random::of_part(seed, 2);
    mover.plan().await?;
    mover.start().await?;
    mover.verify().await?;
    mover.switch("green").await?;
    if rolls_back {
        // At once, or after blue has followed for a while.
        if random.percent(60) {
            mover.follow().await?;
        }
        mover.switch("blue").await?;
        mover.follow().await?;
        mover.switch("green").await?;
    }
    mover.follow().await
}

/// What is left once nobody writes.
async fn end(mover: &mut Mover) -> Result<(), String> {
    mover.settle().await?;
    mover.finalize().await
}

/// Kills a server now and then, and starts it again.
async fn kill_servers(world: &World, seed: u64, is_over: &AtomicBool, kills: &AtomicUsize) {
    let mut random = Random::of_part(seed, 3);
    loop {
        let quiet = Instant::now() + Duration::from_secs(1) + random.between(Duration::ZERO, QUIET);
        while Instant::now() < quiet {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let at = random.below(SIDES.len());
        world.kill(at).await;
        kills.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(random.between(Duration::ZERO, Duration::from_millis(800))).await;
        world.start_again(at).await;
    }
}

/// Whether both sides hold what was acknowledged, and green takes nothing that was forgotten, and blue nothing at all.
async fn check(world: &World, done: &Done) -> Vec<String> {
    let mut found = Vec::new();
    if done.account.0.len() < MEMORIES * CLIENTS as usize {
        found.push(format!("only {} memories were written: this tested nothing", done.account.0.len()));
    }
    for (at, side) in SIDES.into_iter().enumerate() {
        let store = Arc::new(world.store(at).await);
        found.extend(done.account.violations(side, &*store).await);
        for (&id, known) in &done.account.0 {
            if side == "green" && known.texts.is_empty() {
                let mut memory = make::memory(&make::user("default", &known.user), "back again", chrono::Utc::now());
                memory.id = id;
                match store.insert(make::batch([memory])).await {
                    Err(Error::Forgotten(_)) => {}
                    written => found.push(format!("green takes {id}, which was forgotten: {written:?}")),
                }
            }
        }
        let late = make::memory(&make::user("default", "late"), "late", chrono::Utc::now());
        let batch: InsertBatch = make::batch([late]);
        if side == "blue" && !matches!(store.insert(batch).await, Err(Error::Fenced { .. })) {
            found.push("blue takes writes after the move".into());
        }
        store.close().await;
    }
    found
}
