//! What a PromQL expression reads: enough of the language to hold names and labels against what servers measure.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

/// A metric that an expression reads.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The series' name.
    pub name: String,
    /// Label, operator and value of each matcher.
    pub matchers: Vec<(String, String, String)>,
    /// The function right around it, if there is one.
    pub function: Option<String>,
}

/// What an expression reads, and by which labels it groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expression {
    pub selectors: Vec<Selector>,
    pub grouping: BTreeSet<String>,
}

const FUNCTIONS: &[&str] = &[
    "absent",
    "avg",
    "clamp_min",
    "count",
    "histogram_quantile",
    "increase",
    "max",
    "min",
    "rate",
    "sum",
    "topk",
    "vector",
];
const GROUPING: &[&str] = &["by", "on", "ignoring", "without"];
const OPERATORS: &[&str] = &["and", "or", "unless"];

/// Reads an expression.
///
/// # Errors
/// When a bracket or a quote is not closed, or a function is none of those that this project uses.
pub fn read(text: &str) -> Result<Expression> {
    let tokens = tokens(text)?;
    let mut expression = Expression::default();
    let mut open: Vec<Option<String>> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let next = tokens.get(at + 1).map_or("", String::as_str);
        match tokens[at].as_str() {
            name if OPERATORS.contains(&name) => {}
            name if GROUPING.contains(&name) && next == "(" => {
                let labels = inside(&tokens, at + 1, ")")?;
                expression.grouping.extend(labels.iter().filter(|label| *label != ",").cloned());
                at += labels.len() + 2;
            }
            name if is_name(name) && (next == "(" || GROUPING.contains(&next)) => {
                if !FUNCTIONS.contains(&name) {
                    bail!("{name}: no function that is used here, in {text}");
                }
                // `sum by (x) (...)`: the labels stand between the name and its bracket.
                let mut bracket = at + 1;
                if GROUPING.contains(&next) {
                    let labels = inside(&tokens, at + 2, ")")?;
                    expression.grouping.extend(labels.iter().filter(|label| *label != ",").cloned());
                    bracket = at + labels.len() + 4;
                }
                if tokens.get(bracket).map(String::as_str) != Some("(") {
                    bail!("{name} has no argument, in {text}");
                }
                open.push(Some(name.to_owned()));
                at = bracket;
            }
            name if is_name(name) => {
                let mut selector =
                    Selector { name: name.to_owned(), function: open.last().cloned().flatten(), ..Selector::default() };
                if next == "{" {
                    let inside = inside(&tokens, at + 1, "}")?;
                    for matcher in inside.split(|token| token == ",") {
                        let [label, operator, value] = matcher else { bail!("{matcher:?} is no matcher, in {text}") };
                        selector.matchers.push((label.clone(), operator.clone(), value.trim_matches('"').to_owned()));
                    }
                    at += inside.len() + 2;
                }
                expression.selectors.push(selector);
            }
            "(" => open.push(None),
            ")" if open.pop().is_none() => bail!("a bracket is closed that was not opened, in {text}"),
            _ => {}
        }
        at += 1;
    }
    if !open.is_empty() {
        bail!("a bracket is not closed, in {text}");
    }
    Ok(expression)
}

/// The tokens between the bracket at `at` and the one that closes it.
fn inside<'a>(tokens: &'a [String], at: usize, close: &str) -> Result<&'a [String]> {
    let rest = tokens.get(at + 1..).unwrap_or_default();
    match rest.iter().position(|token| token == close) {
        Some(end) => Ok(&rest[..end]),
        None => bail!("{} is not closed", tokens[at..].join(" ")),
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Names, numbers, quoted strings, operators and brackets; a range such as `[5m]` is left out.
fn tokens(text: &str) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => match rest[1..].find('"') {
                Some(end) => end + 2,
                None => bail!("a quote is not closed, in {text}"),
            },
            '[' => match rest.find(']') {
                Some(end) => {
                    rest = rest[end + 1..].trim_start();
                    continue;
                }
                None => bail!("a range is not closed, in {text}"),
            },
            _ if first.is_ascii_alphanumeric() || first == '_' => rest
                .find(|letter: char| !(letter.is_ascii_alphanumeric() || "_:.".contains(letter)))
                .unwrap_or(rest.len()),
            '=' | '!' | '<' | '>' if rest[1..].starts_with(['=', '~']) => 2,
            _ => first.len_utf8(),
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        read(text).unwrap().selectors.into_iter().map(|selector| selector.name).collect()
    }

    #[test]
    fn metrics_matchers_functions_and_grouping_are_found() {
        let expression =
            read(r#"sum by (tier, le) (rate(calls_bucket{outcome=~"a|b", tier!="x"}[5m])) / max(other) > 0.05"#)
                .unwrap();
        let [calls, other] = &expression.selectors[..] else { panic!("{expression:?}") };
        assert_eq!((calls.name.as_str(), calls.function.as_deref()), ("calls_bucket", Some("rate")));
        let matcher = |label: &str, operator: &str, value: &str| (label.into(), operator.into(), value.into());
        assert_eq!(calls.matchers, [matcher("outcome", "=~", "a|b"), matcher("tier", "!=", "x")]);
        assert_eq!((other.name.as_str(), other.function.as_deref()), ("other", Some("max")));
        assert_eq!(expression.grouping, BTreeSet::from(["le".to_owned(), "tier".to_owned()]));
    }

    #[test]
    fn grouping_may_stand_behind_and_operators_are_no_metrics() {
        assert_eq!(names("max(a_total) by (x) and b >= 1000 or c"), ["a_total", "b", "c"]);
        assert_eq!(names("topk(8, histogram_quantile(0.99, rate(seconds_bucket[1h])))"), ["seconds_bucket"]);
        assert_eq!(names("custom_googleapis_com:memory_cost > 2"), ["custom_googleapis_com:memory_cost"]);
    }

    #[test]
    fn what_is_not_closed_or_not_known_is_refused() {
        for wrong in ["sum(rate(a[5m])", "sum(a))", "a{b=\"c}", "a{b=\"c\"", "rate(a[5m)", "summ(a)", "sum by (a) b"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
