//! A filter as SQL, exactly: a row is found when [`Filter::matches`] says that its memory matches.
//!
//! The SQL is made of fixed pieces. All that callers give, keys of metadata as well as values, is in one jsonb array, and
//! the SQL takes its elements out of the array's placeholder. These expressions are immutable, so the planner of a
//! custom plan makes constants of them before it looks for an index.
//!
//! Texts and metadata are expected as [`escape`](mod@crate::escape) keeps them. Every expression is true or false,
//! never NULL, so that its opposite is right too.

mod documents;
mod sql;
mod time;

use memory_core::{Condition, Field, Filter, Metadata};
use serde_json::{Value, json};

use crate::escape::{escape, escape_value};
use time::Moment;

/// The most keys of a path. JSON that is nested as deep is not read back from the database.
const MAX_PATH: usize = 128;
/// From here on two numbers of different digits can be the same `f64`.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A filter as SQL.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// A boolean expression over `m`, a row of `orchestra.memories`.
    pub sql: String,
    /// The array to bind to the placeholder, as jsonb. Its last element is for the index of metadata: a list of documents of
    /// which the metadata of whatever is found contains one, or null where the filter does not say so.
    pub arguments: Value,
}

/// The SQL of a filter, with its arguments in `placeholder`, such as `$10`.
#[must_use]
pub fn compile(filter: &Filter, placeholder: &str) -> Compiled {
    let mut compiler = Compiler { placeholder, arguments: Vec::new() };
    let sql = compiler.filter(filter, true);
    compiler.arguments.push(Value::from(documents::required(filter)));
    Compiled { sql, arguments: Value::Array(compiler.arguments) }
}

/// Where the value of a field is.
enum Source<'a> {
    Text(&'static str),
    Number(&'static str),
    Time(&'static str),
    Metadata(&'a [String]),
}

impl<'a> From<&'a Field> for Source<'a> {
    fn from(field: &'a Field) -> Self {
        match field {
            Field::Kind => Self::Text("m.kind"),
            Field::Text => Self::Text("m.text"),
            Field::Actor => Self::Text("m.actor"),
            Field::Importance => Self::Number("m.importance"),
            Field::Writer => Self::Text("m.writer"),
            Field::Origin => Self::Text("m.path"),
            Field::ValidFrom => Self::Time("m.valid_from"),
            Field::ValidTo => Self::Time("m.valid_to"),
            Field::RecordedAt => Self::Time("m.recorded_at"),
            Field::ExpiresAt => Self::Time("m.expires_at"),
            Field::Metadata(path) => Self::Metadata(path),
        }
    }
}

struct Compiler<'a> {
    placeholder: &'a str,
    arguments: Vec<Value>,
}

impl Compiler<'_> {
    /// `required`: whether no row is found where this does not hold, as far as the filters around it go.
    fn filter(&mut self, filter: &Filter, required: bool) -> String {
        match filter {
            Filter::And(all) => {
                let all: Vec<String> = all.iter().map(|filter| self.filter(filter, required)).collect();
                sql::joined(&all, " AND ", "true")
            }
            Filter::Or(any) => {
                let any: Vec<String> = any.iter().map(|filter| self.filter(filter, required)).collect();
                sql::joined(&any, " OR ", "false")
            }
            Filter::Not(inner) => format!("(NOT {})", self.filter(inner, false)),
            Filter::Is(Field::Metadata(path), condition) if path.is_empty() || path.len() > MAX_PATH => {
                // Nothing is there, in whichever memory.
                let nowhere = Filter::Is(Field::Metadata(Vec::new()), condition.clone());
                nowhere.matches_metadata(&Metadata::new()).to_string()
            }
            Filter::Is(field, condition) => self.condition(&field.into(), condition, required),
        }
    }

    fn condition(&mut self, source: &Source<'_>, condition: &Condition, required: bool) -> String {
        match condition {
            Condition::Eq(value) => self.one_of(source, std::slice::from_ref(value), required),
            Condition::Ne(value) => format!("(NOT {})", self.one_of(source, std::slice::from_ref(value), false)),
            Condition::In(values) => self.one_of(source, values, required),
            Condition::Gt(value) => self.ordered(source, Order::Gt, value),
            Condition::Gte(value) => self.ordered(source, Order::Gte, value),
            Condition::Lt(value) => self.ordered(source, Order::Lt, value),
            Condition::Lte(value) => self.ordered(source, Order::Lte, value),
            Condition::Exists(true) => format!("(NOT {})", self.absent(source)),
            Condition::Exists(false) => self.absent(source),
            Condition::Contains(value) => self.contains(source, value),
        }
    }

    fn absent(&mut self, source: &Source<'_>) -> String {
        match source {
            Source::Text(column) | Source::Number(column) | Source::Time(column) => format!("({column} IS NULL)"),
            Source::Metadata(path) => format!("(COALESCE(jsonb_typeof({}), 'null') = 'null')", self.at(path)),
        }
    }

    /// That the value equals one of these.
    fn one_of(&mut self, source: &Source<'_>, values: &[Value], required: bool) -> String {
        let (nulls, values): (Vec<&Value>, Vec<&Value>) = values.iter().partition(|value| value.is_null());
        let mut any = match source {
            Source::Text(column) => {
                let texts: Vec<&Value> = values.into_iter().filter(|value| value.is_string()).collect();
                match texts.as_slice() {
                    [] => Vec::new(),
                    [text] => vec![format!("(({column} = {}) IS TRUE)", self.text(text))],
                    texts => vec![format!("(({} ? {column}) IS TRUE)", self.list(texts))],
                }
            }
            Source::Number(column) => {
                let numbers: Vec<&Value> = values.into_iter().filter(|value| value.is_number()).collect();
                vec![format!("({column}::float8 = ANY ({}))", sql::elements("v::float8", &self.list(&numbers)))]
            }
            Source::Time(column) => {
                let times = values.into_iter().filter_map(Moment::of).filter(|moment| moment.is_whole);
                let times = self.json(times.map(|moment| moment.last_before()).collect());
                vec![format!("(({column} = ANY ({})) IS TRUE)", sql::elements(&sql::timestamp("v"), &times))]
            }
            Source::Metadata(path) => self.metadata_is_one_of(path, values, required),
        };
        if !nulls.is_empty() {
            any.push(self.absent(source));
        }
        sql::joined(&any, " OR ", "false")
    }

    /// The ways in which the value can equal one of these, none of which is null.
    fn metadata_is_one_of(&mut self, path: &[String], values: Vec<&Value>, required: bool) -> Vec<String> {
        let (scalars, others): (Vec<&Value>, Vec<&Value>) =
            values.into_iter().partition(|value| is_exact_scalar(value));
        let (numbers, others): (Vec<&Value>, Vec<&Value>) = others.into_iter().partition(|value| value.is_number());
        let mut any = Vec::new();
        match scalars.as_slice() {
            [] => {}
            // To contain a scalar at the path is to have it there.
            [scalar] => any.push(format!("(m.metadata @> {})", self.document(path, scalar))),
            scalars => {
                // A list contains its elements, but its parts too.
                let (at, list) = (self.at(path), self.list(scalars));
                let set = format!("(CASE WHEN jsonb_typeof({at}) <> 'array' THEN {list} @> {at} ELSE false END)");
                if required {
                    // The same once more for the index. Where it is not used, the first is the quicker one.
                    let documents = scalars.iter().map(|scalar| document(path, scalar)).collect();
                    let documents = sql::elements("v", &self.json(documents));
                    any.push(format!("({set} AND m.metadata @> ANY ({documents}))"));
                } else {
                    any.push(set);
                }
            }
        }
        if !numbers.is_empty() {
            let (at, numbers) = (self.at(path), sql::elements("v::float8", &self.list(&numbers)));
            any.push(sql::when(&at, "number", &format!("{at}::float8 = ANY ({numbers})")));
        }
        if !others.is_empty() {
            let at = self.at(path);
            any.push(self.same_as_any(&at, &others));
        }
        any
    }

    fn ordered(&mut self, source: &Source<'_>, order: Order, value: &Value) -> String {
        let operator = order.operator();
        match (source, value) {
            (Source::Text(column), Value::String(_)) => {
                format!("(({column} COLLATE \"C\" {operator} {}) IS TRUE)", self.text(value))
            }
            (Source::Number(column), Value::Number(_)) => {
                format!("({column}::float8 {operator} {}::float8)", self.json(value.clone()))
            }
            (Source::Time(column), value) => match Moment::of(value) {
                Some(moment) => {
                    let at = self.json(order.bound(&moment));
                    format!("(({column} {operator} {}) IS TRUE)", sql::timestamp(&at))
                }
                None => "false".to_owned(),
            },
            (Source::Metadata(path), Value::String(_)) => {
                let (at, text) = (self.at(path), self.text(value));
                sql::when(&at, "string", &format!("({at} #>> '{{}}') COLLATE \"C\" {operator} {text}"))
            }
            (Source::Metadata(path), Value::Number(_)) => {
                let (at, number) = (self.at(path), self.json(value.clone()));
                sql::when(&at, "number", &format!("{at}::float8 {operator} {number}::float8"))
            }
            _ => "false".to_owned(),
        }
    }

    fn contains(&mut self, source: &Source<'_>, value: &Value) -> String {
        match (source, value) {
            (Source::Text(column), Value::String(_)) => {
                format!("((strpos({column}, {}) > 0) IS TRUE)", self.text(value))
            }
            (Source::Metadata(path), Value::String(_)) => {
                let element = self.document(path, &json!([value]));
                let (at, part) = (self.at(path), self.text(value));
                let is_part = sql::when(&at, "string", &format!("strpos({at} #>> '{{}}', {part}) > 0"));
                format!("(m.metadata @> {element} OR {is_part})")
            }
            (Source::Metadata(path), value) if is_exact_scalar(value) => {
                format!("(m.metadata @> {})", self.document(path, &json!([value])))
            }
            (Source::Metadata(path), value) => {
                let (at, same) = (self.at(path), self.same_as_any("e", &[value]));
                let is_element = format!("EXISTS (SELECT FROM jsonb_array_elements({at}) AS e WHERE {same})");
                sql::when(&at, "array", &is_element)
            }
            _ => "false".to_owned(),
        }
    }

    /// That a jsonb expression equals one of these, numbers as `f64`.
    fn same_as_any(&mut self, expression: &str, values: &[&Value]) -> String {
        let list = self.list(values);
        if values.iter().all(|value| is_exact(value)) {
            format!("(({expression} = ANY ({})) IS TRUE)", sql::elements("v", &list))
        } else {
            format!("({} = ANY ({}))", sql::nodes(expression), sql::elements(&sql::nodes("v"), &list))
        }
    }

    /// The value at a path of keys. NULL where there is none; lists have no keys.
    fn at(&mut self, path: &[String]) -> String {
        let keys: String = path.iter().map(|key| format!(" -> {}", self.text(&Value::from(key.as_str())))).collect();
        format!("(m.metadata{keys})")
    }

    fn document(&mut self, path: &[String], value: &Value) -> String {
        self.json(document(path, value))
    }

    fn text(&mut self, value: &Value) -> String {
        let at = self.push(escape_value(value).into_owned());
        format!("({}::jsonb ->> {at})", self.placeholder)
    }

    fn list(&mut self, values: &[&Value]) -> String {
        self.json(values.iter().map(|value| escape_value(value).into_owned()).collect())
    }

    fn json(&mut self, escaped: Value) -> String {
        let at = self.push(escaped);
        format!("({}::jsonb -> {at})", self.placeholder)
    }

    fn push(&mut self, escaped: Value) -> usize {
        self.arguments.push(escaped);
        self.arguments.len() - 1
    }
}

#[derive(Clone, Copy)]
enum Order {
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Order {
    fn operator(self) -> &'static str {
        match self {
            Self::Gt => ">",
            Self::Gte => ">=",
            Self::Lt => "<",
            Self::Lte => "<=",
        }
    }

    /// The time in whole microseconds that is as good as this one to compare those of rows with.
    fn bound(self, moment: &Moment) -> Value {
        match self {
            Self::Gt | Self::Lte => moment.last_before(),
            Self::Gte | Self::Lt => moment.first_after(),
        }
    }
}

/// Whether what equals this value as jsonb equals it as a filter's value, and the other way round.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.as_f64().is_some_and(|number| number.abs() < EXACT),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
    }
}

/// Whether it is exact and neither a list nor an object.
fn is_exact_scalar(value: &Value) -> bool {
    is_exact(value) && !value.is_array() && !value.is_object()
}

/// The metadata that has this value at a path, and nothing else.
fn document(path: &[String], value: &Value) -> Value {
    let value = escape_value(value).into_owned();
    path.iter().rev().fold(value, |inner, key| Value::from_iter([(escape(key).into_owned(), inner)]))
}

#[cfg(test)]
mod tests;
