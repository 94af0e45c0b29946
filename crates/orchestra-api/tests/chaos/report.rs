//! What a campaign was and what it found, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::campaign::Campaign;
use crate::model::{Kind, Violation};
use crate::stats::Counted;

/// As many violations are shown in the table.
const SHOWN: usize = 20;

#[derive(Debug, Serialize)]
pub struct Report {
    pub seed: u64,
    /// How long the load lasted.
    pub seconds: f64,
    #[serde(flatten)]
    pub counted: Counted,
    /// Failures by part and way.
    pub faults: BTreeMap<String, u64>,
    /// Memories that were written, and those of them that were forgotten.
    pub memories: usize,
    pub forgotten: usize,
    /// Hits on outdated answers that nobody had promised to be gone yet.
    pub late_answers: usize,
    pub found: BTreeMap<Kind, usize>,
    pub violations: Vec<Violation>,
}

impl Report {
    pub fn new(campaign: &Campaign, seconds: f64, faults: BTreeMap<String, u64>) -> Self {
        let model = campaign.model();
        let mut found: BTreeMap<Kind, usize> = Kind::ALL.into_iter().map(|kind| (kind, 0)).collect();
        for violation in model.violations() {
            *found.entry(violation.kind).or_default() += 1;
        }
        let names: Vec<_> = (0..crate::name::TENANTS.len()).flat_map(|tenant| model.names(tenant)).collect();
        Self {
            seed: campaign.seed,
            seconds,
            counted: campaign.client.stats.counted(),
            faults,
            memories: names.len(),
            forgotten: names.iter().filter(|&&name| model.is_forgotten(name)).count(),
            late_answers: model.late_answers(),
            found,
            violations: model.violations().to_vec(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counted { requests, failures, degraded, writes, reads } = &self.counted;
        writeln!(f, "seed {}, {:.0} s of load", self.seed, self.seconds)?;
        writeln!(f, "\n{:<16}{:>9}{:>9}{:>10}", "requests", "done", "refused", "in doubt")?;
        for (kind, count) in requests {
            writeln!(f, "{kind:<16}{:>9}{:>9}{:>10}", count.done, count.refused, count.in_doubt)?;
        }
        write_counts(f, "failures", failures)?;
        write_counts(f, "degraded", degraded)?;
        write_counts(f, "faults", &self.faults)?;
        writeln!(f, "\n{:<30}{:>9}", "memories written", self.memories)?;
        writeln!(f, "{:<30}{:>9}", "of these forgotten", self.forgotten)?;
        writeln!(f, "{:<30}{:>9}", "outdated answers, late", self.late_answers)?;
        writeln!(f, "{:<30}{:>8.1}s", "longest without a write", writes.longest)?;
        writeln!(f, "{:<30}{:>8.1}s", "longest without a read", reads.longest)?;
        writeln!(f, "\nviolations")?;
        for (kind, count) in &self.found {
            writeln!(f, "{:<30}{count:>9}", kind.to_string())?;
        }
        for violation in self.violations.iter().take(SHOWN) {
            write!(f, "\n{}: {}", violation.kind, violation.sighting)?;
        }
        Ok(())
    }
}

fn write_counts(f: &mut fmt::Formatter<'_>, title: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
    writeln!(f, "\n{title}")?;
    counts.iter().try_for_each(|(name, count)| writeln!(f, "{name:<30}{count:>9}"))
}
