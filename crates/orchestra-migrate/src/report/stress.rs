//! The part of the page that tells of a stress test.

use std::fmt::Write as _;

use migrate::stress::step::Step;
use migrate::stress::{Loaded, Stress};

const SIZE: (f64, f64) = (800.0, 200.0);
const BLUE: &str = "#2563eb";
const GREEN: &str = "#059669";

/// A store on the page.
struct Side<'a> {
    name: &'static str,
    colour: &'static str,
    loaded: &'a Loaded,
}

/// A line of a plot.
struct Line {
    value: fn(&Step) -> f64,
    dashes: &'static str,
}

/// A table for each store, and plots of the time and of the recall over the rate.
pub fn html(stress: &Stress) -> String {
    let mut sides = vec![Side { name: "green", colour: GREEN, loaded: &stress.green }];
    sides.extend(stress.blue.as_ref().map(|loaded| Side { name: "blue", colour: BLUE, loaded }));
    let mut page = "<h2>Stress test</h2>\n".to_owned();
    page += "<p>Requests come at random at a rate that rises; times are counted from when each was due.</p>\n";
    for side in &sides {
        page += &told(side.name, side.loaded);
    }
    let limit = sides.iter().map(|side| side.loaded.p99_limit_us).max().unwrap_or(0).max(1);
    let p99 = Line { value: |step| step.p99_us as f64 / 1000.0, dashes: "none" };
    let p50 = Line { value: |step| step.p50_us as f64 / 1000.0, dashes: "6 4" };
    page += "<h3>Time over the rate: p99, and p50 dashed</h3>\n";
    page += &plot(&sides, limit as f64 / 500.0, "ms", &[p99, p50]);
    page += "<h3>Recall over the rate</h3>\n";
    page + &plot(&sides, 1.0, "of the exact answers", &[Line { value: Step::recall, dashes: "none" }])
}

fn told(name: &str, loaded: &Loaded) -> String {
    let truth = &loaded.truth;
    let knee =
        loaded.knee.map_or_else(|| "No rate held".to_owned(), |knee| format!("The knee is at {knee:.0} a second"));
    let mut page = format!(
        "<h3>{name}</h3>\n<p>{knee}, with a p99 of at most {} ms. The exact answers of {} queries among {} vectors were found by {}{}.",
        millis(loaded.p99_limit_us),
        truth.queries,
        truth.vectors,
        super::escape(&truth.by),
        truth.why_not_gpu.as_ref().map_or_else(String::new, |why| format!(" ({})", super::escape(why))),
    );
    if truth.checked > 0 {
        let _ = write!(
            page,
            " {} of its products were computed on the CPU too: they differ by at most {:.1e}, {:.1e} may be.",
            truth.checked, truth.deviation, truth.allowed
        );
    }
    page += "</p>\n<table><tr><th>Rate/s<th>Offered<th>Answered<th>p50 ms<th>p95<th>p99<th>p99.9<th>Longest<th>Failed\
             <th>Given up<th>Recall<th></tr>\n";
    let alone = std::iter::once(("one after the other".to_owned(), &loaded.alone));
    for (rate, step) in alone.chain(loaded.steps.iter().map(|step| (format!("{:.0}", step.rate), step))) {
        let (class, word) = if step.held { ("ok", "holds") } else { ("no", "does not hold") };
        let [p50, p95, p99, p999, max] = [step.p50_us, step.p95_us, step.p99_us, step.p999_us, step.max_us].map(millis);
        let _ = writeln!(
            page,
            "<tr><td>{rate}<td>{:.0}<td>{:.0}<td>{p50}<td>{p95}<td>{p99}<td>{p999}<td>{max}<td>{}<td>{}<td>{:.3}<td class={class}>{word}</tr>",
            step.offered,
            step.achieved,
            step.failed,
            step.timed_out,
            step.recall()
        );
    }
    page + "</table>\n"
}

/// Values over the rate, a line each, and the knees as marks. What is above `most` is drawn at the edge.
fn plot(sides: &[Side<'_>], most: f64, unit: &str, lines: &[Line]) -> String {
    let rates = sides.iter().flat_map(|side| &side.loaded.steps).map(|step| step.rate);
    let fastest = rates.fold(1.0, f64::max);
    let x = |rate: f64| rate / fastest * SIZE.0;
    let mut svg = format!("<svg viewBox=\"0 0 {} {}\" preserveAspectRatio=none>", SIZE.0, SIZE.1);
    for Side { name, colour, loaded } in sides {
        let mut steps: Vec<&Step> = loaded.steps.iter().collect();
        steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        for Line { value, dashes } in lines {
            let y = |step: &Step| SIZE.1 - (value(step) / most).min(1.0) * (SIZE.1 - 20.0);
            let points: Vec<String> = steps.iter().map(|step| format!("{:.1},{:.1}", x(step.rate), y(step))).collect();
            let points = points.join(" ");
            let _ = write!(svg, "<polyline style=\"stroke:{colour};stroke-dasharray:{dashes}\" points=\"{points}\"/>");
        }
        if let Some(knee) = loaded.knee {
            let (at, bottom) = (x(knee), SIZE.1);
            let text_at = (at + 4.0).min(SIZE.0 - 90.0);
            let _ = write!(
                svg,
                "<line x1={at:.1} x2={at:.1} y1=20 y2={bottom} style=\"stroke:{colour};stroke-dasharray:2 3\"/>\
                 <text x={text_at:.1} y=32 style=\"fill:{colour}\">{name} {knee:.0}/s</text>"
            );
        }
    }
    let _ = writeln!(svg, "<text x=4 y=14>{most:.0} {unit}</text><text x=740 y=196>{fastest:.0}/s</text></svg>");
    svg
}

fn millis(micros: u64) -> String {
    format!("{:.1}", micros as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use migrate::stress::Options;

    use super::*;

    #[test]
    fn the_page_shows_rates_knees_and_what_found_the_exact_answers() {
        let step = |rate: f64, held| Step { rate, held, p99_us: 9000, wanted: 10, found: 9, ..Step::default() };
        let mut green = Loaded { knee: Some(100.0), p99_limit_us: 20_000, ..Loaded::default() };
        green.steps = vec![step(100.0, true), step(400.0, false), step(200.0, false)];
        green.truth.by = "A <GPU>".into();
        green.truth.checked = 77;
        let blue = Loaded { knee: None, steps: vec![step(100.0, false)], ..green.clone() };
        let page = html(&Stress { at: Utc::now(), options: Options::default(), green, blue: Some(blue) });
        for shown in ["green 100/s", "A &lt;GPU&gt;", "No rate held", "77 of its products", "<td>0.900", "400/s</text>"]
        {
            assert!(page.contains(shown), "{shown}: {page}");
        }
        // By the rate, not in the order in which they were tried.
        assert!(page.contains("points=\"200.0,159.5 400.0,159.5 800.0,159.5\""), "{page}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
