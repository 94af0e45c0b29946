//! The arguments that several commands have.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use chrono::{DateTime, Utc};
use clap::Args;
use migrate::plan::{Gates, Plan};
use migrate::record::Records;
use migrate::record::file::FileRecords;
use migrate::record::postgres::PostgresRecords;

use crate::mistake::mistake;
use crate::sides::At;

/// Which move.
#[derive(Debug, Args)]
pub struct Place {
    /// The store in use: the configuration of a server, as `orchestra serve --config` takes it (variables of the environment do not
    /// change it); the URL of a running server (with #blue or #green for a side of one that follows the move); a dump that a move kept, as
    /// dump:FILE; or what is somewhere else, as jsonl:FILE, mem0:FILE or langchain:FILE, where the file
    /// of the last two says which table
    #[arg(long, global = true, default_value = "blue.yaml", value_name = "SIDE")]
    pub blue: At,
    /// The store to move to: the configuration of a server, or the URL of a running one
    #[arg(long, global = true, default_value = "green.yaml", value_name = "SIDE")]
    pub green: At,
    /// The file of the key for blue, which has the scope `move`; the variable `ORCHESTRA_MIGRATE_BLUE_KEY` without
    #[arg(long, global = true, value_name = "FILE")]
    pub blue_key_file: Option<PathBuf>,
    /// The file of the key for green; the variable `ORCHESTRA_MIGRATE_GREEN_KEY` without
    #[arg(long, global = true, value_name = "FILE")]
    pub green_key_file: Option<PathBuf>,
    /// Whose the memories will be that come from somewhere else
    #[arg(long, global = true, default_value = "default", value_name = "TENANT")]
    pub tenant: String,
    /// The file of the record
    #[arg(long, global = true, default_value = "orchestra-migrate.json", value_name = "FILE")]
    pub record: PathBuf,
    /// The database of the record, in place of a file
    #[arg(long, global = true, env = "ORCHESTRA_MIGRATE_RECORD_URL", hide_env_values = true, value_name = "URL")]
    pub record_url: Option<String>,
    /// The name of the move
    #[arg(long, global = true, default_value = "move")]
    pub name: String,
}

/// Whether to go on.
#[derive(Debug, Args)]
pub struct Follow {
    /// Go on following until it is interrupted
    #[arg(long)]
    pub follow: bool,
}

/// What a move is to do.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// How many items are read and written at once
    #[arg(long, default_value_t = 500)]
    batch: usize,
    /// The most items that are copied in a second
    #[arg(long, value_name = "N")]
    items_per_second: Option<u32>,
    /// The most changes that may be left when a switch begins
    #[arg(long, default_value_t = 1000, value_name = "N")]
    lag_gate: u64,
    /// How long writes may wait for a switch before it is undone
    #[arg(long, default_value_t = 5000, value_name = "MS")]
    switch_deadline_ms: u64,
    /// How many queries are sent to both stores
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub queries: usize,
    /// The least share of the exact answers that green's search has to find
    #[arg(long, default_value_t = 0.95, value_name = "SHARE")]
    recall: f64,
    /// How much less time green has to take than blue at p95: 0.4 is 40 % less
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    improvement: Option<f64>,
    /// The least share of the answers in blue's cache that green's has to have: they are not moved, so without a Redis that both
    /// use there are none
    #[arg(long, value_name = "SHARE")]
    hit_rate: Option<f64>,
}

impl PlanArgs {
    pub fn plan(&self, name: &str, recorded_at: DateTime<Utc>) -> Plan {
        Plan {
            name: name.to_owned(),
            recorded_at: Some(recorded_at),
            batch: self.batch,
            items_per_second: self.items_per_second,
            lag_gate: self.lag_gate,
            switch_deadline_ms: self.switch_deadline_ms,
            gates: Gates {
                queries: self.queries,
                recall: Some(self.recall),
                improvement: self.improvement,
                hit_rate: self.hit_rate,
            },
            ..Plan::default()
        }
    }
}

impl Place {
    /// For who only reads the record: nothing is made where it is not there.
    pub fn records_to_read(&self) -> Result<Arc<dyn Records>> {
        Ok(match &self.record_url {
            None => Arc::new(FileRecords::new(&self.record)),
            Some(url) => {
                let reader = PostgresRecords::reader(&url.as_str().into(), &self.name);
                Arc::new(reader.map_err(|error| mistake(format!("--record-url: {error}")))?)
            }
        })
    }

    pub async fn records(&self) -> Result<Arc<dyn Records>> {
        Ok(match &self.record_url {
            None => Arc::new(FileRecords::new(&self.record)),
            Some(url) => {
                // What it cannot parse it would show, with the password.
                let options = url.parse().map_err(|_| mistake("--record-url is not a URL of a Postgres"))?;
                Arc::new(PostgresRecords::connect(options, &self.name).await?)
            }
        })
    }
}

/// A percentage, as in `10%`.
pub fn percent(text: &str) -> Result<u8, String> {
    let number = text.trim_end_matches('%').trim();
    number.parse().ok().filter(|percent| *percent <= 100).ok_or_else(|| "0% to 100%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_0_to_100() {
        assert_eq!(percent("10%"), Ok(10));
        assert_eq!(percent("100"), Ok(100));
        assert!(percent("101%").is_err() && percent("-1").is_err() && percent("").is_err());
    }
}
