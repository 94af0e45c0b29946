//! Who the monitor is to Google: one set of credentials for BigQuery and Pub/Sub.
//!
//! Application default credentials: the file that `GOOGLE_APPLICATION_CREDENTIALS` names (a service account's key, or the
//! configuration of workload identity federation), else what `gcloud auth application-default login` left, else the
//! identity of the machine. None for the emulators.

use std::sync::Arc;

use async_trait::async_trait;
use gcp_bigquery_client::auth::Authenticator;
use gcp_bigquery_client::error::BQError;
use google_cloud_auth::credentials::{AccessTokenCredentials, Builder, Credentials, anonymous};

/// BigQuery takes this scope and so does Pub/Sub. What the identity may do is said by its roles.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Why there is no access.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no credentials, or they cannot be read.
    #[error(
        "there are no application default credentials: set GOOGLE_APPLICATION_CREDENTIALS, run \
         `gcloud auth application-default login`, or give the machine a service account"
    )]
    NoCredentials(#[source] google_cloud_auth::build_errors::Error),
    /// Google gave no token for them.
    #[error("no access token can be had")]
    NoToken(#[source] google_cloud_auth::errors::CredentialsError),
}

/// Makes ring what TLS is done with, unless the program has chosen already. Clients cannot be made before.
pub(crate) fn choose_tls() {
    // The error says that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Proof of who asks. A clone is the same; nothing of it is shown.
#[derive(Debug, Clone)]
pub enum Access {
    /// An emulator asks for none.
    Emulator,
    /// Application default credentials.
    Google(AccessTokenCredentials),
}

impl Access {
    /// Finds the application default credentials. No token is asked for yet.
    ///
    /// # Errors
    /// When there are none, or their file cannot be read.
    pub fn google() -> Result<Self, Error> {
        choose_tls();
        let credentials = Builder::default().with_scopes([SCOPE]).build_access_token_credentials();
        Ok(Self::Google(credentials.map_err(Error::NoCredentials)?))
    }

    /// A token for one request; it is kept and renewed underneath.
    ///
    /// # Errors
    /// When Google gives none.
    pub async fn token(&self) -> Result<String, Error> {
        match self {
            Self::Emulator => Ok("emulator".to_owned()),
            Self::Google(credentials) => Ok(credentials.access_token().await.map_err(Error::NoToken)?.token),
        }
    }

    /// The same for the clients of Pub/Sub.
    #[must_use]
    pub fn for_pubsub(&self) -> Credentials {
        choose_tls();
        match self {
            Self::Emulator => anonymous::Builder::new().build(),
            Self::Google(credentials) => credentials.clone().into(),
        }
    }

    /// The same for the client of BigQuery.
    pub(crate) fn for_bigquery(&self) -> Arc<dyn Authenticator> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl Authenticator for Access {
    async fn access_token(&self) -> Result<String, BQError> {
        self.token().await.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "no access token");
            BQError::NoToken
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{Extensions, HeaderMap, StatusCode};
    use axum::routing::any;
    use google_cloud_auth::credentials::{
        AccessToken, AccessTokenCredentialsProvider, CacheableResource, CredentialsProvider, EntityTag,
    };
    use google_cloud_auth::errors::CredentialsError;

    use super::*;
    use crate::warehouse::{Place, Warehouse};

    const TOKEN: &str = "a-token-that-nobody-may-see";

    /// Stands in for Google: gives a token, or none.
    #[derive(Debug)]
    struct Stub {
        gives: bool,
    }

    impl CredentialsProvider for Stub {
        async fn headers(&self, _: Extensions) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
            let token = self.access_token().await?.token;
            let headers = [("authorization", format!("Bearer {token}"))];
            let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            Ok(CacheableResource::New { entity_tag: EntityTag::new(), data: HeaderMap::from_iter(headers) })
        }

        async fn universe_domain(&self) -> Option<String> {
            None
        }
    }

    impl AccessTokenCredentialsProvider for Stub {
        async fn access_token(&self) -> Result<AccessToken, CredentialsError> {
            match self.gives {
                true => Ok(AccessToken { token: TOKEN.to_owned() }),
                false => Err(CredentialsError::from_msg(false, "the identity is not known")),
            }
        }
    }

    fn access(gives: bool) -> Access {
        Access::Google(AccessTokenCredentials::from(Stub { gives }))
    }

    /// Stands in for BigQuery: takes who has the token, and answers as its emulator does to a dataset that is there.
    async fn bigquery() -> String {
        let answer = async |headers: HeaderMap| match headers.get("authorization").and_then(|value| value.to_str().ok())
        {
            Some(value) if value == format!("Bearer {TOKEN}") => (
                StatusCode::CONFLICT,
                r#"{"error":{"code":409,"message":"Already Exists","errors":[],"status":"ALREADY_EXISTS"}}"#,
            ),
            _ => (
                StatusCode::UNAUTHORIZED,
                r#"{"error":{"code":401,"message":"who is that?","errors":[],"status":"UNAUTHENTICATED"}}"#,
            ),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(any(answer));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        base
    }

    #[tokio::test]
    async fn a_stand_in_for_bigquery_is_shown_the_token_and_nobody_else() {
        let place = Place::new("my-project", "cost", "EU").unwrap();
        let base = bigquery().await;
        let known = Warehouse::with_access(place.clone(), base.clone(), access(true)).await.unwrap();
        assert!(!known.ensure_dataset().await.unwrap(), "it is there");
        for shown in [format!("{known:?}"), format!("{:?}", access(true)), format!("{:?}", access(true).for_pubsub())] {
            assert!(!shown.contains(TOKEN), "{shown}");
        }
        let unknown = Warehouse::with_access(place, base, Access::Emulator).await.unwrap();
        let refused = format!("{:#}", anyhow::Error::from(unknown.ensure_dataset().await.unwrap_err()));
        assert!(refused.contains("who is that?"), "{refused}");
    }

    #[tokio::test]
    async fn an_identity_that_a_stand_in_for_google_does_not_know_is_told_so() {
        let refused = format!("{:#}", anyhow::Error::from(access(false).token().await.unwrap_err()));
        assert!(refused.starts_with("no access token can be had: "), "{refused}");
        assert!(refused.contains("the identity is not known"), "{refused}");
        assert_eq!(access(true).token().await.unwrap(), TOKEN);
    }
}
