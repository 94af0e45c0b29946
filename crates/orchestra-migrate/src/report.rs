//! The report of a move: report.json, and report.html, a page of its own that loads nothing.

mod stress;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use migrate::record::{Record, Sample};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2933}\
    table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #d9e2ec;text-align:left}\
    .no{color:#b42318;font-weight:600}.ok{color:#067647}svg{width:100%;height:14rem;background:#f5f7fa}\
    polyline{fill:none;stroke-width:2}.items{stroke:#2563eb}.lag{stroke:#d97706}text{font-size:12px;fill:#52606d}";

/// Writes both files into a folder, which is made if need be.
pub fn write(record: &Record, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for (name, content) in [("report.json", serde_json::to_string_pretty(record)?), ("report.html", html(record))] {
        let path = folder.join(name);
        std::fs::write(&path, content).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

fn html(record: &Record) -> String {
    let name = escape(&record.plan.name);
    let mut page = format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Move {name}</title><style>{STYLE}</style></head><body>\n<h1>Move {name}</h1>\n\
         <p>{}, {} in use; {} items were copied.</p>\n",
        record.phase, record.active, record.copied.items
    );
    if let Some(checked) = &record.checked {
        page += "<h2>Gates</h2>\n<table><tr><th>Gate<th><th>Measured<th>Wanted</tr>\n";
        for gate in &checked.gates {
            let (class, word) = match (gate.holds, gate.asked) {
                (false, _) => ("no", "failed"),
                (true, false) => ("", "not asked"),
                (true, true) => ("ok", "holds"),
            };
            let cells = [&gate.name, &gate.measured, &gate.wanted].map(|text| escape(text));
            let [name, measured, wanted] = cells;
            let _ = writeln!(page, "<tr><td>{name}<td class=\"{class}\">{word}<td>{measured}<td>{wanted}</tr>");
        }
        page += "</table>\n<h2>Searches</h2>\n<table><tr><th><th>p50<th>p95<th>p99<th>Recall</tr>\n";
        let probes = &checked.probes;
        for (name, latency, recall) in
            [("blue", probes.blue, probes.blue_recall), ("green", probes.green, probes.green_recall)]
        {
            let _ = writeln!(
                page,
                "<tr><td>{name}<td>{} µs<td>{} µs<td>{} µs<td>{recall:.3}</tr>",
                latency.p50_us, latency.p95_us, latency.p99_us
            );
        }
        page += "</table>\n";
    }
    page += &record.stress.as_ref().map(stress::html).unwrap_or_default();
    if record.samples.len() > 1 {
        page += "<h2>Items copied</h2>\n";
        page += &plot(&record.samples, "items", |sample| sample.items);
        page += "<h2>Changes behind, while copying</h2>\n";
        page += &plot(&record.samples, "lag", |sample| sample.lag);
    }
    page += "<h2>What was done</h2>\n<table>\n";
    for event in &record.history {
        let _ = writeln!(page, "<tr><td>{}<td>{}</tr>", event.at.format("%Y-%m-%d %H:%M:%S%.3f"), escape(&event.what));
    }
    page + "</table>\n</body></html>\n"
}

/// A line over the time.
fn plot(samples: &[Sample], class: &str, value: impl Fn(&Sample) -> u64) -> String {
    const SIZE: (f64, f64) = (800.0, 200.0);
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return String::new() };
    let span = (last.at - first.at).num_milliseconds().max(1) as f64;
    let most = samples.iter().map(&value).max().unwrap_or(0).max(1);
    let points = samples.iter().map(|sample| {
        let x = (sample.at - first.at).num_milliseconds() as f64 / span * SIZE.0;
        let y = SIZE.1 - value(sample) as f64 / most as f64 * (SIZE.1 - 20.0);
        format!("{x:.1},{y:.1}")
    });
    let points: Vec<String> = points.collect();
    format!(
        "<svg viewBox=\"0 0 800 200\" preserveAspectRatio=none><polyline class={class} points=\"{}\"/>\
         <text x=4 y=14>{most}</text><text x=700 y=196>{:.1} s</text></svg>\n",
        points.join(" "),
        span / 1000.0
    )
}

/// Names are the caller's.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};
    use migrate::plan::Plan;

    use super::*;

    #[test]
    fn a_page_loads_nothing_and_no_name_becomes_markup() {
        let began = Utc::now();
        let plan = Plan { name: "<script>\"'&".into(), ..Plan::default() };
        let mut record = Record::planned(plan, false, 0, began);
        for at in 0..3_u32 {
            let at_time = began + TimeDelta::seconds(i64::from(at));
            record.samples.push(Sample { at: at_time, items: u64::from(at) * 100, lag: 3 });
        }
        let page = html(&record);
        assert!(page.contains("&lt;script&gt;&quot;&#39;&amp;") && page.contains("<polyline class=items"), "{page}");
        for loads in ["<script", "src=", "href=", "url(", "@import", "NaN", "inf"] {
            assert!(!page.contains(loads), "{loads}");
        }
        let folder = tempfile::tempdir().unwrap();
        write(&record, &folder.path().join("new")).unwrap();
        let json = std::fs::read(folder.path().join("new/report.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Record>(&json).unwrap(), record);
    }
}
