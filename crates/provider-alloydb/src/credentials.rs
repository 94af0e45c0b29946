//! Passwords that change over time, as tokens of a cloud's IAM do.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use memory_core::BoxError;
use secrecy::SecretString;

/// How often a password is asked for anew: a token of Google's that is given out has five minutes left, or more.
pub(crate) const REFRESH: Duration = Duration::from_secs(4 * 60);
/// How soon again when it was not given.
pub(crate) const RETRY: Duration = Duration::from_secs(5);

/// Gives the password, or the token in its place, of connections that are to be made.
///
/// It is asked when the provider connects, and every four minutes from then on; a connection that stands goes on with the
/// password it was opened with.
///
/// # Contract
/// An error is taken for a passing one: it is logged with its text, and asked again after five seconds. Its text holds
/// no secret.
#[async_trait]
pub trait PasswordProvider: fmt::Debug + Send + Sync {
    /// The password that is valid now.
    async fn password(&self) -> Result<SecretString, BoxError>;
}
