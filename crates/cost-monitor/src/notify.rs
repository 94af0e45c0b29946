//! Telling people: a notice for each alert through each channel, in the form that the channel takes.
//!
//! A notice may arrive twice, when the process dies between sending and writing down that it was sent: `Idempotency-Key`,
//! or a mail's `Message-ID`, is then the same.

mod email;
mod message;

use std::time::Duration;

use reqwest::StatusCode;
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

pub use email::{Mail, Tls};
pub use message::text;

use crate::state::Delivery;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a notice was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It may be later.
    #[error("not now: {0}")]
    Later(String),
    /// It never will be.
    #[error("refused: {0}")]
    Never(String),
}

/// Where notices go. Its URL is as good as a password and is not shown.
#[derive(Debug, Clone)]
pub enum Channel {
    /// An incoming webhook of Slack, or of what takes the same form (`text`).
    Slack(SecretString),
    /// A webhook of a Google Chat space.
    Chat(SecretString),
    /// Anything that takes JSON. With a secret the body is signed: `X-Signature: sha256=` and the HMAC, in hexadecimal
    /// digits, of `X-Timestamp`, a full stop and the body.
    Webhook {
        /// Where.
        url: SecretString,
        /// What both sides know.
        secret: Option<SecretString>,
    },
    /// Mail, through a relay.
    Email(Box<Mail>),
}

impl Channel {
    /// Sends one notice.
    ///
    /// # Errors
    /// When it was not taken; says whether another try makes sense.
    pub async fn send(&self, http: &reqwest::Client, delivery: &Delivery, now: i64) -> Result<(), Error> {
        let key = delivery.alert.id();
        match self {
            Self::Slack(url) => post(http, url, &key, &json!({ "text": text(delivery) }), None).await,
            Self::Chat(url) => post(http, url, &key, &json!({ "text": text(delivery) }), None).await,
            Self::Webhook { url, secret } => {
                let signing = secret.as_ref().map(|secret| (secret, now));
                post(http, url, &key, &message::json(delivery), signing).await
            }
            Self::Email(mail) => mail.send(delivery).await,
        }
    }
}

/// The client that notices are sent with.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client() -> reqwest::Result<reqwest::Client> {
    crate::auth::choose_tls();
    // A redirect could lead anywhere, with the notice.
    reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()
}

async fn post(
    http: &reqwest::Client,
    url: &SecretString,
    key: &str,
    body: &Value,
    signing: Option<(&SecretString, i64)>,
) -> Result<(), Error> {
    let body = body.to_string();
    let mut request = http.post(url.expose_secret()).header("Content-Type", "application/json");
    request = request.header("Idempotency-Key", key);
    if let Some((secret, now)) = signing {
        request = request.header("X-Timestamp", now).header("X-Signature", signature(secret, now, &body));
    }
    // The error of the client names the URL.
    let answer = request.body(body).send().await.map_err(|error| Error::Later(error.without_url().to_string()))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS) => {
            Err(Error::Later(status.to_string()))
        }
        status if status.is_server_error() => Err(Error::Later(status.to_string())),
        status => Err(Error::Never(status.to_string())),
    }
}

/// What proves that the body is ours, and when it was sent.
fn signature(secret: &SecretString, now: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let tag = hmac::sign(&key, format!("{now}.{body}").as_bytes());
    tag.as_ref().iter().fold("sha256=".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_other_programs_and_secrets_are_not_shown() {
        let secret = SecretString::from("key");
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let expected = "sha256=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03";
        assert_eq!(signature(&secret, 1_700_000_000, r#"{"a":1}"#), expected);
        let channel = Channel::Webhook { url: "https://h/very-secret".into(), secret: Some("very-secret".into()) };
        assert!(!format!("{channel:?}").contains("very-secret"));
    }
}
