//! What the commands do.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Result;
use migrate::diff::DiffOptions;
use migrate::engine::{Engine, Order, Parts};
use migrate::plan::Plan;
use migrate::record::{Colour, Phase};

use crate::cli::Cli;
use crate::mistake::mistake;
use crate::progress::{Page, Progress};
use crate::show;

impl Cli {
    pub async fn plan(&self, parts: Parts, plan: Plan) -> Result<()> {
        if self.dry_run {
            plan.check()?;
            println!("{}", serde_json::to_string_pretty(&plan)?);
            for (colour, side) in [(Colour::Blue, &parts.blue), (Colour::Green, &parts.green)] {
                let (size, gate) = (side.replica.size().await?, side.replica.gate().await?);
                println!("{colour}: {} memories, {} others, gate {gate:?}", size.memories, size.others);
            }
            return Ok(());
        }
        self.show(&Engine::plan(parts, plan).await?)
    }

    pub async fn start(&self, engine: &mut Engine, follow: bool) -> Result<()> {
        if engine.record().phase == Phase::Planned {
            self.order(engine, Order::Start, "copy everything to green").await?;
        } else if self.dry_run {
            println!("would go on: {}, {} in use", engine.record().phase, engine.record().active);
        }
        if self.dry_run {
            return Ok(());
        }
        let progress = Progress::new();
        let is_done = |record: &migrate::record::Record, lag: u64| {
            progress.tell(record, lag);
            record.phase == Phase::Following && record.releasing.is_none() && lag == 0 && !follow
        };
        let done = engine.run_until(is_done).await;
        drop(progress);
        done?;
        self.show(engine)
    }

    pub async fn verify(&self, engine: &mut Engine, repair: bool) -> Result<()> {
        if self.dry_run {
            let of = engine.record().copied.of;
            println!(
                "would compare about {of} items of both stores, and send {} queries",
                engine.record().plan.gates.queries
            );
            return Ok(());
        }
        if repair {
            let options = DiffOptions { repair, ..DiffOptions::default() };
            let diff = engine.diff(options, |_| {}).await?;
            eprintln!("{} items were made the same", diff.repaired);
        }
        self.check(engine).await
    }

    /// Asks the gates, and shows what they say.
    pub async fn check(&self, engine: &mut Engine) -> Result<()> {
        let (progress, of) = (Progress::new(), engine.record().copied.items);
        let checked = engine.check(|diff| progress.compared(diff, of)).await;
        drop(progress);
        let checked = checked?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&(&checked, &engine.record().diff))?);
        } else {
            print!("{}", show::gates(&checked));
            print!("{}", show::differences(engine.record()));
        }
        if checked.holds() { Ok(()) } else { Err(mistake("a gate does not hold: no traffic was moved")) }
    }

    pub async fn switch(&self, engine: &mut Engine, order: Order, follow: bool) -> Result<()> {
        let to = if order == Order::Rollback { Colour::Blue } else { Colour::Green };
        self.order(engine, order, &format!("let {to} be the store in use")).await?;
        if self.dry_run {
            return Ok(());
        }
        engine.run_until(|record, _| record.phase == Phase::Following && record.releasing.is_none()).await?;
        if engine.record().active != to {
            return Err(mistake(format!(
                "the switch took longer than {} ms and was undone: nothing is lost; try again when less is written, or \
                 plan with a longer switch_deadline_ms",
                engine.record().plan.switch_deadline_ms
            )));
        }
        if follow { self.start(engine, true).await } else { self.show(engine) }
    }

    pub async fn cancel(&self, engine: &mut Engine) -> Result<()> {
        self.order(engine, Order::Cancel, "give the move up").await?;
        if !self.dry_run {
            engine.run_until(|_, _| false).await?;
        }
        self.show(engine)
    }

    /// Gives an order, once the caller agrees; in a dry run says what it would do. One that is under way since a command that was
    /// killed is gone on with.
    pub async fn order(&self, engine: &mut Engine, order: Order, what: &str) -> Result<()> {
        if order.is_under_way(engine.record()) {
            let begun = format!("{what}: it is {} already", engine.record().phase);
            if self.dry_run {
                println!("would go on to {begun}");
            } else {
                eprintln!("going on to {begun}");
            }
            return Ok(());
        }
        let next = engine.answer(order).await?;
        if self.dry_run {
            println!("would {what}: {} -> {}", engine.record().phase, next.phase);
            return Ok(());
        }
        if !self.yes && order != Order::Start {
            confirm(what)?;
        }
        Ok(engine.order(order).await?)
    }

    pub fn show(&self, engine: &Engine) -> Result<()> {
        self.show_record(engine.record(), None, &Page::plain())
    }

    fn show_record(&self, record: &migrate::record::Record, lag: Option<u64>, page: &Page) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(record)?);
        } else {
            page.show(record, &show::status(record, lag, chrono::Utc::now()));
        }
        Ok(())
    }

    pub async fn record(&self) -> Result<migrate::record::Record> {
        let record = self.place.records_to_read()?.load().await?;
        record.ok_or_else(|| mistake("no move is planned there; `plan` one first"))
    }

    /// The record tells it; the stores are not opened, since a file is one process's.
    pub async fn status(&self, watch: Option<u64>) -> Result<()> {
        let page = Page::new();
        loop {
            let record = self.record().await?;
            let lag = record.samples.last().filter(|_| record.phase == Phase::Copying).map(|sample| sample.lag);
            self.show_record(&record, lag, &page)?;
            let Some(seconds) = watch.filter(|_| !record.is_over()) else { return Ok(()) };
            tokio::time::sleep(Duration::from_secs(seconds.max(1))).await;
        }
    }

    pub fn is_dry(&self) -> bool {
        self.dry_run
    }

    pub fn agrees(&self, what: &str) -> Result<()> {
        if self.yes { Ok(()) } else { confirm(what) }
    }
}

fn confirm(what: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(mistake(format!("this would {what}; say --yes")));
    }
    eprint!("This will {what}. Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(mistake("nothing was done")),
    }
}
