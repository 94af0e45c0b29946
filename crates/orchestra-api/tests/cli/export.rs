//! Export: what import takes back as it was.

use std::collections::BTreeMap;

use serde_json::Value;

use super::support::{Orchestra, fixture_path};

/// The lines of an export by id, without what a store adds by itself.
fn comparable(export: &str) -> BTreeMap<String, Value> {
    export
        .lines()
        .map(|line| {
            let mut memory: Value = serde_json::from_str(line).unwrap();
            for added in ["origin", "recorded_at", "version"] {
                memory.as_object_mut().unwrap().remove(added).unwrap_or_else(|| panic!("{line}"));
            }
            (memory["id"].as_str().unwrap().to_owned(), memory)
        })
        .collect()
}

#[test]
fn an_export_imported_into_a_fresh_folder_exports_the_same() {
    let (from, to) = (Orchestra::new(), Orchestra::new());
    for name in ["chats.jsonl", "locomo.json", "notes.md", "memories.jsonl"] {
        from.ok(&["import", &fixture_path(name)]);
    }
    from.ok(&[
        "remember",
        "Grüße aus Köln 🎉\nzweite Zeile",
        "--importance",
        "0.7",
        "--metadata",
        "ratio=0.1",
        "--ttl",
        "30d",
    ]);
    let file = to.folder().join("export.jsonl");
    let ran = from.ok(&["export", file.to_str().unwrap()]);
    assert_eq!(ran.out, "");
    let first = std::fs::read_to_string(&file).unwrap();
    assert!(ran.err.contains(&format!("{} memories exported to ", first.lines().count())), "{}", ran.err);
    let ran = to.ok(&["import", file.to_str().unwrap()]);
    assert!(ran.err.contains("read as orchestra"), "{}", ran.err);
    let second = to.ok(&["export"]).out;
    assert_eq!(comparable(&first), comparable(&second));
    let origins = second.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["origin"]["writer"].clone());
    assert!(origins.into_iter().all(|writer| writer == "import"));
}

#[test]
fn an_export_narrows_to_a_scope_or_a_filter() {
    let orchestra = Orchestra::new();
    orchestra.ok(&["import", &fixture_path("memories.jsonl"), &fixture_path("locomo.json")]);
    assert_eq!(orchestra.ok(&["export", "-", "--user", "conv-7"]).out.lines().count(), 4);
    assert_eq!(orchestra.ok(&["export", "--filter", r#"{"kind": "procedural"}"#]).out.lines().count(), 1);
    assert_eq!(orchestra.ok(&["export", "--user", "nobody"]).out, "");
}

#[test]
fn an_export_in_pages_is_whole() {
    let orchestra = Orchestra::new();
    let lines: String = (0..2_300).map(|at| format!("\"note {at}\"\n")).collect();
    assert_eq!(orchestra.run_with_input(&["import", "-"], &lines).code, 0);
    let export = orchestra.ok(&["export"]).out;
    let texts: Vec<String> = export
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(texts, (0..2_300).map(|at| format!("note {at}")).collect::<Vec<_>>(), "in the order of writing");
}
