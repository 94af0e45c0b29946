//! Credentials that change over time, as tokens of a cloud's IAM do.

use std::fmt;

use async_trait::async_trait;
use memory_core::BoxError;
use secrecy::SecretString;

/// What a connection shows to be let in. `Debug` hides the password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The ACL user; the server's default one unless given.
    pub username: Option<String>,
    /// The password, or a token in its place.
    pub password: SecretString,
}

/// Gives the credentials of a connection that is about to be made.
///
/// It is asked before every new connection and never for one that stands: servers let a connection go on when the token
/// it was opened with expires. An implementation that fetches tokens over a network keeps the latest until shortly
/// before it expires, since several connections may be made at once.
///
/// # Contract
/// - An error is taken for a passing one: it is logged with its text, and asked again with the next attempt to connect.
///   Its text holds no secret.
/// - An answer that takes over six seconds is not waited for.
#[async_trait]
pub trait CredentialsProvider: fmt::Debug + Send + Sync {
    /// The credentials that are valid now.
    async fn credentials(&self) -> Result<Credentials, BoxError>;
}
