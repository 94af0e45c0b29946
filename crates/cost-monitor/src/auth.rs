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
