//! The tables of the monitor's own. Terraform's module `monitoring` makes the same out of the same files.

use crate::warehouse::TableForm;

/// Thresholds that were passed, each once.
pub const ALERTS: TableForm = TableForm {
    name: "alerts",
    about: "Thresholds of the budget that were passed, each once",
    schema: include_str!("../../../monitoring/schemas/alerts.json"),
    partition: "DAY",
    field: "received_at",
    clustering: &["budget_id", "kind"],
};

/// What became of them.
pub const WATCH_EVENTS: TableForm = TableForm {
    name: "watch_events",
    about: "What the watcher of the budget has to know again when its state is lost",
    schema: include_str!("../../../monitoring/schemas/watch_events.json"),
    partition: "DAY",
    field: "happened_at",
    clustering: &["budget_id", "kind"],
};

/// What tenants used.
pub const USAGE: TableForm = TableForm {
    name: "usage",
    about: "What tenants used, by operation",
    schema: include_str!("../../../monitoring/schemas/usage.json"),
    partition: "DAY",
    field: "window_start",
    clustering: &["tenant", "operation"],
};

/// Prices, and since when each holds.
pub const PRICES: TableForm = TableForm {
    name: "prices",
    about: "What a unit of each resource costs, and since when",
    schema: include_str!("../../../monitoring/schemas/prices.json"),
    partition: "MONTH",
    field: "effective_from",
    clustering: &["component", "sku"],
};

/// All of them.
pub const ALL: [TableForm; 4] = [ALERTS, WATCH_EVENTS, USAGE, PRICES];
