//! The OpenAI-compatible embedder.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use embedders::{OpenAiConfig, OpenAiEmbedder};
use memory_core::{Embedder, Embedding, Error, Purpose};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::server::{DIMENSIONS, Reply, Server, answer_to, vector};

const KEY: &str = "sk-test-9f8e7d6c5b4a";

/// The settings of the tests: a key, and pauses of a millisecond.
fn config(base_url: &str) -> OpenAiConfig {
    log();
    let mut config = OpenAiConfig::new("test-embedding", DIMENSIONS);
    config.base_url = base_url.to_owned();
    config.api_key = Some(KEY.into());
    config.retry_delay = Duration::from_millis(1);
    config.timeout = Duration::from_secs(20);
    config
}

fn embedder(base_url: &str) -> OpenAiEmbedder {
    OpenAiEmbedder::from_config(config(base_url)).unwrap()
}

async fn embed(embedder: &OpenAiEmbedder, texts: &[&str]) -> memory_core::Result<Vec<Embedding>> {
    embedder.embed(texts, Purpose::Document).await
}

/// The error as a log shows it, with its causes, and whether it is retryable.
async fn failure(embedder: &OpenAiEmbedder) -> (String, bool) {
    let error = embed(embedder, &["a text that stays secret"]).await.unwrap_err();
    assert!(matches!(error, Error::Embedder { .. }), "{error:?}");
    let mut chain = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        chain += &format!(": {error}");
        cause = error.source();
    }
    for secret in [KEY, "stays secret"] {
        assert!(!chain.contains(secret) && !format!("{error:?}").contains(secret), "{chain}\n{error:?}");
    }
    (chain, error.is_retryable())
}

/// What a server whose every answer is `reply` makes of the embedder, and how often it is asked.
async fn failure_of(reply: impl Fn() -> Reply + Send + Sync + 'static) -> (String, bool, usize) {
    let server = Server::start(move |_, _| reply()).await;
    let (message, retryable) = failure(&embedder(&server.base_url)).await;
    (message.replace(&server.base_url.replace("/v1", ""), "SERVER"), retryable, server.seen().len())
}

#[tokio::test]
async fn batches_come_back_in_the_order_of_the_texts() {
    let server = Server::working().await;
    let mut config = config(&server.base_url);
    config.batch_size = 3;
    let embedder = OpenAiEmbedder::from_config(config).unwrap();
    let texts: Vec<String> = (1..=8).map(|length| "x".repeat(length)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let embeddings = embed(&embedder, &texts).await.unwrap();
    let expected: Vec<Embedding> =
        texts.iter().map(|text| Embedding::new(Arc::clone(embedder.space()), vector(text).to_vec()).unwrap()).collect();
    assert_eq!(embeddings, expected);

    let seen = server.seen();
    let inputs: Vec<_> = seen.iter().map(|seen| seen.body["input"].clone()).collect();
    assert_eq!(inputs, [json!(texts[..3]), json!(texts[3..6]), json!(texts[6..])]);
    assert_eq!(seen[0].headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(seen[0].body["model"], "test-embedding");
    assert_eq!(seen[0].body["encoding_format"], "float");
    assert!(seen[0].body.get("dimensions").is_none());
    assert_eq!(embedder.space().to_string(), "test-embedding@openai/4");
}

#[tokio::test]
async fn settings_reach_the_server() {
    let server = Server::working().await;
    let mut config = config(&format!("{}/", server.base_url));
    config.api_key = None;
    config.send_dimensions = true;
    config.query_prefix = "search_query: ".to_owned();
    let embedder = OpenAiEmbedder::from_config(config).unwrap();
    embedder.embed(&["cat"], Purpose::Query).await.unwrap();
    embedder.embed(&["cat"], Purpose::Document).await.unwrap();
    assert!(embed(&embedder, &[]).await.unwrap().is_empty());
    let seen = server.seen();
    assert_eq!(seen.len(), 2, "no texts, no request");
    assert!(seen[0].headers.get("authorization").is_none());
    assert_eq!(seen[0].body["dimensions"], DIMENSIONS);
    assert_eq!(seen[0].body["input"], json!(["search_query: cat"]));
    assert_eq!(seen[1].body["input"], json!(["cat"]));
}

#[tokio::test]
async fn a_refused_key_names_the_setting_and_is_not_tried_again() {
    let body =
        json!({ "error": { "message": format!("Incorrect API key provided: {KEY}"), "code": "invalid_api_key" } });
    let (message, retryable, requests) = failure_of(move || Reply::new(401, &body)).await;
    assert_eq!(
        message,
        "embedder test-embedding: SERVER refused the key (401): set `api_key` to a valid key of this server"
    );
    assert!(!retryable);
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn other_refusals_are_quoted_unless_they_repeat_the_text() {
    let body = json!({ "error": { "message": "at most 8192 tokens" } });
    let (message, retryable, requests) = failure_of(move || Reply::new(400, &body)).await;
    assert_eq!(message, "embedder test-embedding: SERVER refused the request (400); it says: at most 8192 tokens");
    assert!(!retryable);
    assert_eq!(requests, 1);
    let body = json!({ "error": { "message": "too long: 'a text that stays secret'" } });
    let (message, ..) = failure_of(move || Reply::new(400, &body)).await;
    assert_eq!(message, "embedder test-embedding: SERVER refused the request (400)");
    let (message, ..) = failure_of(|| Reply::new(404, json!({ "error": format!("no model for {KEY}") }))).await;
    assert!(message.ends_with("(404): check `base_url` and `model`"), "{message}");
}

#[tokio::test]
async fn a_rate_limit_passes() {
    let server = Server::start(|before, body| match before {
        0 => Reply { retry_after: Some("0"), ..Reply::new(429, json!({ "error": { "message": "slow down" } })) },
        _ => Reply::new(200, answer_to(body)),
    })
    .await;
    let mut config = config(&server.base_url);
    // Only the server's own pause is short enough to pass.
    config.retry_delay = Duration::from_secs(3600);
    config.max_retry_delay = Duration::from_secs(3600);
    let embedder = OpenAiEmbedder::from_config(config).unwrap();
    let embeddings = tokio::time::timeout(Duration::from_secs(20), embed(&embedder, &["cat"])).await.unwrap().unwrap();
    assert_eq!(embeddings.len(), 1);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_rate_limit_that_stays_is_a_retryable_error() {
    let (message, retryable, requests) = failure_of(|| Reply::new(429, "")).await;
    assert_eq!(
        message,
        "embedder test-embedding: SERVER limits the rate (429): try again later, or lower the load; \
         given up after 4 attempts"
    );
    assert!(retryable);
    assert_eq!(requests, 4);
}

#[tokio::test]
async fn a_pause_too_long_to_wait_ends_the_call_at_once() {
    let (message, retryable, requests) =
        failure_of(|| Reply { retry_after: Some("86400"), ..Reply::new(503, "") }).await;
    assert_eq!(message, "embedder test-embedding: SERVER failed (503); it asks to wait 86400 s");
    assert!(retryable);
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn a_used_up_quota_is_not_tried_again() {
    let body = json!({ "error": { "message": "You exceeded your current quota", "code": "insufficient_quota" } });
    let (message, retryable, requests) = failure_of(move || Reply::new(429, &body)).await;
    assert!(message.contains("check the account's plan and billing"), "{message}");
    assert!(!retryable);
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn a_failing_server_is_a_retryable_error_after_all_attempts() {
    let server = Server::start(|_, _| Reply::new(500, "<html>oops</html>")).await;
    let mut config = config(&server.base_url);
    config.max_retries = 2;
    let (message, retryable) = failure(&OpenAiEmbedder::from_config(config).unwrap()).await;
    assert!(message.ends_with("failed (500); given up after 3 attempts"), "{message}");
    assert!(retryable);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_failure_in_a_later_batch_gives_no_vectors() {
    let server = Server::start(|before, body| match before {
        0 => Reply::new(200, answer_to(body)),
        _ => Reply::new(400, ""),
    })
    .await;
    let mut config = config(&server.base_url);
    config.batch_size = 1;
    assert!(embed(&OpenAiEmbedder::from_config(config).unwrap(), &["one", "two"]).await.is_err());
}

#[tokio::test]
async fn unusable_answers_say_what_is_wrong() {
    for (answer, expected) in [
        (
            json!({ "data": [{ "index": 0, "embedding": [1.0, 2.0] }] }).to_string(),
            "its embeddings have 2 dimensions, `dimensions` says 4: set `dimensions` to 2, or `send_dimensions` when the \
             model can shorten its vectors",
        ),
        (json!({ "data": [] }).to_string(), "it has 0 embeddings for 1 texts"),
        (
            "{\"data\": [{\"index\": 0, \"embedding\": [0.1, ".to_owned(),
            "it is not JSON (line 1, column 42): check `base_url`",
        ),
        ("<!doctype html>".to_owned(), "it is not JSON (line 1, column 1): check `base_url`"),
        (
            json!({ "data": [{ "index": 0, "embedding": [0, null, 0, 0] }] }).to_string(),
            "its embedding of text 0 is no vector: embedding[1]: given NaN, allowed: a finite 32-bit number",
        ),
    ] {
        let (message, retryable, requests) = failure_of(move || Reply::new(200, &answer)).await;
        assert_eq!(message, format!("embedder test-embedding: the answer of SERVER cannot be used: {expected}"));
        assert!(!retryable);
        assert_eq!(requests, 1);
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let (message, retryable, _) = failure_of(|| Reply::new(200, " ".repeat(1 << 20))).await;
    assert!(message.contains("has more than 196608 bytes"), "{message}");
    assert!(!retryable);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (message, retryable, requests) = failure_of(|| Reply::new(307, "")).await;
    assert!(message.contains("redirects (307): set `base_url`"), "{message}");
    assert!(!retryable);
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn a_silent_server_is_a_retryable_error_in_time() {
    let server = Server::start(|_, _| Reply { delay: Duration::from_secs(600), ..Reply::new(200, "") }).await;
    let mut config = config(&server.base_url);
    config.timeout = Duration::from_millis(50);
    config.max_retries = 1;
    let started = Instant::now();
    let (message, retryable) = failure(&OpenAiEmbedder::from_config(config).unwrap()).await;
    assert!(
        message.contains("gave no answer in 50ms: check the server, or raise `timeout`; given up after 2"),
        "{message}"
    );
    assert!(retryable);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_refused_connection_is_a_retryable_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (message, retryable) = failure(&embedder(&format!("http://{address}/v1"))).await;
    assert!(message.contains(&format!("cannot connect to http://{address}: check `base_url`")), "{message}");
    assert!(message.contains("given up after 4 attempts"), "{message}");
    assert!(retryable);
}

#[tokio::test]
async fn https_speaks_tls_and_trusts_no_stranger() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let embedder = match OpenAiEmbedder::from_config(config(&format!("https://{address}/v1"))) {
        Ok(embedder) => embedder,
        Err(error) => {
            assert!(error.to_string().contains("install the system's root certificates"), "{error}");
            eprintln!("skipped: this machine has no root certificates");
            return;
        }
    };
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 3];
        stream.read_exact(&mut hello).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        hello
    });
    let (message, retryable) = failure(&embedder).await;
    assert_eq!(server.await.unwrap(), [0x16, 0x03, 0x01], "the record of a TLS handshake");
    assert!(message.contains(&format!("no trusted connection to https://{address}: ")), "{message}");
    assert!(!retryable);
}

#[test]
fn bad_settings_are_refused_before_anything_is_sent() {
    let mut config = config("ftp://host");
    let refused = |config: &OpenAiConfig| OpenAiEmbedder::from_config(config.clone()).unwrap_err().to_string();
    assert!(refused(&config).starts_with("embedding.base_url: given ftp://host, allowed: "));
    config.dimensions = 0;
    assert_eq!(refused(&config), "embedding.dimensions: given 0, allowed: 1 to 4096");
    config.model.clear();
    assert_eq!(refused(&config), "embedding.model: given \"\", allowed: a model's name");
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

/// Everything that all tests of this process log, of every level. It must exist before the first log line is reached,
/// or that line may stay off.
fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    })
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_key_nor_text_is_ever_shown() {
    let server = Server::start(|before, body| match before {
        0 => Reply::new(503, json!({ "error": { "message": format!("busy with {} for {KEY}", body["input"]) } })),
        _ => Reply::new(200, answer_to(body)),
    })
    .await;
    let config = config(&server.base_url);
    let embedder = OpenAiEmbedder::from_config(config.clone()).unwrap();
    embed(&embedder, &["a text that stays secret"]).await.unwrap();
    let log = String::from_utf8(log().0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("embedding retried") && log.contains("texts embedded"), "{log}");
    for shown in [log, format!("{config:?} {config:#?}"), format!("{embedder:?} {embedder:#?}")] {
        assert!(!shown.contains(KEY) && !shown.contains("stays secret"), "{shown}");
        assert!(!shown.contains(&KEY[3..]), "{shown}");
    }
}
