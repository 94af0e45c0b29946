//! The outcomes as a page that stands alone: no script, no font, nothing fetched.

use super::check::{Outcome, Status};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #d0d7de; --soft: #57606a; --pass: #1a7f37; --fail: #cf222e; --skip: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --line: #30363d; --soft: #8b949e; --pass: #3fb950; --fail: #f85149; --skip: #d29922; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; text-transform: capitalize; }
p { color: var(--soft); margin: .25rem 0 0; }
.bar { display: flex; height: .6rem; border-radius: .3rem; overflow: hidden; margin: 1.2rem 0 .4rem; gap: 2px; }
.bar i { background: var(--pass); } .bar i.fail { background: var(--fail); } .bar i.skipped { background: var(--skip); }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; vertical-align: top; padding: .45rem .8rem .45rem 0; border-top: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); border: 0; } td.number { text-align: right; white-space: nowrap; color: var(--soft); }
td:first-child { white-space: nowrap; font-weight: 600; color: var(--pass); } td.fail { color: var(--fail); } td.skipped { color: var(--skip); }
table { table-layout: fixed; } th:first-child { width: 4.5rem; } th:nth-child(2) { width: 12rem; }
th:nth-child(3) { width: 16rem; } th:last-child { width: 4.5rem; }
";

/// The page.
pub fn page(url: &str, outcomes: &[Outcome]) -> String {
    let count = |status| outcomes.iter().filter(|outcome| outcome.status == status).count();
    let (pass, fail, skipped) = (count(Status::Pass), count(Status::Fail), count(Status::Skipped));
    let verdict = if fail == 0 { "Every check that was made holds" } else { "Some checks do not hold" };
    let parts = [(pass, "pass"), (fail, "fail"), (skipped, "skipped")];
    let bar: String = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, class)| format!("<i class=\"{class}\" style=\"flex:{count}\"></i>"))
        .collect();
    let mut areas: Vec<&str> = outcomes.iter().map(|outcome| outcome.area).collect();
    areas.dedup();
    let tables: String = areas.iter().map(|area| table(area, outcomes)).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Verification of {url}</title><style>{STYLE}</style>\n<h1>{verdict}</h1><p>{url}</p>\
         <div class=\"bar\">{bar}</div><p>{pass} passed, {fail} failed, {skipped} skipped</p>\n{tables}</html>\n",
        url = escaped(url)
    )
}

fn table(area: &str, outcomes: &[Outcome]) -> String {
    let rows: String = outcomes
        .iter()
        .filter(|outcome| outcome.area == area)
        .map(|outcome| {
            let class = match outcome.status {
                Status::Pass => "pass",
                Status::Fail => "fail",
                Status::Skipped => "skipped",
            };
            let cells =
                [outcome.name, outcome.goal, &outcome.seen].map(|text| format!("<td>{}</td>", escaped(text))).concat();
            format!(
                "<tr><td class=\"{class}\">{class}</td>{cells}<td class=\"number\">{:.1} s</td></tr>\n",
                outcome.seconds
            )
        })
        .collect();
    format!(
        "<h2>{area}</h2>\n<table><tr><th></th><th>check</th><th>goal</th><th>seen</th><th></th></tr>\n{rows}</table>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_text_and_never_markup() {
        let outcome = Outcome {
            area: "security",
            name: "a",
            goal: "b",
            status: Status::Fail,
            seen: "<script>alert(1)</script>".into(),
            seconds: 0.0,
        };
        let page = page("http://127.0.0.1", &[outcome]);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
        assert!(page.contains("Some checks do not hold"));
    }
}
