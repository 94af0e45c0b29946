//! Every figure of every view, over ninety simulated days, against a calculation of its own.

use chrono::NaiveDate;
use cost_monitor::billing::EXPORT;
use cost_monitor::simulate::Simulation;
use cost_monitor::tables::{PRICES, USAGE};
use cost_monitor::usage;
use cost_monitor::views::Views;
use cost_monitor::warehouse::Warehouse;
use serde::Deserialize;

use crate::dataset::{PROJECT, dataset};
use crate::expected::Bill;

/// Reads a view as lines like those of [`Bill`]. The order is that of the lines.
async fn shown(warehouse: &Warehouse, select: &str, view: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Shown {
        shown: String,
    }
    let view = warehouse.place().table(view).unwrap();
    let rows: Vec<Shown> = warehouse.query(&format!("SELECT {select} AS shown FROM {view}"), &[]).await.unwrap();
    let mut rows: Vec<String> = rows.into_iter().map(|row| row.shown).collect();
    rows.sort_unstable();
    rows
}

fn assert_same(view: &str, mut expected: Vec<String>, found: Vec<String>) {
    expected.sort_unstable();
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(found, expected, "{view}");
    }
    assert_eq!(found.len(), expected.len(), "{view}");
    assert!(!found.is_empty(), "{view}");
}

#[tokio::test]
async fn every_figure_is_that_of_the_lines_to_the_millionth() {
    let Some(warehouse) = dataset("figures").await else { return };
    // `MEMORY_TEST_FULL` asks for the size of a real export.
    let is_full = std::env::var_os("MEMORY_TEST_FULL").is_some_and(|value| value == "1");
    let simulation = Simulation {
        project: PROJECT.into(),
        // Over the change to summer time and the ends of three months.
        first: NaiveDate::from_ymd_opt(2026, 1, 10).unwrap(),
        days: 90,
        lines_per_day: if is_full { 2_240 } else { 224 },
        tenants: 12,
        seed: 42,
    };
    warehouse.ensure_table(EXPORT.name, &EXPORT).await.unwrap();
    let views = Views::new(&warehouse, EXPORT.name).unwrap();
    let plan = views.plan().await.unwrap();
    views.apply(&plan).await.unwrap();

    let prices = simulation.prices();
    warehouse.load(PRICES.name, &PRICES, &prices, false).await.unwrap();
    let mut bill = Bill::default();
    for first in (0..simulation.days).step_by(3) {
        let days = first..(first + 3).min(simulation.days);
        let lines: Vec<_> = days.clone().flat_map(|day| simulation.lines(day)).collect();
        let usage: Vec<_> = days.flat_map(|day| simulation.usage(day)).collect();
        bill.add_lines(&lines, PROJECT);
        bill.add_usage(&usage, &prices);
        warehouse.load(EXPORT.name, &EXPORT, &lines, false).await.unwrap();
        if first == 0 {
            // The same rows twice are there once.
            usage::store(&warehouse, &usage).await.unwrap();
            usage::store(&warehouse, &usage).await.unwrap();
        } else {
            warehouse.load(USAGE.name, &USAGE, &usage, false).await.unwrap();
        }
    }
    assert!(bill.lines >= if is_full { 200_000 } else { 20_000 } && bill.of_the_memory < bill.lines);

    let money = "FORMAT('[%d, %d, %d]', gross_micros, credit_micros, net_micros)";
    let optional = |column: &str| format!("IF({column} IS NULL, 'None', FORMAT('Some(%d)', {column}))");
    let daily = format!("CONCAT(CAST(usage_day AS STRING), ' ', component, ' ', {money})");
    assert_same("cost_daily", bill.daily(), shown(&warehouse, &daily, "cost_daily").await);
    let by_sku =
        format!("CONCAT(CAST(usage_day AS STRING), ' ', sku_id, ' ', CAST(line_count AS STRING), ' ', {money})");
    assert_same("cost_by_sku", bill.by_sku(), shown(&warehouse, &by_sku, "cost_by_sku").await);
    // Sums of floating point numbers, in whatever order: right to the millionth of the unit and to twelve digits.
    #[derive(Deserialize)]
    struct Used {
        usage_day: NaiveDate,
        sku_id: String,
        amount: f64,
    }
    let sql = format!(
        "SELECT usage_day, sku_id, SUM(amount) AS amount FROM {} GROUP BY usage_day, sku_id",
        warehouse.place().table("cost_by_sku").unwrap()
    );
    let used: Vec<Used> = warehouse.query(&sql, &[]).await.unwrap();
    let amounts = bill.amounts();
    assert_eq!(used.len(), amounts.len());
    for Used { usage_day, sku_id, amount } in &used {
        let expected = amounts[&(*usage_day, &**sku_id)] as f64 / 1e9;
        let off = (amount - expected).abs();
        assert!(off < 1e-6_f64.max(expected.abs() * 1e-12), "{usage_day} {sku_id}: {amount} is not {expected}");
    }
    let by_label =
        "CONCAT(CAST(usage_day AS STRING), ' ', label_key, ' ', label_value, ' ', CAST(net_micros AS STRING))";
    assert_same("cost_by_label", bill.by_label(), shown(&warehouse, by_label, "cost_by_label").await);
    let credits = "CONCAT(invoice_month, ' ', component, ' ', credit_type, ' ', CAST(credit_micros AS STRING))";
    assert_same("credits", bill.credits(), shown(&warehouse, credits, "credits").await);
    let monthly = format!(
        "CONCAT(invoice_month, ' ', component, ' ', IF(is_open, 'true', 'false'), ' ', {money}, ' ', {})",
        optional("forecast_micros")
    );
    assert_same("cost_monthly", bill.monthly(), shown(&warehouse, &monthly, "cost_monthly").await);
    let anomalies = "CONCAT(CAST(usage_day AS STRING), ' ', component, ' ', CAST(net_micros AS STRING), ' ', \
         CAST(expected_micros AS STRING), ' ', CAST(trailing_days AS STRING), ' ', IF(stands_out, 'true', 'false'))";
    let found = shown(&warehouse, anomalies, "anomalies").await;
    assert!(found.iter().any(|day| day.contains("embedding") && day.ends_with("true")));
    assert_same("anomalies", bill.anomalies(), found);
    let by_tenant = "CONCAT(invoice_month, ' ', component, ' ', \
         IF(tenant IS NULL, 'None', CONCAT('Some(\"', tenant, '\")')), ' ', CAST(cost_micros AS STRING))";
    assert_same("tenant_cost", bill.by_tenant(), shown(&warehouse, by_tenant, "tenant_cost").await);
    let unit_costs = format!(
        "CONCAT(invoice_month, FORMAT(' %d %d %d %d ', net_micros, cache_micros, recalls, hits), {}, ' ', {})",
        optional("per_1000_recalls_micros"),
        optional("per_hit_micros")
    );
    assert_same("unit_costs", bill.unit_costs(), shown(&warehouse, &unit_costs, "unit_costs").await);
    let savings = "CONCAT(invoice_month, ' ', tenant, FORMAT(' %d %d %d %d %d %d', hits, false_hits, saved_tokens, \
         gross_micros, false_hit_micros, net_micros))";
    assert_same("savings", bill.savings(), shown(&warehouse, savings, "savings").await);

    // What was shared out is the invoice, exactly.
    let tenants = warehouse.place().table("tenant_cost").unwrap();
    let sql = format!("SELECT invoice_month, SUM(cost_micros) AS micros FROM {tenants} GROUP BY 1 ORDER BY 1");
    #[derive(Deserialize)]
    struct Invoice {
        invoice_month: String,
        micros: i64,
    }
    let invoices: Vec<Invoice> = warehouse.query(&sql, &[]).await.unwrap();
    let invoices: Vec<_> = invoices.into_iter().map(|invoice| (invoice.invoice_month, invoice.micros)).collect();
    assert_eq!(invoices, bill.invoices());
}
