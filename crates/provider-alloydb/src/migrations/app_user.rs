//! The role that a program connects as.

use std::num::NonZeroU32;

use memory_core::{Error, Result};
use ring::rand::SecureRandom as _;
use ring::{digest, hmac, pbkdf2, rand};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{AssertSqlSafe, PgConnection, Postgres};

use super::{begin, close, connect};
use crate::config::AlloyDbConfig;
use crate::error::{failed, unusable};

const OPERATION: &str = "create the application's role";
/// What the server itself uses unless told otherwise.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");
/// Postgres cuts longer names off.
const MAX_NAME_BYTES: usize = 63;

/// What [`create_app_user`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppUser {
    /// There is a new role.
    Created,
    /// The role was there, and has the rights, and the password if one was given.
    Updated,
}

/// Makes the role that a program connects as, or brings it up to date: it may log in, and is given the rights of
/// `orchestra_app`. `config` names an administrator of roles, such as the one that migrated the database.
///
/// The password is hashed here, as SCRAM-SHA-256: neither the server's log nor its statistics see it. A role that is there
/// already keeps its own where none is given, as one of a cloud's IAM does.
///
/// # Errors
/// [`Error::Invalid`] for a name or a password that cannot be one, or when a new role is to have none;
/// [`Error::Unusable`] for a role that row-level security would not hold, and when `config`'s role may not do this;
/// [`Error::Backend`] while the server cannot be reached.
pub async fn create_app_user(config: &AlloyDbConfig, name: &str, password: Option<&SecretString>) -> Result<AppUser> {
    if !(1..=MAX_NAME_BYTES).contains(&name.len()) || name.contains('\0') {
        return Err(Error::invalid("app_user", name, format!("1 to {MAX_NAME_BYTES} bytes")));
    }
    let verifier = password.map(Verifier::new).transpose()?;
    let mut connection = connect(config).await?;
    let made = make(&mut connection, name, verifier.as_ref()).await;
    close(connection).await;
    made
}

async fn make(connection: &mut PgConnection, name: &str, verifier: Option<&Verifier>) -> Result<AppUser> {
    let mut transaction = begin(connection).await.map_err(explain)?;
    let is_unheld: Option<bool> = sqlx::query_scalar(
        "SELECT EXISTS (
            SELECT FROM pg_roles x
            WHERE pg_has_role(r.oid, x.oid, 'MEMBER') AND (
                x.rolsuper OR x.rolbypassrls
                OR x.oid = (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'orchestra')
            )
        ) FROM pg_roles r WHERE r.rolname = $1",
    )
    .bind(name)
    .fetch_optional(&mut *transaction)
    .await
    .map_err(explain)?;
    if is_unheld == Some(true) {
        let reason = format!(
            "row-level security would not hold the role {name}: it is or can become a superuser, one with BYPASSRLS, or the \
             schema's owner; choose another name"
        );
        return Err(unusable(reason, None));
    }
    if is_unheld.is_none() && verifier.is_none() {
        return Err(Error::invalid("app_password", "none", "a password, since the role is new"));
    }
    // Each statement is written by the server, which knows how to quote: one about roles takes no parameters.
    let verb = if is_unheld.is_none() { "CREATE" } else { "ALTER" };
    let login = sqlx::query_scalar("SELECT format('%s ROLE %I LOGIN', $1, $2)").bind(verb).bind(name);
    run(&mut transaction, login).await?;
    if let Some(verifier) = verifier {
        let password = sqlx::query_scalar(
            "SELECT format('ALTER ROLE %I PASSWORD %L', $1, 'SCRAM-SHA-256$' || $2 || ':' || encode($3, 'base64') || '$' \
             || encode($4, 'base64') || ':' || encode($5, 'base64'))",
        );
        let password = password
            .bind(name)
            .bind(ITERATIONS.to_string())
            .bind(&verifier.salt[..])
            .bind(&verifier.stored_key[..])
            .bind(&verifier.server_key[..]);
        run(&mut transaction, password).await?;
    }
    run(&mut transaction, sqlx::query_scalar("SELECT format('GRANT orchestra_app TO %I', $1)").bind(name)).await?;
    transaction.commit().await.map_err(explain)?;
    Ok(if is_unheld.is_none() { AppUser::Created } else { AppUser::Updated })
}

/// Runs the statement that a query gives.
async fn run(connection: &mut PgConnection, writer: QueryScalar<'_, Postgres, String, PgArguments>) -> Result<()> {
    let statement = writer.fetch_one(&mut *connection).await.map_err(explain)?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map_err(explain)?;
    Ok(())
}

fn explain(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code());
    let reason = match code.as_deref() {
        Some("42501") => "this role may not create the role, or not give it the rights of orchestra_app",
        // undefined_object: the role orchestra_app.
        Some("42704") => "the role orchestra_app is missing; run `orchestra db migrate` first",
        _ => return failed(OPERATION, error),
    };
    unusable(reason, Some(Box::new(error)))
}

/// What a server keeps of a password (RFC 5802 and RFC 7677): enough to check it, not to log in with.
struct Verifier {
    salt: [u8; 16],
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl Verifier {
    fn new(password: &SecretString) -> Result<Self> {
        let mut salt = [0; 16];
        rand::SystemRandom::new().fill(&mut salt).map_err(|_| unusable("the system gives no random numbers", None))?;
        Self::with_salt(password.expose_secret(), salt)
    }

    fn with_salt(password: &str, salt: [u8; 16]) -> Result<Self> {
        // Of these, unlike of others, every client and server makes the same bytes.
        if password.is_empty() || !password.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(Error::invalid("app_password", "another", "printable ASCII, at least one character"));
        }
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &salt, password.as_bytes(), &mut salted);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let bytes = |of: &[u8]| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(of);
            bytes
        };
        let client_key = hmac::sign(&key, b"Client Key");
        Ok(Self {
            salt,
            stored_key: bytes(digest::digest(&digest::SHA256, client_key.as_ref()).as_ref()),
            server_key: bytes(hmac::sign(&key, b"Server Key").as_ref()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_clients_would_spell_differently_is_refused_and_not_shown() {
        for password in ["", "pass\nword", "pässword"] {
            let error = Verifier::with_salt(password, [0; 16]).err().unwrap().to_string();
            assert_eq!(error, "app_password: given another, allowed: printable ASCII, at least one character");
        }
    }
}
