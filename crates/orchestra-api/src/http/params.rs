//! What stands in a URL: query parameters and ids, with errors that name them.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use memory_core::recall::{MAX_LIMIT, check_limit};
use memory_core::{Error, Filter, Scope};
use serde_json::Value;

use super::{json, wire};
use crate::error::Problem;
use crate::state::AppState;

/// The parameters of a query, taken by name. What nobody takes is refused by [`finish`](Self::finish).
#[derive(Debug)]
pub struct Params {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
}

/// A parameter that was taken out of the query before: it is one that the route knows.
#[derive(Debug, Clone, Copy)]
pub struct Taken(pub &'static str);

impl FromRequestParts<AppState> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Problem> {
        let mut params = Self::read(parts.uri.query().unwrap_or_default())?;
        params.known.extend(parts.extensions.get::<Taken>().map(|Taken(name)| *name));
        Ok(params)
    }
}

impl Params {
    /// The parameters of a URL.
    ///
    /// # Errors
    /// A 400 for text that is not percent-encoded UTF-8, and for a parameter that is there twice.
    pub fn read(query: &str) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, "query")?;
            let value = decode(value, &name)?;
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(Problem::bad_argument(
                    "duplicate_field",
                    name,
                    "the parameter twice",
                    "each parameter once",
                ));
            }
            pairs.push((name, value));
        }
        Ok(Self { pairs, known: Vec::new() })
    }

    /// The parameter's text, if it is there.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let at = self.pairs.iter().position(|(given, _)| given == name)?;
        Some(self.pairs.swap_remove(at).1)
    }

    /// The parameter as a `T`, if it is there.
    pub fn parsed<T: FromStr>(&mut self, name: &'static str, allowed: &str) -> Result<Option<T>, Problem> {
        match self.text(name) {
            None => Ok(None),
            Some(text) => {
                text.parse().map(Some).map_err(|_| Problem::bad_argument("invalid", name, format!("{text:?}"), allowed))
            }
        }
    }

    /// The parameter as true or false; false when it is absent.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Problem> {
        Ok(self.parsed(name, "true or false")?.unwrap_or(false))
    }

    /// The limit, 1 to [`MAX_LIMIT`]; `default` when it is absent.
    pub fn limit(&mut self, default: usize) -> Result<usize, Problem> {
        let limit = self.parsed("limit", &format!("a whole number from 1 to {MAX_LIMIT}"))?.unwrap_or(default);
        check_limit(limit)?;
        Ok(limit)
    }

    /// Whether the newest come first.
    pub fn newest_first(&mut self) -> Result<bool, Problem> {
        match self.text("order").as_deref() {
            None | Some("oldest") => Ok(false),
            Some("newest") => Ok(true),
            Some(other) => Err(Problem::bad_argument("invalid", "order", format!("{other:?}"), "oldest or newest")),
        }
    }

    /// The filter, as JSON, if it is there.
    pub fn filter(&mut self) -> Result<Option<Filter>, Problem> {
        let Some(text) = self.text("filter") else { return Ok(None) };
        let json::Object(filter) = json::parse(&text, "filter")?;
        Ok(Filter::from_json(&Value::Object(filter)).map(Some)?)
    }

    /// `tenant`, narrowed by the parameters of the names given: `user`, `agent`, `session`.
    pub fn scope(&mut self, tenant: &Scope, names: &[&'static str]) -> Result<Scope, Problem> {
        let mut scope = tenant.clone();
        for &name in names {
            let Some(value) = self.text(name) else { continue };
            scope = match name {
                "user" => scope.with_user(value),
                "agent" => scope.with_agent(value),
                _ => scope.with_session(value),
            }
            .map_err(|error| as_parameter(error, name))?;
        }
        Ok(scope)
    }

    /// Refuses what nobody took.
    pub fn finish(self) -> Result<(), Problem> {
        match self.pairs.into_iter().next() {
            None => Ok(()),
            Some((name, _)) if name == "tenant" => Err(wire::tenant_refused("tenant")),
            Some((name, _)) => {
                let allowed = if self.known.is_empty() { "no parameters".into() } else { self.known.join(", ") };
                Err(Problem::bad_argument("unknown_field", name, "an unknown parameter", allowed))
            }
        }
    }
}

/// The error of a scope's part, by the name it has in the URL.
fn as_parameter(error: Error, name: &str) -> Error {
    match error {
        Error::Invalid { given, allowed, .. } => Error::Invalid { field: name.into(), given, allowed },
        other => other,
    }
}

/// The session that a path names.
///
/// # Errors
/// A 400 when the name is not acceptable.
pub fn session(scope: Scope, name: String) -> Result<Scope, Problem> {
    Ok(scope.with_session(name).map_err(|error| as_parameter(error, "session"))?)
}

/// The one parameter of a path, percent-decoded.
#[derive(Debug)]
pub struct PathParam(pub String);

impl FromRequestParts<AppState> for PathParam {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        axum::extract::Path::<String>::from_request_parts(parts, state).await.map(|path| Self(path.0)).map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid_utf8", "the path is not UTF-8 after percent-decoding")
                .about("path")
        })
    }
}

/// Percent-decoding that loses nothing: what is not UTF-8 is an error, not a replacement character.
fn decode(text: &str, field: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair =
                    [rest.next(), rest.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
                let [Some(high), Some(low)] = pair else {
                    return Err(Problem::bad_argument("invalid", field, text, "percent-encoding, such as %20"));
                };
                (high * 16 + low) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_utf8", format!("{field} is not UTF-8 after percent-decoding"))
            .about(field)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_strictly() {
        let mut params = Params::read("user=ann%20b+c&limit=5").unwrap();
        assert_eq!(params.text("user").as_deref(), Some("ann b c"));
        assert_eq!(params.limit(10).unwrap(), 5);
        params.finish().unwrap();
        for (query, code) in
            [("a=%ff", "invalid_utf8"), ("a=%f", "invalid"), ("a=%+1", "invalid"), ("a=1&a=2", "duplicate_field")]
        {
            assert_eq!(Params::read(query).unwrap_err().code(), code, "{query}");
        }
    }
}
