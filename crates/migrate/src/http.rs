//! A store that a running server owns, such as an embedded file, through the server's `/v1/replica`.

mod search;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use memory_core::{
    BoxError, ChangeLag, ChangePosition, Error, Gate, Item, ItemChange, ItemKey, Replica, ReplicaSize, Result,
    ScanPage, ScanPosition,
};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::record::Colour;

pub use search::HttpEmbedder;

const PROVIDER: &str = "server";
/// How long a server may take for one answer.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that a server gives at once.
const MAX_LIMIT: usize = 1000;
/// How many items are asked for by their keys in one call: each may be large.
const KEYS_AT_ONCE: usize = 100;

/// The store of a running server. A clone uses the same connections.
#[derive(Clone)]
pub struct HttpReplica {
    client: Client,
    base_url: String,
    /// Which store of a server that follows a move.
    side: Option<Colour>,
}

impl HttpReplica {
    /// The store of the server at `base_url`, as in `http://127.0.0.1:7437`, with a key that has the scope `move`; a server
    /// that asks for no keys needs none. Calls nobody yet.
    ///
    /// If the process has no rustls crypto provider yet, ring becomes it.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the URL or the key is none.
    pub fn new(base_url: &str, key: Option<&SecretString>) -> Result<Self> {
        let unusable = |reason: String| Error::Unusable { provider: PROVIDER, reason, source: None };
        let base_url = base_url.trim_end_matches('/');
        if !(base_url.starts_with("http://") || base_url.starts_with("https://")) {
            return Err(unusable(format!("{base_url:?} is no URL; expected one as in http://127.0.0.1:7437")));
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()));
            let mut value = value.map_err(|_| unusable("the key is none; expected one as in om_…".into()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // Another part of the program may have chosen it already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT).default_headers(headers);
        let client = client.build().map_err(|error| Error::Unusable {
            provider: PROVIDER,
            reason: "no HTTP client can be made".into(),
            source: Some(error.into()),
        })?;
        Ok(Self { client, base_url: base_url.to_owned(), side: None })
    }

    /// This store of the move that the server follows, whichever is in use. A server that is not told which gives its own, which is
    /// blue.
    #[must_use]
    pub fn of_side(self, side: Colour) -> Self {
        Self { side: Some(side), ..self }
    }

    /// How green's answers compare with blue's, as a server says that follows a move and mirrors searches.
    ///
    /// # Errors
    /// [`Error::Backend`] where it does not.
    pub async fn mirror(&self) -> Result<serde_json::Value> {
        Self { side: None, ..self.clone() }.get("mirror", "mirror").await
    }

    async fn get<T: DeserializeOwned>(&self, operation: &'static str, path: &str) -> Result<T> {
        self.call(operation, Method::GET, path, None::<&()>).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T> {
        self.call(operation, Method::POST, path, Some(body)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T> {
        let failed = |error: reqwest::Error| backend(operation, true, error.without_url());
        let mut url = format!("{}/v1/replica/{path}", self.base_url);
        if let Some(side) = self.side {
            url.push(if path.contains('?') { '&' } else { '?' });
            url.push_str(&format!("side={side}"));
        }
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(failed)?;
        if !status.is_success() {
            return Err(Problem::of(status, &bytes).told(operation));
        }
        serde_json::from_slice(&bytes).map_err(|error| backend(operation, false, error))
    }
}

impl fmt::Debug for HttpReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReplica")
            .field("base_url", &self.base_url)
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}

fn backend(operation: &'static str, retryable: bool, source: impl Into<BoxError>) -> Error {
    Error::Backend { provider: PROVIDER, operation, retryable, source: source.into() }
}

/// What a server says of a request that it refuses (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    #[serde(skip)]
    status: StatusCode,
    code: String,
    detail: String,
    field: Option<String>,
    given: Option<String>,
    allowed: Option<String>,
}

impl Problem {
    fn of(status: StatusCode, body: &[u8]) -> Self {
        let problem = serde_json::from_slice(body).unwrap_or_else(|_| Self {
            detail: format!("it answered {status} and not with a problem document; is it an Orchestra server?"),
            ..Self::default()
        });
        Self { status, ..problem }
    }

    /// The error that the store of the server gave.
    fn told(self, operation: &'static str) -> Error {
        let Self { status, code, detail, field, given, allowed } = self;
        let epoch = allowed.as_deref().and_then(|allowed| allowed.parse().ok());
        match (code.as_str(), epoch) {
            ("fenced", Some(epoch)) => Error::Fenced { epoch },
            ("invalid", _) => Error::Invalid {
                field: field.unwrap_or_default(),
                given: given.unwrap_or_default(),
                allowed: allowed.unwrap_or(detail),
            },
            ("storage_full", _) => Error::StorageFull { provider: PROVIDER, operation },
            (
                "no_replica" | "no_such_route" | "unauthenticated" | "invalid_key" | "expired_key" | "access_denied",
                _,
            ) => Error::Unusable { provider: PROVIDER, reason: detail, source: None },
            _ => {
                let passes = status == StatusCode::TOO_MANY_REQUESTS
                    || matches!(status.as_u16(), 408 | 502..=504) && code != "store_unusable";
                backend(operation, passes, detail)
            }
        }
    }
}

/// A text as a part of a path or a query.
fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[derive(Deserialize)]
struct Changes {
    changes: Vec<ItemChange>,
}

#[derive(Serialize)]
struct Write<'a> {
    epoch: u64,
    items: &'a [Item],
}

#[async_trait]
impl Replica for HttpReplica {
    async fn capture(&self, stream: &str) -> Result<()> {
        self.post::<serde::de::IgnoredAny>("capture", "streams", &json!({"stream": stream})).await.map(drop)
    }

    async fn release(&self, stream: &str) -> Result<()> {
        let path = format!("streams/{}", encode(stream));
        let released: serde::de::IgnoredAny = self.call("release", Method::DELETE, &path, None::<&()>).await?;
        let _ = released;
        Ok(())
    }

    async fn scan(&self, after: Option<&ScanPosition>, limit: usize) -> Result<ScanPage> {
        let mut path = format!("items?limit={}", limit.clamp(1, MAX_LIMIT));
        if let Some(ScanPosition(after)) = after {
            path.push_str("&after=");
            path.push_str(&encode(after));
        }
        self.get("scan", &path).await
    }

    async fn read(&self, keys: &[ItemKey]) -> Result<Vec<Item>> {
        let mut items = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let page: ScanPage = self.post("read items", "items/read", &json!({"keys": keys})).await?;
            if page.items.len() != keys.len() {
                let said = format!("{} items were given for {} keys", page.items.len(), keys.len());
                return Err(backend("read items", false, said));
            }
            items.extend(page.items);
        }
        Ok(items)
    }

    async fn changed(&self, stream: &str, limit: usize) -> Result<Vec<ItemChange>> {
        let path = format!("streams/{}/changes?limit={}", encode(stream), limit.clamp(1, MAX_LIMIT));
        self.get("read changes", &path).await.map(|Changes { changes }| changes)
    }

    async fn acknowledge(&self, stream: &str, position: &ChangePosition) -> Result<()> {
        let path = format!("streams/{}/acknowledge", encode(stream));
        let body = json!({"position": position});
        self.post::<serde::de::IgnoredAny>("acknowledge changes", &path, &body).await.map(drop)
    }

    async fn lag(&self, stream: &str) -> Result<ChangeLag> {
        self.get("lag", &format!("streams/{}", encode(stream))).await
    }

    async fn write(&self, epoch: u64, items: Vec<Item>) -> Result<()> {
        let body = Write { epoch, items: &items };
        self.post::<serde::de::IgnoredAny>("write items", "items", &body).await.map(drop)
    }

    async fn size(&self) -> Result<ReplicaSize> {
        self.get("size", "size").await
    }

    async fn gate(&self) -> Result<Gate> {
        self.get("gate", "gate").await
    }

    async fn set_gate(&self, gate: Gate) -> Result<()> {
        self.post::<serde::de::IgnoredAny>("set gate", "gate", &gate).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> Error {
        Problem::of(StatusCode::from_u16(status).expect("a status"), body.as_bytes()).told("scan")
    }

    #[test]
    fn a_refusal_is_the_stores_error() {
        let fenced = told(503, r#"{"code":"fenced","detail":"x","field":"epoch","allowed":"7"}"#);
        assert!(matches!(fenced, Error::Fenced { epoch: 7 }), "{fenced:?}");
        let invalid =
            told(400, r#"{"code":"invalid","field":"stream","given":"a","allowed":"a stream that is captured"}"#);
        assert_eq!(invalid.to_string(), "stream: given a, allowed: a stream that is captured");
        assert!(matches!(told(507, r#"{"code":"storage_full"}"#), Error::StorageFull { .. }));
        for code in ["access_denied", "no_replica"] {
            let refused = told(403, &format!(r#"{{"code":"{code}","detail":"a key with the scope move"}}"#));
            assert!(matches!(refused, Error::Unusable { .. }), "{refused:?}");
        }
        for (status, body, passes) in [
            (429, r#"{"code":"rate_limited"}"#, true),
            (503, r#"{"code":"shutting_down"}"#, true),
            (503, r#"{"code":"store_unusable"}"#, false),
            (500, r#"{"code":"internal"}"#, false),
            (502, "<html>bad gateway</html>", true),
            (200, "not JSON", false),
        ] {
            assert_eq!(told(status, body).is_retryable(), passes, "{status} {body}");
        }
    }

    #[test]
    fn a_key_is_not_shown_and_a_url_is_checked() {
        let replica = HttpReplica::new("http://127.0.0.1:1/", Some(&"om_secret".into())).expect("a client");
        assert_eq!(format!("{replica:?}"), r#"HttpReplica { base_url: "http://127.0.0.1:1", side: None, .. }"#);
        assert!(HttpReplica::new("127.0.0.1:1", None).is_err());
        assert!(HttpReplica::new("http://x", Some(&"two\nlines".into())).is_err());
    }

    #[test]
    fn a_place_is_one_part_of_a_url() {
        assert_eq!(encode("keys/[\"a\",\"é&b\"]"), "keys%2F%5B%22a%22%2C%22%C3%A9%26b%22%5D");
    }
}
