//! The report of a move: report.json, and report.html, a page of its own that loads nothing.

mod comparison;
mod copy;
mod plot;
mod searches;
mod stress;
mod switches;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use migrate::gates::Gate;
use migrate::record::{Event, Record};

const STYLE: &str = include_str!("report/style.css");

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
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\
         <meta name=color-scheme content=\"light dark\">\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <title>Move {name}</title>\n<style>\n{STYLE}</style></head><body>\n<h1>Move {name}</h1>\n\
         <p>{}, {} in use; {} items were copied{}.</p>\n",
        record.phase,
        record.active,
        record.copied.items,
        record.copied.took().map_or_else(String::new, |took| format!(" in {:.1} s", took.as_secs_f64()))
    );
    page += &gates(record.checked.as_ref().map_or(&[], |checked| &checked.gates));
    page += &copy::html(record);
    page += &switches::html(record);
    page += &comparison::html(record.diff.as_ref());
    page += &searches::html(record.checked.as_ref().map(|checked| &checked.probes));
    page += &stress::html(record.stress.as_ref());
    page + &history(&record.history) + "</body></html>\n"
}

fn gates(gates: &[Gate]) -> String {
    if gates.is_empty() {
        return absent("Gates", "They were not asked yet; verify does that.");
    }
    let mut rows = "<tr><th>Gate<th><th>Measured<th>Wanted</tr>\n".to_owned();
    for gate in gates {
        let (class, word) = match (gate.holds, gate.asked) {
            (false, _) => ("no", "failed"),
            (true, false) => ("unasked", "not asked"),
            (true, true) => ("ok", "holds"),
        };
        let [name, measured, wanted] = [&gate.name, &gate.measured, &gate.wanted].map(|text| escape(text));
        let _ = writeln!(rows, "<tr><td>{name}<td class={class}>{word}<td>{measured}<td>{wanted}</tr>");
    }
    format!("<h2>Gates</h2>\n{}", table(&rows))
}

fn history(events: &[Event]) -> String {
    let mut rows = "<tr><th>When (UTC)<th>What</tr>\n".to_owned();
    for event in events {
        let _ = writeln!(rows, "<tr><td>{}<td>{}</tr>", event.at.format("%Y-%m-%d %H:%M:%S%.3f"), escape(&event.what));
    }
    format!("<h2>What was done</h2>\n{}", table(&rows))
}

/// A part of the page for which there is nothing to show, and why.
fn absent(title: &str, why: &str) -> String {
    format!("<h2>{title}</h2>\n<p class=none>{why}</p>\n")
}

/// A table that is moved to and fro where the page is too narrow for it.
fn table(rows: &str) -> String {
    format!("<div class=wide><table>\n{rows}</table></div>\n")
}

/// Names are the caller's.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};
    use memory_core::ItemKey;
    use migrate::diff::{Counts, Diff, Difference, Kind};
    use migrate::gates::Checked;
    use migrate::plan::Plan;
    use migrate::probe::Probes;
    use migrate::record::{Colour, Sample};

    use super::*;

    fn moved() -> Record {
        let began = Utc::now();
        let plan = Plan { name: "<script>\"'&".into(), ..Plan::default() };
        let mut record = Record::planned(plan, false, 0, began);
        for at in 0..3_u32 {
            let at_time = began + TimeDelta::seconds(i64::from(at));
            record.samples.push(Sample { at: at_time, items: u64::from(at) * 100, lag: 3 });
        }
        let key = ItemKey::Memory { tenant: "<acme>".into(), id: memory_testkit::make::id() };
        record.diff = Some(Diff {
            active: Colour::Blue,
            began_at: began,
            ended_at: Some(began),
            scanning: Colour::Green,
            after: None,
            compared: 4711,
            counts: Counts { missing: 21, ..Counts::default() },
            unsettled: 0,
            repaired: 12,
            samples: vec![Difference { key, kind: Kind::Missing, fields: vec!["<b>".into()] }; 21],
        });
        let gate = Gate {
            name: "functional".into(),
            holds: false,
            asked: true,
            measured: "21 <missing>".into(),
            wanted: "none".into(),
            advice: String::new(),
        };
        record.checked = Some(Checked { at: began, probes: Probes::default(), gates: vec![gate] });
        record
    }

    #[test]
    fn a_page_loads_nothing_and_no_name_becomes_markup() {
        let record = moved();
        let page = html(&record);
        assert!(page.contains("&lt;script&gt;&quot;&#39;&amp;") && page.contains("<polyline"), "{page}");
        for loads in ["<script", "src=", "href=", "url(", "@import", "NaN", "inf"] {
            assert!(!page.contains(loads), "{loads}");
        }
        let folder = tempfile::tempdir().unwrap();
        write(&record, &folder.path().join("new")).unwrap();
        let json = std::fs::read(folder.path().join("new/report.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Record>(&json).unwrap(), record);
    }

    #[test]
    fn a_page_shows_the_gates_and_what_differs() {
        let page = html(&moved());
        for shown in [
            "<td class=no>failed<td>21 &lt;missing&gt;",
            "The stores are not the same.",
            "<td>Compared<td class=n>4711",
            "<td>Missing<td class=n>21",
            "<td>Repaired<td class=n>12",
            " of &lt;acme&gt;<td>&lt;b&gt;</tr>",
            "report.json has 21 of them",
        ] {
            assert!(page.contains(shown), "{shown}: {page}");
        }
        assert_eq!(page.matches("<td>Missing<td class=id>").count(), 20, "{page}");
    }

    #[test]
    fn a_page_of_a_move_that_has_not_begun_says_of_each_part_why_it_is_not_there() {
        let page = html(&Record::planned(Plan::default(), false, 0, Utc::now()));
        assert!(page.contains("<td>planned</tr>") && !page.contains("<figure") && !page.contains("<h3"), "{page}");
        assert_eq!((page.matches("<h2>").count(), page.matches("<p class=none>").count()), (7, 8), "{page}");
    }
}
