//! The report as a page of its own: no script, no font, no picture from elsewhere.

mod plot;

use super::{Month, Report};
use crate::money::Micros;

/// Beside the page, so that it can be read as a style sheet.
const STYLE: &str = include_str!("html/style.css");

/// The page.
pub(super) fn page(report: &Report) -> String {
    let Some(newest) = report.newest_day else {
        return format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>Cost of the memory</title><style>{STYLE}</style>\
             <main><h1>Cost of the memory</h1><p>There is no cost in {}.</p></main></html>\n",
            escape(&report.currency)
        );
    };
    let currency = escape(&report.currency);
    let mut page = format!(
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n<title>Cost of the memory</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Cost of the memory</h1>\n\
         <p class=about>In {currency}, net of credits, up to {newest}: {} days of the billing export. \
         The newest day's lines are still coming.</p>\n",
        report.days().len()
    );
    page += &cards(report);
    page += "<h2>By day</h2>\n";
    page += &plot::days(report);
    page += "<h2>Components</h2>\n";
    let components = report.components();
    let all: Micros = components.iter().map(|(_, sum)| *sum).sum();
    let rows = components.iter().enumerate().map(|(place, (component, sum))| {
        let swatch = format!("<span class=\"swatch c{}\"></span>{}", place % plot::COLOURS, escape(component));
        vec![swatch, amount(*sum), share(*sum, all), plot::spark(&report.series(component), place)]
    });
    page += &table(&["Component", "Net", "Share", "By day"], &[1, 2], rows);
    page += "<h2>Months</h2>\n";
    page += &months(report);
    if !report.anomalies.is_empty() {
        page +=
            "<h2>Days that stand out</h2>\n<p class=about>Half as much again as the mean of the 14 days before.</p>\n";
        let rows = report.anomalies.iter().map(|day| {
            let day_and_part = [day.usage_day.to_string(), escape(&day.component)];
            day_and_part.into_iter().chain([day.net_micros, day.expected_micros].map(amount)).collect()
        });
        page += &table(&["Day", "Component", "Net", "Expected"], &[2, 3], rows);
    }
    page += &credits(report);
    page += &tenants(report);
    page += "<h2>Cache</h2>\n<p class=about>What hits spared, less what false hits cost, less the cache itself.</p>\n";
    let rows = report.unit_costs.iter().map(|unit| {
        let saved = report.savings.iter().find(|saving| saving.invoice_month == unit.invoice_month);
        let optional = |value: Option<Micros>| value.map_or("–".to_owned(), amount);
        vec![
            month(&unit.invoice_month),
            count(unit.recalls),
            optional(unit.per_1000_recalls_micros),
            count(unit.hits),
            optional(unit.per_hit_micros),
            optional(saved.map(|saved| saved.gross_micros)),
            optional(saved.map(|saved| -saved.false_hit_micros)),
            amount(-unit.cache_micros),
            optional(saved.map(|saved| saved.net_micros - unit.cache_micros)),
        ]
    });
    let names =
        ["Month", "Recalls", "1,000 of them", "Hits", "Per hit", "Saved", "False hits", "The cache", "Saved, net"];
    page += &table(&names, &[1, 2, 3, 4, 5, 6, 7, 8], rows);
    page += "<h2>Dearest SKUs of the newest month</h2>\n";
    let rows = report.skus.iter().take(15).map(|sku| {
        let names = [&sku.sku_id, &sku.sku, &sku.component].map(|name| escape(name));
        names.into_iter().chain([sku.gross_micros, sku.credit_micros, sku.net_micros].map(amount)).collect()
    });
    page += &table(&["SKU", "Name", "Component", "Gross", "Credits", "Net"], &[3, 4, 5], rows);
    page + "</main>\n</body>\n</html>\n"
}

fn cards(report: &Report) -> String {
    let mut cards = Vec::new();
    if let Some((name, net, forecast)) = report.newest_month() {
        cards.push((format!("{} so far", month(name)), amount(net)));
        cards.extend(forecast.map(|forecast| (format!("forecast for {}", month(name)), amount(forecast))));
    }
    let newest = report.newest_month().map(|(month, _, _)| month);
    if let Some(unit) = report.unit_costs.iter().find(|unit| Some(unit.invoice_month.as_str()) == newest) {
        cards.extend(unit.per_1000_recalls_micros.map(|cost| ("per 1,000 recalls".to_owned(), amount(cost))));
        let saved = report.savings.iter().find(|saving| saving.invoice_month == unit.invoice_month);
        cards.extend(
            saved.map(|saved| ("saved by the cache, net".to_owned(), amount(saved.net_micros - unit.cache_micros))),
        );
    }
    let cards =
        cards.into_iter().map(|(name, value)| format!("<div class=card><b>{value}</b><span>{name}</span></div>\n"));
    format!("<div class=cards>\n{}</div>\n", cards.collect::<String>())
}

/// Each month and, below it, its components.
fn months(report: &Report) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for of_month in report.monthly.chunk_by(|one, other| one.invoice_month == other.invoice_month) {
        let sum = |of: fn(&Month) -> Micros| of_month.iter().map(of).sum::<Micros>();
        let forecast: Option<Micros> =
            of_month.iter().map(|month| month.forecast_micros.filter(|_| month.is_open)).sum();
        let all = [sum(|month| month.gross_micros), sum(|month| month.credit_micros), sum(|month| month.net_micros)];
        let all =
            all.into_iter().map(Some).chain([forecast]).map(|sum| sum.map_or(String::new(), |sum| bold(&amount(sum))));
        rows.push([bold(&month(&of_month[0].invoice_month)), bold("all")].into_iter().chain(all).collect());
        for part in of_month {
            let forecast = part.forecast_micros.filter(|_| part.is_open).map_or(String::new(), amount);
            let amounts = [part.gross_micros, part.credit_micros, part.net_micros].map(amount);
            rows.push([String::new(), escape(&part.component)].into_iter().chain(amounts).chain([forecast]).collect());
        }
    }
    table(&["Month", "Component", "Gross", "Credits", "Net", "At its end"], &[2, 3, 4, 5], rows.into_iter())
}

/// What was taken off in the newest month.
fn credits(report: &Report) -> String {
    let Some((newest, _, _)) = report.newest_month() else { return String::new() };
    let rows: Vec<Vec<String>> = report
        .credits
        .iter()
        .filter(|credit| credit.invoice_month == newest)
        .map(|credit| {
            let names = [&credit.credit_name, &credit.credit_type, &credit.component].map(|name| escape(name));
            names.into_iter().chain([amount(credit.credit_micros)]).collect()
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let rows = table(&["Credit", "Kind", "Component", "Amount"], &[3], rows.into_iter());
    format!("<h2>Credits in {}</h2>\n{rows}", month(newest))
}

fn tenants(report: &Report) -> String {
    let Some((newest, _, _)) = report.newest_month() else { return String::new() };
    let of: Vec<_> = report.tenants.iter().filter(|tenant| tenant.invoice_month == newest).collect();
    let (all, most): (Micros, _) =
        (of.iter().map(|tenant| tenant.cost_micros).sum(), of.iter().map(|tenant| tenant.cost_micros).max());
    let rows = of.iter().take(30).map(|tenant| {
        let name = tenant.tenant.as_deref().map_or("<i>nobody</i>".to_owned(), escape);
        let bar = plot::bar(tenant.cost_micros, most.unwrap_or_default());
        vec![name, amount(tenant.cost_micros), share(tenant.cost_micros, all), bar]
    });
    let shares = table(&["Tenant", "Cost", "Share", ""], &[1, 2], rows);
    let all = amount(all);
    format!("<h2>Tenants in {}</h2>\n<p class=about>Shares of the invoice, {all} in all.</p>\n{shares}", month(newest))
}

fn table(names: &[&str], numbers: &[usize], rows: impl Iterator<Item = Vec<String>>) -> String {
    let class = |column: usize| if numbers.contains(&column) { " class=n" } else { "" };
    let cells = |tag: &str, cells: &[String]| {
        let cells = cells.iter().enumerate().map(|(column, cell)| format!("<{tag}{}>{cell}</{tag}>", class(column)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let rows: String = rows.map(|row| cells("td", &row)).collect();
    format!(
        "<div class=scroll><table>\n<thead>{}</thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
        cells("th", &names)
    )
}

/// As people read it: whole cents, or the first two digits of what is less. The other forms of the report are exact.
fn amount(amount: Micros) -> String {
    let (sign, micros) = (if amount.0 < 0 { "−" } else { "" }, amount.0.unsigned_abs());
    if micros == 0 || micros >= 9_950 {
        let cents = (micros + 5_000) / 10_000;
        return format!("{sign}{}.{:02}", grouped(cents / 100), cents % 100);
    }
    let digits = micros.ilog10().saturating_sub(1);
    let unit = 10_u64.pow(digits);
    let rounded = (micros + unit / 2) / unit * unit;
    format!("{sign}0.{}", format!("{rounded:06}").trim_end_matches('0'))
}

fn count(count: i64) -> String {
    grouped(count.unsigned_abs())
}

/// With a comma before every third digit.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// `202611` as 2026-11.
fn month(name: &str) -> String {
    match name.split_at_checked(4) {
        Some((year, month)) if name.len() == 6 => escape(&format!("{year}-{month}")),
        _ => escape(name),
    }
}

fn bold(text: &str) -> String {
    format!("<b>{text}</b>")
}

fn share(part: Micros, all: Micros) -> String {
    if all == Micros::ZERO { String::new() } else { format!("{:.1} %", part.units() / all.units() * 100.0) }
}

/// Names come from labels, budgets and tenants.
fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, letter| {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            letter => escaped.push(letter),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Month, Tenant};

    #[test]
    fn amounts_are_rounded_to_what_people_read() {
        let micros =
            [0, 1_234_567_890, 5_000_000, 899_749, 994_999, 995_000, 9_949, 9_950, 4_999, 456, 1_353, 7, -38_500];
        let shown: Vec<String> = micros.map(|micros| amount(Micros(micros))).into();
        insta::assert_snapshot!(shown.join(" "), @"0.00 1,234.57 5.00 0.90 0.99 1.00 0.0099 0.01 0.005 0.00046 0.0014 0.000007 −0.04");
        assert_eq!((month("202611"), month("x")), ("2026-11".to_owned(), "x".to_owned()));
    }

    #[test]
    fn a_page_loads_nothing_and_no_name_becomes_markup() {
        let day = |day, micros| crate::report::Day {
            usage_day: chrono::NaiveDate::from_ymd_opt(2026, 1, day).unwrap(),
            component: "redis".into(),
            gross_micros: Micros(micros),
            credit_micros: Micros(0),
            net_micros: Micros(micros),
        };
        let tenant = Some("<script>alert(1)</script>\"'&".to_owned());
        let report = Report {
            currency: "USD".into(),
            newest_day: chrono::NaiveDate::from_ymd_opt(2026, 1, 3),
            daily: vec![day(1, 1_000_000), day(3, -2_000_000)],
            monthly: vec![Month {
                invoice_month: "202601".into(),
                component: "redis".into(),
                is_open: true,
                gross_micros: Micros(0),
                credit_micros: Micros(0),
                net_micros: Micros(0),
                forecast_micros: None,
            }],
            anomalies: Vec::new(),
            credits: Vec::new(),
            tenants: vec![Tenant { invoice_month: "202601".into(), tenant, cost_micros: Micros(0) }],
            unit_costs: Vec::new(),
            savings: Vec::new(),
            skus: Vec::new(),
        };
        let page = report.html();
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"));
        for loads in ["<script", "src=", "href=", "url(", "@import", "NaN", "inf"] {
            assert!(!page.contains(loads), "{loads}");
        }
        let empty = Report { newest_day: None, daily: Vec::new(), ..report };
        assert!(empty.html().contains("There is no cost in USD."));
    }
}
