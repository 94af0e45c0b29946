//! The list of the tests in the documentation.

use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../../docs/governance.md");
const FILES: [(&str, &str); 8] = [
    ("correction", include_str!("correction.rs")),
    ("deletion", include_str!("deletion.rs")),
    ("evidence", include_str!("evidence.rs")),
    ("gateway", include_str!("gateway.rs")),
    ("prompt", include_str!("prompt.rs")),
    ("retrieval", include_str!("retrieval.rs")),
    ("scope", include_str!("scope.rs")),
    ("tombstone", include_str!("tombstone.rs")),
];

#[test]
fn the_table_and_the_tests_agree() {
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let (held, not_held): (Vec<_>, Vec<_>) = rows.partition(|(_, rest)| !rest.starts_with("not held"));
    let held: BTreeSet<String> = held.into_iter().map(|(id, _)| id.to_owned()).collect();
    let tests: BTreeSet<String> = FILES
        .iter()
        .flat_map(|(group, text)| {
            let named = text.split("#[tokio::test]\nasync fn ").skip(1);
            named.map(move |rest| format!("{group}.{}", rest.split('(').next().unwrap_or_default()))
        })
        .collect();
    assert_eq!(tests, held);
    assert_eq!((held.len(), not_held.len()), (19, 1), "twenty in all");
}
