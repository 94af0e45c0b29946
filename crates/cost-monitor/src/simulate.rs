//! A billing export, usage and prices as they could be, for demonstrations and tests: the same for the same seed.
//!
//! It has what makes real exports awkward: lines without labels, lines of other systems and of no project, credits, days
//! that begin in California, corrections on a later invoice, lines below a millionth, and a day that stands out.

mod catalogue;

use chrono::{DateTime, Datelike, Days, Duration, NaiveDate, Utc};
use memory_core::usage::Usage;

use crate::billing::{Amount, Credit, Described, ExportLine, Invoice, Label, Location, Project, Resource};
use crate::money::Micros;
use crate::price::{FALSE_HIT, MODEL_TOKEN, Price};
use crate::usage::UsageRow;
use catalogue::{OPERATIONS, Owner, SKUS, Sku};

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// The memory's project.
    pub project: String,
    /// The first day.
    pub first: NaiveDate,
    /// How many days.
    pub days: u32,
    /// Lines of the export on each day; at least one for each SKU.
    pub lines_per_day: u32,
    /// How many tenants there are.
    pub tenants: u32,
    /// Another seed, other figures.
    pub seed: u64,
}

/// On this day, counted from the first, much more is embedded than on others.
const UNUSUAL_DAY: u32 = 40;

impl Simulation {
    /// The lines of a day, counted from the first.
    #[must_use]
    pub fn lines(&self, day: u32) -> Vec<ExportLine> {
        let mut random = Random(self.seed ^ (u64::from(day) << 32) ^ 0x5bd1_e995);
        let date = self.first + Days::new(u64::from(day));
        (0..self.lines_per_day)
            .map(|number| {
                let sku = &SKUS[usize::try_from(number).unwrap_or(0) % SKUS.len()];
                self.line(sku, day, date, &mut random)
            })
            .collect()
    }

    fn line(&self, sku: &Sku, day: u32, date: NaiveDate, random: &mut Random) -> ExportLine {
        let began =
            date.and_hms_opt(0, 0, 0).unwrap_or_default().and_utc() + Duration::hours(random.below(24).cast_signed());
        let unusual = if sku.label == Some("embedding") && day == UNUSUAL_DAY { 4 } else { 1 };
        // Between a half and one and a half times what is usual, and spread over the day's lines of the SKU.
        let nanos = sku.nanos_per_day * unusual * (500 + random.below(1001)) / 1000;
        let nanos = nanos * SKUS.len() as u64 / u64::from(self.lines_per_day.max(1));
        let credits = sku.credit.filter(|_| random.below(3) == 0).map(|(kind, name, percent)| Credit {
            name,
            amount: -units(nanos * percent / 100),
            kind,
        });
        let mut labels: Vec<Label> = sku.label.iter().map(|value| Label { key: "component", value }).collect();
        labels.extend(sku.system.map(|value| Label { key: "system", value }));
        labels.push(Label { key: "environment", value: if random.below(10) == 0 { "staging" } else { "prod" } });
        let project = |id: &str, number| Some(Project { id: id.to_owned(), number, name: id.to_owned() });
        let project = match sku.owner {
            Owner::Memory => project(&self.project, "123456789012"),
            Owner::Another => project("another-project", "210987654321"),
            Owner::Account => None,
        };
        // California is eight hours behind here in winter; summer time moves a line to another day, not to another month
        // but in its first hour, as in a real export.
        let usual = (began - Duration::hours(8)).date_naive();
        // A few lines come with the invoice of the next month; none with one that has not begun.
        let late = Some(date + Days::new(20)).filter(|_| random.below(400) == 0);
        let invoice = late.filter(|late| *late < self.first + Days::new(u64::from(self.days))).unwrap_or(usual);
        ExportLine {
            billing_account_id: "01AAAA-BBBBBB-CCCCCC",
            service: Described { id: sku.service_id, description: sku.service },
            sku: Described { id: sku.id, description: sku.description },
            usage_start_time: began,
            usage_end_time: began + Duration::hours(1),
            project,
            labels,
            location: Location { region: "europe-west4" },
            export_time: began + Duration::hours(3 + random.below(30).cast_signed()),
            cost: units(nanos),
            currency: "USD",
            usage: Amount {
                amount: units(nanos) * 3600.0,
                unit: "seconds",
                amount_in_pricing_units: units(nanos * 1_000_000_000 / sku.nanos_per_unit),
                pricing_unit: sku.unit,
            },
            credits: credits.into_iter().collect(),
            invoice: Invoice { month: format!("{}{:02}", invoice.year(), invoice.month()) },
            cost_type: if sku.owner == Owner::Account { "tax" } else { "regular" },
            resource: Resource { name: sku.resource },
        }
    }

    /// The usage of a day, counted from the first, in windows of six hours.
    #[must_use]
    pub fn usage(&self, day: u32) -> Vec<UsageRow> {
        let mut random = Random(self.seed ^ (u64::from(day) << 32) ^ 0x9e37_79b9);
        let date = self.first + Days::new(u64::from(day));
        let midnight = date.and_hms_opt(0, 0, 0).unwrap_or_default().and_utc();
        let mut rows = Vec::new();
        for window in 0..4 {
            let window_start = midnight + Duration::hours(6 * window);
            for tenant in 0..self.tenants {
                // A few large tenants and many small ones, as there are.
                let size = 2000 / u64::from(tenant + 1);
                for (place, operation) in OPERATIONS.iter().enumerate() {
                    let operations = size * operation.often / 10 + random.below(50);
                    rows.push(UsageRow {
                        window_start,
                        window_end: window_start + Duration::hours(6),
                        event_id: format!("{}-{day}-{window}-{tenant}-{place}", self.seed),
                        tenant: format!("tenant-{tenant:02}"),
                        operation: operation.name.to_owned(),
                        usage: operation.usage(operations, &mut random),
                    });
                }
            }
        }
        rows
    }

    /// Prices: those of the first day, and a cheaper model from the middle on.
    #[must_use]
    pub fn prices(&self) -> Vec<Price> {
        let at = |day: u32| -> DateTime<Utc> {
            (self.first + Days::new(u64::from(day))).and_hms_opt(0, 0, 0).unwrap_or_default().and_utc()
        };
        let price = |effective_from, sku: &str, unit: &str, per, micros| Price {
            effective_from,
            sku: sku.to_owned(),
            component: "model".to_owned(),
            unit: unit.to_owned(),
            per,
            price_micros: Micros(micros),
            currency_code: "USD".to_owned(),
            source: "simulated".to_owned(),
        };
        vec![
            price(at(0), MODEL_TOKEN, "token", 1_000_000, 3_000_000),
            price(at(self.days / 2), MODEL_TOKEN, "token", 1_000_000, 2_400_000),
            price(at(0), FALSE_HIT, "answer", 1, 20_000),
        ]
    }
}

/// Units of the currency, as near as a double comes.
fn units(nanos: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a line costs less than nine million")]
    let nanos = nanos as f64;
    nanos / 1e9
}

/// SplitMix64: small, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

impl catalogue::Operation {
    /// What so many operations use.
    fn usage(&self, operations: u64, random: &mut Random) -> Usage {
        let mut usage = Usage {
            operations,
            failures: operations / 200,
            bytes_in: operations * (200 + random.below(100)),
            bytes_out: operations * (900 + random.below(400)),
            ..Usage::default()
        };
        if self.embeds {
            usage.embedded_texts = operations;
            usage.embedded_tokens = operations * (20 + random.below(30));
        }
        if self.looks_up {
            usage.exact_hits = operations * 3 / 10;
            usage.semantic_hits = operations * (5 + random.below(10)) / 100;
            usage.misses = operations - usage.exact_hits - usage.semantic_hits;
            usage.saved_tokens = (usage.exact_hits + usage.semantic_hits) * (300 + random.below(200));
        }
        if self.is_feedback {
            usage.false_hits = random.below(3);
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_lines_whatever_was_asked_for_before() {
        let simulation = Simulation {
            project: "p".into(),
            first: NaiveDate::from_ymd_opt(2026, 1, 1).unwrap(),
            days: 60,
            lines_per_day: 100,
            tenants: 3,
            seed: 7,
        };
        let later = simulation.lines(9);
        let _ = simulation.lines(8);
        assert_eq!(simulation.lines(9), later);
        assert_ne!(Simulation { seed: 8, ..simulation.clone() }.lines(9), later);
        assert_eq!(simulation.usage(3), simulation.usage(3));
        let cost = |day| simulation.lines(day).iter().map(|line| line.cost).sum::<f64>();
        assert!(cost(UNUSUAL_DAY) > cost(UNUSUAL_DAY - 1) * 1.1);
    }
}
