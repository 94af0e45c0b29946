//! The one place where a failure becomes a status and a problem document (RFC 9457).
//!
//! The caller gets what it can act on: a stable code, and for a bad argument the field, what was given and what is
//! allowed. The log gets the whole chain of causes, once, and nothing that a memory says.

pub mod codes;

use std::error::Error as StdError;
use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use memory_core::Error;
use schemars::JsonSchema;
use serde::Serialize;

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A refused or failed request, as the caller is told of it.
#[derive(Debug)]
pub struct Problem(Box<Details>);

#[derive(Debug)]
struct Details {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    given: Option<String>,
    allowed: Option<String>,
    header: Option<(HeaderName, HeaderValue)>,
    /// For the log only.
    causes: Option<String>,
}

impl Problem {
    /// A problem that is said in one sentence. `code` is stable: callers branch on it.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(Details {
            status,
            code,
            detail,
            field: None,
            given: None,
            allowed: None,
            header: None,
            causes: None,
        }))
    }

    /// A bad argument: 400.
    #[must_use]
    pub fn bad_argument(
        code: &'static str,
        field: impl Into<String>,
        given: impl ToString,
        allowed: impl Into<String>,
    ) -> Self {
        let Error::Invalid { field, given, allowed } = Error::invalid(field, given, allowed) else {
            return Self::new(StatusCode::BAD_REQUEST, code, "an argument is not acceptable");
        };
        Self::new(StatusCode::BAD_REQUEST, code, format!("{field}: given {given}, allowed: {allowed}"))
            .with(field, given, allowed)
    }

    /// The problem's stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The problem's status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The same problem with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// The same problem about one field.
    #[must_use]
    pub fn about(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    fn with(mut self, field: String, given: String, allowed: String) -> Self {
        self.0.field = Some(field);
        self.0.given = Some(given);
        self.0.allowed = Some(allowed);
        self
    }

    /// The same problem about one field, with what is allowed there.
    #[must_use]
    pub fn with_allowed(mut self, field: impl Into<String>, allowed: impl Into<String>) -> Self {
        self.0.allowed = Some(allowed.into());
        self.about(field)
    }

    /// The same problem with a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.0.header = Some((name, value.into()));
        self
    }

    /// Tells the caller that the same request may succeed in a second.
    fn retry_soon(self) -> Self {
        self.header(header::RETRY_AFTER, 1)
    }

    fn caused_by(mut self, error: &dyn StdError) -> Self {
        self.0.causes = Some(chain(error));
        self
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let outward = |status, code, detail: &str| Self::new(status, code, detail).caused_by(&error);
        match error {
            Error::Invalid { field, given, allowed } => {
                Self::new(StatusCode::BAD_REQUEST, "invalid", detail).with(field, given, allowed)
            }
            Error::TooLarge { field, given_bytes, allowed_bytes } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                detail,
            )
            .with(field, format!("{given_bytes} bytes"), format!("at most {allowed_bytes} bytes")),
            Error::SpaceMismatch { expected, actual } => {
                Self::new(StatusCode::BAD_REQUEST, "space_mismatch", detail).with("embedding".into(), actual, expected)
            }
            Error::NotFound(_) => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            Error::VersionConflict { expected, actual, .. } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "version_conflict",
                detail,
            )
            .with("If-Match".into(), expected.to_string(), actual.to_string()),
            Error::IdTaken(id) => Self::new(StatusCode::CONFLICT, "id_taken", detail).with(
                "id".into(),
                id.to_string(),
                "another id".into(),
            ),
            Error::Forgotten(id) => {
                Self::new(StatusCode::GONE, "forgotten", detail).with("id".into(), id.to_string(), "another id".into())
            }
            Error::ValueRejected { field } => Self::new(StatusCode::CONFLICT, "value_rejected", detail).with(
                field,
                "a value that was rejected".into(),
                "another value, or this one once the rejection is lifted".into(),
            ),
            Error::IdempotencyConflict { key } => Self::new(StatusCode::CONFLICT, "idempotency_conflict", detail).with(
                "Idempotency-Key".into(),
                key,
                "a new key for a new request".into(),
            ),
            Error::NotYetVisible(token) => Self::new(StatusCode::CONFLICT, "not_yet_visible", detail)
                .with("at_least".into(), token.to_string(), "a token of this server's own writes".into())
                .retry_soon(),
            Error::Busy(_) => Self::new(StatusCode::CONFLICT, "busy", detail).retry_soon(),
            Error::Fenced { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "fenced", detail).retry_soon(),
            Error::StorageFull { .. } => outward(
                StatusCode::INSUFFICIENT_STORAGE,
                "storage_full",
                "the store has no room left; nothing of this request was kept, and what was acknowledged before is safe",
            ),
            Error::Embedder { retryable: true, .. } => outward(
                StatusCode::SERVICE_UNAVAILABLE,
                "embedder_unavailable",
                "the embedding model does not answer now; nothing of this request was kept",
            )
            .retry_soon(),
            Error::Embedder { .. } => outward(
                StatusCode::BAD_GATEWAY,
                "embedder_refused",
                "the embedding model refused the request; nothing of it was kept, and the server's log says why",
            ),
            Error::Unusable { .. } => outward(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unusable",
                "the store cannot be used now; the server's log says why",
            ),
            Error::Backend { retryable: true, .. } => {
                outward(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "the store does not answer now")
                    .retry_soon()
            }
            _ => outward(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the server failed; its log says why, under this request's id",
            ),
        }
    }
}

/// A refused or failed request (RFC 9457).
// The document's members are in the order in which they are written.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct Document<'a> {
    /// Always `about:blank`: the code says what it is.
    r#type: &'static str,
    /// What the status is called.
    title: &'static str,
    /// The status.
    status: u16,
    /// What it is, for programs. It is stable; later versions add others.
    #[schemars(extend("x-extensible-enum" = codes::names()))]
    code: &'static str,
    /// What it is, for people.
    detail: &'a str,
    /// The argument that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// What was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    given: Option<&'a str>,
    /// What is allowed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'a str>,
    /// Names the request in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// The problem that a response tells, beside its text.
#[derive(Clone)]
struct Told(Arc<Details>);

impl Details {
    fn document<'a>(&'a self, request_id: Option<&'a str>) -> Document<'a> {
        Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            field: self.field.as_deref(),
            given: self.given.as_deref(),
            allowed: self.allowed.as_deref(),
            request_id,
        }
    }
}

/// The same response; where it tells a problem, with the request's id in it.
#[must_use]
pub fn with_request_id(mut response: Response, request_id: &str) -> Response {
    if let Some(Told(details)) = response.extensions_mut().remove::<Told>() {
        *response.body_mut() = Json(details.document(Some(request_id))).into_response().into_body();
    }
    response
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut details = *self.0;
        debug_assert!(
            codes::find(details.code).is_some_and(|code| details.status == code.status),
            "{} {} is not in error/codes.rs",
            details.status.as_u16(),
            details.code
        );
        match details.causes.take() {
            Some(causes) => tracing::error!(code = details.code, causes, "request failed"),
            // Not the field: its name may be the caller's own word.
            None => tracing::debug!(code = details.code, "request refused"),
        }
        let header = details.header.take();
        let body = Json(details.document(None));
        let mut response = (details.status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(Told(Arc::new(details)));
        response
    }
}

/// Whether a response tells that the store takes no writes, or that the request belongs to another store: nothing of it was kept.
#[must_use]
pub fn is_fenced(response: &Response) -> bool {
    response.extensions().get::<Told>().is_some_and(|Told(details)| details.code == "fenced")
}

/// An error and all its causes in one line.
#[must_use]
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Drivers repeat their cause in their own message.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use memory_core::{MemoryId, WriteToken};

    use super::*;

    fn backend(retryable: bool) -> Error {
        Error::Backend {
            provider: "embedded",
            operation: "insert",
            retryable,
            source: "disk I/O error in /secret/path".into(),
        }
    }

    #[test]
    fn every_error_has_its_status_and_code() {
        let id: MemoryId = "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d".parse().unwrap();
        let unusable =
            Error::Unusable { provider: "embedded", reason: "not a database: /secret/path".into(), source: None };
        let embedder =
            |retryable| Error::Embedder { model: "m".into(), reason: "secret".into(), retryable, source: None };
        let all = [
            Error::invalid("limit", 0, "1 to 1000"),
            Error::TooLarge { field: "text".into(), given_bytes: 70_000, allowed_bytes: 65_536 },
            Error::SpaceMismatch { expected: "a@1/3".into(), actual: "b@1/3".into() },
            Error::NotFound(id),
            Error::VersionConflict { id, expected: 1, actual: 2 },
            Error::IdTaken(id),
            Error::Forgotten(id),
            Error::ValueRejected { field: "memories[3].text".into() },
            Error::IdempotencyConflict { key: "k".into() },
            Error::NotYetVisible(WriteToken("9".into())),
            Error::Busy("a consolidation of this scope is under way"),
            Error::Fenced { epoch: 2 },
            Error::StorageFull { provider: "embedded", operation: "insert" },
            unusable,
            embedder(true),
            embedder(false),
            backend(true),
            backend(false),
        ];
        let lines: Vec<String> = all
            .into_iter()
            .map(|error| {
                let problem = Problem::from(error);
                let retry = if problem.0.header.is_some() { " Retry-After" } else { "" };
                assert!(!problem.0.detail.contains("secret"), "{problem:?}");
                format!("{} {}{retry}", problem.status().as_u16(), problem.code())
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        400 invalid
        413 too_large
        400 space_mismatch
        404 not_found
        412 version_conflict
        409 id_taken
        410 forgotten
        409 value_rejected
        409 idempotency_conflict
        409 not_yet_visible Retry-After
        409 busy Retry-After
        503 fenced Retry-After
        507 storage_full
        503 store_unusable
        503 embedder_unavailable Retry-After
        502 embedder_refused
        503 store_unavailable Retry-After
        500 internal
        ");
    }

    #[test]
    fn the_log_gets_the_whole_chain() {
        let problem = Problem::from(backend(false));
        assert_eq!(problem.0.causes.as_deref(), Some("embedded: insert failed: disk I/O error in /secret/path"));
    }
}
