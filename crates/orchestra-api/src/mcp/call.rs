//! From a tool's arguments to a call of the HTTP interface.

use axum::http::{HeaderValue, Method};
use serde_json::{Map, Value};

use super::tool::{Route, Tool};
use crate::client::{Client, Problem, Query, encode};
use crate::http::WRITER;

/// The writer that a call names: an agent, by way of this protocol.
const WRITTEN_BY: &str = "mcp";
/// The arguments that travel as headers.
const IN_HEADERS: [(&str, &str); 2] = [("idempotency_key", "idempotency-key"), ("expected_version", "if-match")];

/// What goes into a URL and not into a body is at most so long.
const MAX_URL_BYTES: usize = 60_000;
/// The members of a scope. The interface refuses the last, and says why.
const SCOPE: [&str; 4] = ["user", "agent", "session", "tenant"];

/// Calls what `tool` stands for. `carried` are the headers of the request that asked for it.
///
/// # Errors
/// What the interface refused, in the words of the tool's arguments.
pub async fn call(
    client: &Client,
    tool: &Tool,
    arguments: Map<String, Value>,
    carried: &[(String, String)],
) -> Result<Value, Problem> {
    let Request { method, target, body, headers } = request(tool, arguments)?;
    let headers = headers.iter().chain(carried).map(|(name, value)| (name.as_str(), value.as_str()));
    let writer = WRITER;
    let headers: Vec<(&str, &str)> = headers.chain([(writer.as_str(), WRITTEN_BY)]).collect();
    client.call(method, &target, body.as_ref(), &headers).await.map_err(in_arguments)
}

#[derive(Debug)]
struct Request {
    method: Method,
    target: String,
    body: Option<Value>,
    headers: Vec<(String, String)>,
}

fn request(tool: &Tool, mut arguments: Map<String, Value>) -> Result<Request, Problem> {
    check_known(tool, &arguments)?;
    let headers = IN_HEADERS.iter().filter_map(|(name, header)| Some((*name, *header, arguments.remove(*name)?)));
    let headers = headers.filter(|(.., value)| !value.is_null());
    let headers = headers.map(|(name, header, value)| header_value(name, header, &value)).collect::<Result<_, _>>()?;
    let Route { method, before, argument, after } = &tool.route;
    let mut path = (*before).to_owned();
    if let Some(name) = argument {
        path.push_str(&encode(&path_part(name, arguments.remove(*name))?));
        path.push_str(after);
    }
    let mut query = Query::new(path);
    if *method != Method::POST {
        // There the scope is in the query, name by name.
        if let Some(scope) = arguments.remove("scope") {
            query = in_query(query, scope_of(scope)?);
        }
    }
    let body = if *method == Method::GET {
        query = in_query(query, arguments);
        None
    } else {
        Some(Value::Object(arguments))
    };
    let target = query.as_str().to_owned();
    if target.len() > MAX_URL_BYTES {
        let (given, allowed) = (format!("{} bytes in a URL", target.len()), format!("at most {MAX_URL_BYTES}"));
        return Err(Problem {
            status: 413,
            title: "Payload Too Large".into(),
            ..problem("too_large", "arguments", &given, &allowed)
        });
    }
    Ok(Request { method: method.clone(), target, body, headers })
}

/// Refuses an argument that the tool does not have. A tenant goes on: the interface says why there is none.
fn check_known(tool: &Tool, arguments: &Map<String, Value>) -> Result<(), Problem> {
    let known = tool.arguments.keys().map(String::as_str).collect::<Vec<_>>();
    match arguments.keys().find(|name| *name != "tenant" && !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(problem("unknown_field", name, "an unknown field", &known.join(", "))),
    }
}

/// The members of a scope that goes into the query, where they are one by one.
fn scope_of(scope: Value) -> Result<Map<String, Value>, Problem> {
    let Value::Object(scope) = scope else {
        return Err(problem("invalid", "scope", &scope.to_string(), "an object"));
    };
    for (name, value) in &scope {
        let field = format!("scope.{name}");
        if !SCOPE.contains(&name.as_str()) {
            return Err(problem("unknown_field", &field, "an unknown field", &SCOPE[..3].join(", ")));
        }
        if !value.is_string() && !value.is_null() {
            return Err(problem("invalid", &field, &value.to_string(), "a text"));
        }
    }
    Ok(scope)
}

fn in_query(query: Query, arguments: Map<String, Value>) -> Query {
    arguments.into_iter().fold(query, |query, (name, value)| match value {
        Value::Null => query,
        Value::String(text) => query.with(&name, Some(text)),
        other => query.with(&name, Some(other.to_string())),
    })
}

/// The argument that is a part of the path.
fn path_part(name: &str, value: Option<Value>) -> Result<String, Problem> {
    match value {
        // A URL with these parts is another URL.
        Some(Value::String(text)) if !["", ".", ".."].contains(&text.as_str()) => Ok(text),
        Some(other) => Err(problem("invalid", name, &other.to_string(), "a text that is not empty, . or ..")),
        None => Err(problem("missing_field", name, "nothing", "a value; the field is required")),
    }
}

/// The argument that is a header.
fn header_value(name: &str, header: &str, value: &Value) -> Result<(String, String), Problem> {
    let (text, allowed) = match name {
        "expected_version" => (value.as_u64().map(|version| version.to_string()), "a version, such as 3"),
        _ => (value.as_str().map(str::to_owned), "a text of visible ASCII characters"),
    };
    match text.filter(|text| HeaderValue::from_str(text).is_ok()) {
        Some(text) => Ok((header.to_owned(), text)),
        None => Err(problem("invalid", name, &value.to_string(), allowed)),
    }
}

/// The problem with the name that the field has among the arguments.
fn in_arguments(mut problem: Problem) -> Problem {
    for (name, header) in IN_HEADERS {
        if let Some(field) = problem.field.as_deref().filter(|field| field.eq_ignore_ascii_case(header)) {
            problem.detail = problem.detail.replace(field, name).into();
            problem.field = Some(name.into());
        }
    }
    problem
}

/// A bad argument, as the interface says it.
fn problem(code: &str, field: &str, given: &str, allowed: &str) -> Problem {
    let error = memory_core::Error::invalid(field, given, allowed);
    let detail = error.to_string().into();
    let memory_core::Error::Invalid { field, given, allowed } = error else {
        return Problem { status: 400, code: code.into(), detail, ..Problem::default() };
    };
    Problem {
        status: 400,
        code: code.into(),
        title: "Bad Request".into(),
        detail,
        field: Some(field.into()),
        given: Some(given.into()),
        allowed: Some(allowed.into()),
    }
}
