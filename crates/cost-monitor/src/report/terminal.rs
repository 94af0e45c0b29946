//! Reports as text.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Table};

use super::{Report, SkuDay};
use crate::money::Micros;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A series as a line of bars, from zero to its highest value; at most `width` of them, each the mean of neighbours.
#[must_use]
pub fn sparkline(series: &[Micros], width: usize) -> String {
    let together = series.len().div_ceil(width.max(1)).max(1);
    let mean = |chunk: &[Micros]| chunk.iter().copied().sum::<Micros>().units().max(0.0) / chunk.len() as f64;
    let means: Vec<f64> = series.chunks(together).map(mean).collect();
    let highest = means.iter().copied().fold(1e-6, f64::max);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between zero and seven")]
    means.into_iter().map(|mean| BARS[(mean / highest * 7.0) as usize]).collect()
}

fn head(names: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(names.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    table
}

fn right(text: impl ToString) -> Cell {
    Cell::new(text.to_string()).set_alignment(CellAlignment::Right)
}

fn money(amount: Option<Micros>) -> Cell {
    right(amount.map_or("-".to_owned(), |amount| amount.to_string()))
}

/// The whole report.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    let currency = &report.currency;
    let Some(newest) = report.newest_day else { return format!("There is no cost in {currency}.\n") };
    text += &format!("Cost of the memory in {currency}, up to {newest} ({} days)\n", report.days().len());
    if let Some((month, net, forecast)) = report.newest_month() {
        let forecast = forecast.map_or(String::new(), |forecast| format!(", about {forecast} at its end"));
        text += &format!("{month}: {net} so far{forecast}\n");
    }
    let mut components = head(&["component", "net", "by day"]);
    for (component, sum) in report.components() {
        components.add_row(vec![Cell::new(component), right(sum), Cell::new(sparkline(&report.series(component), 45))]);
    }
    text += &format!("\n{components}\n");
    text += &format!("\n{}\n", forecast(report));
    if !report.anomalies.is_empty() {
        let mut anomalies = head(&["day that stands out", "component", "net", "expected"]);
        for day in &report.anomalies {
            let row = vec![Cell::new(day.usage_day), Cell::new(&day.component), right(day.net_micros)];
            anomalies.add_row(row.into_iter().chain([right(day.expected_micros)]));
        }
        text += &format!("\n{anomalies}\n");
    }
    let mut skus = head(&["SKU", "name", "component", "gross", "credits", "net"]);
    for sku in report.skus.iter().take(10) {
        let names = [&sku.sku_id, &sku.sku, &sku.component].map(Cell::new);
        skus.add_row(names.into_iter().chain([sku.gross_micros, sku.credit_micros, sku.net_micros].map(right)));
    }
    text += &format!("\n{skus}\n");
    let newest_month = report.newest_month().map(|(month, _, _)| month);
    let mut tenants = head(&["month", "tenant", "cost"]);
    for tenant in report.tenants.iter().filter(|tenant| Some(tenant.invoice_month.as_str()) == newest_month).take(15) {
        let name = tenant.tenant.as_deref().unwrap_or("(nobody)");
        tenants.add_row(vec![Cell::new(&tenant.invoice_month), Cell::new(name), right(tenant.cost_micros)]);
    }
    text += &format!("\n{tenants}\n");
    let mut units = head(&[
        "month",
        "recalls",
        "per 1,000",
        "hits",
        "per hit",
        "saved",
        "false hits",
        "saved, net",
        "less the cache",
    ]);
    for unit in &report.unit_costs {
        let saved = report.savings.iter().find(|saving| saving.invoice_month == unit.invoice_month);
        units.add_row(vec![
            Cell::new(&unit.invoice_month),
            right(unit.recalls),
            money(unit.per_1000_recalls_micros),
            right(unit.hits),
            money(unit.per_hit_micros),
            money(saved.map(|saved| saved.gross_micros)),
            money(saved.map(|saved| -saved.false_hit_micros)),
            money(saved.map(|saved| saved.net_micros)),
            money(saved.map(|saved| saved.net_micros - unit.cache_micros)),
        ]);
    }
    text + &format!("\n{units}\n")
}

/// What each month cost, and what the newest will have cost.
#[must_use]
pub fn forecast(report: &Report) -> String {
    let mut table = head(&["month", "component", "gross", "credits", "net", "at the month's end"]);
    for month in &report.monthly {
        let amounts = [month.gross_micros, month.credit_micros, month.net_micros].map(right);
        let forecast = if month.is_open { money(month.forecast_micros) } else { Cell::new("") };
        let names = [&month.invoice_month, &month.component].map(Cell::new);
        table.add_row(names.into_iter().chain(amounts).chain([forecast]));
    }
    table.to_string()
}

/// A SKU, day by day, with what a unit of it came to. `None` when there is none.
#[must_use]
pub fn explained(days: &[SkuDay]) -> Option<String> {
    let first = &days.first()?.sku;
    let nets: Vec<Micros> = days.iter().map(|day| day.sku.net_micros).collect();
    let sum = |amount: fn(&SkuDay) -> Micros| days.iter().map(amount).sum::<Micros>();
    let (gross, credits) = (sum(|day| day.sku.gross_micros), sum(|day| day.sku.credit_micros));
    let unit = first.unit.as_deref().unwrap_or("unit");
    let mut text = format!(
        "{} · {} ({}), component {}\n{gross} before credits, {credits} credits, {} net in {} days\n{}\n",
        first.sku_id,
        first.sku,
        first.service,
        first.component,
        gross + credits,
        days.len(),
        sparkline(&nets, 90)
    );
    let mut table = head(&["day", "lines", &format!("amount ({unit})"), "gross", "per unit", "credits", "net"]);
    let skipped = days.len().saturating_sub(31);
    for day in &days[skipped..] {
        let amount = day.sku.amount.unwrap_or(0.0);
        let per_unit = if amount > 0.0 { Micros::from_units(day.sku.gross_micros.units() / amount) } else { None };
        table.add_row(vec![
            Cell::new(day.usage_day),
            right(day.line_count),
            right(format!("{amount:.3}")),
            right(day.sku.gross_micros),
            money(per_unit),
            right(day.sku.credit_micros),
            right(day.sku.net_micros),
        ]);
    }
    text += &table.to_string();
    text.push('\n');
    if skipped > 0 {
        text += &format!("and {skipped} days before\n");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_has_its_highest_bar_at_the_highest_value_and_fits() {
        let series: Vec<Micros> = [0, 1, 7, 14, 3].map(Micros).into();
        assert_eq!(sparkline(&series, 10), "▁▁▄█▂");
        assert_eq!(sparkline(&series, 2), "▃█");
        assert_eq!(sparkline(&[], 10), "");
        assert_eq!(sparkline(&[Micros(-5), Micros(0)], 10), "▁▁");
    }
}
