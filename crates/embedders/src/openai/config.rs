//! The settings of an OpenAI-compatible embedder, and their checks.

use std::time::Duration;

use memory_core::{Error, Result};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

/// How to reach an OpenAI-compatible server, and what to ask of it.
///
/// Make one with [`new`](Self::new) and change the fields that differ. `Debug` hides the key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OpenAiConfig {
    /// The address up to and with the version; `/embeddings` is appended. Without query, user or password.
    pub base_url: String,
    /// The model's name, as the server spells it.
    pub model: String,
    /// The dimensions of the model's vectors. Other vectors are refused.
    pub dimensions: usize,
    /// Whether to ask the server for vectors of [`dimensions`](Self::dimensions). Only models that can shorten their
    /// vectors take it (`text-embedding-3-small` and later); others answer with an error. Off by default.
    pub send_dimensions: bool,
    /// The key, sent as a bearer token. Local servers mostly need none.
    pub api_key: Option<SecretString>,
    /// The revision in the space of the vectors. Change it when the same name and server start to give other vectors.
    pub revision: String,
    /// Put before each text to search with, for models that want it: `search_query: `, `query: `. Empty by default.
    pub query_prefix: String,
    /// Put before each text to be found, for models that want it: `search_document: `, `passage: `. Empty by default.
    /// Another prefix makes other vectors: change [`revision`](Self::revision) with it.
    pub document_prefix: String,
    /// The most texts in one request, 1 to 2,048. A request also ends before it holds more than 512 KiB of text.
    pub batch_size: usize,
    /// How long one attempt may take, connecting and reading included.
    pub timeout: Duration,
    /// How often a request is tried again; 0 is one attempt.
    pub max_retries: usize,
    /// The pause before the first retry. It doubles with each retry, and up to as much again is added at random.
    pub retry_delay: Duration,
    /// What is added to the headers of each request: of which trace it is a part.
    pub trace_headers: Option<fn(&mut HeaderMap)>,
    /// The longest pause. A server that asks for a longer one (`Retry-After`) ends the call with a retryable error.
    pub max_retry_delay: Duration,
}

impl OpenAiConfig {
    /// Where [`base_url`](Self::base_url) points by default.
    pub const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

    /// A model of OpenAI, without a key yet: 256 texts in a request, 30 seconds for an attempt, three retries.
    #[must_use]
    pub fn new(model: impl Into<String>, dimensions: usize) -> Self {
        Self {
            base_url: Self::DEFAULT_BASE_URL.to_owned(),
            model: model.into(),
            dimensions,
            send_dimensions: false,
            api_key: None,
            revision: "openai".to_owned(),
            query_prefix: String::new(),
            document_prefix: String::new(),
            batch_size: 256,
            timeout: Duration::from_secs(30),
            max_retries: 3,
            retry_delay: Duration::from_millis(500),
            trace_headers: None,
            max_retry_delay: Duration::from_secs(30),
        }
    }

    /// Checks the settings that are not checked elsewhere.
    pub(super) fn validate(&self) -> Result<()> {
        // More is refused by OpenAI.
        const MAX_BATCH_SIZE: usize = 2048;
        if !(1..=MAX_BATCH_SIZE).contains(&self.batch_size) {
            return Err(Error::invalid("embedding.batch_size", self.batch_size, format!("1 to {MAX_BATCH_SIZE}")));
        }
        if self.timeout.is_zero() {
            return Err(Error::invalid("embedding.timeout", "0 s", "more than 0 s"));
        }
        Ok(())
    }

    /// The address of the embeddings.
    pub(super) fn endpoint(&self) -> Result<Url> {
        let refused = |given: &str| {
            Error::invalid("embedding.base_url", given, "an http or https address without user, password and query")
        };
        // Whatever stands before an @ may be a password.
        let shown = self.base_url.rsplit_once('@').map_or(self.base_url.as_str(), |_| "an address with an @");
        let mut url = Url::parse(&self.base_url).map_err(|_| refused(shown))?;
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(refused(shown));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("an address with a query"));
        }
        url.path_segments_mut().map_err(|()| refused(shown))?.pop_if_empty().push("embeddings");
        Ok(url)
    }

    /// The value of the `Authorization` header, hidden in `Debug`.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>> {
        let Some(key) = &self.api_key else { return Ok(None) };
        let key = key.expose_secret().trim();
        let refused = |given| Error::invalid("embedding.api_key", given, "a key of visible ASCII characters, or none");
        if key.is_empty() {
            return Err(refused("an empty key"));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused("a key with a space or another character that no key has"));
        }
        let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| refused("another key"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base_url: &str) -> Result<String> {
        let mut config = OpenAiConfig::new("m", 4);
        config.base_url = base_url.to_owned();
        config.endpoint().map(String::from)
    }

    #[test]
    fn the_endpoint_follows_the_base_url() {
        assert_eq!(endpoint(OpenAiConfig::DEFAULT_BASE_URL).unwrap(), "https://api.openai.com/v1/embeddings");
        assert_eq!(endpoint("http://localhost:11434/v1/").unwrap(), "http://localhost:11434/v1/embeddings");
        assert_eq!(endpoint("http://[::1]:8080").unwrap(), "http://[::1]:8080/embeddings");
        for refused in [
            "localhost:11434/v1",
            "api.openai.com",
            "",
            "ftp://host/v1",
            "https://me:hunter2@host/v1",
            "https//me:hunter2@host",
            "https://host/v1?key=hunter2",
        ] {
            let error = endpoint(refused).unwrap_err().to_string();
            assert!(error.starts_with("embedding.base_url: given "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_sent_is_refused_and_never_shown() {
        for key in ["", " \n", "sk two", "sk-caf\u{e9}", "sk\u{0}"] {
            let mut config = OpenAiConfig::new("m", 4);
            config.api_key = Some(key.into());
            let error = config.authorization().unwrap_err().to_string();
            assert!(error.starts_with("embedding.api_key: given a") && !error.contains("sk"), "{error}");
        }
        let mut config = OpenAiConfig::new("m", 4);
        assert!(config.authorization().unwrap().is_none());
        config.api_key = Some("sk-hidden\n".into());
        let value = config.authorization().unwrap().unwrap();
        assert_eq!(value, "Bearer sk-hidden", "the line end of a key file is no part of the key");
        assert!(!format!("{value:?} {config:?}").contains("hidden"));
    }

    #[test]
    fn limits_are_checked() {
        let mut config = OpenAiConfig::new("m", 4);
        assert!(config.validate().is_ok());
        config.batch_size = 0;
        assert_eq!(config.validate().unwrap_err().to_string(), "embedding.batch_size: given 0, allowed: 1 to 2048");
        config.batch_size = 1;
        config.timeout = Duration::ZERO;
        assert_eq!(config.validate().unwrap_err().to_string(), "embedding.timeout: given 0 s, allowed: more than 0 s");
    }
}
