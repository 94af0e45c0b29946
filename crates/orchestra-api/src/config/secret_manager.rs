//! Secrets out of Google's Secret Manager, by its REST interface.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memory_core::{BoxError, Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};

/// How long each of the two calls may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An access token to use in place of the metadata server's.
const TOKEN: &str = "GOOGLE_OAUTH_ACCESS_TOKEN";
/// The metadata server's host and port, as Google's own clients name it.
const METADATA_HOST: &str = "GCE_METADATA_HOST";

#[derive(Deserialize)]
struct Version {
    payload: Payload,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(deserialize_with = "secret")]
    data: SecretString,
}

#[derive(Deserialize)]
struct Token {
    #[serde(deserialize_with = "secret")]
    access_token: SecretString,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

/// Whether `name` is `projects/P/secrets/S/versions/V`, of characters that such names have.
pub fn is_version(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let ["projects", project, "secrets", secret, "versions", version] = parts[..] else { return false };
    let is_name = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte))
    };
    [project, secret, version].into_iter().all(|part| is_name(part) && !part.starts_with('.'))
}

/// The secret of a version.
///
/// # Errors
/// [`Error::Backend`] when there is no token, or the secret is not given.
pub async fn access(base_url: &str, version: &str) -> Result<SecretString> {
    let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty()).map(SecretString::from);
    let metadata = std::env::var(METADATA_HOST).unwrap_or_else(|_| "metadata.google.internal".into());
    access_with(base_url, version, token, &metadata).await
}

async fn access_with(
    base_url: &str,
    version: &str,
    token: Option<SecretString>,
    metadata: &str,
) -> Result<SecretString> {
    // The one TLS stack; a second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(|error| failed("connect", error))?;
    let token = match token {
        Some(token) => token,
        None => of_metadata_server(&client, metadata).await?,
    };
    let url = format!("{}/v1/{version}:access", base_url.trim_end_matches('/'));
    let answer = client.get(url).bearer_auth(token.expose_secret()).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status).map_err(|error| failed("access", error))?;
    let version: Version = answer.json().await.map_err(|error| failed("access", error))?;
    // What cannot be decoded may be told by its error, and so may be no part of ours.
    let bytes = STANDARD.decode(version.payload.data.expose_secret());
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(SecretString::from).ok_or_else(|| failed("access", "the secret is not text"))
}

async fn of_metadata_server(client: &reqwest::Client, host: &str) -> Result<SecretString> {
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
    let answer = client.get(url).header("Metadata-Flavor", "Google").send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status).map_err(|error| failed("token", error))?;
    let token: Token = answer.json().await.map_err(|error| failed("token", error))?;
    Ok(token.access_token)
}

fn failed(operation: &'static str, source: impl Into<BoxError>) -> Error {
    Error::Backend { provider: "secret manager", operation, retryable: true, source: source.into() }
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use axum::{Json, Router};
    use serde_json::json;

    use super::*;

    const VERSION: &str = "projects/p/secrets/s/versions/3";

    /// A stand-in for Secret Manager and for the metadata server: there is no real one to ask here.
    async fn stand_in() -> String {
        let answer = async |request: Request| {
            let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
            match (request.uri().path(), header("metadata-flavor"), header("authorization")) {
                ("/v1/projects/p/secrets/s/versions/3:access", _, Some("Bearer good")) => {
                    Json(json!({"name": VERSION, "payload": {"data": "aHVudGVyMg=="}})).into_response()
                }
                ("/computeMetadata/v1/instance/service-accounts/default/token", Some("Google"), _) => {
                    Json(json!({"access_token": "good", "expires_in": 3599, "token_type": "Bearer"})).into_response()
                }
                _ => StatusCode::FORBIDDEN.into_response(),
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        host
    }

    #[tokio::test]
    async fn a_stand_in_for_secret_manager_gives_the_secret_to_a_token() {
        let host = stand_in().await;
        let base = format!("http://{host}/");
        let given = access_with(&base, VERSION, Some("good".into()), "unused.invalid").await.unwrap();
        assert_eq!(given.expose_secret(), "hunter2");
        let by_metadata = access_with(&base, VERSION, None, &host).await.unwrap();
        assert_eq!(by_metadata.expose_secret(), "hunter2");
        let refused = access_with(&base, VERSION, Some("bad".into()), &host).await.unwrap_err();
        let told = crate::error::chain(&refused);
        assert!(told.contains("403") && !told.contains("bad"), "{told}");
    }

    #[test]
    fn a_version_is_a_full_name() {
        assert!(is_version("projects/my-project/secrets/db_password/versions/latest"));
        for name in ["", "projects/p/secrets/s", "projects/p/secrets/s/versions/", "projects/../secrets/s/versions/1"] {
            assert!(!is_version(name), "{name}");
        }
    }
}
