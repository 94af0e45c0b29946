//! Where the figures are written as metrics, if anywhere.

use anyhow::Result;
use clap::Args;
use cost_monitor::metrics::{GOOGLE, Publisher};
use cost_monitor::money::Micros;
use cost_monitor::warehouse::Warehouse;

use super::mistake;

#[derive(Args)]
pub(crate) struct MetricsArgs {
    /// Write the figures as metrics of this project too, as monitoring/cost_metrics.json lists them
    #[arg(long, env = "COST_MONITOR_METRICS_PROJECT", value_name = "PROJECT")]
    metrics_project: Option<String>,
    /// What the metrics' label `environment` says
    #[arg(long, env = "COST_MONITOR_ENVIRONMENT", default_value = "dev")]
    environment: String,
    /// Where metrics are written
    #[arg(long, env = "COST_MONITOR_METRICS_ENDPOINT", value_name = "URL", default_value = GOOGLE)]
    metrics_endpoint: String,
    /// The month's budget in USD, for the metric of it; `watch` learns it from the budget's messages
    #[arg(long, env = "COST_MONITOR_BUDGET", value_name = "USD")]
    budget: Option<f64>,
}

impl MetricsArgs {
    /// None where nothing is to be written.
    pub(crate) fn publisher(&self, warehouse: &Warehouse) -> Result<Option<Publisher>> {
        let Some(project) = &self.metrics_project else { return Ok(None) };
        if warehouse.is_emulator() && self.metrics_endpoint == GOOGLE {
            return Err(mistake(
                "figures of an emulator are not written to Cloud Monitoring; leave --metrics-project out",
            ));
        }
        let publisher = Publisher::new(&self.metrics_endpoint, warehouse.access(), project, &self.environment);
        Ok(Some(publisher.map_err(|error| mistake(format!("--metrics-endpoint: {error}")))?))
    }

    /// The budget that was named.
    pub(crate) fn budget(&self) -> Result<Option<Micros>> {
        let amount = |units| Micros::from_units(units).ok_or_else(|| mistake("--budget is no amount"));
        self.budget.map(amount).transpose()
    }
}
