//! Strings as Postgres can hold them: neither its texts nor its jsonb have U+0000.
//!
//! The characters U+0000 to U+0003 become a U+0001, as many U+0003 as their own number, and a U+0002. All other text
//! stays as it is, and these four are rare in it. They, and not noncharacters, because this way SQL on escaped strings
//! gives what it would give on the strings themselves: two of them are equal when the strings are, they are ordered as the
//! strings are, as no escape sorts behind any other text, and one contains the other when the strings do, as a U+0001
//! stands nowhere but at the begin of an escape and a U+0002 nowhere but at its end.

use std::borrow::Cow;

use memory_core::Metadata;
use serde_json::Value;

/// The first character that stays as it is.
const FIRST_PLAIN: u8 = 4;
const BEGIN: char = '\u{1}';
const END: char = '\u{2}';
const COUNT: char = '\u{3}';

/// The string without U+0000, as it is kept; itself when there is nothing to escape.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        let number = char as u32;
        if number < u32::from(FIRST_PLAIN) {
            escaped.push(BEGIN);
            escaped.extend((0..number).map(|_| COUNT));
            escaped.push(END);
        } else {
            escaped.push(char);
        }
    }
    Cow::Owned(escaped)
}

/// The string that [`escape`] was given. What it never makes stays as it is.
#[must_use]
pub fn unescape(text: String) -> String {
    if !text.contains(BEGIN) {
        return text;
    }
    let mut unescaped = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(BEGIN) {
        unescaped.push_str(before);
        let counted = after.trim_start_matches(COUNT);
        let number = u8::try_from(after.len() - counted.len()).ok().filter(|number| *number < FIRST_PLAIN);
        match (number, counted.strip_prefix(END)) {
            (Some(number), Some(after)) => {
                unescaped.push(char::from(number));
                rest = after;
            }
            _ => {
                unescaped.push(BEGIN);
                rest = after;
            }
        }
    }
    unescaped.push_str(rest);
    unescaped
}

/// The metadata with all its keys and strings [escaped](escape); itself when there is nothing to escape.
#[must_use]
pub fn escape_json(metadata: &Metadata) -> Cow<'_, Metadata> {
    if metadata.iter().all(|(key, value)| is_plain(key) && is_plain_value(value)) {
        return Cow::Borrowed(metadata);
    }
    Cow::Owned(escaped_object(metadata))
}

/// The metadata that [`escape_json`] was given.
#[must_use]
pub fn unescape_json(mut metadata: Metadata) -> Metadata {
    metadata.values_mut().for_each(unescape_value);
    if metadata.keys().any(|key| key.contains(BEGIN)) {
        metadata = metadata.into_iter().map(|(key, value)| (unescape(key), value)).collect();
    }
    metadata
}

/// One JSON value, as [`escape_json`].
pub(crate) fn escape_value(value: &Value) -> Cow<'_, Value> {
    if is_plain_value(value) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(escaped_value(value))
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= FIRST_PLAIN)
}

fn is_plain_value(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => is_plain(text),
        Value::Array(items) => items.iter().all(is_plain_value),
        Value::Object(members) => members.iter().all(|(key, value)| is_plain(key) && is_plain_value(value)),
    }
}

fn escaped_value(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => Value::String(escape(text).into_owned()),
        Value::Array(items) => items.iter().map(escaped_value).collect(),
        Value::Object(members) => Value::Object(escaped_object(members)),
    }
}

fn escaped_object(members: &Metadata) -> Metadata {
    members.iter().map(|(key, value)| (escape(key).into_owned(), escaped_value(value))).collect()
}

fn unescape_value(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => *text = unescape(std::mem::take(text)),
        Value::Array(items) => items.iter_mut().for_each(unescape_value),
        Value::Object(members) => *members = unescape_json(std::mem::take(members)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[\u{0}-\u{6}]{0,8}", any::<String>()]
    }

    fn json() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::from)
        ];
        scalar.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text(), inner, 0..4).prop_map(Value::from_iter)
            ]
        })
    }

    proptest! {
        #[test]
        fn a_string_comes_back(text in text()) {
            let escaped = escape(&text).into_owned();
            prop_assert!(!escaped.contains('\0'));
            prop_assert_eq!(unescape(escaped), text);
        }

        #[test]
        fn what_was_never_escaped_stays(text in "[\u{1}-\u{6}]{0,8}") {
            let unescaped = unescape(text.clone());
            prop_assert!(unescaped == text || escape(&unescaped).len() >= text.len());
        }

        #[test]
        fn escapes_are_ordered_and_contained_as_the_strings_are(a in text(), b in text()) {
            prop_assert_eq!(escape(&a).cmp(&escape(&b)), a.cmp(&b));
            prop_assert_eq!(escape(&a).contains(&*escape(&b)), a.contains(&b));
        }

        #[test]
        fn json_comes_back(metadata in prop::collection::btree_map(text(), json(), 0..4)) {
            let metadata = Metadata::from_iter(metadata);
            let escaped = escape_json(&metadata).into_owned();
            prop_assert!(!serde_json::to_string(&escaped).unwrap().contains("\\u0000"));
            prop_assert_eq!(unescape_json(escaped), metadata);
        }
    }

    #[test]
    fn a_part_of_an_escape_is_not_contained() {
        for (text, part) in [("\0", "\u{2}"), ("\u{1}", "\u{3}"), ("\u{3}", "\u{2}"), ("\u{2}", "\0")] {
            assert!(!escape(text).contains(&*escape(part)), "{text:?} {part:?}");
        }
    }

    #[test]
    fn plain_text_costs_nothing() {
        assert!(matches!(escape("a\u{4}\u{10ffff}"), Cow::Borrowed(_)));
        let metadata = Metadata::from_iter([("a".to_owned(), serde_json::json!([{"b": "c"}, 1]))]);
        assert!(matches!(escape_json(&metadata), Cow::Borrowed(_)));
    }
}
