//! The part of the page that tells of a stress test.

use std::fmt::Write as _;

use migrate::record::Colour;
use migrate::stress::step::Step;
use migrate::stress::{Loaded, Stress};

use super::copy::colour;
use super::plot::{self, Axis, Line, Mark, Plot};
use super::{absent, table};

/// A store on the page.
struct Side<'a> {
    name: &'static str,
    colour: &'static str,
    loaded: &'a Loaded,
}

/// A table for each store, and plots of the time and of the recall over the rate.
pub fn html(stress: Option<&Stress>) -> String {
    let Some(stress) = stress else {
        return absent("Stress test", "The stores were not loaded; stress, or run with --stress-test, does that.");
    };
    let mut sides = vec![Side { name: "green", colour: colour(Colour::Green), loaded: &stress.green }];
    sides.extend(stress.blue.as_ref().map(|loaded| Side { name: "blue", colour: colour(Colour::Blue), loaded }));
    let mut page = "<h2>Stress test</h2>\n".to_owned();
    page += "<p>Requests come at random at a rate that rises; times are counted from when each was due.</p>\n";
    let limit = sides.iter().map(|side| side.loaded.p99_limit_us).max().unwrap_or(0).max(1);
    let over_rate = |title, unit, most, lines| Plot {
        title,
        x: Axis::Of("requests/s"),
        unit,
        most: Some(most),
        lines,
        marks: knees(&sides),
        else_why: "no rate was tried",
    };
    let mut times = lines(&sides, "p99", |step| step.p99_us as f64 / 1000.0);
    let medians = lines(&sides, "p50", |step| step.p50_us as f64 / 1000.0);
    times.extend(medians.into_iter().map(|line| Line { is_dashed: true, ..line }));
    let longest = times.iter().flat_map(|line| &line.points).map(|(_, ms)| *ms).fold(0.0, f64::max);
    // What is longer than twice the limit is drawn at the edge.
    let times = over_rate("Time over the rate", "ms", longest.min(limit as f64 / 500.0), times);
    let recall = over_rate("Recall over the rate", "of the exact answers", 1.0, lines(&sides, "recall", Step::recall));
    page += &plot::row(&[times.html(), recall.html()]);
    for side in &sides {
        page += &told(side.name, side.loaded);
    }
    page
}

/// A value of each store over the rate, by the rate and not in the order in which they were tried. Of one that was tried more than
/// once it is the time when it held, or the last one.
fn lines(sides: &[Side<'_>], of: &str, value: fn(&Step) -> f64) -> Vec<Line> {
    let line = |side: &Side<'_>| {
        let mut steps: Vec<&Step> = side.loaded.steps.iter().rev().collect();
        steps.sort_by(|a, b| a.rate.total_cmp(&b.rate).then(b.held.cmp(&a.held)));
        steps.dedup_by(|a, b| (a.rate - b.rate).abs() < f64::EPSILON * b.rate);
        let points = steps.into_iter().map(|step| (step.rate, value(step))).collect();
        Line::new(format!("{} {of}", side.name), side.colour, points)
    };
    sides.iter().map(line).collect()
}

/// The highest rates that held.
fn knees(sides: &[Side<'_>]) -> Vec<Mark> {
    let knee = |side: &Side<'_>| {
        let at = side.loaded.knee?;
        Some(Mark { at, text: format!("{} knee {at:.0}/s", side.name), colour: side.colour })
    };
    sides.iter().filter_map(knee).collect()
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
    let mut rows = "<tr><th>Rate/s<th>Offered<th>Answered<th>p50 ms<th>p95<th>p99<th>p99.9<th>Longest<th>Failed\
                    <th>Given up<th>Recall<th></tr>\n"
        .to_owned();
    let alone = std::iter::once(("one after the other".to_owned(), &loaded.alone));
    for (rate, step) in alone.chain(loaded.steps.iter().map(|step| (format!("{:.0}", step.rate), step))) {
        let (class, word) = if step.held { ("ok", "holds") } else { ("no", "does not hold") };
        let [p50, p95, p99, p999, max] = [step.p50_us, step.p95_us, step.p99_us, step.p999_us, step.max_us].map(millis);
        let _ = writeln!(
            rows,
            "<tr><td>{rate}<td>{:.0}<td>{:.0}<td>{p50}<td>{p95}<td>{p99}<td>{p999}<td>{max}<td>{}<td>{}<td>{:.3}<td class={class}>{word}</tr>",
            step.offered,
            step.achieved,
            step.failed,
            step.timed_out,
            step.recall()
        );
    }
    page + "</p>\n<div class=numbers>" + &table(&rows) + "</div>\n"
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
        let page = html(Some(&Stress { at: Utc::now(), options: Options::default(), green, blue: Some(blue) }));
        for shown in [
            "green knee 100/s",
            "A &lt;GPU&gt;",
            "No rate held",
            "77 of its products",
            "<td>0.900",
            "green p99",
            "blue p50",
            ">requests/s</text>",
        ] {
            assert!(page.contains(shown), "{shown}: {page}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn a_line_goes_by_the_rate_and_has_each_once() {
        let step = |rate: f64, held, p99_us| Step { rate, held, p99_us, ..Step::default() };
        let steps = vec![
            step(100.0, true, 1),
            step(400.0, false, 8),
            step(400.0, false, 9),
            step(200.0, true, 3),
            step(200.0, false, 7),
        ];
        let loaded = Loaded { steps, ..Loaded::default() };
        let side = Side { name: "green", colour: colour(Colour::Green), loaded: &loaded };
        let line = lines(&[side], "p99", |step| step.p99_us as f64).remove(0);
        assert_eq!(line.points, [(100.0, 1.0), (200.0, 3.0), (400.0, 9.0)]);
    }
}
