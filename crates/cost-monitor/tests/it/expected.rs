//! What the views are to show, calculated from the same lines in another way: decimal digits, not doubles; maps, not SQL.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Duration, NaiveDate, TimeZone, Utc, Weekday};
use cost_monitor::allocation::{round_together, share_out};
use cost_monitor::billing::ExportLine;
use cost_monitor::money::Micros;
use cost_monitor::price::{FALSE_HIT, MODEL_TOKEN, Price, price_at};
use cost_monitor::usage::UsageRow;

/// Billionths, by the decimal digits of the number.
pub fn nanos(units: f64) -> i128 {
    let text = format!("{:.12}", units.abs());
    let (whole, fraction) = text.split_once('.').unwrap();
    let nanos = whole.parse::<i128>().unwrap() * 1_000_000_000 + fraction[..9].parse::<i128>().unwrap();
    let nanos = nanos + i128::from(fraction.as_bytes()[9] >= b'5');
    if units < 0.0 { -nanos } else { nanos }
}

/// The day in California.
pub fn day(at: DateTime<Utc>) -> NaiveDate {
    let sunday = |month, number| {
        let date = NaiveDate::from_weekday_of_month_opt(at.year(), month, Weekday::Sun, number).unwrap();
        Utc.from_utc_datetime(&date.and_hms_opt(if month == 3 { 10 } else { 9 }, 0, 0).unwrap())
    };
    let is_summer = (sunday(3, 2)..sunday(11, 1)).contains(&at);
    (at - Duration::hours(if is_summer { 7 } else { 8 })).date_naive()
}

fn month(day: NaiveDate) -> String {
    day.format("%Y%m").to_string()
}

fn component(line: &ExportLine) -> &'static str {
    let label = line.labels.iter().find(|label| label.key == "component").map(|label| label.value);
    match label.unwrap_or(line.service.description) {
        "redis" | "semantic-cache" | "Memorystore" => "redis",
        "alloydb" | "vector-store" | "AlloyDB" => "alloydb",
        "api" | "Cloud Run" => "api",
        "embedding" | "Vertex AI" => "embedding",
        "bigquery" | "BigQuery" => "bigquery",
        "network" | "Networking" => "network",
        _ => "other",
    }
}

fn is_the_memorys(line: &ExportLine, project: &str) -> bool {
    match line.labels.iter().find(|label| label.key == "system") {
        Some(system) => system.value == "orchestra-memory",
        None => line.project.as_ref().is_some_and(|of| of.id == project),
    }
}

#[derive(Default, Clone, Copy)]
struct Sums {
    gross: i128,
    credit: i128,
    lines: u64,
    /// Of a SKU, in billionths of its unit.
    amount: i128,
}

impl Sums {
    fn net(self) -> i128 {
        self.gross + self.credit
    }

    fn micros(self) -> [i64; 3] {
        [self.gross, self.credit, self.net()].map(|nanos| Micros::from_nanos(nanos).0)
    }
}

/// Sums of everything that some view groups by.
#[derive(Default)]
pub struct Bill {
    daily: BTreeMap<(NaiveDate, &'static str), Sums>,
    monthly: BTreeMap<(String, &'static str), Sums>,
    whole: BTreeMap<(String, &'static str, NaiveDate), i128>,
    sku: BTreeMap<(NaiveDate, &'static str), Sums>,
    label: BTreeMap<(NaiveDate, &'static str, &'static str), i128>,
    credit: BTreeMap<(String, &'static str, &'static str), i128>,
    used: BTreeMap<(String, String), Used>,
    saved: BTreeMap<(String, String, i64), Used>,
    pub lines: usize,
    pub of_the_memory: usize,
}

#[derive(Default)]
struct Used {
    all: u64,
    cache: u64,
    store: u64,
    tokens: u64,
    bytes: u64,
    recalls: u64,
    hits: u64,
    false_hits: u64,
    saved_tokens: u64,
    wrong: i64,
}

impl Bill {
    pub fn add_lines(&mut self, lines: &[ExportLine], project: &str) {
        self.lines += lines.len();
        for line in lines.iter().filter(|line| is_the_memorys(line, project)) {
            self.of_the_memory += 1;
            let (day, component, invoice) = (day(line.usage_start_time), component(line), line.invoice.month.clone());
            let gross = nanos(line.cost);
            let credit: i128 = line.credits.iter().map(|credit| nanos(credit.amount)).sum();
            let add = |sums: &mut Sums| {
                sums.gross += gross;
                sums.credit += credit;
                sums.lines += 1;
            };
            add(self.daily.entry((day, component)).or_default());
            add(self.monthly.entry((invoice.clone(), component)).or_default());
            let sku = self.sku.entry((day, line.sku.id)).or_default();
            add(sku);
            sku.amount += nanos(line.usage.amount_in_pricing_units);
            *self.whole.entry((invoice.clone(), component, day)).or_default() += gross + credit;
            for label in &line.labels {
                *self.label.entry((day, label.key, label.value)).or_default() += gross + credit;
            }
            for credit in &line.credits {
                *self.credit.entry((invoice.clone(), component, credit.kind)).or_default() += nanos(credit.amount);
            }
        }
    }

    pub fn add_usage(&mut self, rows: &[UsageRow], prices: &[Price]) {
        for row in rows {
            let month = month(day(row.window_start));
            let price = price_at(prices, MODEL_TOKEN, "USD", row.window_start).unwrap().price_micros.0;
            let wrong = price_at(prices, FALSE_HIT, "USD", row.window_start).unwrap().price_micros.0;
            let (usage, operation) = (&row.usage, row.operation.as_str());
            let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| operation.starts_with(prefix));
            let add = |used: &mut Used| {
                used.all += usage.operations;
                if starts(&["cache.", "working."]) || operation == "ask" {
                    used.cache += usage.operations;
                }
                if starts(&["memories.", "messages."]) || ["ask", "consolidate"].contains(&operation) {
                    used.store += usage.operations;
                }
                if ["memories.search", "ask"].contains(&operation) {
                    used.recalls += usage.operations - usage.failures;
                }
                used.tokens += usage.embedded_tokens;
                used.bytes += usage.bytes_in + usage.bytes_out;
                used.hits += usage.exact_hits + usage.semantic_hits;
                used.saved_tokens += usage.saved_tokens;
                used.false_hits += usage.false_hits;
                used.wrong += wrong * i64::try_from(usage.false_hits).unwrap();
            };
            add(self.used.entry((month.clone(), row.tenant.clone())).or_default());
            add(self.saved.entry((month, row.tenant.clone(), price)).or_default());
        }
    }

    pub fn daily(&self) -> Vec<String> {
        let shown =
            |((day, component), sums): (&(NaiveDate, &str), &Sums)| format!("{day} {component} {:?}", sums.micros());
        self.daily.iter().map(shown).collect()
    }

    pub fn by_sku(&self) -> Vec<String> {
        let shown =
            |((day, sku), sums): (&(NaiveDate, &str), &Sums)| format!("{day} {sku} {} {:?}", sums.lines, sums.micros());
        self.sku.iter().map(shown).collect()
    }

    /// How much of a SKU was used on each day, in billionths of its unit.
    pub fn amounts(&self) -> BTreeMap<(NaiveDate, &str), i128> {
        self.sku.iter().map(|(&place, sums)| (place, sums.amount)).collect()
    }

    pub fn by_label(&self) -> Vec<String> {
        let net = self.label.iter();
        net.map(|((day, key, value), net)| format!("{day} {key} {value} {}", Micros::from_nanos(*net).0)).collect()
    }

    pub fn credits(&self) -> Vec<String> {
        let credits = self.credit.iter();
        credits
            .map(|((month, part, kind), sum)| format!("{month} {part} {kind} {}", Micros::from_nanos(*sum).0))
            .collect()
    }

    pub fn newest_day(&self) -> NaiveDate {
        self.daily.keys().map(|(day, _)| *day).max().unwrap()
    }

    pub fn monthly(&self) -> Vec<String> {
        let newest = self.newest_day();
        let days = i128::from(newest.num_days_in_month());
        let shown = |((month, component), sums): (&(String, &'static str), &Sums)| {
            let is_open = *month == self::month(newest);
            let whole =
                self.whole.iter().filter(|((of, part, day), _)| of == month && part == component && *day < newest);
            let whole: i128 = whole.map(|(_, net)| net).sum();
            let forecast = match (is_open, newest.day()) {
                (false, _) => Some(sums.micros()[2]),
                (true, 1) => None,
                (true, day) => Some(i64::try_from(whole / 1000 * days / i128::from(day - 1)).unwrap()),
            };
            format!("{month} {component} {is_open} {:?} {forecast:?}", sums.micros())
        };
        self.monthly.iter().map(shown).collect()
    }

    pub fn anomalies(&self) -> Vec<String> {
        let shown = |((day, component), sums): (&(NaiveDate, &'static str), &Sums)| {
            let before: Vec<i128> = (1..=14)
                .filter_map(|back| self.daily.get(&(*day - Duration::days(back), *component)).map(|sums| sums.net()))
                .collect();
            let (count, sum) = (i128::try_from(before.len()).unwrap(), before.iter().sum::<i128>());
            (count >= 7).then(|| {
                let stands_out = 2 * sums.net() * count > 3 * sum && sums.net() - sum / count >= 1_000_000_000;
                format!("{day} {component} {} {} {count} {stands_out}", sums.micros()[2], sum / count / 1000)
            })
        };
        self.daily.iter().filter_map(shown).collect()
    }

    fn months(&self) -> BTreeSet<&String> {
        self.monthly.keys().map(|(month, _)| month).collect()
    }

    /// The invoice of each month, to the millionth.
    pub fn invoices(&self) -> Vec<(String, i64)> {
        let net =
            |month: &&String| self.monthly.iter().filter(|((of, _), _)| of == *month).map(|(_, sums)| sums.net()).sum();
        self.months().iter().map(|month| ((*month).clone(), Micros::from_nanos(net(month)).0)).collect()
    }

    pub fn by_tenant(&self) -> Vec<String> {
        let mut shown = Vec::new();
        for month in self.months() {
            let parts: Vec<_> = self.monthly.iter().filter(|((of, _), _)| of == month).collect();
            let nanos: Vec<i128> = parts.iter().map(|(_, sums)| sums.net()).collect();
            for (((_, part), _), amount) in parts.iter().zip(round_together(&nanos)) {
                let used: Vec<_> = self.used.iter().filter(|((of, _), _)| of == month).collect();
                let weight = |used: &Used| match *part {
                    "redis" => used.cache,
                    "alloydb" => used.store,
                    "embedding" => used.tokens,
                    "network" => used.bytes,
                    _ => used.all,
                };
                let weights: Vec<u64> = used.iter().map(|(_, used)| weight(used)).collect();
                match share_out(amount, &weights) {
                    None => shown.push(format!("{month} {part} None {}", amount.0)),
                    Some(shares) => shown.extend(
                        used.iter()
                            .zip(shares)
                            .map(|(((_, tenant), _), share)| format!("{month} {part} {:?} {}", Some(tenant), share.0)),
                    ),
                }
            }
        }
        shown
    }

    pub fn unit_costs(&self) -> Vec<String> {
        let shown = |month: &String| {
            let of = self.monthly.iter().filter(|((of, _), _)| of == month);
            let net: i128 = of.clone().map(|(_, sums)| sums.net()).sum();
            let cache: i128 = of.filter(|((_, part), _)| *part == "redis").map(|(_, sums)| sums.net()).sum();
            let used = || self.used.iter().filter(|((of, _), _)| of == month);
            let recalls = i128::from(used().map(|(_, used)| used.recalls).sum::<u64>());
            let hits = i128::from(used().map(|(_, used)| used.hits).sum::<u64>());
            let per = |nanos: i128, count: i128| (count > 0).then(|| nanos / count);
            let [net_micros, cache_micros] = [net, cache].map(|nanos| Micros::from_nanos(nanos).0);
            let per_hit = per(cache, hits).map(|nanos| nanos / 1000);
            format!("{month} {net_micros} {cache_micros} {recalls} {hits} {:?} {per_hit:?}", per(net, recalls))
        };
        self.months().into_iter().map(shown).collect()
    }

    pub fn savings(&self) -> Vec<String> {
        let mut sums: BTreeMap<(&str, &str), [i64; 5]> = BTreeMap::new();
        for ((month, tenant, price), used) in &self.saved {
            let [hits, wrong, tokens] =
                [used.hits, used.false_hits, used.saved_tokens].map(|count| i64::try_from(count).unwrap());
            let void = if hits == 0 { 0 } else { tokens / hits * wrong * price / 1_000_000 };
            let sum = sums.entry((month, tenant)).or_default();
            for (sum, more) in sum.iter_mut().zip([hits, wrong, tokens, tokens * price / 1_000_000, void + used.wrong])
            {
                *sum += more;
            }
        }
        let shown = |((month, tenant), [hits, wrong, tokens, gross, lost]): (&(&str, &str), &[i64; 5])| {
            format!("{month} {tenant} {hits} {wrong} {tokens} {gross} {lost} {}", gross - lost)
        };
        sums.iter().map(shown).collect()
    }
}
