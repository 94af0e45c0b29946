//! Why one attempt failed, as an error that says what to do, and when the next attempt may start.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use memory_core::Error;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::wire::Refusal;

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    /// What failed and which setting to look at.
    pub(super) reason: String,
    /// Whether the same attempt may succeed later.
    pub(super) retryable: bool,
    /// How long the server asks to wait.
    pub(super) retry_after: Option<Duration>,
    source: Option<reqwest::Error>,
}

impl Failure {
    /// A failure that another attempt would not change.
    pub(super) fn lasting(reason: String) -> Self {
        Self { reason, retryable: false, retry_after: None, source: None }
    }

    fn passing(reason: String) -> Self {
        Self { retryable: true, ..Self::lasting(reason) }
    }

    /// The connection failed, or the answer broke off. `server` is the address without user and path.
    pub(super) fn of_transport(error: reqwest::Error, server: &str, timeout: Duration) -> Self {
        let error = error.without_url();
        let failure = if let Some(tls) = tls_error(&error) {
            Self::lasting(format!("no trusted connection to {server}: {tls}; check `base_url` and the certificate"))
        } else if error.is_timeout() {
            Self::passing(format!("{server} gave no answer in {timeout:?}: check the server, or raise `timeout`"))
        } else if error.is_connect() {
            Self::passing(format!("cannot connect to {server}: check `base_url` and that the server runs"))
        } else {
            Self::passing(format!("the connection to {server} broke off"))
        };
        Self { source: Some(error), ..failure }
    }

    /// The server answered with a status that is not a success.
    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap, refusal: Refusal, asked: &Asked<'_>) -> Self {
        let Asked { server, model, with_key } = asked;
        let code = status.as_u16();
        let reason = match code {
            300..=399 => format!("{server} redirects ({code}): set `base_url` to the address it redirects to"),
            401 if *with_key => format!("{server} refused the key (401): set `api_key` to a valid key of this server"),
            401 => format!("{server} asks for a key (401): set `api_key`"),
            403 => format!("{server} does not allow this (403): check what `api_key` may use, and `model`"),
            404 => format!("{server} has no such address or no model {model:?} (404): check `base_url` and `model`"),
            413 => format!("{server} takes no request of this size (413): lower `batch_size`"),
            429 if refusal.code.as_deref() == Some("insufficient_quota") => {
                format!("the quota at {server} is used up (429): check the account's plan and billing")
            }
            429 => format!("{server} limits the rate (429): try again later, or lower the load"),
            500.. => format!("{server} failed ({code})"),
            _ => format!("{server} refused the request ({code})"),
        };
        let used_up = code == 429 && refusal.code.as_deref() == Some("insufficient_quota");
        let failure = match code {
            408 | 425 | 429 | 500.. if !used_up => Self::passing(reason),
            _ => Self::lasting(reason),
        };
        let failure = match refusal.message {
            // Its words about a key show a part of the key.
            Some(message) if code != 401 => failure.adding(&format!("; it says: {message}")),
            _ => failure,
        };
        Self { retry_after: retry_after(headers, SystemTime::now().into()), ..failure }
    }

    /// The same with more words at its end.
    pub(super) fn adding(mut self, words: &str) -> Self {
        self.reason.push_str(words);
        self
    }

    /// The error for the caller.
    pub(super) fn into_error(self, model: &str) -> Error {
        Error::Embedder {
            model: model.to_owned(),
            reason: self.reason,
            retryable: self.retryable,
            source: self.source.map(Into::into),
        }
    }
}

/// What was asked of whom, for the words of a failure.
pub(super) struct Asked<'a> {
    /// The server's address without user and path.
    pub(super) server: &'a str,
    pub(super) model: &'a str,
    pub(super) with_key: bool,
}

/// The TLS error among the causes. It hides inside an `io::Error`, which does not give it as its source.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inner = inner.map(|inner| inner as &(dyn StdError + 'static));
        if let Some(tls) = error.downcast_ref().or_else(|| inner?.downcast_ref()) {
            return Some(tls);
        }
        cause = inner.or_else(|| error.source());
    }
    None
}

/// `Retry-After`, as seconds or as a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_names_what_to_do() {
        let asked = Asked { server: "https://host", model: "m", with_key: true };
        let lines = [301, 400, 401, 403, 404, 408, 413, 422, 429, 500, 503, 529].map(|code| {
            let refusal = Refusal { message: Some("words".to_owned()), code: None };
            let failure = Failure::of_status(StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), refusal, &asked);
            format!("{} {}", if failure.retryable { "retry" } else { "stop " }, failure.reason)
        });
        insta::assert_snapshot!(lines.join("\n"), @r#"
        stop  https://host redirects (301): set `base_url` to the address it redirects to; it says: words
        stop  https://host refused the request (400); it says: words
        stop  https://host refused the key (401): set `api_key` to a valid key of this server
        stop  https://host does not allow this (403): check what `api_key` may use, and `model`; it says: words
        stop  https://host has no such address or no model "m" (404): check `base_url` and `model`; it says: words
        retry https://host refused the request (408); it says: words
        stop  https://host takes no request of this size (413): lower `batch_size`; it says: words
        stop  https://host refused the request (422); it says: words
        retry https://host limits the rate (429): try again later, or lower the load; it says: words
        retry https://host failed (500); it says: words
        retry https://host failed (503); it says: words
        retry https://host failed (529); it says: words
        "#);
        let refusal = Refusal { message: None, code: Some("insufficient_quota".to_owned()) };
        let failure = Failure::of_status(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), refusal, &asked);
        assert!(!failure.retryable && failure.reason.contains("billing"), "{failure:?}");
        let asked = Asked { with_key: false, ..asked };
        let failure = Failure::of_status(StatusCode::UNAUTHORIZED, &HeaderMap::new(), Refusal::default(), &asked);
        assert_eq!(failure.reason, "https://host asks for a key (401): set `api_key`");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().to_utc();
        for (value, seconds) in [
            ("0", Some(0)),
            (" 17 ", Some(17)),
            ("Sun, 01 Mar 2026 12:01:30 GMT", Some(90)),
            ("Sun, 01 Mar 2026 11:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
