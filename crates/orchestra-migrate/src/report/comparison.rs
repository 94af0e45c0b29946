//! The part of the page that tells of the comparison of the two stores.

use std::fmt::Write as _;

use memory_core::ItemKey;
use migrate::diff::Diff;

use super::{absent, escape, table};

/// How many differences are shown; report.json has more.
const SHOWN: usize = 20;

pub fn html(diff: Option<&Diff>) -> String {
    let Some(diff) = diff else { return absent("Comparison", "The stores were not compared yet; verify does that.") };
    let (word, class) = match diff.ended_at {
        None => ("The comparison has not ended.", "no"),
        Some(_) if diff.is_clean() => ("Both stores are the same.", "ok"),
        Some(_) => ("The stores are not the same.", "no"),
    };
    let mut page = format!(
        "<h2>Comparison</h2>\n<p><span class={class}>{word}</span> {} was compared with {}, the store in use, item by item.</p>\n",
        diff.active.other(),
        diff.active
    );
    let counts = &diff.counts;
    let rows = [
        ("Compared", diff.compared, "items"),
        ("Missing", counts.missing, "not on the store that follows"),
        ("Extra", counts.extra, "on the store that follows alone"),
        ("Different", counts.different, "on both, and not the same"),
        ("Tombstones", counts.tombstones, "forgotten on one of them alone"),
        ("Unsettled", diff.unsettled, "changed each time that they were looked at"),
        ("Repaired", diff.repaired, "differed and were made the same"),
    ];
    let mut cells = String::new();
    for (name, count, what) in rows {
        let _ = writeln!(cells, "<tr><td>{name}<td class=n>{count}<td>{what}</tr>");
    }
    page += &table(&cells);
    if diff.samples.is_empty() {
        return page;
    }
    let mut cells = "<tr><th>Kind<th>Item<th>Fields</tr>\n".to_owned();
    for sample in diff.samples.iter().take(SHOWN) {
        let (key, fields) = (escape(&named(&sample.key)), escape(&sample.fields.join(", ")));
        let _ = writeln!(cells, "<tr><td>{:?}<td class=id>{key}<td>{fields}</tr>", sample.kind);
    }
    let _ = write!(page, "<h3>The first differences</h3>\n{}", table(&cells));
    if diff.samples.len() > SHOWN {
        let _ = writeln!(page, "<p>report.json has {} of them.</p>", diff.samples.len());
    }
    page
}

/// An item, in words.
fn named(key: &ItemKey) -> String {
    match key {
        ItemKey::Memory { tenant, id } => format!("memory {id} of {tenant}"),
        ItemKey::Rejection { tenant, key } => format!("rejected value {key:?} of {tenant}"),
        ItemKey::ForgottenText { scope, hash } => format!("forgotten text {hash:?} of {}", scope.tenant_name()),
        ItemKey::IdempotencyKey { tenant, key } => format!("idempotency key {key} of {tenant}"),
    }
}
