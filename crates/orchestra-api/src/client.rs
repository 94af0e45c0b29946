//! The client of the HTTP interface that the command line is: one code path, two transports.
//!
//! [`Client::local`] calls the router in this process, without a socket; [`Client::remote`] calls a server. What a
//! command does is the same either way, so whatever the command line can do, any program can do over HTTP.

use std::fmt::Write as _;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tower::ServiceExt as _;

/// How long a server may take for one answer. An import of two hundred long texts through a slow embedder is the most.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of the HTTP interface. A clone uses the same connection.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
}

#[derive(Debug, Clone)]
enum Transport {
    Local(Router),
    Remote { http: reqwest::Client, base_url: String },
}

/// Why a call gave nothing: what the server answered, or that it did not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, thiserror::Error)]
#[serde(default)]
#[error("{detail}")]
pub struct Problem {
    /// The HTTP status; 0 when there was no answer.
    pub status: u16,
    /// The stable name of the problem; [`Problem::UNREACHABLE`] when there was no answer.
    pub code: Box<str>,
    /// The status in words.
    pub title: Box<str>,
    /// What was wrong, for a person.
    pub detail: Box<str>,
    /// The field that was wrong.
    pub field: Option<Box<str>>,
    /// What was given there.
    pub given: Option<Box<str>>,
    /// What is allowed there.
    pub allowed: Option<Box<str>>,
}

impl Problem {
    /// The code of a problem that no server told: nobody answered.
    pub const UNREACHABLE: &'static str = "unreachable";

    fn unreachable(detail: impl Into<Box<str>>) -> Self {
        Self { code: Self::UNREACHABLE.into(), title: "No answer".into(), detail: detail.into(), ..Self::default() }
    }

    fn of_answer(status: StatusCode, body: &[u8]) -> Self {
        let mut problem = serde_json::from_slice(body).unwrap_or_else(|_| Self {
            code: "not_a_problem_document".into(),
            detail: format!("the server answered {status} and not with a problem document; is it an Orchestra server?")
                .into(),
            ..Self::default()
        });
        problem.status = status.as_u16();
        problem
    }

    /// Whether the caller made the mistake; else it is the server's.
    #[must_use]
    pub fn is_callers(&self) -> bool {
        (400..500).contains(&self.status)
    }

    /// Whether the same call, unchanged, may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.status, 0 | 429 | 502 | 503 | 504)
    }
}

impl Client {
    /// A client of a router in this process.
    #[must_use]
    pub fn local(router: Router) -> Self {
        Self { transport: Transport::Local(router) }
    }

    /// A client of the server at `base_url`, such as `http://127.0.0.1:7070`.
    ///
    /// # Errors
    /// [`Problem::UNREACHABLE`] when the URL is none.
    pub fn remote(base_url: &str) -> Result<Self, Problem> {
        if !base_url.starts_with("http://") && !base_url.starts_with("https://") {
            let detail = format!("{base_url:?} is no URL; expected one such as http://127.0.0.1:7070").into();
            return Err(Problem {
                status: 400,
                code: "invalid".into(),
                field: Some("url".into()),
                detail,
                ..Problem::default()
            });
        }
        let http = http_client(HeaderMap::new())?;
        Ok(Self { transport: Transport::Remote { http, base_url: base_url.trim_end_matches('/').to_owned() } })
    }

    /// The client of the same server, showing this API key in every call.
    ///
    /// # Errors
    /// A problem that does not tell the key, when it is none.
    pub fn with_key(self, key: &SecretString) -> Result<Self, Problem> {
        let Transport::Remote { base_url, .. } = self.transport else { return Ok(self) };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).map_err(|_| Problem {
            status: 400,
            code: "invalid".into(),
            field: Some("ORCHESTRA_API_KEY".into()),
            detail: "ORCHESTRA_API_KEY is no API key; expected one such as om_…, in visible ASCII".into(),
            ..Problem::default()
        })?;
        value.set_sensitive(true);
        Ok(Self {
            transport: Transport::Remote {
                http: http_client([(header::AUTHORIZATION, value)].into_iter().collect())?,
                base_url,
            },
        })
    }

    /// The URL of the server; `None` when the memory is opened in this process.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match &self.transport {
            Transport::Local(_) => None,
            Transport::Remote { base_url, .. } => Some(base_url),
        }
    }

    /// Calls `path_and_query` (percent-encoded; see [`Query`]) and gives the answer's JSON, `null` when it has no body.
    ///
    /// # Errors
    /// What the server answered, or that it did not.
    pub async fn call(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Value, Problem> {
        let (status, bytes) = match &self.transport {
            Transport::Local(router) => in_process(router.clone(), method, path_and_query, body, headers).await?,
            Transport::Remote { http, base_url } => {
                over_http(http, base_url, method, path_and_query, body, headers).await?
            }
        };
        if !status.is_success() {
            return Err(Problem::of_answer(status, &bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| Problem {
            status: status.as_u16(),
            code: "not_json".into(),
            detail: format!("the server answered {status}, but not with JSON ({error}); is it an Orchestra server?")
                .into(),
            ..Problem::default()
        })
    }

    /// Deletes `path_and_query`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn delete(&self, path_and_query: &str) -> Result<Value, Problem> {
        self.call(Method::DELETE, path_and_query, None, &[]).await
    }

    /// Gets `path_and_query`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn get(&self, path_and_query: &str) -> Result<Value, Problem> {
        self.call(Method::GET, path_and_query, None, &[]).await
    }

    /// Posts `body`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn post(&self, path_and_query: &str, body: &Value) -> Result<Value, Problem> {
        self.call(Method::POST, path_and_query, Some(body), &[]).await
    }
}

/// A client that sends `headers` in every call.
fn http_client(headers: HeaderMap) -> Result<reqwest::Client, Problem> {
    // Another part of the program may have chosen it already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT);
    // A server that sends us elsewhere does not get to say who sees the key: reqwest keeps it to the same host.
    let built = builder.default_headers(headers).build();
    built.map_err(|error| Problem::unreachable(format!("no HTTP client: {}", crate::error::chain(&error))))
}

async fn in_process(
    router: Router,
    method: Method,
    path_and_query: &str,
    body: Option<&Value>,
    headers: &[(&str, &str)],
) -> Result<(StatusCode, Vec<u8>), Problem> {
    let mut request = Request::builder().method(method).uri(path_and_query);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = match body {
        None => request.body(Body::empty()),
        Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())),
    };
    let request =
        request.map_err(|error| Problem::unreachable(format!("{path_and_query:?} cannot be called: {error}")))?;
    let Ok(response) = router.oneshot(request).await;
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await;
    let bytes = bytes
        .map_err(|error| Problem::unreachable(format!("the answer broke off: {}", crate::error::chain(&error))))?;
    Ok((status, bytes.to_vec()))
}

async fn over_http(
    http: &reqwest::Client,
    base_url: &str,
    method: Method,
    path_and_query: &str,
    body: Option<&Value>,
    headers: &[(&str, &str)],
) -> Result<(StatusCode, Vec<u8>), Problem> {
    let failed = |error: reqwest::Error| {
        Problem::unreachable(format!("no answer from {base_url}: {}", crate::error::chain(&error.without_url())))
    };
    let mut request = http.request(method, format!("{base_url}{path_and_query}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    let bytes = response.bytes().await.map_err(failed)?;
    Ok((status, bytes.to_vec()))
}

/// A path with a query, percent-encoded.
#[derive(Debug, Clone)]
pub struct Query {
    text: String,
    empty: bool,
}

impl Query {
    /// A query of `path`, whose variable parts went through [`encode`].
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Self { text: path.into(), empty: true }
    }

    /// The query with one parameter more; unchanged for `None`.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        if let Some(value) = value {
            self.text.push(if self.empty { '?' } else { '&' });
            self.empty = false;
            self.text.push_str(name);
            self.text.push('=');
            self.text.push_str(&encode(value.as_ref()));
        }
        self
    }

    /// The text, for [`Client::call`].
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Percent-encodes a part of a path or of a query.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};

    use super::*;

    fn router() -> Router {
        let refuse = || async {
            let body = r#"{"title":"Bad Request","status":400,"code":"invalid","detail":"limit: given 0","field":"limit","given":"0","allowed":"1 to 1000"}"#;
            (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/problem+json")], body)
        };
        Router::new()
            .route("/echo", post(|body: String| async move { body }))
            .route("/nothing", get(|| async { StatusCode::NO_CONTENT }))
            .route("/refuse", get(refuse))
            .route("/html", get(|| async { (StatusCode::NOT_FOUND, "<html>") }))
            .route(
                "/query",
                get(|request: Request<Body>| async move { format!("{:?}", request.uri().query().unwrap_or_default()) }),
            )
    }

    async fn answers(client: &Client) {
        let body = serde_json::json!({"text": "grüße"});
        assert_eq!(client.post("/echo", &body).await.unwrap(), body);
        assert_eq!(client.get("/nothing").await.unwrap(), Value::Null);
        let problem = client.get("/refuse").await.unwrap_err();
        assert_eq!((problem.status, &*problem.code, problem.field.as_deref()), (400, "invalid", Some("limit")));
        assert!(problem.is_callers() && !problem.is_retryable());
        assert!(client.get("/html").await.unwrap_err().detail.contains("is it an Orchestra server?"));
        let query =
            Query::new("/query").with("user", Some("a&b c")).with("agent", None::<&str>).with("session", Some("ä"));
        assert_eq!(client.get(query.as_str()).await.unwrap(), "user=a%26b%20c&session=%C3%A4");
    }

    #[tokio::test]
    async fn both_transports_answer_alike() {
        answers(&Client::local(router())).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router()).await });
        answers(&Client::remote(&url).unwrap()).await;
        server.abort();
    }

    #[tokio::test]
    async fn a_key_goes_to_the_server_and_nowhere_else() {
        let serve = async |router: Router| {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            (url, tokio::spawn(async move { axum::serve(listener, router).await }))
        };
        let shown = |headers: HeaderMap| async move {
            let key = headers.get(header::AUTHORIZATION).map(|key| key.to_str().unwrap().to_owned());
            axum::Json(key)
        };
        let (elsewhere, other) = serve(Router::new().route("/seen", get(shown))).await;
        let redirect = axum::response::Redirect::temporary(&format!("{elsewhere}/seen"));
        let here = Router::new().route("/here", get(shown)).route("/away", get(|| async { redirect }));
        let (url, server) = serve(here).await;
        let client = Client::remote(&url).unwrap().with_key(&"om_key".into()).unwrap();
        assert_eq!(client.get("/here").await.unwrap(), "Bearer om_key");
        assert_eq!(client.get("/away").await.unwrap(), Value::Null, "another server does not get to see it");
        assert!(!format!("{client:?}").contains("om_key"), "{client:?}");
        server.abort();
        other.abort();
    }

    #[tokio::test]
    async fn nobody_there_is_a_problem_that_may_pass() {
        let problem = Client::remote("http://127.0.0.1:1").unwrap().get("/healthz").await.unwrap_err();
        assert_eq!((problem.status, &*problem.code), (0, Problem::UNREACHABLE));
        assert!(
            problem.is_retryable() && problem.detail.starts_with("no answer from http://127.0.0.1:1: "),
            "{problem}"
        );
        assert_eq!(Client::remote("localhost:7070").unwrap_err().field.as_deref(), Some("url"));
    }
}
