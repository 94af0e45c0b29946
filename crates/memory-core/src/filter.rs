//! Conditions on a memory's fields, and their one textual form.
//!
//! A filter is a JSON object. Each key names a field, each value is what the field must equal or an object of operators;
//! several keys must all hold. `and`, `or` and `not` combine filters:
//!
//! ```json
//! {"kind": "semantic", "metadata.topic": {"in": ["travel", "food"]}, "importance": {"gte": 0.5}}
//! {"or": [{"actor": "Ann"}, {"not": {"metadata.done": true}}]}
//! ```
//!
//! Fields: `kind`, `text`, `actor`, `importance`, `writer`, `origin`, `valid_from`, `valid_to`, `recorded_at`,
//! `expires_at` (times as RFC 3339), and `metadata.` with a path of keys. Operators: `eq`, `ne`, `gt`, `gte`, `lt`,
//! `lte`, `in`, `exists` and `contains` (a substring of a text, or an element of a list). Values of different types are
//! not equal and not ordered, so such a condition does not hold; `ne` holds where `eq` does not. Numbers are compared as
//! `f64`, so `1` is `1.0`, in lists and objects too.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

use crate::{Error, Memory, Metadata, Result, Timestamp};

/// The deepest nesting of a filter.
pub const MAX_FILTER_DEPTH: usize = 16;
/// The most conditions in a filter.
pub const MAX_FILTER_CONDITIONS: usize = 256;
/// The most values behind `in`.
pub const MAX_IN_VALUES: usize = 1000;

/// A condition on a memory's fields.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// All hold; an empty list holds.
    And(Vec<Filter>),
    /// At least one holds; an empty list does not.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// A condition on one field.
    Is(Field, Condition),
}

/// A field of a memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the field of Memory of the same name")]
pub enum Field {
    Kind,
    Text,
    Actor,
    Importance,
    Writer,
    Origin,
    ValidFrom,
    ValidTo,
    RecordedAt,
    ExpiresAt,
    /// A path of keys into the metadata.
    Metadata(Vec<String>),
}

/// What must hold of a field.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each is the operator of the same name")]
pub enum Condition {
    Eq(Value),
    Ne(Value),
    Gt(Value),
    Gte(Value),
    Lt(Value),
    Lte(Value),
    In(Vec<Value>),
    Exists(bool),
    Contains(Value),
}

const FIELDS: &str = "kind, text, actor, importance, writer, origin, valid_from, valid_to, recorded_at, expires_at, \
                      metadata.<key>, and, or, not";
const OPERATORS: &str = "eq, ne, gt, gte, lt, lte, in, exists, contains";

impl Filter {
    /// Reads the textual form.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the place in the filter, what was given and what is allowed.
    pub fn from_json(value: &Value) -> Result<Self> {
        let mut conditions = 0;
        parse(value, "filter", 0, &mut conditions)
    }

    /// What was true in the world at `at`: what began then or before, and had not ended. A memory that does not say when it
    /// began was always true, and one that does not say when it ended still is.
    #[must_use]
    pub fn valid_at(at: Timestamp) -> Self {
        let at = Value::from(at.to_rfc3339());
        let not = |field, condition| Self::Not(Box::new(Self::Is(field, condition)));
        Self::And(vec![not(Field::ValidFrom, Condition::Gt(at.clone())), not(Field::ValidTo, Condition::Lte(at))])
    }

    /// What had not ceased to be true in the world at `at`, whether it had begun or not.
    #[must_use]
    pub fn not_ended_at(at: Timestamp) -> Self {
        Self::Not(Box::new(Self::Is(Field::ValidTo, Condition::Lte(Value::from(at.to_rfc3339())))))
    }

    /// Whether it asks for `field` anywhere.
    #[must_use]
    pub fn names(&self, field: &Field) -> bool {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().any(|filter| filter.names(field)),
            Self::Not(inner) => inner.names(field),
            Self::Is(named, _) => named == field,
        }
    }

    /// The textual form, which [`from_json`](Self::from_json) reads back as an equal filter.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::And(all) => Value::from_iter([("and", all.iter().map(Self::to_json).collect::<Value>())]),
            Self::Or(any) => Value::from_iter([("or", any.iter().map(Self::to_json).collect::<Value>())]),
            Self::Not(inner) => Value::from_iter([("not", inner.to_json())]),
            Self::Is(field, condition) => {
                let (operator, value) = match condition {
                    Condition::Eq(value) => ("eq", value.clone()),
                    Condition::Ne(value) => ("ne", value.clone()),
                    Condition::Gt(value) => ("gt", value.clone()),
                    Condition::Gte(value) => ("gte", value.clone()),
                    Condition::Lt(value) => ("lt", value.clone()),
                    Condition::Lte(value) => ("lte", value.clone()),
                    Condition::In(values) => ("in", Value::Array(values.clone())),
                    Condition::Exists(exists) => ("exists", Value::Bool(*exists)),
                    Condition::Contains(value) => ("contains", value.clone()),
                };
                Value::from_iter([(field.to_string(), Value::from_iter([(operator, value)]))])
            }
        }
    }

    /// Whether `memory` matches. This is the meaning of a filter: what a store does in its own query language gives
    /// the same answer.
    #[must_use]
    pub fn matches(&self, memory: &Memory) -> bool {
        self.holds(&|field| field.read(memory))
    }

    /// Whether metadata alone matches, as of a cache entry, which has no other field: those count as absent.
    #[must_use]
    pub fn matches_metadata(&self, metadata: &Metadata) -> bool {
        self.holds(&|field| match field {
            Field::Metadata(path) => Read::at(metadata, path),
            _ => Read::Absent,
        })
    }

    /// Checks that only `metadata.<key>` is asked for.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the first field that is none.
    pub fn expect_metadata_only(&self) -> Result<()> {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().try_for_each(Self::expect_metadata_only),
            Self::Not(inner) => inner.expect_metadata_only(),
            Self::Is(Field::Metadata(_), _) => Ok(()),
            Self::Is(field, _) => Err(Error::invalid("filter", field, "metadata.<key>, and, or, not")),
        }
    }

    fn holds<'a>(&self, read: &impl Fn(&Field) -> Read<'a>) -> bool {
        match self {
            Self::And(all) => all.iter().all(|filter| filter.holds(read)),
            Self::Or(any) => any.iter().any(|filter| filter.holds(read)),
            Self::Not(inner) => !inner.holds(read),
            Self::Is(field, condition) => condition.holds(&read(field)),
        }
    }
}

impl Field {
    fn parse(name: &str, place: &str) -> Result<Self> {
        Ok(match name {
            "kind" => Self::Kind,
            "text" => Self::Text,
            "actor" => Self::Actor,
            "importance" => Self::Importance,
            "writer" => Self::Writer,
            "origin" => Self::Origin,
            "valid_from" => Self::ValidFrom,
            "valid_to" => Self::ValidTo,
            "recorded_at" => Self::RecordedAt,
            "expires_at" => Self::ExpiresAt,
            _ => match name.strip_prefix("metadata.") {
                Some(path) if path.split('.').all(|key| !key.is_empty()) => {
                    Self::Metadata(path.split('.').map(str::to_owned).collect())
                }
                _ => return Err(Error::invalid(place, format!("{name:?}"), FIELDS)),
            },
        })
    }

    fn is_time(&self) -> bool {
        matches!(self, Self::ValidFrom | Self::ValidTo | Self::RecordedAt | Self::ExpiresAt)
    }

    fn read<'a>(&self, memory: &'a Memory) -> Read<'a> {
        let time = |at: Option<Timestamp>| at.map_or(Read::Absent, Read::Time);
        match self {
            Self::Kind => Read::Text(memory.kind.name()),
            Self::Text => Read::Text(&memory.text),
            Self::Actor => memory.actor.as_deref().map_or(Read::Absent, Read::Text),
            Self::Importance => Read::Number(f64::from(memory.importance)),
            Self::Writer => Read::Text(match memory.origin.writer {
                crate::Writer::Import => "import",
                crate::Writer::Consolidation => "consolidation",
                crate::Writer::Tool => "tool",
                crate::Writer::Agent => "agent",
                crate::Writer::User => "user",
            }),
            Self::Origin => Read::Text(&memory.origin.path),
            Self::ValidFrom => time(memory.valid_from),
            Self::ValidTo => time(memory.valid_to),
            Self::RecordedAt => time(Some(memory.recorded_at)),
            Self::ExpiresAt => time(memory.expires_at),
            Self::Metadata(path) => Read::at(&memory.metadata, path),
        }
    }
}

/// The field's name, as the textual form has it.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "kind",
            Self::Text => "text",
            Self::Actor => "actor",
            Self::Importance => "importance",
            Self::Writer => "writer",
            Self::Origin => "origin",
            Self::ValidFrom => "valid_from",
            Self::ValidTo => "valid_to",
            Self::RecordedAt => "recorded_at",
            Self::ExpiresAt => "expires_at",
            Self::Metadata(path) => return write!(f, "metadata.{}", path.join(".")),
        })
    }
}

/// A field's value, borrowed from where it is.
enum Read<'a> {
    Absent,
    Text(&'a str),
    Number(f64),
    Time(Timestamp),
    Json(&'a Value),
}

impl<'a> Read<'a> {
    fn at(metadata: &'a Metadata, path: &[String]) -> Self {
        let mut keys = path.iter();
        let mut value = keys.next().and_then(|key| metadata.get(key));
        for key in keys {
            value = value.and_then(|value| value.get(key));
        }
        match value {
            None | Some(Value::Null) => Self::Absent,
            Some(Value::String(text)) => Self::Text(text),
            Some(Value::Number(number)) => number.as_f64().map_or(Self::Absent, Self::Number),
            Some(other) => Self::Json(other),
        }
    }
}

impl Condition {
    fn holds(&self, read: &Read<'_>) -> bool {
        match self {
            Self::Exists(exists) => *exists != matches!(read, Read::Absent),
            Self::Eq(value) => equal(read, value),
            Self::Ne(value) => !equal(read, value),
            Self::In(values) => values.iter().any(|value| equal(read, value)),
            Self::Gt(value) => compare(read, value).is_some_and(Ordering::is_gt),
            Self::Gte(value) => compare(read, value).is_some_and(Ordering::is_ge),
            Self::Lt(value) => compare(read, value).is_some_and(Ordering::is_lt),
            Self::Lte(value) => compare(read, value).is_some_and(Ordering::is_le),
            Self::Contains(value) => match (read, value) {
                (Read::Text(text), Value::String(part)) => text.contains(part.as_str()),
                (Read::Json(Value::Array(items)), value) => items.iter().any(|item| json_equal(item, value)),
                _ => false,
            },
        }
    }
}

fn equal(read: &Read<'_>, value: &Value) -> bool {
    match (read, value) {
        (Read::Absent, Value::Null) => true,
        (Read::Json(json), value) => json_equal(json, value),
        _ => compare(read, value).is_some_and(Ordering::is_eq),
    }
}

/// Numbers are equal by value, those in lists and objects too: `1` is `1.0`.
fn json_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| json_equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| json_equal(a, b)))
        }
        _ => a == b,
    }
}

fn compare(read: &Read<'_>, value: &Value) -> Option<Ordering> {
    match (read, value) {
        (Read::Text(text), Value::String(other)) => Some((*text).cmp(other.as_str())),
        (Read::Number(number), Value::Number(other)) => number.partial_cmp(&other.as_f64()?),
        (Read::Time(at), Value::String(other)) => Some(at.cmp(&other.parse().ok()?)),
        _ => None,
    }
}

fn parse(value: &Value, place: &str, depth: usize, conditions: &mut usize) -> Result<Filter> {
    if depth > MAX_FILTER_DEPTH {
        return Err(Error::invalid(place, "a deeper filter", format!("at most {MAX_FILTER_DEPTH} levels")));
    }
    let Value::Object(object) = value else {
        return Err(Error::invalid(place, value, "an object, such as {\"kind\": \"semantic\"}"));
    };
    let mut all = Vec::with_capacity(object.len());
    for (key, value) in object {
        let inside = format!("{place}.{key}");
        let mut list = |value: &Value| match value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(at, item)| parse(item, &format!("{inside}[{at}]"), depth + 1, conditions))
                .collect::<Result<Vec<_>>>(),
            other => Err(Error::invalid(&inside, other, "a list of filters")),
        };
        match key.as_str() {
            "and" => all.push(Filter::And(list(value)?)),
            "or" => all.push(Filter::Or(list(value)?)),
            "not" => all.push(Filter::Not(Box::new(parse(value, &inside, depth + 1, conditions)?))),
            name => parse_field(Field::parse(name, place)?, value, &inside, conditions, &mut all)?,
        }
    }
    Ok(match all.len() {
        1 => all.remove(0),
        _ => Filter::And(all),
    })
}

fn parse_field(field: Field, value: &Value, place: &str, conditions: &mut usize, all: &mut Vec<Filter>) -> Result<()> {
    let mut push = |condition: Condition| {
        *conditions += 1;
        if *conditions > MAX_FILTER_CONDITIONS {
            let allowed = format!("at most {MAX_FILTER_CONDITIONS} conditions");
            return Err(Error::invalid("filter", "more conditions", allowed));
        }
        all.push(Filter::Is(field.clone(), condition));
        Ok(())
    };
    match value {
        Value::Object(operators) => {
            if operators.is_empty() {
                return Err(Error::invalid(place, "{}", OPERATORS));
            }
            parse_operators(&field, operators, place)?.into_iter().try_for_each(&mut push)
        }
        Value::Array(_) => Err(Error::invalid(place, value, "a value, or {\"in\": […]} for several")),
        scalar => push(Condition::Eq(operand(&field, scalar, place)?)),
    }
}

fn parse_operators(field: &Field, operators: &Map<String, Value>, place: &str) -> Result<Vec<Condition>> {
    let one = |(operator, value): (&String, &Value)| {
        let inside = format!("{place}.{operator}");
        let ordered = || match value {
            Value::String(_) | Value::Number(_) => operand(field, value, &inside),
            other => Err(Error::invalid(&inside, other, "a number, a text or a time")),
        };
        Ok(match operator.as_str() {
            "eq" => Condition::Eq(operand(field, value, &inside)?),
            "ne" => Condition::Ne(operand(field, value, &inside)?),
            "gt" => Condition::Gt(ordered()?),
            "gte" => Condition::Gte(ordered()?),
            "lt" => Condition::Lt(ordered()?),
            "lte" => Condition::Lte(ordered()?),
            "contains" => Condition::Contains(value.clone()),
            "exists" => match value {
                Value::Bool(exists) => Condition::Exists(*exists),
                other => return Err(Error::invalid(&inside, other, "true or false")),
            },
            "in" => match value {
                Value::Array(values) if values.len() <= MAX_IN_VALUES => {
                    Condition::In(values.iter().map(|value| operand(field, value, &inside)).collect::<Result<_>>()?)
                }
                Value::Array(values) => {
                    let given = format!("{} values", values.len());
                    return Err(Error::invalid(&inside, given, format!("at most {MAX_IN_VALUES} values")));
                }
                other => return Err(Error::invalid(&inside, other, "a list of values")),
            },
            other => return Err(Error::invalid(place, format!("{other:?}"), OPERATORS)),
        })
    };
    operators.iter().map(one).collect()
}

/// Checks a value against the field's type, so that a condition that can never hold is an error and not an empty answer.
fn operand(field: &Field, value: &Value, place: &str) -> Result<Value> {
    let allowed = match (field, value) {
        (Field::Metadata(_), _) | (_, Value::Null) => return Ok(value.clone()),
        (Field::Importance, Value::Number(_)) => return Ok(value.clone()),
        (Field::Importance, _) => "a number",
        (Field::Kind, Value::String(kind)) => {
            kind.parse::<crate::MemoryKind>()
                .map_err(|_| Error::invalid(place, value, "message, episodic, semantic or procedural"))?;
            return Ok(value.clone());
        }
        (field, Value::String(text)) if field.is_time() => {
            if text.parse::<Timestamp>().is_ok() {
                return Ok(value.clone());
            }
            "a time as RFC 3339, such as 2025-06-01T01:00:00Z"
        }
        (field, _) if field.is_time() => "a time as RFC 3339, such as 2025-06-01T01:00:00Z",
        (_, Value::String(_)) => return Ok(value.clone()),
        _ => "a text",
    };
    Err(Error::invalid(place, value, allowed))
}

#[cfg(test)]
mod tests;
