//! Plots for a page that loads nothing: lines over an axis, and bars in groups. Every axis begins at 0 and says its unit; names are
//! text of the page, beside the drawing, which keeps its proportions. Where there is nothing to draw a line says why.

mod scale;

use std::fmt::Write as _;

use super::escape;
use scale::Scale;

/// Colours of the page's style, which are others where the page is dark.
pub const BLUE: &str = "var(--blue)";
pub const GREEN: &str = "var(--green)";
pub const ORANGE: &str = "var(--orange)";

/// About as wide as a phone, so that text is as large as elsewhere on the page.
const SIZE: (f64, f64) = (440.0, 240.0);
const LEFT: f64 = 48.0;
const RIGHT: f64 = 426.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 202.0;
/// Up to so many points each one is marked, so that what was measured can be told from what is between.
const DOTS: usize = 40;
/// How many marks have room for their text.
const TEXTS: usize = 6;

/// Lines over an axis.
pub struct Plot<'a> {
    pub title: &'a str,
    pub x: Axis<'a>,
    /// Of what is drawn upwards.
    pub unit: &'a str,
    /// What is above this is drawn at the edge; without it the axis goes as far as the values.
    pub most: Option<f64>,
    pub lines: Vec<Line>,
    /// Those behind the last point are left out.
    pub marks: Vec<Mark>,
    /// Why there would be nothing to draw.
    pub else_why: &'a str,
}

/// What runs to the right.
#[derive(Clone, Copy)]
pub enum Axis<'a> {
    /// Seconds, shown in seconds, minutes or hours.
    Time,
    /// Something else, in this unit.
    Of(&'a str),
}

pub struct Line {
    pub name: String,
    pub colour: &'static str,
    pub is_dashed: bool,
    pub points: Vec<(f64, f64)>,
}

/// A line from top to bottom, and what it stands for.
pub struct Mark {
    pub at: f64,
    pub text: String,
    pub colour: &'static str,
}

/// Bars beside each other.
pub struct Bars<'a> {
    pub title: &'a str,
    /// What the groups are.
    pub x: &'a str,
    pub unit: &'a str,
    /// What the colours stand for.
    pub names: Vec<(String, &'static str)>,
    pub groups: Vec<Group>,
    /// Why there would be nothing to draw.
    pub else_why: &'a str,
}

pub struct Group {
    pub name: String,
    /// A value and its colour.
    pub bars: Vec<(f64, &'static str)>,
}

impl Line {
    pub fn new(name: impl Into<String>, colour: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), colour, is_dashed: false, points }
    }
}

impl Plot<'_> {
    pub fn html(&self) -> String {
        let (per, x_unit) = match self.x {
            Axis::Of(unit) => (1.0, unit.to_owned()),
            Axis::Time => {
                let (per, unit) = scale::time(self.points().map(|(x, _)| x).fold(0.0, f64::max));
                (per, format!("time in {unit}"))
            }
        };
        let Some(right) = self.points().map(|(x, _)| x / per).reduce(f64::max) else {
            return left_out(self.title, self.else_why);
        };
        let highest = self.points().map(|(_, y)| y).fold(0.0, f64::max);
        let (x, y) = (Scale::to(right), Scale::beyond(self.most.unwrap_or(highest)));
        let mut svg = frame(&y, self.unit, &x_unit);
        for tick in x.ticks() {
            let at = along(&x, tick);
            let _ = write!(
                svg,
                "<path d=\"M{at:.1} {BOTTOM}v4\"/><text class=mid x={at:.1} y={:.0}>{}</text>",
                BOTTOM + 17.0,
                x.text(tick)
            );
        }
        for line in &self.lines {
            let points: Vec<_> = finite(&line.points).map(|(at, value)| (along(&x, at / per), up(&y, value))).collect();
            svg += &drawn(line, &points);
        }
        let marks: Vec<_> = self.marks.iter().filter(|mark| mark.at / per <= right).collect();
        for Mark { at, colour, .. } in &marks {
            let at = along(&x, at / per);
            let _ = write!(svg, "<path style=\"stroke:{colour};stroke-dasharray:2 3\" d=\"M{at:.1} {TOP}V{BOTTOM}\"/>");
        }
        for (row, mark) in marks.into_iter().take(TEXTS).enumerate() {
            svg += &told(along(&x, mark.at / per), row, mark);
        }
        let names = self.lines.iter().map(|line| (line.name.as_str(), line.colour, line.is_dashed));
        figure(self.title, names, &svg)
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.lines.iter().flat_map(|line| finite(&line.points))
    }
}

impl Bars<'_> {
    pub fn html(&self) -> String {
        let bars = self.groups.iter().flat_map(|group| &group.bars);
        let Some(most) = bars.map(|(value, _)| *value).filter(|value| value.is_finite()).reduce(f64::max) else {
            return left_out(self.title, self.else_why);
        };
        let y = Scale::beyond(most);
        let mut svg = frame(&y, self.unit, self.x);
        let width = (RIGHT - LEFT) / self.groups.len() as f64;
        for (place, group) in self.groups.iter().enumerate() {
            let left = LEFT + width * place as f64;
            let bar = (width * 0.8 / group.bars.len().max(1) as f64).min(48.0);
            let first = left + (width - bar * group.bars.len() as f64) / 2.0;
            for (place, (value, colour)) in group.bars.iter().enumerate().filter(|(_, (value, _))| value.is_finite()) {
                let (at, top) = (first + bar * place as f64, up(&y, *value));
                let _ = write!(
                    svg,
                    "<rect x={at:.1} y={top:.1} width={:.1} height={:.1} style=\"fill:{colour}\"/>\
                     <text class=mid x={:.1} y={:.1}>{}</text>",
                    bar * 0.9,
                    BOTTOM - top,
                    at + bar * 0.45,
                    top - 4.0,
                    scale::short(*value)
                );
            }
            let (middle, below) = (left + width / 2.0, BOTTOM + 17.0);
            let _ = write!(svg, "<text class=mid x={middle:.1} y={below:.0}>{}</text>", escape(&group.name));
        }
        figure(self.title, self.names.iter().map(|(name, colour)| (name.as_str(), *colour, false)), &svg)
    }
}

/// Plots that are beside each other where there is room.
pub fn row(plots: &[String]) -> String {
    format!("<div class=plots>\n{}</div>\n", plots.concat())
}

fn left_out(title: &str, why: &str) -> String {
    format!("<p class=none><b>{}</b>: {}</p>\n", escape(title), escape(why))
}

fn finite(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
}

fn along(x: &Scale, value: f64) -> f64 {
    LEFT + x.share(value) * (RIGHT - LEFT)
}

fn up(y: &Scale, value: f64) -> f64 {
    BOTTOM - y.share(value) * (BOTTOM - TOP)
}

/// The lines of the ticks that are drawn upwards, and both units.
fn frame(y: &Scale, unit: &str, x_unit: &str) -> String {
    let mut svg = format!(
        "<text x=4 y=12>{}</text><text class=end x={RIGHT} y={}>{}</text>",
        escape(unit),
        SIZE.1 - 6.0,
        escape(x_unit)
    );
    for tick in y.ticks() {
        let at = up(y, tick);
        let (class, text) = (if tick == 0.0 { "axis" } else { "grid" }, y.text(tick));
        let _ = write!(
            svg,
            "<path class={class} d=\"M{LEFT} {at:.1}H{RIGHT}\"/><text class=end x={:.0} y={:.1}>{text}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    svg
}

fn drawn(line: &Line, points: &[(f64, f64)]) -> String {
    let (colour, dashes) = (line.colour, if line.is_dashed { "6 4" } else { "none" });
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let path = path.join(" ");
    let mut svg = format!("<polyline style=\"stroke:{colour};stroke-dasharray:{dashes}\" points=\"{path}\"/>");
    for (x, y) in points.iter().filter(|_| points.len() <= DOTS) {
        let _ = write!(svg, "<circle cx={x:.1} cy={y:.1} r=2.5 style=\"fill:{colour}\"/>");
    }
    svg
}

/// What a mark stands for: those that are near to each other have rows of their own.
fn told(at: f64, row: usize, Mark { text, colour, .. }: &Mark) -> String {
    let is_right = at > f64::midpoint(LEFT, RIGHT);
    let (class, text_at) = if is_right { ("end", at - 4.0) } else { ("start", at + 4.0) };
    let down = TOP + 10.0 + 14.0 * row as f64;
    format!("<text class={class} x={text_at:.1} y={down:.0} style=\"fill:{colour}\">{}</text>", escape(text))
}

fn figure<'a>(title: &str, names: impl Iterator<Item = (&'a str, &'a str, bool)>, svg: &str) -> String {
    let (title, mut legend) = (escape(title), String::new());
    for (name, colour, is_dashed) in names {
        let style = if is_dashed { "dashed" } else { "solid" };
        let name = escape(name);
        let _ = write!(legend, " <span class=key><i style=\"border-top:3px {style} {colour}\"></i>{name}</span>");
    }
    format!(
        "<figure><figcaption><b>{title}</b>{legend}</figcaption>\
         <svg viewBox=\"0 0 {} {}\" role=img aria-label=\"{title}\">{svg}</svg></figure>\n",
        SIZE.0, SIZE.1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(x: Axis<'_>, points: Vec<(f64, f64)>) -> String {
        let lines = vec![Line::new("a <line>", BLUE, points)];
        Plot { title: "A & B", x, unit: "items/s", most: None, lines, marks: Vec::new(), else_why: "none <yet>" }.html()
    }

    #[test]
    fn a_plot_says_its_title_its_lines_and_its_units() {
        let svg = plot(Axis::Time, vec![(0.0, 0.0), (30.0, 90.0)]);
        for shown in
            ["<b>A &amp; B</b>", "</i>a &lt;line&gt;</span>", ">items/s</text>", ">time in s</text>", ">100</text>"]
        {
            assert!(svg.contains(shown), "{shown}: {svg}");
        }
        // From the lower left corner to the right, at nine tenths.
        assert!(svg.contains("points=\"48.0,202.0 426.0,41.8\""), "{svg}");
        assert!(plot(Axis::Time, vec![(0.0, 0.0), (600.0, 90.0)]).contains(">time in min</text>"));
        assert!(plot(Axis::Of("requests/s"), vec![(600.0, 90.0)]).contains(">requests/s</text>"));
        assert!(!svg.contains("preserveAspectRatio"), "{svg}");
    }

    #[test]
    fn one_point_is_seen_none_is_no_plot_and_what_is_no_number_is_left_out() {
        for lonely in [(0.0, 0.0), (5.0, 7.0)] {
            let svg = plot(Axis::Time, vec![lonely, (f64::NAN, 1.0), (1.0, f64::INFINITY)]);
            assert_eq!(svg.matches("<circle").count(), 1, "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        for nothing in [Vec::new(), vec![(f64::NAN, f64::NAN)]] {
            assert_eq!(plot(Axis::Time, nothing), "<p class=none><b>A &amp; B</b>: none &lt;yet&gt;</p>\n");
        }
        let bars = |bars| Bars {
            title: "Bars",
            x: "switch",
            unit: "ms",
            names: Vec::new(),
            groups: vec![Group { name: "1".into(), bars }],
            else_why: "nobody waited",
        };
        for nothing in [Vec::new(), vec![(f64::NAN, BLUE)]] {
            assert!(bars(nothing).html().starts_with("<p class=none><b>Bars</b>: nobody waited"));
        }
        let none_waited = bars(vec![(0.0, BLUE)]).html();
        assert!(none_waited.contains("height=0.0") && !none_waited.contains("NaN"), "{none_waited}");
    }

    #[test]
    fn what_is_above_the_axis_is_drawn_at_its_edge() {
        let lines = vec![Line::new("p99", BLUE, vec![(1.0, 5.0), (2.0, 1e9)])];
        let mark = |at, text: &str| Mark { at, text: text.into(), colour: BLUE };
        let marks = vec![mark(1.0, "the <knee>"), mark(2.1, "behind")];
        let svg =
            Plot { title: "t", x: Axis::Of("/s"), unit: "ms", most: Some(10.0), lines, marks, else_why: "" }.html();
        assert!(svg.contains("points=\"237.0,113.0 426.0,24.0\""), "{svg}");
        assert!(svg.contains("the &lt;knee&gt;</text>") && svg.contains("M237.0 24V202"), "{svg}");
        assert!(!svg.contains("behind"), "it would be shown where it was not: {svg}");
    }
}
