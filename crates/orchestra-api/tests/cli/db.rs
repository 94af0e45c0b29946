//! `orchestra db`, on a real Postgres.

use serde_json::Value;

use super::database::Database;
use super::support::{bare, ran};

#[test]
fn a_database_is_migrated_once_and_its_state_shown() {
    let Some(database) = Database::new() else { return };
    let before = database.run(&["db", "status"]);
    assert_eq!(before.code, 1, "{before:?}");
    assert!(before.out.contains("0001 create schema") && before.out.contains("pending"), "{}", before.out);
    assert!(
        before.err.contains("migrations are pending\nnext:  `orchestra db migrate` applies them"),
        "{}",
        before.err
    );

    let dry = database.run(&["db", "migrate", "--dry-run"]);
    assert_eq!((dry.code, dry.err.as_str()), (0, ""));
    assert!(dry.out.starts_with("would apply 0001 create schema\n"), "{}", dry.out);
    assert_eq!(database.run(&["db", "status"]).code, 1, "a dry run changes nothing");

    let first = database.run(&["db", "migrate"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.err.starts_with("applied 0001 create schema, "), "{}", first.err);
    assert!(first.out.ends_with(&format!(" s: the database {} is up to date\n", database.name)), "{}", first.out);
    let again = database.run(&["db", "migrate"]);
    let told = format!("nothing to apply: the database {} is up to date\n", database.name);
    assert_eq!((again.code, again.out, again.err.as_str()), (0, told, ""));

    let after = database.run(&["db", "status", "--json"]);
    let body: Value = serde_json::from_str(&after.out).unwrap();
    assert_eq!((after.code, &body["is_current"], &body["problems"]), (0, &true.into(), &Value::Array(Vec::new())));
    assert_eq!(body["migrations"][0]["state"], "applied");
}

#[test]
fn the_applications_role_is_made_and_no_password_is_shown() {
    let Some(database) = Database::new() else { return };
    let role = database.name.replace("test", "app");
    let without = database.run(&["db", "migrate", "--app-user", &role]);
    assert_eq!(without.code, 1, "{without:?}");
    assert!(without.err.contains("app_password: given none"), "{}", without.err);

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first secret\n").unwrap();
    let path = file.path().display().to_string();
    let made = database.run(&["db", "migrate", "--app-user", &role, "--app-password-file", &path]);
    assert_eq!((made.code, made.out.contains(&format!("the role {role} was created"))), (0, true), "{made:?}");
    let mut command = database.command(&["db", "migrate", "--app-user", &role, "--json"]);
    let updated = ran(&command.env("ORCHESTRA_APP_PASSWORD", "second secret").output().unwrap());
    let body: Value = serde_json::from_str(&updated.out).unwrap();
    assert_eq!((updated.code, &body["app_user"]), (0, &"updated".into()));

    // The role can log in with the later password, and may not look at the migrations.
    let url = |password: &str| {
        let (_, host) = database.url.rsplit_once('@').unwrap();
        format!("postgres://{role}:{password}@{host}")
    };
    let as_role =
        |password: &str| ran(&database.command(&["db", "status"]).env("DATABASE_URL", url(password)).output().unwrap());
    let (right, wrong) = (as_role("second%20secret"), as_role("first%20secret"));
    assert!(right.err.contains("does not own the schema orchestra; connect as"), "{}", right.err);
    assert!(wrong.err.contains("password authentication failed for user"), "{}", wrong.err);
    assert!(wrong.err.contains("next:  check the URL in --database-url or DATABASE_URL"), "{}", wrong.err);
    assert_eq!((right.code, wrong.code), (2, 2));
    for ran in [made, updated, right, wrong] {
        assert!(!format!("{ran:?}").contains("secret"), "{ran:?}");
    }
    database.administer(&format!("DROP DATABASE {}", database.name));
    database.administer(&format!("DROP ROLE {role}"));
}

#[test]
fn a_url_that_is_wrong_is_not_shown() {
    let run = |url: &str| ran(&bare(&["db", "status"]).env("DATABASE_URL", url).output().unwrap());
    let wrong = run("postgres://ann:secret@host:notaport/memory");
    assert_eq!((wrong.code, wrong.out.as_str()), (1, ""));
    assert!(wrong.err.contains("database_url") && !wrong.err.contains("secret"), "{}", wrong.err);
    let silent = run("postgres://ann:secret@127.0.0.1:1/memory");
    assert_eq!((silent.code, silent.out.as_str()), (2, ""));
    assert!(silent.err.contains("connect failed") && !silent.err.contains("secret"), "{}", silent.err);
    let absent = ran(&bare(&["db", "status"]).env_remove("DATABASE_URL").output().unwrap());
    assert_eq!((absent.code, absent.err.contains("--database-url <URL>")), (1, true), "{absent:?}");
    let help =
        ran(&bare(&["db", "status", "--help"]).env("DATABASE_URL", "postgres://ann:secret@host/").output().unwrap());
    assert!(help.out.contains("[env: DATABASE_URL]") && !help.out.contains("secret"), "{}", help.out);
}
