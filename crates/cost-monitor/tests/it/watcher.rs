//! The program itself, watching, and what it has stored.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use cost_monitor::tables::ALERTS;
use cost_monitor::warehouse::Warehouse;
use memory_testkit::services::{self, Service};
use serde::Deserialize;

use crate::dataset::PROJECT;
use crate::topics::Topic;

/// A process. It is killed with this.
pub struct Watcher(Child);

impl Watcher {
    /// Starts it with the state and the settings in the folder.
    pub fn start(folder: &Path, warehouse: &Warehouse, topic: &Topic, dead: &Topic) -> Self {
        let bigquery = services::url(Service::BigQuery).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cost-monitor"));
        command.args(["watch", "--project", PROJECT, "--dataset", &warehouse.place().dataset]);
        command.args(["--subscription", &topic.subscription, "--dead-letter", &dead.topic, "--first-retry", "0.2"]);
        command.arg("--state").arg(folder).arg("--config").arg(folder.join("watch.yaml"));
        command.env("BIGQUERY_EMULATOR_HOST", bigquery).env("PUBSUB_EMULATOR_HOST", &topic.host);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Kills it as it is.
    pub fn kill(mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "the watcher ended by itself");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The ids in the table, in order; each as often as it is there.
pub async fn stored(warehouse: &Warehouse) -> Vec<String> {
    #[derive(Deserialize)]
    struct Id {
        alert_id: String,
    }
    let sql = format!("SELECT alert_id FROM {} ORDER BY alert_id", warehouse.place().table(ALERTS.name).unwrap());
    warehouse.query::<Id>(&sql, &[]).await.unwrap().into_iter().map(|id| id.alert_id).collect()
}
