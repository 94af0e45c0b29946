//! What a month of a deployment costs: an estimate from list prices, to see its order before the first invoice.
//!
//! The prices are list prices of us-central1 in US dollars without discounts, noted in 2026-11 from Google's public price
//! lists and rounded; they change, and other regions differ. What is really paid is in the billing export
//! (docs/deploy.md). Requests, traffic, logs and the queries of BigQuery depend on use and are left out.

use serde::Serialize;

use super::Environment;

const HOURS: f64 = 730.0;
/// An AlloyDB node is billed by its processors and memory; it has 8 GiB for each processor.
const ALLOYDB_VCPU_HOUR: f64 = 0.066;
const ALLOYDB_GIB_HOUR: f64 = 0.0112;
const ALLOYDB_STORAGE_GIB_MONTH: f64 = 0.30;
const MEMORYSTORE_NODE_HOUR: [(&str, f64); 3] =
    [("shared-core-nano", 0.035), ("standard-small", 0.12), ("highmem-medium", 0.22)];
const CLOUD_RUN_VCPU_SECOND: f64 = 0.000_018;
const CLOUD_RUN_GIB_SECOND: f64 = 0.000_002;
const PRIVATE_ENDPOINT_HOUR: f64 = 0.01;
const SECRET_VERSION_MONTH: f64 = 0.06;

/// A line of the estimate.
#[derive(Debug, Serialize)]
pub struct Item {
    /// What is paid for.
    pub what: String,
    /// US dollars a month.
    pub usd: f64,
}

/// How large a deployment is, as terraform/envs has it.
struct Size {
    /// AlloyDB nodes and the processors of each: the primary, with its standby where it has one, then the read pool.
    alloydb: [(u32, u32); 2],
    storage_gib: u32,
    /// Memorystore's node type by its place in the prices, and the number of nodes, replicas included.
    memorystore: (usize, u32),
    /// Instances of the API that are always there, of 2 processors and 2 GiB.
    instances: u32,
}

impl Size {
    fn of(environment: Environment) -> Self {
        match environment {
            Environment::Dev => Self { alloydb: [(1, 2), (1, 2)], storage_gib: 10, memorystore: (0, 1), instances: 0 },
            Environment::Staging => {
                Self { alloydb: [(2, 2), (3, 2)], storage_gib: 50, memorystore: (1, 2), instances: 1 }
            }
            Environment::Prod => {
                Self { alloydb: [(2, 4), (3, 4)], storage_gib: 200, memorystore: (2, 3), instances: 2 }
            }
        }
    }
}

/// The estimate for an environment.
pub fn estimate(environment: Environment) -> Vec<Item> {
    let size = Size::of(environment);
    let node = |vcpus: u32| f64::from(vcpus) * (ALLOYDB_VCPU_HOUR + 8.0 * ALLOYDB_GIB_HOUR) * HOURS;
    let [(primaries, primary), (readers, reader)] = size.alloydb;
    let (kind, nodes) = (MEMORYSTORE_NODE_HOUR[size.memorystore.0], size.memorystore.1);
    let instance = (2.0 * CLOUD_RUN_VCPU_SECOND + 2.0 * CLOUD_RUN_GIB_SECOND) * HOURS * 3600.0;
    let item = |what: String, usd: f64| Item { what, usd: (usd * 100.0).round() / 100.0 };
    vec![
        item(format!("AlloyDB primary: {primaries} x {primary} vCPU"), f64::from(primaries) * node(primary)),
        item(format!("AlloyDB read pool: {readers} x {reader} vCPU"), f64::from(readers) * node(reader)),
        item(
            format!("AlloyDB storage: {} GiB", size.storage_gib),
            f64::from(size.storage_gib) * ALLOYDB_STORAGE_GIB_MONTH,
        ),
        item(format!("Memorystore: {nodes} x {}", kind.0), f64::from(nodes) * kind.1 * HOURS),
        item(
            format!("Cloud Run: {} instances that are always there", size.instances),
            f64::from(size.instances) * instance,
        ),
        item("private endpoints: 2".into(), 2.0 * PRIVATE_ENDPOINT_HOUR * HOURS),
        item("secrets: 4 versions".into(), 4.0 * SECRET_VERSION_MONTH),
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
    fn production_costs_more_than_a_trial_and_the_sum_is_that_of_the_lines() {
        let sum = |environment| estimate(environment).iter().map(|item| item.usd).sum::<f64>();
        let [dev, staging, prod] = [Environment::Dev, Environment::Staging, Environment::Prod].map(sum);
        assert!(dev < staging && staging < prod, "{dev} {staging} {prod}");
        let last = lines(&estimate(Environment::Prod)).into_iter().rev().nth(1).unwrap();
        assert!(last.ends_with(&format!("{prod:.2}")), "{last}");
        assert!(lines(&[]).is_empty());
    }
}
