//! Plots as SVG, in the colours of the style sheet.

use std::fmt::Write as _;

use super::super::Report;
use super::escape;
use crate::money::Micros;

/// How many colours the style sheet has.
pub(super) const COLOURS: usize = 8;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 260.0;
/// Room for the amounts at the left, and for the days below.
const LEFT: f64 = 64.0;
const BELOW: f64 = 28.0;

/// Stacked bars, one for each day. Credits above the cost leave no bar.
pub(super) fn days(report: &Report) -> String {
    let days = report.days();
    let components = report.components();
    let series: Vec<Vec<f64>> = components
        .iter()
        .map(|(name, _)| report.series(name).iter().map(|amount| amount.units().max(0.0)).collect())
        .collect();
    let total = |day: usize| series.iter().map(|amounts| amounts[day]).sum::<f64>();
    let step = step((0..days.len()).map(total).fold(0.0, f64::max));
    let highest = (0..days.len()).map(total).fold(step, f64::max);
    let top = (highest / step).ceil() * step;
    let y = |amount: f64| (HEIGHT - BELOW) * (1.0 - amount / top) + 8.0;
    let mut svg = format!(
        "<div class=scroll><svg class=plot viewBox=\"0 0 {WIDTH} {}\" role=img aria-label=\"Net cost by day and component\">\n",
        HEIGHT + 8.0
    );
    let mut line = 0.0;
    while line <= top + step / 2.0 {
        let at = y(line);
        let _ = writeln!(
            svg,
            "<line class=grid x1={LEFT} x2={WIDTH} y1={at:.1} y2={at:.1} /><text x={:.0} y={:.1} text-anchor=end>{}</text>",
            LEFT - 8.0,
            at + 4.0,
            shown(line, step)
        );
        line += step;
    }
    let width = (WIDTH - LEFT) / float(days.len().max(1));
    let every = days.len().div_ceil(10).max(1);
    for (place, day) in days.iter().enumerate() {
        let x = LEFT + width * float(place);
        let mut below = 0.0;
        let _ = write!(svg, "<g><title>{day}: {:.2}</title>", total(place));
        for (colour, amounts) in series.iter().enumerate() {
            let (from, to) = (y(below), y(below + amounts[place]));
            if from - to > 0.05 {
                let (colour, width, height) = (colour % COLOURS, (width * 0.82).max(0.5), from - to);
                let _ = write!(svg, "<rect class=c{colour} x={x:.1} y={to:.1} width={width:.1} height={height:.1} />");
            }
            below += amounts[place];
        }
        svg += "</g>\n";
        if place % every == 0 {
            let _ = writeln!(svg, "<text x={:.1} y={:.0}>{}</text>", x, HEIGHT + 2.0, day.format("%b %-d"));
        }
    }
    svg += "</svg></div>\n<p class=legend>";
    for (place, (component, _)) in components.iter().enumerate() {
        let _ = write!(svg, "<span><span class=\"swatch c{}\"></span>{}</span> ", place % COLOURS, escape(component));
    }
    svg + "</p>\n"
}

/// A small line, from zero to its highest value.
pub(super) fn spark(series: &[Micros], place: usize) -> String {
    let highest = series.iter().map(|amount| amount.units()).fold(0.0, f64::max);
    if highest <= 0.0 {
        return String::new();
    }
    let (width, height) = (220.0, 26.0);
    let points = series.iter().enumerate().map(|(place, amount)| {
        let x = width * float(place) / float(series.len().saturating_sub(1).max(1));
        format!("{x:.1},{:.1} ", height - (height - 2.0) * (amount.units().max(0.0) / highest) - 1.0)
    });
    let points: String = points.collect();
    format!(
        "<svg class=spark viewBox=\"0 0 {width} {height}\" width={width} height={height} aria-hidden=true>\
         <polyline class=l{} points=\"{}\" /></svg>",
        place % COLOURS,
        points.trim_end()
    )
}

/// A bar as long as its part of the largest.
pub(super) fn bar(amount: Micros, most: Micros) -> String {
    let part = if most > Micros::ZERO { (amount.units() / most.units()).clamp(0.0, 1.0) } else { 0.0 };
    format!(
        "<svg class=spark viewBox=\"0 0 220 14\" width=220 height=14 aria-hidden=true>\
         <rect class=c0 x=0 y=2 width={:.1} height=10 /></svg>",
        part * 220.0
    )
}

/// One, two or five times a power of ten: about five of them in `highest`.
fn step(highest: f64) -> f64 {
    if highest <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf((highest / 5.0).log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|times| times * power).find(|step| highest / step <= 6.0).unwrap_or(10.0 * power)
}

fn shown(amount: f64, step: f64) -> String {
    if step >= 1.0 { format!("{amount:.0}") } else { format!("{amount:.2}") }
}

#[expect(clippy::cast_precision_loss, reason = "there are few days")]
fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_few() {
        assert_eq!([0.0, 4.3, 58.0, 100.0, 0.03].map(step), [1.0, 1.0, 10.0, 20.0, 0.005]);
    }
}
