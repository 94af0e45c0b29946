//! Any server that speaks OpenAI's `/v1/embeddings`.

mod config;
mod failure;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use memory_core::{Embedder, Embedding, EmbeddingSpace, Error, MAX_DIMENSIONS, Purpose, Result};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use secrecy::ExposeSecret;

pub use config::OpenAiConfig;
use failure::{Asked, Failure};
use wire::Refusal;

/// Texts of one request together: OpenAI takes 300,000 tokens, and a token is seldom less than two bytes.
const MAX_REQUEST_TEXT_BYTES: usize = 512 * 1024;
/// How long connecting may take; the rest of the timeout is for the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// As much of a refusal is read.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// An embedder that asks a server: OpenAI, or any other with `/v1/embeddings` (Ollama, vLLM, llama.cpp, TEI, LM Studio).
///
/// Many texts go as several requests, one after the other. A request that fails for a passing reason (no connection, no
/// answer in time, status 408, 425, 429 or 5xx) is tried again with growing pauses, or after the pause the server asks
/// for. So a call takes at most about `(timeout + max_retry_delay) * (max_retries + 1)` for each request.
///
/// Neither texts nor the key get into logs, errors or `Debug`; a server's own words are left out of an error when they
/// repeat either. Certificates are checked against the roots of the operating system. The proxy of the environment is
/// used, except for an address of this machine. A clone shares the connections.
#[derive(Clone)]
pub struct OpenAiEmbedder {
    inner: Arc<Inner>,
}

struct Inner {
    config: OpenAiConfig,
    space: Arc<EmbeddingSpace>,
    client: Client,
    endpoint: Url,
    /// The endpoint without its path, for messages.
    server: String,
    authorization: Option<HeaderValue>,
}

impl OpenAiEmbedder {
    /// Checks the settings and prepares a client; nothing is sent yet.
    ///
    /// If the process has no rustls crypto provider yet, ring becomes it.
    ///
    /// # Errors
    /// - [`Error::Invalid`] when a setting is not acceptable; its field is the setting's name after `embedding.`.
    /// - [`Error::Embedder`] when there is no TLS, mostly because the operating system has no root certificates.
    pub fn from_config(config: OpenAiConfig) -> Result<Self> {
        config.validate()?;
        let space = Arc::new(EmbeddingSpace::new(&config.model, &config.revision, config.dimensions)?);
        let endpoint = config.endpoint()?;
        let authorization = config.authorization()?;
        let server = endpoint.origin().ascii_serialization();
        if authorization.is_some() && endpoint.scheme() == "http" && !is_loopback(&endpoint) {
            tracing::warn!(%server, "the embedder's key is sent without encryption: use https in base_url");
        }
        let client = client(&endpoint, config.timeout).map_err(|error| Error::Embedder {
            model: config.model.clone(),
            reason: "no TLS: install the system's root certificates (package ca-certificates)".to_owned(),
            retryable: false,
            source: Some(error.into()),
        })?;
        Ok(Self { inner: Arc::new(Inner { config, space, client, endpoint, server, authorization }) })
    }
}

#[async_trait]
impl Embedder for OpenAiEmbedder {
    fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.inner.space
    }

    async fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Embedding>> {
        let config = &self.inner.config;
        let prefix = match purpose {
            Purpose::Document => &config.document_prefix,
            Purpose::Query => &config.query_prefix,
        };
        let texts: Vec<String> = texts.iter().map(|text| format!("{prefix}{text}")).collect();
        let mut embeddings = Vec::with_capacity(texts.len());
        for batch in batches(&texts, config.batch_size, MAX_REQUEST_TEXT_BYTES) {
            embeddings.extend(self.inner.embed_batch(batch).await?);
        }
        Ok(embeddings)
    }
}

impl fmt::Debug for OpenAiEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { space, endpoint, .. } = &*self.inner;
        f.debug_struct("OpenAiEmbedder")
            .field("space", space)
            .field("endpoint", &endpoint.as_str())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// One request, tried again while that may help.
    async fn embed_batch(&self, texts: &[String]) -> Result<Vec<Embedding>> {
        let config = &self.config;
        let request = wire::Request {
            model: &config.model,
            input: texts,
            encoding_format: "float",
            dimensions: config.send_dimensions.then_some(config.dimensions),
        };
        let body = serde_json::to_vec(&request).expect("strings and numbers always have a JSON form");
        let body = &body;
        let backoff = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(config.retry_delay)
            .with_max_delay(config.max_retry_delay)
            .with_max_times(config.max_retries);
        let started = Instant::now();
        let mut attempts = 0;
        let answer = (|| {
            attempts += 1;
            self.attempt(body, texts)
        })
        .retry(backoff)
        .when(|failure: &Failure| failure.retryable)
        .adjust(|failure, delay| match (delay?, failure.retry_after) {
            (_, Some(asked)) if asked > config.max_retry_delay => None,
            (_, Some(asked)) => Some(asked),
            (delay, None) => Some(delay.min(config.max_retry_delay)),
        })
        .notify(|failure, delay| {
            tracing::warn!(model = config.model, reason = failure.reason, ?delay, "embedding retried");
        })
        .await;
        match answer {
            Ok(embeddings) => {
                let elapsed = started.elapsed();
                tracing::debug!(model = config.model, texts = texts.len(), attempts, ?elapsed, "texts embedded");
                Ok(embeddings)
            }
            Err(failure) => {
                let failure = match failure.retry_after {
                    Some(asked) if failure.retryable && asked > config.max_retry_delay => {
                        failure.adding(&format!("; it asks to wait {} s", asked.as_secs()))
                    }
                    _ if attempts > 1 => failure.adding(&format!("; given up after {attempts} attempts")),
                    _ => failure,
                };
                Err(failure.into_error(&config.model))
            }
        }
    }

    async fn attempt(&self, body: &[u8], texts: &[String]) -> Result<Vec<Embedding>, Failure> {
        let lost = |error| Failure::of_transport(error, &self.server, self.config.timeout);
        let mut request = self.client.post(self.endpoint.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(trace_headers) = self.config.trace_headers {
            let mut headers = HeaderMap::new();
            trace_headers(&mut headers);
            request = request.headers(headers);
        }
        let response = request.body(body.to_vec()).send().await.map_err(lost)?;
        let status = response.status();
        if status.is_success() {
            // A number takes about 12 bytes; an indented one with all digits of a double, 32.
            let limit = texts.len() * MAX_DIMENSIONS * 32 + MAX_REFUSAL_BYTES;
            let Read::Whole(body) = read(response, limit).await.map_err(lost)? else {
                return Err(Failure::lasting(format!("the answer of {} has more than {limit} bytes", self.server)));
            };
            return wire::embeddings(&body, texts.len(), &self.space)
                .map_err(|reason| Failure::lasting(format!("the answer of {} cannot be used: {reason}", self.server)));
        }
        let headers = response.headers().clone();
        // The status says what failed, even if its words do not arrive.
        let (Read::Whole(body) | Read::CutOff(body)) =
            read(response, MAX_REFUSAL_BYTES).await.unwrap_or(Read::CutOff(Vec::new()));
        let key = self.config.api_key.as_ref().map(|key| key.expose_secret().trim());
        let refusal = Refusal::read(&body).without(key, 8).without(texts.iter().map(String::as_str), 12);
        let asked = Asked { server: &self.server, model: &self.config.model, with_key: key.is_some() };
        Err(Failure::of_status(status, &headers, refusal, &asked))
    }
}

/// What was read of a body.
enum Read {
    Whole(Vec<u8>),
    CutOff(Vec<u8>),
}

/// Reads a body, but not much more than `limit` bytes of it.
async fn read(mut response: Response, limit: usize) -> Result<Read, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            return Ok(Read::CutOff(body));
        }
    }
    Ok(Read::Whole(body))
}

fn client(endpoint: &Url, timeout: Duration) -> Result<Client, reqwest::Error> {
    // reqwest panics without a provider. An error says that the process has one, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        // A redirected POST would arrive as a GET, or take the key to another host.
        let builder = Client::builder().timeout(timeout).connect_timeout(CONNECT_TIMEOUT).redirect(Policy::none());
        if is_loopback(endpoint) { builder.no_proxy() } else { builder }
    };
    builder().build().or_else(|error| match endpoint.scheme() {
        // A machine without root certificates can still talk to a server without TLS.
        "http" => builder().tls_certs_only([]).build(),
        _ => Err(error),
    })
}

/// Whether the address is of this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Cuts the texts into runs of at most `max_texts` texts and `max_bytes` bytes; a longer text is a run of its own.
fn batches(texts: &[String], max_texts: usize, max_bytes: usize) -> impl Iterator<Item = &[String]> {
    let mut rest = texts;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(max_texts).take_while(|text| {
            bytes += text.len();
            bytes <= max_bytes
        });
        let length = fitting.count().max(1);
        let (batch, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_both_limits_and_every_text() {
        let texts = ["a", "bb", "ccc", "dddddd", "", "e"].map(str::to_owned);
        let lengths = |max_texts, max_bytes| -> Vec<usize> {
            let batches: Vec<&[String]> = batches(&texts, max_texts, max_bytes).collect();
            assert_eq!(batches.concat(), texts);
            batches.iter().map(|batch| batch.len()).collect()
        };
        assert_eq!(lengths(6, 100), [6]);
        assert_eq!(lengths(4, 100), [4, 2]);
        assert_eq!(lengths(6, 5), [2, 1, 1, 2]);
        assert_eq!(lengths(1, 1), [1; 6]);
        assert_eq!(batches(&[], 4, 4).count(), 0);
    }

    #[test]
    fn this_machine_is_recognised() {
        for (url, expected) in [
            ("http://localhost:1/v1", true),
            ("http://127.0.0.2/v1", true),
            ("http://[::1]:8080/v1", true),
            ("http://10.0.0.1/v1", false),
            ("https://localhost.example.com/v1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
