//! What the memory costs, read from the views and shown: in a terminal, as a page, as JSON, as CSV.

mod html;
mod terminal;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::money::Micros;
use crate::warehouse::{Result, Warehouse};

pub use terminal::{explained, forecast, sparkline, table};

/// Everything that a report shows, of one currency.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The currency of every amount.
    pub currency: String,
    /// The newest day of the export.
    pub newest_day: Option<NaiveDate>,
    /// What each component cost on each day, oldest first.
    pub daily: Vec<Day>,
    /// What each component cost in each month, and will have cost in the newest.
    pub monthly: Vec<Month>,
    /// Days that stand out, oldest first.
    pub anomalies: Vec<Anomaly>,
    /// Credits of each month.
    pub credits: Vec<Credit>,
    /// What each tenant's use cost in each month, dearest first.
    pub tenants: Vec<Tenant>,
    /// What a recall and a hit cost in each month.
    pub unit_costs: Vec<UnitCost>,
    /// What the cache spared in each month, less its false hits.
    pub savings: Vec<Saving>,
    /// The SKUs of the newest month, dearest first.
    pub skus: Vec<Sku>,
}

/// A row of `cost_daily`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the view says what its columns are")]
pub struct Day {
    pub usage_day: NaiveDate,
    pub component: String,
    pub gross_micros: Micros,
    pub credit_micros: Micros,
    pub net_micros: Micros,
}

/// A row of `cost_monthly`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the view says what its columns are")]
pub struct Month {
    pub invoice_month: String,
    pub component: String,
    pub is_open: bool,
    pub gross_micros: Micros,
    pub credit_micros: Micros,
    pub net_micros: Micros,
    pub forecast_micros: Option<Micros>,
}

/// A row of `anomalies`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the view says what its columns are")]
pub struct Anomaly {
    pub usage_day: NaiveDate,
    pub component: String,
    pub net_micros: Micros,
    pub expected_micros: Micros,
}

/// A row of `credits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the view says what its columns are")]
pub struct Credit {
    pub invoice_month: String,
    pub component: String,
    pub credit_type: String,
    pub credit_name: String,
    pub credit_micros: Micros,
}

/// A tenant's cost in a month, all components together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the view says what its columns are")]
pub struct Tenant {
    pub invoice_month: String,
    pub tenant: Option<String>,
    pub cost_micros: Micros,
}

/// A row of `unit_costs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the view says what its columns are")]
pub struct UnitCost {
    pub invoice_month: String,
    pub net_micros: Micros,
    pub cache_micros: Micros,
    pub recalls: i64,
    pub hits: i64,
    pub per_1000_recalls_micros: Option<Micros>,
    pub per_hit_micros: Option<Micros>,
}

/// What the cache spared in a month, all tenants together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the view says what its columns are")]
pub struct Saving {
    pub invoice_month: String,
    pub hits: i64,
    pub false_hits: i64,
    pub saved_tokens: i64,
    pub gross_micros: Micros,
    pub false_hit_micros: Micros,
    pub net_micros: Micros,
}

/// A SKU in a month.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the view says what its columns are")]
pub struct Sku {
    pub sku_id: String,
    pub sku: String,
    pub service: String,
    pub component: String,
    pub unit: Option<String>,
    pub amount: Option<f64>,
    pub gross_micros: Micros,
    pub credit_micros: Micros,
    pub net_micros: Micros,
}

/// A SKU on a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the view says what its columns are")]
pub struct SkuDay {
    pub usage_day: NaiveDate,
    #[serde(flatten)]
    pub sku: Sku,
    pub line_count: i64,
}

#[derive(Deserialize)]
struct Newest {
    newest: Option<NaiveDate>,
}

impl Report {
    /// Reads the views: the last `days` of the export, and every month that begins in them.
    ///
    /// # Errors
    /// When BigQuery refuses, such as where the views are not made yet.
    pub async fn read(warehouse: &Warehouse, days: u32, currency: &str) -> Result<Self> {
        let view = |name: &str| warehouse.place().table(name);
        // Asked for first: one query over one view is what the emulator is up to, and costs less.
        let sql = format!("SELECT MAX(usage_day) AS newest FROM {} WHERE currency = @currency", view("cost_daily")?);
        let newest: Vec<Newest> = warehouse.query(&sql, &[("currency", currency)]).await?;
        let newest = newest.first().and_then(|row| row.newest).unwrap_or_default();
        let since = newest - chrono::Days::new(u64::from(days.saturating_sub(1)));
        let (since, since_month) = (since.to_string(), since.format("%Y%m").to_string());
        let by_day = [("currency", currency), ("since", &*since)];
        let by_month = [("currency", currency), ("since_month", &*since_month)];
        let daily: Vec<Day> = warehouse
            .query(
                &format!(
                    "SELECT usage_day, component, gross_micros, credit_micros, net_micros FROM {} \
                     WHERE currency = @currency AND usage_day >= CAST(@since AS DATE) ORDER BY usage_day, component",
                    view("cost_daily")?
                ),
                &by_day,
            )
            .await?;
        let months = |columns: &str, name: &str, rest: &str| -> Result<String> {
            Ok(format!(
                "SELECT {columns} FROM {} WHERE currency = @currency AND invoice_month >= @since_month {rest}",
                view(name)?
            ))
        };
        let newest_month = newest.format("%Y%m").to_string();
        Ok(Self {
            currency: currency.to_owned(),
            newest_day: daily.last().map(|day| day.usage_day),
            daily,
            monthly: warehouse
                .query(
                    &months(
                        "invoice_month, component, is_open, gross_micros, credit_micros, net_micros, forecast_micros",
                        "cost_monthly",
                        "ORDER BY invoice_month, component",
                    )?,
                    &by_month,
                )
                .await?,
            anomalies: warehouse
                .query(
                    &format!(
                        "SELECT usage_day, component, net_micros, expected_micros FROM {} \
                         WHERE currency = @currency AND stands_out AND usage_day >= CAST(@since AS DATE) ORDER BY usage_day, component",
                        view("anomalies")?
                    ),
                    &by_day,
                )
                .await?,
            credits: warehouse
                .query(
                    &months(
                        "invoice_month, component, credit_type, credit_name, credit_micros",
                        "credits",
                        "ORDER BY invoice_month, credit_micros, component",
                    )?,
                    &by_month,
                )
                .await?,
            tenants: warehouse
                .query(
                    &months(
                        "invoice_month, tenant, SUM(cost_micros) AS cost_micros",
                        "tenant_cost",
                        "GROUP BY invoice_month, tenant ORDER BY invoice_month, cost_micros DESC, tenant",
                    )?,
                    &by_month,
                )
                .await?,
            unit_costs: warehouse
                .query(
                    &months(
                        "invoice_month, net_micros, cache_micros, recalls, hits, per_1000_recalls_micros, per_hit_micros",
                        "unit_costs",
                        "ORDER BY invoice_month",
                    )?,
                    &by_month,
                )
                .await?,
            savings: warehouse
                .query(
                    &months(
                        "invoice_month, SUM(hits) AS hits, SUM(false_hits) AS false_hits, SUM(saved_tokens) AS saved_tokens, \
                         SUM(gross_micros) AS gross_micros, SUM(false_hit_micros) AS false_hit_micros, \
                         SUM(net_micros) AS net_micros",
                        "savings",
                        "GROUP BY invoice_month ORDER BY invoice_month",
                    )?,
                    &by_month,
                )
                .await?,
            skus: warehouse
                .query(
                    &format!(
                        "SELECT sku_id, sku, service, component, unit, SUM(amount) AS amount, \
                         SUM(gross_micros) AS gross_micros, SUM(credit_micros) AS credit_micros, SUM(net_micros) AS net_micros \
                         FROM {} WHERE currency = @currency AND FORMAT_DATE('%Y%m', usage_day) = @newest_month \
                         GROUP BY sku_id, sku, service, component, unit ORDER BY net_micros DESC, sku_id",
                        view("cost_by_sku")?
                    ),
                    &[("currency", currency), ("newest_month", &*newest_month)],
                )
                .await?,
        })
    }

    /// The components, by their cost in all days.
    #[must_use]
    pub fn components(&self) -> Vec<(&str, Micros)> {
        let mut sums: Vec<(&str, Micros)> = Vec::new();
        for day in &self.daily {
            match sums.iter_mut().find(|(name, _)| *name == day.component) {
                Some((_, sum)) => *sum = *sum + day.net_micros,
                None => sums.push((&day.component, day.net_micros)),
            }
        }
        sums.sort_by_key(|(name, sum)| (std::cmp::Reverse(*sum), name.to_owned()));
        sums
    }

    /// The days from the oldest to the newest, also those without cost.
    #[must_use]
    pub fn days(&self) -> Vec<NaiveDate> {
        match (self.daily.first(), self.newest_day) {
            (Some(first), Some(newest)) => first.usage_day.iter_days().take_while(|day| *day <= newest).collect(),
            _ => Vec::new(),
        }
    }

    /// The net cost of a component on each of [`days`](Self::days).
    #[must_use]
    pub fn series(&self, component: &str) -> Vec<Micros> {
        let costs = self.daily.iter().filter(|day| day.component == component);
        let costs: std::collections::BTreeMap<_, _> = costs.map(|day| (day.usage_day, day.net_micros)).collect();
        self.days().iter().map(|day| costs.get(day).copied().unwrap_or_default()).collect()
    }

    /// The newest month: its name, what it cost so far, and what it will have cost, where that can be told.
    #[must_use]
    pub fn newest_month(&self) -> Option<(&str, Micros, Option<Micros>)> {
        let name = &self.monthly.iter().rfind(|month| month.is_open)?.invoice_month;
        let of = || self.monthly.iter().filter(|month| month.invoice_month == *name);
        let forecast = of().map(|month| month.forecast_micros).sum::<Option<Micros>>();
        Some((name, of().map(|month| month.net_micros).sum(), forecast))
    }

    /// A page with everything, which loads nothing.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// The daily costs, a line each.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut text = "usage_day,component,currency,gross_micros,credit_micros,net_micros\n".to_owned();
        for day in &self.daily {
            let amounts = [day.gross_micros, day.credit_micros, day.net_micros].map(|amount| amount.0.to_string());
            // Components are the view's own names: none has a comma.
            text += &format!("{},{},{},{}\n", day.usage_day, day.component, self.currency, amounts.join(","));
        }
        text
    }
}

/// A SKU by its id or its name, day by day, oldest first.
///
/// # Errors
/// As [`Report::read`].
pub async fn explain(warehouse: &Warehouse, sku: &str, currency: &str) -> Result<Vec<SkuDay>> {
    let sql = format!(
        "SELECT usage_day, sku_id, sku, service, component, unit, amount, line_count, gross_micros, credit_micros, net_micros \
         FROM {} WHERE currency = @currency AND (sku_id = @sku OR LOWER(sku) = LOWER(@sku)) ORDER BY usage_day, component",
        warehouse.place().table("cost_by_sku")?
    );
    warehouse.query(&sql, &[("currency", currency), ("sku", sku)]).await
}
