//! The database that `orchestra db` and `orchestra index` work on.

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;

use memory_core::Error;
use provider_alloydb::AlloyDbConfig;
use secrecy::{ExposeSecret as _, SecretString};

use super::failure::{Failure, Outcome};
use crate::config::GoogleIam;

/// Which database.
#[derive(Debug, clap::Args)]
pub struct Database {
    /// The database, as a URL with the role that owns it: postgres://user:password@host:port/database. In the environment
    /// no other user of the machine sees it.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = secret)]
    database_url: SecretString,
    /// Show an access token of the machine's service account, or that of GOOGLE_OAUTH_ACCESS_TOKEN, in place of a password,
    /// as AlloyDB with IAM authentication wants it.
    #[arg(long, env = "ORCHESTRA_ALLOYDB_GOOGLE_IAM")]
    google_iam: bool,
}

impl Database {
    /// Its configuration; all but where it is and who connects is as programs have it by default.
    pub fn config(&self) -> Outcome<AlloyDbConfig> {
        let mut config = AlloyDbConfig::from_url(self.database_url.expose_secret()).map_err(failure)?;
        if self.google_iam {
            config.password_provider = Some(Arc::new(GoogleIam::of_environment()));
        }
        Ok(config)
    }
}

/// What the database, or the way to it, did not do. Everything that is run on it may be run again.
pub fn failure(error: Error) -> Failure {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // The driver's errors say what their cause says.
        let said = cause.to_string();
        if !message.ends_with(&said) {
            message = format!("{message}: {said}");
        }
        source = cause.source();
    }
    match &error {
        Error::Invalid { .. } => Failure::mistake(message, "the command's --help has an example"),
        Error::Backend { operation: "connect", .. } => {
            Failure::ours(message, "check the URL in --database-url or DATABASE_URL, and that the server answers there")
        }
        error if error.is_retryable() => Failure::ours(message, "run it again: what was done stays"),
        _ => Failure::ours(message, "correct that, then run it again: what was done stays"),
    }
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}
