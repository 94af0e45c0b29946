//! Secrets out of Google's Secret Manager, by its REST interface.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memory_core::{Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::google_iam::{self, GoogleIam, client, secret};

const PROVIDER: &str = "secret manager";

#[derive(Deserialize)]
struct Version {
    payload: Payload,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(deserialize_with = "secret")]
    data: SecretString,
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
    access_with(base_url, version, &GoogleIam::of_environment()).await
}

async fn access_with(base_url: &str, version: &str, iam: &GoogleIam) -> Result<SecretString> {
    let token = iam.token().await?;
    let url = format!("{}/v1/{version}:access", base_url.trim_end_matches('/'));
    let answer = client(PROVIDER)?.get(url).bearer_auth(token.expose_secret()).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let version: Version = answer.json().await.map_err(failed)?;
    // What cannot be decoded may be told by its error, and so may be no part of ours.
    let bytes = STANDARD.decode(version.payload.data.expose_secret());
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(SecretString::from).ok_or_else(|| google_iam::failed(PROVIDER, "access", "the secret is not text"))
}

fn failed(source: reqwest::Error) -> Error {
    google_iam::failed(PROVIDER, "access", source)
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
        let given =
            access_with(&base, VERSION, &GoogleIam::new(Some("good".into()), "unused.invalid".into())).await.unwrap();
        assert_eq!(given.expose_secret(), "hunter2");
        let by_metadata = access_with(&base, VERSION, &GoogleIam::new(None, host.clone())).await.unwrap();
        assert_eq!(by_metadata.expose_secret(), "hunter2");
        let refused = access_with(&base, VERSION, &GoogleIam::new(Some("bad".into()), host)).await.unwrap_err();
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
