//! Our own export: one memory a line, with all its fields.

use std::ops::ControlFlow;

use serde_json::{Map, Value};

use super::record::{Collector, Found, Record};
use super::{Flow, Place, stream};

pub(super) fn read(text: &str, found: &mut Collector<'_, '_>) -> Flow {
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match parse(line) {
            Ok(record) => found.memory(of(record, at + 1))?,
            Err(error) => {
                let place = Place { line: at + 1, column: error.column().max(1) };
                found.broken(
                    place,
                    format!("{}; expected a memory as `orchestra export` writes it", stream::without_place(&error)),
                )?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Reads one line of an export. What the store adds by itself (version, origin, times of recording) is left: the store
/// that takes the memory in says these things of it anew.
///
/// # Errors
/// What the JSON reader says; a mistake in the JSON itself has its column.
pub fn parse(line: &str) -> serde_json::Result<Record> {
    let mut members: Map<String, Value> = serde_json::from_str(line)?;
    for added in ["version", "origin", "recorded_at", "superseded_at"] {
        members.remove(added);
    }
    serde_json::from_value(Value::Object(members))
}

/// Writes one line of an export, without the line's end, from a memory as the API gives it.
#[must_use]
pub fn line(memory: &Value) -> String {
    const FIELDS: [&str; 14] = [
        "id",
        "version",
        "scope",
        "kind",
        "text",
        "actor",
        "metadata",
        "importance",
        "origin",
        "evidence",
        "valid_from",
        "valid_to",
        "recorded_at",
        "expires_at",
    ];
    let mut parts = Vec::with_capacity(FIELDS.len());
    for field in FIELDS {
        let value = match memory.get(field) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(scope)) if field == "scope" => {
                // The tenant is whose export it is, and whose import it will be.
                Value::Object(
                    scope
                        .iter()
                        .filter(|(name, _)| *name != "tenant")
                        .map(|(name, value)| (name.clone(), value.clone()))
                        .collect(),
                )
            }
            Some(value) => value.clone(),
        };
        let empty =
            value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
        if !empty {
            parts.push(format!("{}:{value}", Value::from(field)));
        }
    }
    format!("{{{}}}", parts.join(","))
}

fn of(record: Record, line: usize) -> Found {
    Found {
        id: Some(record.id),
        scope: record.scope,
        kind: Some(record.kind),
        actor: record.actor,
        metadata: record.metadata,
        importance: Some(record.importance),
        evidence: record.evidence,
        valid_from: record.valid_from,
        valid_to: record.valid_to,
        expires_at: record.expires_at,
        ..Found::new(Place::line(line), record.text)
    }
}

#[cfg(test)]
mod tests {
    use memory_core::{MemoryKind, Metadata, Timestamp};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::Names;
    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e300..1e300f64).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn time() -> impl Strategy<Value = Option<Timestamp>> {
        // Years 1 to 9999, in microseconds.
        proptest::option::of(
            (-62_135_596_800_000_000..253_402_300_799_999_999i64)
                .prop_map(|micros| Timestamp::from_timestamp_micros(micros).unwrap()),
        )
    }

    fn record() -> impl Strategy<Value = Record> {
        let name = || proptest::option::of("[^\\p{C}]{1,20}");
        let scope = (name(), name(), name()).prop_map(|(user, agent, session)| Names { user, agent, session });
        let metadata = proptest::collection::btree_map(any::<String>(), json(), 0..4)
            .prop_map(|map| map.into_iter().collect::<Metadata>());
        let id = || any::<u128>().prop_map(Uuid::from_u128);
        let kind = proptest::sample::select(&MemoryKind::ALL[..]);
        let about = (0.0f32..=1.0, proptest::collection::vec(id(), 0..3), time(), time(), time());
        (id(), scope, kind, any::<String>(), proptest::option::of(any::<String>()), metadata, about).prop_map(
            |(id, scope, kind, text, actor, metadata, (importance, evidence, valid_from, valid_to, expires_at))| {
                Record {
                    id,
                    scope,
                    kind,
                    text,
                    actor,
                    metadata,
                    importance,
                    evidence,
                    valid_from,
                    valid_to,
                    expires_at,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn an_exported_memory_is_imported_as_it_was(record in record()) {
            // What the API answers has more fields than a record; a tenant, a version, an origin.
            let mut memory = serde_json::to_value(&record).unwrap();
            memory["version"] = 3.into();
            memory["scope"]["tenant"] = "default".into();
            memory["origin"] = serde_json::json!({"writer": "user", "path": "http"});
            memory["recorded_at"] = "2025-06-01T01:00:00Z".into();
            memory["superseded_at"] = Value::Null;
            let line = line(&memory);
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(parse(&line).unwrap(), record);
        }
    }

    #[test]
    fn a_line_reads_in_the_order_of_the_fields() {
        let memory = serde_json::json!({
            "id": "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d", "version": 1, "scope": {"tenant": "default", "user": "maya"},
            "kind": "semantic", "text": "Window seats.", "actor": null, "metadata": {}, "importance": 0.5,
            "origin": {"writer": "user", "path": "cli"}, "evidence": [], "valid_from": null, "valid_to": null,
            "recorded_at": "2025-06-01T01:00:00Z", "superseded_at": null, "expires_at": null,
        });
        insta::assert_snapshot!(line(&memory), @r#"{"id":"0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d","version":1,"scope":{"user":"maya"},"kind":"semantic","text":"Window seats.","importance":0.5,"origin":{"path":"cli","writer":"user"},"recorded_at":"2025-06-01T01:00:00Z"}"#);
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let error =
            parse(r#"{"id":"0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d","kind":"semantic","text":"x","colour":"red"}"#)
                .unwrap_err();
        assert!(error.to_string().contains("unknown field `colour`"), "{error}");
    }
}
