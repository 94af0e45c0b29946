//! Pieces of SQL that are put together. They are never NULL, unless a column in them is.

/// `condition` where a jsonb value is of a type, and false where it is of another or there is none.
pub(super) fn when(value: &str, json_type: &str, condition: &str) -> String {
    format!("(CASE WHEN jsonb_typeof({value}) = '{json_type}' THEN {condition} ELSE false END)")
}

/// What an expression over `v` gives for each element of a list. Computed once in a statement.
pub(super) fn elements(expression: &str, list: &str) -> String {
    format!("ARRAY(SELECT {expression} FROM jsonb_array_elements({list}) AS v)")
}

/// The time of a jsonb list of a day, counted from 1970-01-01, and a microsecond of it. A text as `timestamptz` depends on
/// settings, so it would be read again for every row.
pub(super) fn timestamp(list: &str) -> String {
    format!(
        "((timestamp 'epoch' + make_interval(days => ({list} -> 0)::int, secs => ({list} -> 1)::float8 / 1000000)) \
         AT TIME ZONE 'UTC')"
    )
}

/// All that is in a jsonb value, from the outermost in, as one text: the same for two values when they are equal with
/// numbers as `f64`. jsonb itself compares numbers as decimals.
pub(super) fn nodes(value: &str) -> String {
    format!(
        "ARRAY(SELECT CASE jsonb_typeof(n) WHEN 'number' THEN n::float8::text \
         WHEN 'array' THEN '[' || jsonb_array_length(n) \
         WHEN 'object' THEN '{{' || ARRAY(SELECT jsonb_object_keys(n))::text ELSE n::text END \
         FROM jsonb_path_query({value}, 'strict $.**') AS n)::text"
    )
}

/// Conditions with `AND` or `OR` between them; `none` when there are none.
pub(super) fn joined(conditions: &[String], operator: &str, none: &str) -> String {
    match conditions {
        [] => none.to_owned(),
        [condition] => condition.clone(),
        conditions => format!("({})", conditions.join(operator)),
    }
}
