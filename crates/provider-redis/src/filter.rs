//! A request's filter as a part of the search, so that entries it leaves out take no places among the nearest.
//!
//! What goes into the search finds all that the filter matches and perhaps more; every entry that is found is checked
//! with the filter itself. Conditions on a field that the schema indexes as a tag are asked of hashes, which an entry has
//! in its links for each of its values, so text of callers is no part of the query and neither case, separators nor length
//! play a part. Numbers are ranges. Of a text that must be contained, those words are asked for that stand between spaces
//! in it, because Redis finds whole words only.

use memory_core::{Condition, Field, Filter, Metadata};
use serde_json::Value;

use crate::entry::{LINKS, is_own};
use crate::keys::hashed;
use crate::schema::{FieldKind, IndexSchema};

/// From how many elements on a list is not taken apart: it is found by any condition that asks for an element.
const LONG_LIST: usize = 64;
/// A tag that no entry has.
const NO_ENTRY: &str = "none";

/// Words that Redis does not index in a text.
const STOP_WORDS: [&str; 33] = [
    "a", "is", "the", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "it", "no", "not",
    "of", "on", "or", "such", "that", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
];

/// The tags by which filters find an entry with this metadata.
pub(crate) fn tags(schema: &IndexSchema, metadata: &Metadata) -> Vec<String> {
    let mut tags = Vec::new();
    for field in &schema.fields {
        if !matches!(field.kind, FieldKind::Tag { .. }) || is_own(&field.name) {
            continue;
        }
        let Some(value) = metadata.get(&field.name).filter(|value| !value.is_null()) else { continue };
        tags.push(tag(&field.name, &Tag::Exists));
        tags.extend(Scalar::of(value).map(|scalar| tag(&field.name, &Tag::Is(scalar))));
        match value {
            Value::Array(items) if items.len() < LONG_LIST => {
                let elements = items.iter().filter_map(Scalar::of);
                tags.extend(elements.map(|scalar| tag(&field.name, &Tag::Element(scalar))));
            }
            Value::String(_) | Value::Array(_) => tags.push(tag(&field.name, &Tag::Open)),
            _ => {}
        }
    }
    tags
}

/// The part of a search that leaves out what the filter does not match, with at most `terms` terms; empty where nothing of
/// the filter can be asked of this index.
pub(crate) fn prefilter(filter: &Filter, schema: &IndexSchema, terms: usize) -> String {
    Translation { schema, terms }.translate(filter).map(|part| part.query).unwrap_or_default()
}

/// What is hashed into a tag.
enum Tag {
    /// The field has a value.
    Exists,
    /// The field's value is this.
    Is(Scalar),
    /// The field's value is a list with this element.
    Element(Scalar),
    /// Tags do not say what the field's value contains: it is a text or a long list.
    Open,
}

/// A value that tags stand for. Equal ones are equal for a filter, others are not.
struct Scalar(String);

impl Scalar {
    fn of(value: &Value) -> Option<Self> {
        Some(Self(match value {
            Value::String(text) => format!("text {text}"),
            // Whole or not, numbers are equal by value; adding 0 makes the two zeros one.
            Value::Number(number) => format!("number {:?}", number.as_f64()? + 0.0),
            Value::Bool(flag) => format!("flag {flag}"),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        }))
    }
}

fn tag(field: &str, tag: &Tag) -> String {
    let (kind, scalar) = match tag {
        Tag::Exists => ("exists", ""),
        Tag::Is(Scalar(scalar)) => ("is", scalar.as_str()),
        Tag::Element(Scalar(scalar)) => ("element", scalar.as_str()),
        Tag::Open => ("open", ""),
    };
    // The field's name has no space, so no two fields and values are hashed alike.
    format!("f{}", hashed(&format!("{kind} {field} {scalar}")))
}

/// A condition as a query.
struct Part {
    query: String,
    /// Whether it finds nothing else than what matches, so that its opposite can be asked for too.
    is_exact: bool,
}

impl Part {
    fn new(query: String, is_exact: bool) -> Self {
        Self { query, is_exact }
    }

    fn not(self) -> Option<Self> {
        self.is_exact.then(|| Self::new(format!("(-{})", self.query), true))
    }
}

struct Translation<'a> {
    schema: &'a IndexSchema,
    /// How many terms are left.
    terms: usize,
}

impl Translation<'_> {
    /// The filter as a query; `None` when it cannot be asked.
    fn translate(&mut self, filter: &Filter) -> Option<Part> {
        match filter {
            Filter::And(all) => {
                let parts: Vec<Part> = all.iter().filter_map(|filter| self.translate(filter)).collect();
                if parts.is_empty() {
                    return None;
                }
                let is_exact = parts.len() == all.len() && parts.iter().all(|part| part.is_exact);
                Some(Part::new(joined(&parts, " "), is_exact))
            }
            Filter::Or(any) => {
                let before = self.terms;
                let parts: Option<Vec<Part>> = any.iter().map(|filter| self.translate(filter)).collect();
                match parts {
                    Some(parts) if parts.is_empty() => self.linked(&[NO_ENTRY.into()], true),
                    Some(parts) => Some(Part::new(joined(&parts, "|"), parts.iter().all(|part| part.is_exact))),
                    None => {
                        self.terms = before;
                        None
                    }
                }
            }
            Filter::Not(inner) => {
                let before = self.terms;
                let opposite = self.translate(inner).and_then(Part::not);
                if opposite.is_none() {
                    self.terms = before;
                }
                opposite
            }
            Filter::Is(Field::Metadata(path), condition) => {
                let [name] = path.as_slice() else { return None };
                let field = self.schema.fields.iter().find(|field| field.name == *name && !is_own(name))?;
                match field.kind {
                    FieldKind::Tag { .. } => self.tag(name, condition),
                    FieldKind::Numeric => self.numeric(name, condition),
                    FieldKind::Text => self.text(name, condition),
                }
            }
            Filter::Is(..) => None,
        }
    }

    fn tag(&mut self, name: &str, condition: &Condition) -> Option<Part> {
        let is = |value: &Value| Scalar::of(value).map(|scalar| tag(name, &Tag::Is(scalar)));
        match condition {
            Condition::Exists(true) | Condition::Ne(Value::Null) => self.linked(&[tag(name, &Tag::Exists)], true),
            Condition::Exists(false) | Condition::Eq(Value::Null) => {
                self.linked(&[tag(name, &Tag::Exists)], true)?.not()
            }
            Condition::Eq(value) => self.linked(&[is(value)?], true),
            Condition::Ne(value) => self.linked(&[is(value)?], true)?.not(),
            Condition::In(values) if values.is_empty() => self.linked(&[NO_ENTRY.into()], true),
            Condition::In(values) => {
                let tags: Option<Vec<String>> = values.iter().map(is).collect();
                self.linked(&tags?, true)
            }
            Condition::Contains(value) => {
                let element = tag(name, &Tag::Element(Scalar::of(value)?));
                self.linked(&[element, tag(name, &Tag::Open)], false)
            }
            Condition::Gt(_) | Condition::Gte(_) | Condition::Lt(_) | Condition::Lte(_) => None,
        }
    }

    fn linked(&mut self, tags: &[String], is_exact: bool) -> Option<Part> {
        self.takes(tags.len()).then(|| Part::new(format!("@{LINKS}:{{{}}}", tags.join("|")), is_exact))
    }

    fn numeric(&mut self, name: &str, condition: &Condition) -> Option<Part> {
        let values = match condition {
            Condition::In(values) => values.as_slice(),
            Condition::Eq(value)
            | Condition::Ne(value)
            | Condition::Gt(value)
            | Condition::Gte(value)
            | Condition::Lt(value)
            | Condition::Lte(value) => std::slice::from_ref(value),
            Condition::Exists(_) | Condition::Contains(_) => return None,
        };
        // Redis keeps doubles, and a filter compares as doubles. They are written by us, so they are no text of callers.
        let numbers: Option<Vec<f64>> = values.iter().map(Value::as_f64).collect();
        let numbers = numbers?;
        if numbers.is_empty() || !self.takes(numbers.len()) {
            return None;
        }
        let ranges: Vec<Part> = numbers
            .into_iter()
            .map(|number| {
                let range = match condition {
                    Condition::Gt(_) => format!("[({number:?} +inf]"),
                    Condition::Gte(_) => format!("[{number:?} +inf]"),
                    Condition::Lt(_) => format!("[-inf ({number:?}]"),
                    Condition::Lte(_) => format!("[-inf {number:?}]"),
                    _ => format!("[{number:?} {number:?}]"),
                };
                Part::new(format!("@{name}:{range}"), true)
            })
            .collect();
        let any = Part::new(joined(&ranges, "|"), true);
        if matches!(condition, Condition::Ne(_)) { any.not() } else { Some(any) }
    }

    fn text(&mut self, name: &str, condition: &Condition) -> Option<Part> {
        let Condition::Contains(Value::String(part)) = condition else { return None };
        let words: Vec<&str> = part.split(' ').collect();
        // The first and the last may go on in the text, and a backslash before a space makes one word of two.
        let inner = words.windows(3).filter(|near| {
            let letters = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let stops = STOP_WORDS.iter().any(|stop| stop.eq_ignore_ascii_case(near[1]));
            !near[0].is_empty() && !near[0].ends_with('\\') && near[1].len() > 1 && letters(near[1]) && !stops
        });
        let words: Vec<String> = inner.map(|near| near[1].to_ascii_lowercase()).collect();
        let asked = &words[..words.len().min(self.terms)];
        if asked.is_empty() {
            return None;
        }
        self.terms -= asked.len();
        Some(Part::new(format!("@{name}:({})", asked.join(" ")), false))
    }

    fn takes(&mut self, terms: usize) -> bool {
        let left = self.terms.checked_sub(terms);
        self.terms = left.unwrap_or(self.terms);
        left.is_some()
    }
}

fn joined(parts: &[Part], with: &str) -> String {
    match parts {
        [one] => one.query.clone(),
        _ => {
            let queries: Vec<&str> = parts.iter().map(|part| part.query.as_str()).collect();
            format!("({})", queries.join(with))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::IndexField;

    fn asked(filter: &Value, terms: usize) -> String {
        let mut schema = IndexSchema::sized(2, 1);
        let tag = FieldKind::Tag { separator: ',', case_sensitive: false };
        schema.fields = [("topic", tag), ("price", FieldKind::Numeric), ("body", FieldKind::Text)]
            .map(|(name, kind)| IndexField { name: name.into(), kind })
            .into();
        prefilter(&Filter::from_json(filter).unwrap(), &schema, terms)
    }

    #[test]
    fn what_cannot_be_asked_is_left_out() {
        let filters = [
            json!({"metadata.price": {"gt": 1, "lte": 2.5}, "metadata.other": 1}),
            json!({"metadata.price": {"in": [1, -2e-7]}}),
            json!({"metadata.price": {"ne": 1}}),
            json!({"metadata.price": "1"}),
            json!({"or": [{"metadata.price": 1}, {"metadata.other": 1}]}),
            json!({"or": [{"metadata.price": 1}, {"not": {"and": [{"metadata.price": 2}, {"metadata.price": 3}]}}]}),
            json!({"or": []}),
            json!({"not": {"metadata.price": 1, "metadata.other": 1}}),
            json!({"metadata.body": {"contains": "Dunkel the dark42 Mode) x=1 |later on"}}),
            json!({"metadata.body": {"contains": "a\\ escaped word*"}}),
            json!({"not": {"metadata.body": {"contains": "turn dark on"}}}),
            json!({"metadata.body": {"contains": "dark"}}),
        ];
        let shown = filters.iter().map(|filter| format!("{filter} -> {}", asked(filter, 100)).trim_end().to_owned());
        let shown: Vec<String> = shown.collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        {"metadata.other":1,"metadata.price":{"gt":1,"lte":2.5}} -> (@price:[(1.0 +inf] @price:[-inf 2.5])
        {"metadata.price":{"in":[1,-2e-7]}} -> (@price:[1.0 1.0]|@price:[-2e-7 -2e-7])
        {"metadata.price":{"ne":1}} -> (-@price:[1.0 1.0])
        {"metadata.price":"1"} ->
        {"or":[{"metadata.price":1},{"metadata.other":1}]} ->
        {"or":[{"metadata.price":1},{"not":{"and":[{"metadata.price":2},{"metadata.price":3}]}}]} -> (@price:[1.0 1.0]|(-(@price:[2.0 2.0] @price:[3.0 3.0])))
        {"or":[]} -> @_links:{none}
        {"not":{"metadata.other":1,"metadata.price":1}} ->
        {"metadata.body":{"contains":"Dunkel the dark42 Mode) x=1 |later on"}} -> @body:(dark42)
        {"metadata.body":{"contains":"a\\ escaped word*"}} ->
        {"not":{"metadata.body":{"contains":"turn dark on"}}} ->
        {"metadata.body":{"contains":"dark"}} ->
        "#);
    }

    #[test]
    fn a_query_has_no_more_terms_than_it_may() {
        let three = json!({"metadata.price": {"in": [1, 2, 3]}});
        assert_eq!(asked(&three, 2), "");
        assert_eq!(asked(&three, 3), "(@price:[1.0 1.0]|@price:[2.0 2.0]|@price:[3.0 3.0])");
        let both = json!({"and": [{"metadata.price": {"gt": 1}}, {"or": [{"metadata.price": {"lt": 5}}, three]}]});
        assert_eq!(asked(&both, 3), "@price:[(1.0 +inf]");
        let after = json!({"and": [{"or": [{"metadata.price": 1}, {"metadata.other": 1}]}, {"metadata.price": 2}]});
        assert_eq!(asked(&after, 1), "@price:[2.0 2.0]", "terms of what is left out are given back");
    }

    #[test]
    fn tags_tell_what_filters_tell() {
        let of = |value: Value| Scalar::of(&value).map(|scalar| tag("topic", &Tag::Is(scalar)));
        assert_eq!(of(json!(1)), of(json!(1.0)));
        assert_eq!(of(json!(0)), of(json!(-0.0)));
        let distinct =
            [of(json!("1")), of(json!(1)), of(json!("true")), of(json!(true)), of(json!(" 1")), of(json!(""))];
        for (at, one) in distinct.iter().enumerate() {
            assert!(one.is_some() && !distinct[at + 1..].contains(one));
        }
        assert_ne!(tag("a", &Tag::Exists), tag("b", &Tag::Exists));
    }
}
