//! The role that a program connects as.

use memory_core::{Error, MemoryStore as _};
use memory_testkit::make;
use provider_alloydb::{AlloyDbMemoryProvider, AppUser, create_app_user};
use sqlx::{AssertSqlSafe, Executor as _};

use super::Blank;
use crate::support::Home;

#[tokio::test]
async fn the_application_logs_in_with_its_password_and_reaches_the_memory() {
    let Some(home) = Home::new() else { return };
    let mut connection = home.direct().await;
    let mut owner = home.config();
    owner.role = None;
    // A name that needs quotes, and a password that does.
    let name = format!("app's \"{}\"", home.name.replace("test_", ""));
    let mut app = owner.clone();
    app.user = name.clone();
    let mut logs_in = async |password: &str| {
        app.password = Some(password.into());
        let store = AlloyDbMemoryProvider::connect(app.clone()).await?;
        store.stats(&make::user("acme", "ann")).await?;
        Ok::<_, Error>(())
    };

    let error = create_app_user(&owner, &name, None).await.unwrap_err();
    assert!(error.to_string().starts_with("app_password: given none"), "{error}");
    let (first, second) = ("it's $ecret\\", "another one");
    assert_eq!(create_app_user(&owner, &name, Some(&first.into())).await.unwrap(), AppUser::Created);
    logs_in(first).await.unwrap();
    assert!(logs_in(second).await.is_err());
    // A role that is there keeps its password, unless it is given another.
    assert_eq!(create_app_user(&owner, &name, None).await.unwrap(), AppUser::Updated);
    logs_in(first).await.unwrap();
    assert_eq!(create_app_user(&owner, &name, Some(&second.into())).await.unwrap(), AppUser::Updated);
    logs_in(second).await.unwrap();
    assert!(logs_in(first).await.is_err());

    let kept: String = sqlx::query_scalar("SELECT rolpassword FROM pg_authid WHERE rolname = $1")
        .bind(&name)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(kept.starts_with("SCRAM-SHA-256$4096:") && kept.len() == 133, "{kept}");
    Blank::of(home).administer(&format!("DROP ROLE \"{}\"", name.replace('"', "\"\""))).await;
}

#[tokio::test]
async fn a_role_that_row_level_security_would_not_hold_is_refused() {
    let Some(home) = Home::new() else { return };
    let mut connection = home.direct().await;
    let mut owner = home.config();
    owner.role = None;
    let error = create_app_user(&owner, &owner.user.clone(), Some(&"secret".into())).await.unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"alloydb: row-level security would not hold the role postgres: it is or can become a superuser, one with BYPASSRLS, or the schema's owner; choose another name");

    // One that can take on the owner's role.
    let name = home.name.replace("test", "member");
    connection.execute(AssertSqlSafe(format!("CREATE ROLE {name}; GRANT {} TO {name}", owner.user))).await.unwrap();
    assert!(matches!(create_app_user(&owner, &name, None).await, Err(Error::Unusable { .. })));
    connection.execute(AssertSqlSafe(format!("DROP ROLE {name}"))).await.unwrap();

    assert!(
        create_app_user(&owner, "", None).await.is_err()
            && create_app_user(&owner, &"x".repeat(64), None).await.is_err()
    );
}
