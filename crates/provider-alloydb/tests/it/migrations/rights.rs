//! Who may do what: row-level security, the application's rights, and the owner's.

use provider_alloydb::{migrate, status};
use sqlx::{Connection as _, Executor as _};

use super::{Blank, schema};
use crate::support::Home;

/// The tables that hold nothing of a tenant.
const WITHOUT_TENANT: [&str; 3] = ["index_state", "spaces", "store"];

#[tokio::test]
async fn row_level_security_holds_on_every_table() {
    let Some(home) = Home::new() else { return };
    let mut connection = home.direct().await;
    let tables: Vec<(String, bool, Vec<String>)> = sqlx::query_as(
        "SELECT c.relname::text, c.relrowsecurity AND c.relforcerowsecurity, ARRAY(
            SELECT format('%s %s using %s check %s', p.permissive, p.cmd, p.qual, p.with_check)
            FROM pg_policies p WHERE p.schemaname = 'orchestra' AND p.tablename = c.relname
            -- What the roles of the sweep, of following, of vectors that come late and of moves may is in tests of their own.
            AND p.roles NOT IN ('{orchestra_backlog}', '{orchestra_follow}', '{orchestra_move}', '{orchestra_sweep}')
            ORDER BY p.policyname
        )
        FROM pg_class c
        -- The table of migrations is the owner's alone.
        WHERE c.relnamespace = 'orchestra'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'migrations'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(tables.len() >= 14);
    let own = "(tenant = current_setting('orchestra.tenant'::text, true))";
    let writes = format!("({own} AND (tenant <> ''::text))");
    let maintenance = "PERMISSIVE SELECT using (CURRENT_USER = 'orchestra_maintenance'::name) check ";
    for (name, is_forced, policies) in tables {
        assert!(is_forced, "row-level security is not enabled and forced on {name}");
        let (reads, writes) = if WITHOUT_TENANT.contains(&&*name) { ("true", "true") } else { (own, &*writes) };
        let mut expected = vec![format!("PERMISSIVE ALL using {reads} check {writes}")];
        match &*name {
            "followers" => expected.clear(),
            // Those who write see whether they may, and whether changes are noted; what is noted they may not read.
            "gate" | "streams" => expected = vec!["PERMISSIVE SELECT using true check ".to_owned()],
            "item_changes" => expected = vec![format!("PERMISSIVE INSERT using  check {writes}")],
            // One finds rows by words and metadata for functions that name the tenant; the other counts vectors over all tenants,
            // and reads no text.
            "memories" => {
                expected =
                    vec!["PERMISSIVE SELECT using true check ".to_owned(), maintenance.to_owned(), expected.remove(0)];
            }
            _ => {}
        }
        assert_eq!(policies, expected, "{name}");
    }
    // A view reads with its owner's rights and a definer's function acts with them: both get around it, unless they are
    // made with care, and then they are named here.
    let around: Vec<String> = sqlx::query_scalar(
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'orchestra'::regnamespace AND prosecdef
        UNION ALL
        SELECT relname FROM pg_class
        WHERE relnamespace = 'orchestra'::regnamespace AND relkind IN ('v', 'm')
            AND NOT coalesce('security_invoker=true' = ANY (reloptions), false)
        ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(
        around,
        [
            "acknowledge_changes",
            // Makes and drops triggers.
            "arrange_move_triggers",
            "follower_lag",
            "list_without_vector",
            "read_changes",
            "remove_empty_sessions",
            "remove_expired",
            "remove_follower",
            "remove_passed_changes",
            "rows_with_derived",
            "rows_with_metadata",
            "rows_with_words"
        ]
    );
}

#[tokio::test]
async fn the_application_has_these_rights_and_no_more() {
    let Some(home) = Home::new() else { return };
    let mut connection = home.direct().await;
    let rights: Vec<String> = sqlx::query_scalar(
        "SELECT format('%s: %s', what, string_agg(privilege, ' ' ORDER BY privilege COLLATE \"C\")) FROM (
            SELECT 'schema', n.nspname::text, e.privilege_type, e.grantee
            FROM pg_namespace n, aclexplode(n.nspacl) e
            UNION ALL
            SELECT c.relkind::text, c.oid::regclass::text, e.privilege_type, e.grantee
            FROM pg_class c, aclexplode(c.relacl) e
            UNION ALL
            SELECT 'function', p.oid::regprocedure::text, e.privilege_type, e.grantee
            FROM pg_proc p, aclexplode(p.proacl) e
        ) granted(kind, what, privilege, grantee)
        WHERE grantee = 'orchestra_app'::regrole
        GROUP BY kind, what ORDER BY kind, what COLLATE \"C\"",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    insta::assert_snapshot!(rights.join("\n"));
    let (attributes, roles): (bool, i64) = sqlx::query_as(
        "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication OR rolcanlogin,
            (SELECT count(*) FROM pg_auth_members m WHERE m.member = r.oid)
        FROM pg_roles r WHERE rolname = 'orchestra_app'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!((attributes, roles), (false, 0), "attributes, and roles that it is a member of");
}

#[tokio::test]
async fn an_owner_who_is_no_superuser_is_told_what_is_missing_and_then_migrates() {
    let Some(blank) = Blank::new().await else { return };
    // The role orchestra_app is the whole server's.
    let mut connection = Home::new().unwrap().direct().await;
    let expected = schema(&mut connection).await;
    connection.close().await.unwrap();

    let (owner, stranger) = (blank.name.replace("test", "owner"), blank.name.replace("test", "stranger"));
    for role in [&owner, &stranger] {
        blank.administer(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'")).await;
    }
    blank.administer(&format!("ALTER DATABASE {} OWNER TO {owner}", blank.name)).await;
    let [mut as_owner, mut as_stranger, mut wrong] = [&owner, &stranger, &owner].map(|role| {
        let mut config = blank.config();
        config.user = role.clone();
        config.password = Some("secret".into());
        config
    });
    as_owner.role = None;
    as_stranger.role = None;
    wrong.password = Some("guessed".into());
    let named =
        |text: String| text.replace(&owner, "OWNER").replace(&stranger, "STRANGER").replace(&blank.name, "DATABASE");
    let mut told = Vec::new();

    let error = migrate(&wrong, |_| {}).await.unwrap_err();
    told.push(format!("{error}: {}", cause(&error)));
    told.push(migrate(&as_stranger, |_| {}).await.unwrap_err().to_string());
    let error = migrate(&as_owner, |_| {}).await.unwrap_err();
    told.push(format!("{error}: {}", cause(&error)));
    assert!(!blank.schema().await.iter().any(|line| line.contains("relation")), "nothing is left behind");

    let mut connection = blank.direct().await;
    connection.execute("CREATE EXTENSION vector; CREATE EXTENSION btree_gin").await.unwrap();
    connection.close().await.unwrap();
    assert!(migrate(&as_owner, |_| {}).await.unwrap().status.is_current());
    told.push(migrate(&as_stranger, |_| {}).await.unwrap_err().to_string());
    told.push(status(&as_stranger).await.unwrap_err().to_string());
    insta::assert_snapshot!(named(told.join("\n")), @r#"
    alloydb: connect failed: error returned from database: password authentication failed for user "OWNER"
    alloydb: the role STRANGER may not create a schema in the database DATABASE; connect as its owner, or let the owner run GRANT CREATE ON DATABASE
    alloydb: migration 0001 (create schema) was not applied, and left nothing behind; let an administrator run CREATE EXTENSION vector and CREATE EXTENSION btree_gin in this database (on AlloyDB a member of alloydbsuperuser): error returned from database: permission denied to create extension "vector"
    alloydb: the role STRANGER does not own the schema orchestra; connect as OWNER, or as a member of it
    alloydb: the role STRANGER does not own the schema orchestra; connect as OWNER, or as a member of it
    "#);
    // The extensions came by another way, and an owner's rights carry his name: the rest is the same.
    let same = |lines: &[String]| lines.iter().filter(|line| !line.contains(" may ")).cloned().collect::<Vec<_>>();
    let made: Vec<String> = blank.schema().await.into_iter().map(|line| line.replace(&owner, "postgres")).collect();
    assert_eq!(same(&made), same(&expected));

    blank.administer(&format!("DROP DATABASE {}", blank.name)).await;
    blank.administer(&format!("DROP ROLE {owner}")).await;
    blank.administer(&format!("DROP ROLE {stranger}")).await;
}

/// What the server said. The driver adds the line of the server's own source, which differs from version to version.
fn cause(error: &memory_core::Error) -> String {
    let cause = std::error::Error::source(error).expect("a cause").to_string();
    cause.split_once(" at line ").map_or(cause.clone(), |(said, _)| said.to_owned())
}
