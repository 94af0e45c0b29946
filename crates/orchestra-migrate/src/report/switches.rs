//! The part of the page that tells how long writes waited for each switch.

use migrate::record::{Colour, Record};

use super::copy::colour;
use super::plot::{Bars, Group, row};

/// How many of the last switches are shown.
const SHOWN: usize = 10;

pub fn html(record: &Record) -> String {
    let all = record.switches.len();
    let shown = record.switches.iter().enumerate().skip(all.saturating_sub(SHOWN));
    let groups = shown.map(|(place, switch)| Group {
        name: (place + 1).to_string(),
        bars: vec![(switch.waited_ms as f64, colour(switch.to))],
    });
    let bars = Bars {
        title: "The longest that writes waited for a switch",
        x: "switch",
        unit: "ms",
        names: [Colour::Green, Colour::Blue].map(|to| (format!("to {to}"), colour(to))).into(),
        groups: groups.collect(),
        else_why: if record.history.iter().any(|event| event.what.starts_with("switched: ")) {
            "they were made by a version that kept the pauses in words alone, see what was done"
        } else {
            "no switch was made yet"
        },
    };
    let left_out = if all > SHOWN { format!("<p>The last {SHOWN} of {all}.</p>\n") } else { String::new() };
    format!("<h2>Switches</h2>\n{left_out}{}", row(&[bars.html()]))
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use migrate::plan::Plan;
    use migrate::record::{Event, Switch};

    use super::*;

    #[test]
    fn each_switch_has_a_bar_with_its_pause() {
        let mut record = Record::planned(Plan::default(), false, 0, Utc::now());
        assert!(html(&record).contains(": no switch was made yet</p>"), "{}", html(&record));
        record
            .history
            .push(Event { at: Utc::now(), what: "switched: green is in use, writes waited at most 5 ms".into() });
        assert!(html(&record).contains("in words alone"), "a record from before: {}", html(&record));
        for (to, waited_ms) in [(Colour::Green, 55), (Colour::Blue, 78)] {
            record.switches.push(Switch { at: Utc::now(), to, waited_ms });
        }
        let page = html(&record);
        for shown in [">55</text>", ">78</text>", ">1</text>", ">2</text>", ">ms</text>", "to green", "to blue"] {
            assert!(page.contains(shown), "{shown}: {page}");
        }
        assert_eq!((page.matches("<rect").count(), page.contains("The last")), (2, false));
        record.switches.extend(vec![record.switches[0]; 20]);
        let page = html(&record);
        assert!(page.contains("The last 10 of 22") && page.contains(">22</text>"), "{page}");
        assert_eq!(page.matches("<rect").count(), 10);
    }
}
