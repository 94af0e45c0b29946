//! Memories and filters that are hard to tell apart, out of small sets of values, so that conditions hold often.

use chrono::TimeDelta;
use memory_core::{Condition, Field, Filter, Memory, MemoryKind, Metadata, Origin, Scope, Timestamp, Writer};
use memory_testkit::make;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// Quotes and placeholders of SQL, wildcards, what must be escaped, what looks like another type, and characters that
/// locales, UTF-16 and bytes order differently.
const TEXTS: &[&str] = &[
    "",
    "a",
    "A",
    "ab",
    "b",
    "B",
    "ä",
    "Z",
    "z",
    "_",
    "%",
    "a%",
    "'",
    "''",
    "\"",
    "\\",
    "\\u0000",
    "$1",
    "$10",
    "{}",
    "{a}",
    "NULL",
    "null",
    "true",
    "1",
    "1.0",
    "[1]",
    "\0",
    "a\0",
    "a\0b",
    "\0\0",
    "\u{1}",
    "\u{2}",
    "\u{3}",
    "\u{4}",
    "a\u{1}",
    "\u{1}\u{2}",
    "\u{1}\u{3}\u{2}",
    "\u{ffff}",
    "\u{10ffff}",
    "😀",
    "'; DROP TABLE orchestra.memories; --",
    "2025-06-01T00:00:00Z",
];

const KEYS: &[&str] = &["a", "b", "0", "", "a.b", "'\"", "$1", "\0", "\u{1}\u{2}", "{a}"];

/// Numbers that differ as decimals but not as `f64`, that jsonb writes in another way, and the least and largest ones.
fn numbers() -> Vec<Value> {
    vec![
        json!(0),
        json!(-0.0),
        json!(1),
        json!(1.0),
        json!(-1),
        json!(0.5),
        json!(0.1),
        json!(0.25),
        json!(2),
        json!(9_007_199_254_740_991_i64),
        json!(9_007_199_254_740_992_i64),
        json!(9_007_199_254_740_993_i64),
        json!(9_007_199_254_740_992.0),
        json!(10_000_000_000_000_000_i64),
        json!(1e16),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(9_223_372_036_854_775_808_u64),
        json!(9_223_372_036_854_775_808.0),
        json!(1e23),
        json!(f64::MAX),
        json!(f64::MIN),
        json!(5e-324),
        json!(1e-7),
    ]
}

/// All numbers, texts, and lists and objects that differ in little.
pub(super) fn hard_values() -> Vec<Value> {
    let (large, twin) = (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992.0));
    let mut values = numbers();
    values.extend(TEXTS.iter().map(|text| json!(text)));
    values.extend(numbers().into_iter().flat_map(|number| [json!([number]), json!({"b": number})]));
    values.extend([
        json!(null),
        json!(true),
        json!(false),
        json!([]),
        json!({}),
        json!([null]),
        json!([true, "a", "a\0"]),
    ]);
    values.extend([
        json!([1, 2]),
        json!([2, 1]),
        json!([[1], 2]),
        json!([[1, 2]]),
        json!([{"b": 1}, 2]),
        json!([{}, 1]),
    ]);
    values.extend([&large, &twin].into_iter().flat_map(|number| {
        [
            json!([[number], 2]),
            json!([[number, 2]]),
            json!([[[number]], 2]),
            json!([{"b": number}]),
            json!([{"c": number}]),
            json!([{"b": number}, 2]),
            json!([{"b": [number, 2]}]),
            json!({"b": {"c": number}}),
            json!({"b": number, "c": 2}),
            json!([number, "2"]),
            json!([number, 2]),
        ]
    }));
    values
}

fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![4 => select(TEXTS).prop_map(str::to_owned), 1 => "[a-c\0-\u{4}]{0,4}"]
}

fn key() -> impl Strategy<Value = String> + Clone {
    // The first ones more often, so that paths lead somewhere.
    prop_oneof![2 => select(&KEYS[..3]), 1 => select(KEYS)].prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> + Clone {
    let scalar = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        3 => select(numbers()),
        3 => text().prop_map(Value::from),
    ];
    scalar.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..3).prop_map(Value::from_iter),
        ]
    })
}

fn metadata() -> impl Strategy<Value = Metadata> {
    prop::collection::btree_map(key(), value(), 0..6).prop_map(Metadata::from_iter)
}

/// Times around a few, in whole microseconds as rows have them.
fn time() -> impl Strategy<Value = Timestamp> {
    let base = select(vec![
        "2025-06-01T00:00:00Z",
        "2016-12-31T23:59:59.999999Z",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ]);
    (base, -1_i64..=1).prop_map(|(base, micros)| base.parse::<Timestamp>().unwrap() + TimeDelta::microseconds(micros))
}

/// Times as callers write them, and what is none.
fn written_time() -> impl Strategy<Value = Value> {
    let near = (time(), select(vec![-1, 0, 0, 0, 1, 500]), select(vec![0, 0, 7200, -19_800])).prop_map(
        |(at, nanos, offset)| {
            let at = at + TimeDelta::nanoseconds(nanos);
            json!(at.with_timezone(&chrono::FixedOffset::east_opt(offset).unwrap()).to_rfc3339())
        },
    );
    let other = select(vec![
        json!("2016-12-31T23:59:60Z"),
        json!("2016-12-31T23:59:60.5Z"),
        json!("-9000-01-01T00:00:00Z"),
        json!("+99999-01-01T00:00:00Z"),
        json!("yesterday"),
        json!("now"),
        json!("infinity"),
        json!("2025-06-01"),
        json!(""),
    ]);
    prop_oneof![6 => near, 1 => other]
}

const WRITERS: &[Writer] = &[Writer::Import, Writer::Consolidation, Writer::Tool, Writer::Agent, Writer::User];

fn memory() -> impl Strategy<Value = Memory> {
    let words = (select(&MemoryKind::ALL[..]), text(), prop::option::of(text()), select(WRITERS), text());
    let times = (prop::option::of(time()), prop::option::of(time()), time(), prop::option::of(time()));
    let importance = select(vec![0.0_f32, 0.1, 0.25, 0.5, 1.0]);
    (words, times, metadata(), importance).prop_map(
        |((kind, text, actor, writer, path), times, metadata, importance)| {
            let scope = Scope::tenant("acme").unwrap();
            Memory {
                kind,
                actor,
                metadata,
                importance,
                origin: Origin::new(writer, path),
                valid_from: times.0,
                valid_to: times.1,
                expires_at: times.3,
                ..make::memory(&scope, &text, times.2)
            }
        },
    )
}

/// As many memories.
pub(super) fn memories(runner: &mut TestRunner, count: usize) -> Vec<Memory> {
    prop::collection::vec(memory(), count).new_tree(runner).unwrap().current()
}

/// A condition on one field.
pub(super) fn condition(memories: &[Memory]) -> impl Strategy<Value = Filter> + Clone + use<> {
    let stored: Vec<(Vec<String>, Value)> = memories
        .iter()
        .flat_map(|memory| {
            let mut found = Vec::new();
            walk(&Value::Object(memory.metadata.clone()), &mut Vec::new(), &mut found);
            found
        })
        .collect();
    let texts: Vec<Value> = memories
        .iter()
        .flat_map(|memory| [Some(&memory.text), memory.actor.as_ref(), Some(&memory.origin.path)])
        .flatten()
        .map(|text| json!(text))
        .collect();
    let on_text = |field: Field, own: BoxedStrategy<Value>| {
        let operand = prop_oneof![6 => own, 2 => text().prop_map(Value::from), 1 => value()];
        on(Just(field), operand)
    };
    let of = |values: Vec<Value>| select(values).boxed();
    let names = |names: &[&str]| of(names.iter().map(|name| json!(name)).collect());
    let on_time = |field: Field| on(Just(field), prop_oneof![8 => written_time(), 1 => value()]);
    let importance =
        prop_oneof![of(vec![json!(0.1_f32), json!(0.25), json!(0.5), json!(1), json!(0)]), select(numbers()), value()];
    let path = prop::collection::vec(key(), 0..4);
    let from_metadata = select(stored).prop_flat_map(|(path, value)| {
        on(Just(Field::Metadata(path)), prop_oneof![3 => Just(value), 1 => self::value()])
    });
    prop_oneof![
        1 => on_text(Field::Kind, names(&["message", "episodic", "semantic", "procedural"])),
        1 => on_text(Field::Text, of(texts.clone())),
        1 => on_text(Field::Actor, of(texts.clone())),
        1 => on_text(Field::Origin, of(texts)),
        1 => on_text(Field::Writer, names(&["import", "consolidation", "tool", "agent", "user"])),
        1 => on(Just(Field::Importance), importance),
        1 => on_time(Field::ValidFrom),
        1 => on_time(Field::ValidTo),
        1 => on_time(Field::RecordedAt),
        1 => on_time(Field::ExpiresAt),
        8 => from_metadata,
        3 => on(path.prop_map(Field::Metadata), value()),
    ]
    .boxed()
}

/// Conditions put together.
pub(super) fn filter(memories: &[Memory]) -> impl Strategy<Value = Filter> + use<> {
    condition(memories).prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
}

fn on(
    field: impl Strategy<Value = Field> + 'static,
    operand: impl Strategy<Value = Value> + 'static,
) -> BoxedStrategy<Filter> {
    let operand = operand.boxed();
    let condition = prop_oneof![
        operand.clone().prop_map(Condition::Eq),
        operand.clone().prop_map(Condition::Ne),
        operand.clone().prop_map(Condition::Gt),
        operand.clone().prop_map(Condition::Gte),
        operand.clone().prop_map(Condition::Lt),
        operand.clone().prop_map(Condition::Lte),
        prop::collection::vec(operand.clone(), 0..5).prop_map(Condition::In),
        any::<bool>().prop_map(Condition::Exists),
        operand.prop_map(Condition::Contains),
    ];
    (field, condition).prop_map(|(field, condition)| Filter::Is(field, condition)).boxed()
}

/// All values with their paths, a list's elements and a text's first character with the path of the whole.
fn walk(value: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, Value)>) {
    found.push((path.clone(), value.clone()));
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                path.push(key.clone());
                walk(value, path, found);
                path.pop();
            }
        }
        Value::Array(items) => found.extend(items.iter().map(|item| (path.clone(), item.clone()))),
        Value::String(text) => found.extend(text.chars().next().map(|first| (path.clone(), json!(first)))),
        _ => {}
    }
}
