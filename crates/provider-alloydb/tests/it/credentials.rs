//! Passwords that change, as tokens do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use memory_core::{BoxError, Error, MemoryStore, Scope};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, PasswordProvider};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::support::Home;

/// Gives one after the other, and the last one from then on.
#[derive(Debug)]
struct Passwords {
    each: Vec<Result<&'static str, &'static str>>,
    asked: AtomicUsize,
}

impl Passwords {
    fn new(each: impl Into<Vec<Result<&'static str, &'static str>>>) -> Arc<Self> {
        Arc::new(Self { each: each.into(), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl PasswordProvider for Passwords {
    async fn password(&self) -> Result<SecretString, BoxError> {
        let at = self.asked.fetch_add(1, Ordering::Relaxed).min(self.each.len() - 1);
        self.each[at].map(SecretString::from).map_err(BoxError::from)
    }
}

/// A role that can log in with the password `first`, and a configuration for it. To be dropped by its name.
async fn login(home: &Home, passwords: Arc<Passwords>) -> (AlloyDbConfig, String, PgConnection) {
    let mut direct = home.direct().await;
    let user = format!("login_{}", home.name);
    let create = format!("CREATE ROLE {user} LOGIN PASSWORD 'first' IN ROLE orchestra_app");
    direct.execute(AssertSqlSafe(create)).await.expect("a role");
    let mut config = home.config();
    (config.user, config.role) = (user.clone(), None);
    config.password_provider = Some(passwords);
    (config, user, direct)
}

async fn drop_role(mut direct: PgConnection, user: &str) {
    // Roles are the whole server's.
    direct.execute(AssertSqlSafe(format!("DROP ROLE {user}"))).await.expect("dropped");
    direct.close().await.expect("close");
}

#[tokio::test]
async fn a_refused_password_is_asked_for_anew_and_the_next_one_used() {
    let Some(home) = Home::new() else { return };
    let passwords = Passwords::new([Ok("stale"), Ok("first"), Ok("second")]);
    let (config, user, mut direct) = login(&home, passwords.clone()).await;
    let store = AlloyDbMemoryProvider::connect(config).await.expect("with the second one that was given");
    assert_eq!(passwords.asked(), 2);
    let scope = Scope::tenant("acme").unwrap();
    store.stats(&scope).await.unwrap();
    // The password changes, and the connections end.
    direct.execute(AssertSqlSafe(format!("ALTER ROLE {user} PASSWORD 'second'"))).await.unwrap();
    store.stats(&scope).await.expect("a connection that stands goes on");
    assert_eq!(passwords.asked(), 2);
    let end = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = $1";
    let ended: i64 = sqlx::query_scalar(end).bind(&user).fetch_one(&mut direct).await.unwrap();
    assert!(ended >= 1);
    store.stats(&scope).await.expect("a new connection, with the new password");
    assert_eq!(passwords.asked(), 3);
    store.close().await;
    drop_role(direct, &user).await;
}

#[tokio::test]
async fn a_password_that_is_not_given_or_not_right_is_told_without_it() {
    let Some(home) = Home::new() else { return };
    let (mut config, user, direct) = login(&home, Passwords::new([Ok("hunter2")])).await;
    let error = AlloyDbMemoryProvider::connect(config.clone()).await.unwrap_err();
    let told = format!("{error} {error:?} {config:?}");
    assert!(told.contains("password authentication failed") && !told.contains("hunter2"), "{told}");
    assert!(!error.is_retryable());
    let passwords = Passwords::new([Err("the token server is away")]);
    config.password_provider = Some(passwords.clone());
    let error = AlloyDbMemoryProvider::connect(config).await.unwrap_err();
    assert!(matches!(&error, Error::Backend { retryable: true, .. }), "{error:?}");
    assert!(format!("{error:?}").contains("the token server is away"), "{error:?}");
    assert_eq!(passwords.asked(), 1);
    drop_role(direct, &user).await;
}
