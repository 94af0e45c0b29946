//! The whole move, phase by phase.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use chrono::Utc;
use migrate::engine::{Engine, Order, Parts};
use migrate::plan::Plan;
use migrate::record::{Colour, Phase, Record};
use migrate::stress::Options;

use crate::cli::Cli;
use crate::finalize::Keep;
use crate::mistake::mistake;
use crate::window::{Now, Window};
use crate::{report, stress};

/// The shares of reads that green answers before it is the store in use.
const READS: [u8; 3] = [1, 10, 100];
/// How long after the beginning of the wait it is told again.
const TELL: Duration = Duration::from_secs(60);

pub async fn run(
    cli: &Cli,
    parts: Parts,
    plan: Plan,
    window: Option<Window>,
    stress: Option<&Options>,
    keep: &Keep,
    folder: &Path,
) -> Result<()> {
    if cli.is_dry() {
        plan.check()?;
        println!(
            "would go through: preparation (copy, catch up), testing (compare, queries, gates), cutover (reads 1 %,"
        );
        println!("10 %, 100 %, then writes), validation (compare and query in reverse), finalization (asks,");
        println!("and keeps a dump of blue unless told not to)");
        if let Some(options) = stress {
            println!("{}", stress::would(options)?);
        }
        if let Some(Window { begins, ends }) = window {
            println!("the cutover between {begins} and {ends}");
        }
        return Ok(());
    }
    let mut engine = match parts.records.load().await? {
        Some(_) => Engine::open(parts).await?,
        None => Engine::plan(parts, plan).await?,
    };
    let ran = phases(cli, &mut engine, window, stress, keep).await;
    report::write(engine.record(), folder)?;
    ran
}

async fn phases(
    cli: &Cli,
    engine: &mut Engine,
    window: Option<Window>,
    stress: Option<&Options>,
    keep: &Keep,
) -> Result<()> {
    // What a run that was killed in the middle of it had begun.
    if matches!(engine.record().phase, Phase::Switching { .. } | Phase::Opening { .. } | Phase::Undoing { .. }) {
        engine.run_until(is_settled).await?;
    }
    if Order::Finalize.is_under_way(engine.record()) {
        return cli.finalize(engine, keep).await;
    }
    if let Some(window) = window.filter(|window| window.at(Utc::now(), Duration::ZERO) == Now::TooLate)
        && engine.record().active == Colour::Blue
    {
        return Err(too_late(window, Duration::ZERO));
    }
    if engine.record().active == Colour::Blue {
        tell("preparation");
        cli.start(engine, false).await?;
        tell("testing");
        if let Some(options) = stress {
            stress::load(cli, engine, options).await?;
        }
        let began = Utc::now();
        cli.check(engine).await?;
        let checking = (Utc::now() - began).to_std().unwrap_or_default();
        tell("cutover");
        cli.agrees("let green be the store in use")?;
        if let Some(window) = window {
            // It is checked once more when the window opens: a lot may have been written until then.
            wait(engine, window, engine.record().plan.switch_deadline() + checking).await?;
            cli.check(engine).await?;
        }
        for share in READS {
            engine.order(Order::SwitchReads(share)).await?;
        }
        engine.order(Order::SwitchWrites).await?;
        engine.run_until(is_settled).await?;
        if engine.record().active != Colour::Green {
            return Err(mistake("the switch took too long and was undone: nothing is lost; run it again"));
        }
    }
    if engine.record().is_over() {
        return cli.show(engine);
    }
    tell("validation");
    if engine.record().one_way {
        eprintln!("not asked: blue can only be read and does not follow green, so there is nothing to compare");
    } else {
        cli.start(engine, false).await?;
        cli.check(engine).await?;
    }
    tell("finalization");
    cli.finalize(engine, keep).await
}

/// Whether no switch is under way, nor anything left of one.
fn is_settled(record: &Record, _: u64) -> bool {
    record.phase == Phase::Following && record.releasing.is_none()
}

fn too_late(window: Window, work: Duration) -> anyhow::Error {
    let ends = window.ends;
    mistake(if ends <= Utc::now() {
        format!("the maintenance window ended at {ends}; give another one")
    } else {
        let work = work.as_secs();
        format!("the maintenance window ends at {ends}, and about {work} s of work do not fit into what is left")
    })
}

/// Follows until the window is open.
async fn wait(engine: &mut Engine, window: Window, work: Duration) -> Result<()> {
    loop {
        match window.at(Utc::now(), work) {
            Now::Go => return Ok(()),
            Now::TooLate => return Err(too_late(window, work)),
            Now::Wait(left) => {
                eprintln!(
                    "the maintenance window begins at {}, in {} s; green follows until then",
                    window.begins,
                    left.as_secs()
                );
                let until = Utc::now() + left.min(TELL);
                engine.run_until(|_, _| Utc::now() >= until).await?;
            }
        }
    }
}

fn tell(phase: &str) {
    eprintln!("== {phase}");
}
