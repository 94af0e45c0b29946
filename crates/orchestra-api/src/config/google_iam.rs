//! Access tokens of Google's IAM: what Secret Manager, Memorystore and AlloyDB take in place of a password.

use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use memory_core::{BoxError, Error, Result};
use provider_alloydb::PasswordProvider;
use provider_redis::{Credentials, CredentialsProvider};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use tokio::sync::Mutex;

/// How long each call may take.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// An access token to use in place of the metadata server's.
const TOKEN: &str = "GOOGLE_OAUTH_ACCESS_TOKEN";
/// The metadata server's host and port, as Google's own clients name it.
const METADATA_HOST: &str = "GCE_METADATA_HOST";
/// From then on before its end the metadata server has a new token.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// The tokens of this machine's service account, or the one in `GOOGLE_OAUTH_ACCESS_TOKEN`. One is kept until five minutes
/// before its end.
pub struct GoogleIam {
    given: Option<SecretString>,
    metadata_host: String,
    latest: Mutex<Option<Latest>>,
}

struct Latest {
    token: SecretString,
    until: Instant,
}

#[derive(Deserialize)]
struct Token {
    #[serde(deserialize_with = "secret")]
    access_token: SecretString,
    expires_in: u64,
}

pub fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

/// What asks Google's services.
pub fn client(provider: &'static str) -> Result<reqwest::Client> {
    // The one TLS stack; a second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(TIMEOUT).build();
    client.map_err(|error| failed(provider, "connect", error))
}

pub fn failed(provider: &'static str, operation: &'static str, source: impl Into<BoxError>) -> Error {
    Error::Backend { provider, operation, retryable: true, source: source.into() }
}

impl GoogleIam {
    /// As the environment says.
    pub fn of_environment() -> Self {
        let given = std::env::var(TOKEN).ok().filter(|token| !token.is_empty()).map(SecretString::from);
        let host = std::env::var(METADATA_HOST).ok().filter(|host| !host.is_empty());
        Self::new(given, host.unwrap_or_else(|| "metadata.google.internal".into()))
    }

    pub fn new(given: Option<SecretString>, metadata_host: String) -> Self {
        Self { given, metadata_host, latest: Mutex::default() }
    }

    /// A token with some minutes left.
    ///
    /// # Errors
    /// [`Error::Backend`] when the metadata server gives none.
    pub async fn token(&self) -> Result<SecretString> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        // Held while it is asked for, so that many connections made at once ask once.
        let mut latest = self.latest.lock().await;
        if let Some(latest) = latest.as_ref().filter(|latest| Instant::now() < latest.until) {
            return Ok(latest.token.clone());
        }
        let asked = Instant::now();
        let Token { access_token, expires_in } = self.ask().await?;
        let until = asked + Duration::from_secs(expires_in.min(86_400)).saturating_sub(RENEWED_BEFORE);
        *latest = Some(Latest { token: access_token.clone(), until });
        Ok(access_token)
    }

    async fn ask(&self) -> Result<Token> {
        let url = format!("http://{}/computeMetadata/v1/instance/service-accounts/default/token", self.metadata_host);
        let answer = client("google iam")?.get(url).header("Metadata-Flavor", "Google").send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        let answer = answer.map_err(|error| failed("google iam", "token", error))?;
        answer.json().await.map_err(|error| failed("google iam", "token", error))
    }
}

impl fmt::Debug for GoogleIam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleIam").field("metadata_host", &self.metadata_host).finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialsProvider for GoogleIam {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        // Whoever the token is of, Memorystore knows one user.
        Ok(Credentials { username: Some("default".into()), password: self.token().await? })
    }
}

#[async_trait]
impl PasswordProvider for GoogleIam {
    async fn password(&self) -> Result<SecretString, BoxError> {
        Ok(self.token().await?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use axum::{Json, Router};
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;

    /// A stand-in for the metadata server, which counts; its tokens live so many seconds.
    async fn stand_in(expires_in: u64) -> (GoogleIam, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let answer = async move |request: Request| {
            if request.headers().get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
                return StatusCode::FORBIDDEN.into_response();
            }
            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
            Json(json!({"access_token": format!("token-{number}"), "expires_in": expires_in, "token_type": "Bearer"}))
                .into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        (GoogleIam::new(None, host), asked)
    }

    #[tokio::test]
    async fn a_token_is_kept_while_it_has_five_minutes_left() {
        let (iam, asked) = stand_in(3599).await;
        let credentials = iam.credentials().await.unwrap();
        assert_eq!(
            (credentials.username.as_deref(), credentials.password.expose_secret()),
            (Some("default"), "token-1")
        );
        assert_eq!(iam.password().await.unwrap().expose_secret(), "token-1");
        assert_eq!(asked.load(Ordering::Relaxed), 1);

        let (iam, _) = stand_in(300).await;
        for expected in ["token-1", "token-2"] {
            assert_eq!(iam.token().await.unwrap().expose_secret(), expected);
        }
    }

    #[tokio::test]
    async fn a_token_that_is_given_is_taken_and_shown_nowhere() {
        let iam = GoogleIam::new(Some("hunter2".into()), "unused.invalid".into());
        assert_eq!(iam.token().await.unwrap().expose_secret(), "hunter2");
        assert!(!format!("{iam:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_machine_without_metadata_is_told() {
        let iam = GoogleIam::new(None, "127.0.0.1:1".into());
        let told = crate::error::chain(&iam.token().await.unwrap_err());
        assert!(told.starts_with("google iam: token failed"), "{told}");
    }
}
