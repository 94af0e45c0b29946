//! Whatever the tests provoke is in the document: the status of an answer, and the code of a refusal.

use axum::http::Method;
use orchestra_api::http::document;
use serde_json::Value;

/// Looks an answer up.
#[track_caller]
pub fn check(method: &Method, uri: &str, status: u16, body: &Value) {
    let path = uri.split('?').next().unwrap_or_default();
    let Some(described) = operation(&method.as_str().to_lowercase(), path) else {
        // A page that is not there, or another method, is nobody's answer.
        assert!([404, 405].contains(&status), "{method} {uri} is not in the document and answers {status}");
        return;
    };
    let described = &described["responses"][status.to_string()];
    assert!(described.is_object(), "{method} {uri}: {status} is not in the document: {body:#}");
    if status >= 400 {
        let codes = described["x-codes"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(codes.contains(&body["code"]), "{method} {uri}: {} is not in the document", body["code"]);
    }
}

/// The operation of a path, the fixed one of two that fit.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let template: Vec<&str> = template.split('/').collect();
        template.len() == parts.len()
            && template.iter().zip(&parts).all(|(name, part)| name.starts_with('{') && !part.is_empty() || name == part)
    };
    let paths = document()["paths"].as_object()?;
    let fitting = paths.iter().filter(|(template, _)| fits(template));
    fitting.min_by_key(|(template, _)| template.contains('{'))?.1.get(method)
}
