//! The interface's document, and a page for people that shows it.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::openapi::{self, Operation};

const STYLE: &str = include_str!("../../assets/docs/style.css");
const SCRIPT: &str = include_str!("../../assets/docs/page.js");
const PAGE: &str = include_str!("../../assets/docs/page.html");

/// `GET /openapi.json`: the document.
pub async fn document() -> Response {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| openapi::document().to_string().into());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.clone()).into_response()
}

/// `GET /docs`: the page. It is one file, and asks nobody but this server for anything.
pub async fn page() -> Response {
    static PARTS: LazyLock<(Bytes, HeaderValue)> = LazyLock::new(|| {
        let page = PAGE.replace("/*style*/", STYLE).replace("/*script*/", SCRIPT);
        (page.into(), policy())
    });
    let (page, policy) = PARTS.clone();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, page).into_response()
}

/// Nothing runs but this script, and it calls nobody but this server.
fn policy() -> HeaderValue {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE),
    );
    HeaderValue::from_str(&policy).expect("base64 is visible ASCII")
}

/// What the document says about them.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new("openapi", "Read this document", "OpenAPI 3.1; `orchestra openapi` prints the same.")
            .answers::<Map<String, Value>>(
                StatusCode::OK,
                "The document.",
                [("its beginning", json!({"openapi": "3.1.1"}))],
            ),
        Operation::new("docs", "Read it as a page", "The document for people, with requests to try.")
            .answers_text("text/html", "The page."),
    ]
}
