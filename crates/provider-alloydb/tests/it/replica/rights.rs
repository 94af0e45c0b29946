//! A program that uses the memory can neither set the gate nor write as the mover.

use memory_core::Error;
use provider_alloydb::{AlloyDbReplica, create_app_user};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::support::Home;

const NOT_ALLOWED: &str = "42501";

#[tokio::test]
async fn the_application_may_not_move() {
    let Some(home) = Home::new() else { return };
    let mut app = home.as_app().await;
    for statement in [
        "SELECT orchestra.set_gate(1, 'mover')",
        "SELECT orchestra.capture_changes('green')",
        "SELECT orchestra.release_changes('green')",
        "SELECT orchestra.clear_after_move()",
        "SELECT orchestra.arrange_move_triggers(true)",
        "SELECT orchestra.changes_of('green', 1)",
        "SELECT orchestra.begin_moved_write(0, false)",
        "SELECT orchestra.remove_moved_rows('{1}', 'expired')",
        "SELECT orchestra.write_moved_tombstones('{acme}', ARRAY[gen_random_uuid()], '{a}', '{b}', '{c}', ARRAY[now()])",
        "UPDATE orchestra.gate SET epoch = 9",
        "INSERT INTO orchestra.streams (name) VALUES ('green')",
        "DELETE FROM orchestra.item_changes",
        "INSERT INTO orchestra.item_changes (kind, tenant, transaction) VALUES ('memory', 'acme', '1')",
        "BEGIN; SELECT set_config('orchestra.tenant', 'acme', true); \
         INSERT INTO orchestra.item_changes (kind, tenant) VALUES ('memory', 'globex')",
        "SELECT FROM orchestra.item_changes",
        "SELECT setval('orchestra.memories_ordinal_seq', 1)",
        "ALTER TABLE orchestra.memories DISABLE TRIGGER ALL",
    ] {
        let error = app.execute(AssertSqlSafe(statement)).await.expect_err(statement);
        let code = error.as_database_error().and_then(|error| error.code());
        assert_eq!(code.as_deref(), Some(NOT_ALLOWED), "{statement}: {error}");
        app.execute("ROLLBACK").await.unwrap();
    }
}

#[tokio::test]
async fn a_login_of_the_application_is_told_what_it_lacks_and_one_of_a_mover_connects() {
    let Some(home) = Home::new() else { return };
    let mut direct = home.direct().await;
    let mut owner = home.config();
    owner.role = None;
    let name = home.name.replace("test", "app");
    create_app_user(&owner, &name, Some(&"secret".into())).await.unwrap();
    let mut config = owner.clone();
    config.user = name.clone();
    config.password = Some("secret".into());
    let refused = AlloyDbReplica::connect(config.clone()).await.unwrap_err();
    let told = refused.to_string().replace(&name, "APP");
    insta::assert_snapshot!(told, @"alloydb: the user APP may not take on the role orchestra_move, which moves the memory; connect as the owner of the schema, or let an administrator run GRANT orchestra_move TO APP WITH INHERIT FALSE, SET TRUE (before Postgres 16 without the options)");
    assert!(matches!(refused, Error::Unusable { .. }));

    let rights = "INSERT INTO orchestra.memories SELECT * FROM orchestra.memories";
    direct.execute(AssertSqlSafe(format!("GRANT orchestra_move TO {name}"))).await.unwrap();
    let replica = AlloyDbReplica::connect(config).await.unwrap();
    replica.close().await;
    // To be a member is not enough for what the role alone may do.
    let as_member = format!("SET ROLE {name}; SELECT FROM orchestra.memories");
    direct.execute(AssertSqlSafe(as_member)).await.unwrap();
    assert!(direct.execute("UPDATE orchestra.gate SET epoch = 9").await.is_ok_and(|done| done.rows_affected() == 0));
    let error = direct.execute(rights).await;
    assert!(error.is_err() || error.is_ok_and(|done| done.rows_affected() == 0));
    direct.execute("RESET ROLE").await.unwrap();
    direct.execute(AssertSqlSafe(format!("DROP ROLE {name}"))).await.unwrap();
}

#[tokio::test]
async fn a_move_goes_by_no_pooler() {
    let Some(home) = Home::new() else { return };
    let mut config = home.config();
    config.pooler = true;
    assert!(matches!(AlloyDbReplica::connect(config).await, Err(Error::Unusable { .. })));
}
