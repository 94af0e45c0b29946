//! Each format, on a small file as people have them.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use orchestra_api::import::{Entry, Format, Options, Record, Source, read};

use super::support::fixture;

fn entries(source: &Source, format: Format) -> Vec<Entry> {
    let options = Options { tenant: "default".into(), ..Options::default() };
    let mut entries = Vec::new();
    let _ = read(source, format, &options, &mut |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    });
    entries
}

/// What a file holds, an entry a line.
fn told(name: &str, expected: Format) -> String {
    let source = Source::open(&fixture(name)).unwrap();
    let detected = Format::detect(&source).unwrap();
    assert_eq!(detected.format, expected, "{name}: {}", detected.because);
    let mut text = String::new();
    for entry in entries(&source, detected.format) {
        match entry {
            Entry::Memory(record) => write_record(&mut text, &record),
            Entry::Skipped(skip) => writeln!(text, "- skipped: {}", skip.reason()).unwrap(),
            Entry::Broken(broken) => {
                let place = broken.place.map_or_else(String::new, |place| format!("{}:{}: ", place.line, place.column));
                writeln!(text, "! {place}{broken}").unwrap();
            }
        }
    }
    text
}

fn write_record(text: &mut String, record: &Record) {
    let names = [&record.scope.user, &record.scope.agent, &record.scope.session];
    let names = names.map(|name| name.as_deref().unwrap_or("-")).join("/");
    let time = record.valid_from.map_or_else(|| "-".into(), |time| time.to_rfc3339());
    let actor = record.actor.as_deref().unwrap_or("-");
    writeln!(text, "{} {names} {time} {actor}: {:?}", record.kind.name(), record.text).unwrap();
    if !record.metadata.is_empty() {
        writeln!(text, "    {}", serde_json::to_string(&record.metadata).unwrap()).unwrap();
    }
}

#[test]
fn openai_chats() {
    insta::assert_snapshot!(told("chats.jsonl", Format::OpenaiChat));
}

#[test]
fn chatgpt_export() {
    insta::assert_snapshot!(told("chatgpt.json", Format::OpenaiChat));
}

#[test]
fn conversation() {
    insta::assert_snapshot!(told("conversation.json", Format::Conversation));
}

#[test]
fn locomo() {
    insta::assert_snapshot!(told("locomo.json", Format::Conversation));
}

#[test]
fn markdown() {
    insta::assert_snapshot!(told("notes.md", Format::Markdown));
}

#[test]
fn jsonl() {
    insta::assert_snapshot!(told("memories.jsonl", Format::Jsonl));
}

#[test]
fn broken_jsonl() {
    insta::assert_snapshot!(told("broken.jsonl", Format::Jsonl));
}

fn records(text: &str, format: Format) -> Vec<Record> {
    let entries = entries(&Source::new("file", text), format);
    entries
        .into_iter()
        .map(|entry| if let Entry::Memory(record) = entry { *record } else { panic!("{entry:?}") })
        .collect()
}

#[test]
fn a_long_paragraph_is_cut_between_sentences_and_loses_nothing() {
    let text: String =
        (0..60).map(|at| format!("Brown fox {at} jumps over lazy dog {at}, again and again. ")).collect();
    let records = records(&text, Format::Markdown);
    assert!(records.len() > 2);
    for record in &records {
        assert!(record.text.chars().count() <= 1200 && record.text.ends_with("again."), "{:?}", record.text);
    }
    let together: Vec<&str> = records.iter().flat_map(|record| record.text.split_whitespace()).collect();
    assert_eq!(together, text.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn items_and_code_are_never_cut() {
    let item = |mark: &str| format!("{mark} {}", "long item ".repeat(150).trim_end());
    let code = format!("```\n{}```", "let x = 1;\n\n".repeat(200));
    let text = format!("# List\n{}\n{}\n\n# Code\n{code}\n", item("-"), item("2."));
    let texts: Vec<String> = records(&text, Format::Markdown).into_iter().map(|record| record.text).collect();
    assert_eq!(texts, [item("-"), item("2."), code]);
}

#[test]
fn ids_follow_from_the_turn_and_not_from_the_file() {
    let text = std::fs::read_to_string(fixture("chats.jsonl")).unwrap();
    let one: Vec<_> = entries(&Source::new("a/b.jsonl", text.as_str()), Format::OpenaiChat);
    let reversed: String = text.lines().rev().map(|line| format!("{line}\n")).collect();
    let other: Vec<_> = entries(&Source::new("c.jsonl", reversed), Format::OpenaiChat);
    let ids = |entries: &[Entry]| {
        let ids =
            entries.iter().filter_map(|entry| if let Entry::Memory(record) = entry { Some(record.id) } else { None });
        ids.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(ids(&one), ids(&other));
    assert_eq!(ids(&one).len(), 8, "the two that say yes are two turns");
}

#[test]
fn another_tenant_or_user_gives_other_ids() {
    let source = Source::open(&fixture("conversation.json")).unwrap();
    let ids = |tenant: &str, user: Option<&str>| {
        let mut options = Options { tenant: tenant.into(), ..Options::default() };
        options.scope.user = user.map(Into::into);
        let mut ids = Vec::new();
        let _ = read(&source, Format::Conversation, &options, &mut |entry| {
            if let Entry::Memory(record) = entry {
                ids.push(record.id);
            }
            ControlFlow::Continue(())
        });
        ids
    };
    assert_eq!(ids("a", None), ids("a", Some("nils")), "the name in the file, said again");
    assert_ne!(ids("a", None), ids("b", None));
    assert_ne!(ids("a", None), ids("a", Some("other")));
}
