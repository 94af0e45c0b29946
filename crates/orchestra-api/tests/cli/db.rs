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
fn a_token_takes_the_place_of_the_password() {
    let Some(database) = Database::new() else { return };
    // What Postgres takes for a password is the token here: AlloyDB compares it, as Postgres does a password.
    let (login, place) = database.url.rsplit_once('@').unwrap();
    let (login, token) = login.rsplit_once(':').unwrap();
    let url = format!("{login}@{place}");
    let run = |arguments: &[&str], google_iam: &str, token: &str| {
        let mut command = bare(&[&["db", "status", "--database-url", &url], arguments].concat());
        ran(&command
            .env("ORCHESTRA_ALLOYDB_GOOGLE_IAM", google_iam)
            .env("GOOGLE_OAUTH_ACCESS_TOKEN", token)
            .output()
            .unwrap())
    };
    // 1: it got in, and found migrations pending.
    assert_eq!(run(&["--google-iam"], "", token).code, 1);
    assert_eq!(run(&[], "true", token).code, 1);
    for refused in [run(&[], "false", token), run(&["--google-iam"], "", "another")] {
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(!refused.err.contains("another") && !refused.err.contains(token), "{}", refused.err);
    }
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
fn a_follower_that_left_is_warned_of_and_can_be_forgotten() {
    let Some(database) = Database::new() else { return };
    let early = database.run(&["db", "followers"]);
    assert_eq!(early.code, 2, "{early:?}");
    assert!(early.err.contains("run `orchestra db migrate`"), "{}", early.err);
    assert_eq!(database.run(&["db", "migrate"]).code, 0);
    assert_eq!(
        database.run(&["db", "followers"]).out,
        "nobody follows: no cache elsewhere has to be told of changes\n"
    );
    assert_eq!(database.run(&["db", "status"]).err.matches("warning").count(), 0);
    database.execute(
        "INSERT INTO orchestra.followers (name, moved_at) VALUES ('cache', now()), ('old', now() - interval '3 h');
         INSERT INTO orchestra.outbox (tenant, event, memories, occurred_at)
         SELECT tenant, 'updated', '{}', now() - interval '2 h' FROM unnest(ARRAY['acme', 'globex']) AS tenant",
    );
    let listed = database.run(&["db", "followers"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(
        listed.out.contains("cache") && listed.out.contains("old") && listed.out.contains("3 hours ago"),
        "{listed:?}"
    );
    let body: Value = serde_json::from_str(&database.run(&["db", "followers", "--json"]).out).unwrap();
    assert_eq!((&body["followers"][1]["name"], &body["followers"][1]["changes"]), (&"old".into(), &2.into()));
    assert_eq!(body["followers"][1]["position"], "0:0");

    let status = database.run(&["db", "status"]);
    assert_eq!(status.code, 0, "a warning is no failure: {status:?}");
    let warnings: Vec<&str> = status.err.lines().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("the follower old has passed nothing since"), "{warnings:?}");
    assert!(
        warnings[0].contains("2 changes are kept for it") && warnings[0].contains("orchestra db unfollow old --yes")
    );

    let unknown = database.run(&["db", "unfollow", "nobody", "--yes"]);
    assert_eq!((unknown.code, unknown.err.contains("nobody follows as nobody")), (1, true), "{unknown:?}");
    let told = database.run(&["db", "unfollow", "old"]);
    assert_eq!((told.code, told.out.as_str()), (0, "would forget old: 2 changes are kept for it; --yes does it\n"));
    assert!(database.run(&["db", "followers"]).out.contains("old"), "nothing was done");
    let done = database.run(&["db", "unfollow", "old", "--yes"]);
    assert_eq!((done.code, done.out.as_str()), (0, "forgot old: 2 changes are no longer kept for it\n"));
    let left = database.run(&["db", "followers"]).out;
    assert!(left.contains("cache") && !left.contains("old"), "{left}");
    assert_eq!(database.run(&["db", "status"]).err.matches("warning").count(), 0);
    database.administer(&format!("DROP DATABASE {}", database.name));
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
