//! A dataset of a test's own, in the emulator that the tests share.

use std::sync::atomic::{AtomicU32, Ordering};

use cost_monitor::warehouse::{Place, Warehouse};
use memory_testkit::services::{self, Service};

pub const PROJECT: &str = "test-project";

/// An empty one; none where there is no emulator, which was said.
pub async fn dataset(name: &str) -> Option<Warehouse> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    // The emulator may have to be installed first.
    let url = tokio::task::spawn_blocking(|| services::url(Service::BigQuery)).await.unwrap()?;
    let dataset = format!("{name}_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let warehouse = Warehouse::connect(Place::new(PROJECT, &dataset, "US").unwrap(), Some(&url)).await.unwrap();
    warehouse.ensure_dataset().await.unwrap();
    Some(warehouse)
}
