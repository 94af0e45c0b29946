use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{MemoryKind, Metadata, Origin, Scope, Writer};

fn memory() -> Memory {
    let Value::Object(metadata) = json!({"topic": "travel", "stars": 4, "done": true, "tags": ["a", 2], "trip": {"city": "Lisbon", "days": [3]}, "none": null})
    else {
        unreachable!("an object")
    };
    Memory {
        id: uuid::Uuid::nil().into(),
        version: 1,
        scope: Scope::tenant("t").unwrap(),
        kind: MemoryKind::Semantic,
        text: "Ann flew to Lisbon".into(),
        actor: Some("Ann".into()),
        metadata,
        importance: 0.5,
        origin: Origin::new(Writer::Agent, "http"),
        evidence: Vec::new(),
        valid_from: Some("2025-05-08T00:00:00Z".parse().unwrap()),
        valid_to: None,
        recorded_at: "2025-06-01T00:00:00Z".parse().unwrap(),
        superseded_at: None,
        expires_at: None,
    }
}

#[test]
fn conditions_hold_or_not() {
    let memory = memory();
    for (filter, expected) in [
        (json!({}), true),
        (json!({"kind": "semantic"}), true),
        (json!({"kind": "semantic", "actor": "Bob"}), false),
        (json!({"metadata.topic": {"in": ["food", "travel"]}}), true),
        (json!({"metadata.stars": 4.0}), true),
        (json!({"metadata.stars": {"gt": 3, "lte": 4}}), true),
        (json!({"metadata.stars": "4"}), false),
        (json!({"metadata.stars": {"ne": "4"}}), true),
        (json!({"metadata.done": true}), true),
        (json!({"metadata.tags": {"contains": 2.0}}), true),
        (json!({"metadata.tags": ["a", 2]}), false),
        (json!({"metadata.tags": {"eq": ["a", 2]}}), true),
        (json!({"metadata.tags": {"eq": ["a", 2.0]}}), true),
        (json!({"metadata.tags": {"eq": ["a"]}}), false),
        (json!({"metadata.trip": {"in": [{"city": "Lisbon", "days": [3.0]}]}}), true),
        (json!({"metadata.trip": {"eq": {"city": "Lisbon", "day": [3]}}}), false),
        (json!({"metadata.trip.city": "Lisbon"}), true),
        (json!({"metadata.none": null}), true),
        (json!({"metadata.none": {"exists": true}}), false),
        (json!({"metadata.missing": {"exists": false}}), true),
        (json!({"text": {"contains": "Lisbon"}}), true),
        (json!({"valid_from": {"gte": "2025-05-08T02:00:00+02:00", "lt": "2025-05-09T00:00:00Z"}}), true),
        (json!({"valid_to": {"lt": "2030-01-01T00:00:00Z"}}), false),
        (json!({"importance": {"lt": 0.5}}), false),
        (json!({"writer": "agent", "origin": "http"}), true),
        (json!({"or": []}), false),
        (json!({"and": []}), true),
        (json!({"not": {"or": [{"actor": "Bob"}, {"kind": "message"}]}}), true),
    ] {
        if filter == json!({"metadata.tags": ["a", 2]}) {
            assert!(Filter::from_json(&filter).is_err(), "a bare list is not a condition");
            continue;
        }
        assert_eq!(Filter::from_json(&filter).unwrap().matches(&memory), expected, "{filter}");
    }
}

#[test]
fn a_bad_filter_names_the_place() {
    let deep = (0..40).fold(json!({"kind": "message"}), |inner, _| json!({"not": inner}));
    let wide = json!({"or": (0..300).map(|n| json!({"metadata.n": n})).collect::<Vec<_>>()});
    let values: Vec<u32> = (0..1001).collect();
    for (filter, message) in [
        (json!("kind"), "filter: given \"kind\", allowed: an object"),
        (json!({"colour": "red"}), "filter: given \"colour\", allowed: kind, text"),
        (json!({"metadata.": 1}), "filter: given \"metadata.\""),
        (json!({"or": [{"kind": "semantic"}, {"kind": "x"}]}), "filter.or[1].kind: given \"x\", allowed: message"),
        (json!({"importance": "high"}), "filter.importance: given \"high\", allowed: a number"),
        (json!({"importance": {"near": 1}}), "filter.importance: given \"near\", allowed: eq, ne"),
        (json!({"valid_from": {"gt": "yesterday"}}), "filter.valid_from.gt: given \"yesterday\", allowed: a time"),
        (json!({"metadata.a": {"in": 3}}), "filter.metadata.a.in: given 3, allowed: a list"),
        (json!({"metadata.a": {"in": values}}), "filter.metadata.a.in: given 1001 values, allowed: at most 1000"),
        (json!({"metadata.a": {}}), "filter.metadata.a: given {}"),
        (json!({"and": {"kind": "semantic"}}), "filter.and: given {\"kind\":\"semantic\"}, allowed: a list"),
        (wide, "filter: given more conditions, allowed: at most 256"),
    ] {
        let error = Filter::from_json(&filter).unwrap_err().to_string();
        assert!(error.starts_with(message), "{filter}: {error}");
    }
    assert!(Filter::from_json(&deep).unwrap_err().to_string().contains("a deeper filter"));
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        (-5_i64..5).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
        Just(Value::Null)
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let key = || prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(|key| Field::Metadata(vec![key.into()]));
    let ordered = || prop_oneof![(-5_i64..5).prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
    let condition = prop_oneof![
        value().prop_map(Condition::Eq),
        value().prop_map(Condition::Ne),
        ordered().prop_map(Condition::Gt),
        ordered().prop_map(Condition::Gte),
        ordered().prop_map(Condition::Lt),
        ordered().prop_map(Condition::Lte),
        prop::collection::vec(value(), 0..3).prop_map(Condition::In),
        any::<bool>().prop_map(Condition::Exists),
        value().prop_map(Condition::Contains),
    ];
    let leaf = (key(), condition).prop_map(|(field, condition)| Filter::Is(field, condition));
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let member = (prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(String::from), value());
    prop::collection::vec(member, 0..4).prop_map(Metadata::from_iter)
}

proptest! {
    #[test]
    fn the_textual_form_reads_back_equal(filter in filter()) {
        prop_assert_eq!(Filter::from_json(&filter.to_json()).unwrap(), filter);
    }

    #[test]
    fn not_turns_every_verdict_around(filter in filter(), metadata in metadata()) {
        let memory = Memory { metadata, ..memory() };
        prop_assert_ne!(Filter::Not(Box::new(filter.clone())).matches(&memory), filter.matches(&memory));
    }

    #[test]
    fn or_is_the_and_of_the_opposites_turned_around(a in filter(), b in filter(), metadata in metadata()) {
        let memory = Memory { metadata, ..memory() };
        let not = |filter: &Filter| Filter::Not(Box::new(filter.clone()));
        let or = Filter::Or(vec![a.clone(), b.clone()]).matches(&memory);
        prop_assert_eq!(or, !Filter::And(vec![not(&a), not(&b)]).matches(&memory));
    }

    #[test]
    fn any_json_is_a_filter_or_a_clear_error(value in value(), key in "[a-z.]{0,12}") {
        let _ = Filter::from_json(&value);
        let _ = Filter::from_json(&json!({ key: value }));
    }
}

#[test]
fn metadata_alone_is_matched_as_in_a_memory() {
    let memory = memory();
    for filter in [
        json!({"metadata.stars": {"gt": 3}, "metadata.trip.city": "Lisbon"}),
        json!({"metadata.none": {"exists": true}}),
        json!({"not": {"metadata.tags": {"contains": 2.0}}}),
    ] {
        let filter = Filter::from_json(&filter).unwrap();
        filter.expect_metadata_only().unwrap();
        assert_eq!(filter.matches_metadata(&memory.metadata), filter.matches(&memory), "{filter:?}");
    }
    let of_a_memory = Filter::from_json(&json!({"or": [{"metadata.a": 1}, {"not": {"actor": "Ann"}}]})).unwrap();
    insta::assert_snapshot!(of_a_memory.expect_metadata_only().unwrap_err(), @"filter: given actor, allowed: metadata.<key>, and, or, not");
}

#[test]
fn what_is_valid_began_by_then_and_had_not_ended() {
    let day = |day: u32| format!("2025-05-{day:02}T00:00:00Z").parse::<Timestamp>().unwrap();
    let valid = |from: Option<u32>, to: Option<u32>, at| {
        let memory = Memory { valid_from: from.map(day), valid_to: to.map(day), ..memory() };
        let filter = Filter::valid_at(day(at));
        assert_eq!(Filter::from_json(&filter.to_json()).unwrap(), filter);
        filter.matches(&memory)
    };
    assert!(valid(None, None, 1), "without times it is always true");
    assert!(valid(Some(2), None, 2) && valid(Some(2), None, 9) && !valid(Some(2), None, 1));
    assert!(valid(None, Some(5), 1) && valid(None, Some(5), 4) && !valid(None, Some(5), 5), "the end is not in it");
    assert!(!valid(Some(2), Some(5), 1) && valid(Some(2), Some(5), 3) && !valid(Some(2), Some(5), 6));
}
