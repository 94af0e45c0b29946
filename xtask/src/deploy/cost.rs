//! What a month of a deployment costs: an estimate from list prices, to see its order before the first invoice.
//!
//! The prices are about those of us-central1 in US dollars without discounts, rounded; they change, other regions differ, and
//! Google's pricing calculator has those of today. What is really paid is in the billing export
//! (docs/deploy.md). Requests, traffic, logs and the queries of BigQuery depend on use and are left out.

use std::fs;

use serde::Serialize;

use crate::process::root;

const HOURS: f64 = 730.0;
/// An AlloyDB node is billed by its processors and memory; it has 8 GiB for each processor.
const ALLOYDB_VCPU_HOUR: f64 = 0.066;
const ALLOYDB_GIB_HOUR: f64 = 0.0112;
const ALLOYDB_STORAGE_GIB_MONTH: f64 = 0.30;
const MEMORYSTORE_NODE_HOUR: [(&str, f64); 3] =
    [("SHARED_CORE_NANO", 0.035), ("STANDARD_SMALL", 0.12), ("HIGHMEM_MEDIUM", 0.22)];
const CLOUD_RUN_VCPU_SECOND: f64 = 0.000_018;
const CLOUD_RUN_GIB_SECOND: f64 = 0.000_002;
const PRIVATE_ENDPOINT_HOUR: f64 = 0.01;
/// What is stored is unknown beforehand.
const STORAGE_GIB: f64 = 50.0;

/// A line of the estimate.
#[derive(Debug, Serialize)]
pub struct Item {
    /// What is paid for.
    pub what: String,
    /// US dollars a month.
    pub usd: f64,
}

/// The estimate for the sizes of a root module; nothing where it has none.
pub fn estimate(root_module: &str) -> Vec<Item> {
    let file = root().join(root_module).join("sizes.tf");
    fs::read_to_string(file).map_or_else(|_| Vec::new(), |sizes| of_sizes(&sizes))
}

fn of_sizes(sizes: &str) -> Vec<Item> {
    let text = |name: &str| {
        let line = sizes.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='));
        line.unwrap_or_default().trim().trim_matches('"').to_owned()
    };
    let number = |name: &str| text(name).trim_end_matches("Gi").parse::<f64>().unwrap_or(0.0);
    let primaries = if text("availability_type") == "REGIONAL" { 2.0 } else { 1.0 };
    let (readers, reader) = (number("read_node_count"), number("read_cpu_count"));
    let node = |vcpus: f64| vcpus * (ALLOYDB_VCPU_HOUR + 8.0 * ALLOYDB_GIB_HOUR) * HOURS;
    let nodes = number("shard_count") * (1.0 + number("replica_count"));
    let kind = text("node_type");
    let price = MEMORYSTORE_NODE_HOUR.iter().find(|(name, _)| *name == kind).map_or(f64::NAN, |(_, price)| *price);
    let instances = number("min_instances");
    let instance = number("cpu") * CLOUD_RUN_VCPU_SECOND + number("memory") * CLOUD_RUN_GIB_SECOND;
    let item = |what: String, usd: f64| Item { what, usd: (usd * 100.0).round() / 100.0 };
    vec![
        item(
            format!("AlloyDB primary: {primaries} x {} vCPU", number("cpu_count")),
            primaries * node(number("cpu_count")),
        ),
        item(format!("AlloyDB read pool: {readers} x {reader} vCPU"), readers * node(reader)),
        item(format!("AlloyDB storage: {STORAGE_GIB} GiB"), STORAGE_GIB * ALLOYDB_STORAGE_GIB_MONTH),
        item(format!("Memorystore: {nodes} x {kind}"), nodes * price * HOURS),
        item(format!("Cloud Run: {instances} instances that are always there"), instances * instance * HOURS * 3600.0),
        item("private endpoints: 2".into(), 2.0 * PRIVATE_ENDPOINT_HOUR * HOURS),
    ]
}

/// The estimate as a table with its sum; nothing for an empty one.
pub fn lines(items: &[Item]) -> Vec<String> {
    if items.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![["estimated monthly cost".to_owned(), "USD".to_owned()]];
    rows.extend(items.iter().map(|item| [item.what.clone(), format!("{:>9.2}", item.usd)]));
    let sum: f64 = items.iter().map(|item| item.usd).sum();
    rows.push(["sum, without requests and traffic".into(), format!("{sum:>9.2}")]);
    let mut lines = vec![String::new()];
    lines.extend(crate::table::lines(&rows));
    lines.push("An estimate from list prices of 2026-11, us-central1; the invoice says what is paid.".into());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_estimated_is_what_the_sizes_say() {
        let sizes = |availability: &str, readers: u32| {
            format!(
                "redis = {{\n  node_type = \"HIGHMEM_MEDIUM\"\n  shard_count = 1\n  replica_count = 2\n}}\nalloydb = {{\n  \
                 availability_type = \"{availability}\"\n  cpu_count = 4\n  read_cpu_count = 2\n  read_node_count = \
                 {readers}\n}}\napi = {{\n  min_instances = 2\n  cpu = \"2\"\n  memory = \"2Gi\"\n}}"
            )
        };
        let items = of_sizes(&sizes("REGIONAL", 3));
        let usd: Vec<f64> = items.iter().map(|item| item.usd).collect();
        assert_eq!(items[0].what, "AlloyDB primary: 2 x 4 vCPU");
        assert_eq!(usd[0], of_sizes(&sizes("ZONAL", 3))[0].usd * 2.0);
        assert_eq!(items[3].what, "Memorystore: 3 x HIGHMEM_MEDIUM");
        assert!(usd.iter().all(|usd| *usd > 0.0), "{usd:?}");
        let last = lines(&items).into_iter().rev().nth(1).unwrap();
        assert!(last.ends_with(&format!("{:.2}", usd.iter().sum::<f64>())), "{last}");
        assert!(lines(&[]).is_empty());
    }
}
