//! What a filter says of metadata, so that their index can be asked.

use memory_core::{Condition, Field, Filter};
use serde_json::{Map, Value, json};

use super::{MAX_PATH, document, is_exact_scalar};

/// The index is asked for each document: with more of them reading the rows is as quick.
const MOST: usize = 50;

/// Documents of which the metadata of every memory that matches contains one. None where the filter lets others through too,
/// or with too many documents.
pub(super) fn required(filter: &Filter) -> Option<Vec<Value>> {
    let documents = match filter {
        Filter::And(all) => all.iter().filter_map(required).reduce(both)?,
        Filter::Or(any) => any.iter().map(required).collect::<Option<Vec<_>>>()?.concat(),
        Filter::Is(Field::Metadata(path), condition) if (1..=MAX_PATH).contains(&path.len()) => match condition {
            Condition::Eq(value) => vec![holding(path, value)?],
            Condition::In(values) => values.iter().map(|value| holding(path, value)).collect::<Option<_>>()?,
            // A text may be a part of another one instead.
            Condition::Contains(value) if !value.is_string() && is_exact_scalar(value) => {
                vec![document(path, &json!([value]))]
            }
            _ => return None,
        },
        Filter::Not(_) | Filter::Is(..) => return None,
    };
    (documents.len() <= MOST).then_some(documents)
}

/// What contains a scalar at a path has it there. Null is also what is not there at all.
fn holding(path: &[String], value: &Value) -> Option<Value> {
    (is_exact_scalar(value) && !value.is_null()).then(|| document(path, value))
}

/// The documents of two filters that both hold: put together where each has one, else the fewer ones.
fn both(a: Vec<Value>, b: Vec<Value>) -> Vec<Value> {
    if let ([Value::Object(a)], [Value::Object(b)]) = (a.as_slice(), b.as_slice())
        && let Some(both) = merged(a, b)
    {
        return vec![Value::Object(both)];
    }
    if b.len() < a.len() { b } else { a }
}

/// What contains both. None where they say different things of one place.
fn merged(a: &Map<String, Value>, b: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut both = a.clone();
    for (key, value) in b {
        let value = match (a.get(key), value) {
            (None, value) => value.clone(),
            (Some(Value::Object(a)), Value::Object(b)) => Value::Object(merged(a, b)?),
            (Some(a), b) if a == b => continue,
            _ => return None,
        };
        both.insert(key.clone(), value);
    }
    Some(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_hold_is_asked_for_and_nothing_else() {
        for (filter, documents) in [
            (json!({"metadata.order": "A-17"}), json!([{"order": "A-17"}])),
            (json!({"metadata.a": 1, "metadata.b.c": true, "text": "x"}), json!([{"a": 1, "b": {"c": true}}])),
            (json!({"metadata.a.b": 1, "metadata.a.c": 2}), json!([{"a": {"b": 1, "c": 2}}])),
            (json!({"metadata.a": {"in": ["x", "y"]}, "metadata.b": 2}), json!([{"b": 2}])),
            (json!({"metadata.a": {"in": ["x", "y"]}}), json!([{"a": "x"}, {"a": "y"}])),
            (json!({"or": [{"metadata.a": 1}, {"metadata.b": 2}]}), json!([{"a": 1}, {"b": 2}])),
            (json!({"metadata.a": {"contains": 7}}), json!([{"a": [7]}])),
            (json!({"and": [{"metadata.a": 1}, {"metadata.a": 2}]}), json!([{"a": 1}])),
            (json!({"and": [{"metadata.a": 1}, {"not": {"metadata.b": 2}}]}), json!([{"a": 1}])),
            // What else has none.
            (json!({"metadata.a": {"contains": "x"}}), Value::Null),
            (json!({"metadata.a": null}), Value::Null),
            (json!({"metadata.a": {"in": ["x", null]}}), Value::Null),
            (json!({"metadata.a": 1e16}), Value::Null),
            (json!({"metadata.a": {"gt": 1}}), Value::Null),
            (json!({"not": {"metadata.a": 1}}), Value::Null),
            (json!({"or": [{"metadata.a": 1}, {"text": "x"}]}), Value::Null),
            (json!({"metadata.a": {"in": (0..200).collect::<Vec<_>>()}}), Value::Null),
            (json!({"kind": "semantic"}), Value::Null),
        ] {
            let parsed = Filter::from_json(&filter).unwrap();
            assert_eq!(Value::from(required(&parsed)), documents, "{filter}");
        }
    }
}
