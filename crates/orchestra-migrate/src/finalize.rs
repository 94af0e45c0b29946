//! The end of a move: a dump of blue is kept, and what the move needed goes.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use migrate::engine::{Engine, Order};
use migrate::record::{Phase, Record};

use crate::arguments::Place;
use crate::cli::Cli;

/// The name of the dump, beside the record.
const DUMP: &str = "orchestra-migrate-blue.jsonl.gz";

/// What is kept of blue.
#[derive(Debug, Args)]
pub struct Keep {
    /// The file of the dump of blue: every item with its history and vectors, in gzip; orchestra-migrate-blue.jsonl.gz beside
    /// the record without
    #[arg(long, value_name = "FILE", conflicts_with = "no_dump")]
    dump: Option<PathBuf>,
    /// Keep no dump of blue
    #[arg(long)]
    no_dump: bool,
}

impl Keep {
    /// Where the dump goes; none where none is kept. What can only be read is as it was, and needs none.
    fn file(&self, place: &Place, record: &Record) -> Option<PathBuf> {
        let beside = match &place.record_url {
            None => place.record.with_file_name(DUMP),
            Some(_) => DUMP.into(),
        };
        (!self.no_dump && !record.one_way).then(|| self.dump.clone().unwrap_or(beside))
    }
}

impl Cli {
    /// Ends the move, once the caller agrees. One that was interrupted while it ended was agreed to.
    pub async fn finalize(&self, engine: &mut Engine, keep: &Keep) -> Result<()> {
        if engine.record().phase != Phase::Finalizing {
            engine.answer(Order::Finalize).await?;
            let file = keep.file(&self.place, engine.record());
            let what = match &file {
                _ if engine.record().one_way => "end the move; blue is as it was".to_owned(),
                Some(file) => format!(
                    "keep a dump of blue in {} and end the move: blue's stream of changes goes, no rollback after this, \
                     and blue stays closed, as it is",
                    file.display()
                ),
                None => {
                    "end the move and keep NO dump of blue: blue's stream of changes goes, no rollback after this, \
                         and blue stays closed, as it is"
                        .to_owned()
                }
            };
            if self.dry_run {
                self.order(engine, Order::Finalize, &what).await?;
                return self.show(engine);
            }
            self.agrees(&what)?;
            if engine.record().one_way && keep.dump.is_some() {
                eprintln!("no dump is written: blue can only be read, and is as it was");
            }
            if let Some(file) = &file {
                engine.keep_dump(file).await?;
            }
            engine.order(Order::Finalize).await?;
        }
        if self.dry_run {
            println!("would go on to end the move");
            return Ok(());
        }
        engine.run_until(|_, _| false).await?;
        self.show(engine)?;
        if !self.json {
            print!("{}", left(engine.record()));
        }
        Ok(())
    }
}

/// What went, and what is left.
fn left(record: &Record) -> String {
    if record.one_way {
        return "kept: blue, as it was\n".to_owned();
    }
    let dump = match &record.dump {
        Some(dump) => format!("its dump of {} items, {} (BLAKE3 {})", dump.items, dump.path, dump.checksum),
        None => "no dump".to_owned(),
    };
    format!("dropped: the streams of changes on both stores\nkept: blue, closed to clients; {dump}\n")
}
