//! The part of the page that tells of the searches that both stores answered.

use std::fmt::Write as _;

use migrate::probe::Probes;
use migrate::record::Colour;

use super::copy::colour;
use super::plot::{Bars, Group, row};
use super::{absent, table};

pub fn html(probes: Option<&Probes>) -> String {
    let Some(probes) = probes else { return absent("Searches", "No queries were sent yet; verify does that.") };
    let sides = [(Colour::Blue, probes.blue, probes.blue_recall), (Colour::Green, probes.green, probes.green_recall)];
    let asked = sides.into_iter().filter(|(side, ..)| probes.asked(*side)).collect::<Vec<_>>();
    if asked.is_empty() || probes.queries == 0 {
        return absent("Searches", "Neither store has a search that could be asked.");
    }
    let of_all = asked.iter().map(|(side, latency, _)| (*side, [latency.p50_us, latency.p95_us, latency.p99_us]));
    let of_all: Vec<_> = of_all.collect();
    let groups = ["p50", "p95", "p99"].into_iter().enumerate().map(|(place, name)| Group {
        name: name.into(),
        bars: of_all.iter().map(|(side, micros)| (millis(micros[place]), colour(*side))).collect(),
    });
    let bars = Bars {
        title: "Time of a search",
        x: "percentile of the searches",
        unit: "ms",
        names: asked.iter().map(|(side, ..)| (side.to_string(), colour(*side))).collect(),
        groups: groups.collect(),
        else_why: "no search was answered",
    };
    let mut cells =
        "<tr><th><th class=n>p50 ms<th class=n>p95 ms<th class=n>p99 ms<th class=n>Recall</tr>\n".to_owned();
    for (side, latency, recall) in &asked {
        let [p50, p95, p99] = [latency.p50_us, latency.p95_us, latency.p99_us].map(millis);
        let recall = if probes.exact == 0 { "not measured".to_owned() } else { format!("{recall:.3}") };
        let _ = writeln!(
            cells,
            "<tr><td>{side}<td class=n>{p50:.2}<td class=n>{p95:.2}<td class=n>{p99:.2}<td class=n>{recall}</tr>"
        );
    }
    format!(
        "<h2>Searches</h2>\n<p>{} queries were sent to each, one after the other.</p>\n{}{}",
        probes.queries,
        row(&[bars.html()]),
        table(&cells)
    )
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use migrate::probe::Latency;

    use super::*;

    #[test]
    fn both_stores_are_beside_each_other_and_one_that_was_not_asked_is_left_out() {
        let latency = |times: u64| Latency { p50_us: 193 * times, p95_us: 299 * times, p99_us: 1484 * times };
        let probes = Probes {
            queries: 79,
            exact: 79,
            blue: latency(1),
            green: latency(2),
            green_recall: 0.5,
            ..Probes::default()
        };
        let page = html(Some(&probes));
        for shown in [
            "</i>blue</span>",
            "</i>green</span>",
            ">p50</text>",
            ">p95</text>",
            ">p99</text>",
            ">ms</text>",
            ">3</text>",
        ] {
            assert!(page.contains(shown), "{shown}: {page}");
        }
        assert!(page.matches("<rect").count() == 6 && page.contains("0.500"), "{page}");
        let page = html(Some(&Probes { not_asked: vec![Colour::Blue], exact: 0, ..probes }));
        assert!(page.matches("<rect").count() == 3 && !page.contains("blue"), "{page}");
        assert!(page.contains("not measured"), "no exact answers, no recall: {page}");
        for (nothing, why) in [(None, "verify does that"), (Some(&Probes::default()), "Neither store has a search")] {
            let page = html(nothing);
            assert!(page.contains(why) && !page.contains("<figure") && !page.contains("<table"), "{page}");
        }
    }
}
