//! `orchestra index`, on a real Postgres.

use serde_json::{Value, json};

use super::database::Database;
use super::support::{Ran, bare, ran};

/// 300 memories with vectors of 32 dimensions around 10 centres.
const STOCK: &str = "\
    INSERT INTO orchestra.spaces (model, revision, dimensions, normalized) VALUES ('clustered', '1', 32, true); \
    INSERT INTO orchestra.memories (id, tenant, user_id, version, kind, text, metadata, importance, writer, path, evidence, \
        recorded_at, content_hash, words, length, space, embedding) \
    SELECT gen_random_uuid(), 'acme', 'maya', 1, 'episodic', 'note ' || i, '{}', 0.5, 'agent', 'test', '{}', '2026-01-01', \
        '\\x00', '', 2, (SELECT space FROM orchestra.spaces), l2_normalize(ARRAY( \
            SELECT hashint8extended(i % 10 * 5000 + j, 1) / 9.3e18 + hashint8extended((i + 100) * 5000 + j, 1) / 9.3e18 \
            FROM generate_series(1, 32) j)::real[]::vector) \
    FROM generate_series(0, 299) i; \
    ANALYZE orchestra.memories (tenant, user_id, space)";

/// A database with the schema, and no memories.
fn database() -> Option<Database> {
    let database = Database::new()?;
    let migrated = database.run(&["db", "migrate"]);
    assert_eq!(migrated.code, 0, "{migrated:?}");
    Some(database)
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// The rows of a table in a pipe, without the first, cell by cell: a cell's own words are one space apart.
fn rows(ran: &Ran) -> Vec<Vec<&str>> {
    let cells = ran.out.lines().skip(1).map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()));
    cells.map(Iterator::collect).collect()
}

#[test]
fn an_index_is_built_when_it_is_due_then_measured_changed_and_dropped() {
    let Some(database) = database() else { return };
    let empty = database.run(&["index", "status"]);
    assert_eq!((empty.code, empty.out.as_str()), (0, ""), "{empty:?}");
    assert!(empty.err.contains("There is no space yet"), "{}", empty.err);
    database.execute(STOCK);

    let few = database.run(&["index", "status"]);
    let to_do = "nothing: 300 rows: below 10000 the exact search is the better one";
    assert_eq!((few.code, rows(&few)), (0, vec![vec!["1", "clustered@1/32", "300", "none: exact", to_do]]), "{few:?}");
    let untuned = database.run(&["index", "tune"]);
    assert_eq!((untuned.code, untuned.err.contains("has no vector index, its searches are exact")), (1, true));

    let due = database.run(&["index", "status", "--min-rows", "100"]);
    assert_eq!(due.code, 1, "{due:?}");
    assert!(due.out.contains("build ivfflat (lists 10): 300 rows have no index"), "{}", due.out);
    assert!(due.err.contains("next:  `orchestra index build` with the same options"), "{}", due.err);
    let built = database.run(&["index", "build", "--min-rows", "100"]);
    let told = "space 1 (clustered@1/32): built ivfflat (lists 10) over 300 rows in ";
    assert!(built.code == 0 && built.out.starts_with(told), "{built:?}");
    let again = database.run(&["index", "build", "--min-rows", "100"]);
    let told = "space 1 (clustered@1/32): nothing to do: ivfflat (lists 10) stands\n";
    assert_eq!((again.code, again.out.as_str(), again.err.as_str()), (0, told, ""));

    let exact = database.run(&["index", "tune"]);
    assert_eq!((exact.code, exact.out.contains("no scope has more than 5,000 memories")), (0, true), "{exact:?}");
    let tuned = database.run(&["index", "tune", "--exact-up-to", "100", "--sample", "40", "--k", "5"]);
    assert_eq!(tuned.code, 0, "{tuned:?}");
    assert!(tuned.err.contains("40 queries, each for the 5 nearest"), "{}", tuned.err);
    let chosen: Vec<_> = tuned.out.lines().filter(|line| line.ends_with("chosen")).collect();
    assert_eq!(chosen.len(), 1, "{}", tuned.out);
    let effort = chosen[0].split_once(" probe").unwrap().0.trim();
    assert!(tuned.out.contains(&format!("space 1 (clustered@1/32): with {effort} probe")), "{}", tuned.out);
    let status = database.run(&["index", "status", "--json"]);
    let body = json_of(&status);
    let index = &body["spaces"][0]["index"];
    assert_eq!((status.code, &index["spec"]["lists"], &index["rows_at_build"]), (0, &json!(10), &json!(300)), "{body}");
    assert_eq!((index["effort"].to_string(), &index["measured"]["k"]), (effort.to_owned(), &json!(5)), "{body}");
    assert!(index["measured"]["recall"].as_f64().unwrap() >= 0.95 && index["size_bytes"].as_u64() > Some(0), "{body}");
    let shown = database.run(&["index", "status"]);
    assert!(shown.out.contains(" at 5 (just now)") && !shown.out.contains("not measured"), "{}", shown.out);

    let other = ["--kind", "hnsw", "--m", "8", "--ef-construction", "32"];
    let changed = database.run(&[&["index", "status"], &other[..]].concat());
    let reason = "rebuild: ivfflat (lists 10) stands, hnsw (m 8, ef_construction 32) is configured";
    assert!(changed.code == 1 && changed.out.contains(reason), "{changed:?}");
    let rebuilt = database.run(&[&["index", "build", "--space", "1", "--json"], &other[..]].concat());
    let body = &json_of(&rebuilt)["spaces"][0];
    assert_eq!((rebuilt.code, &body["outcome"], &body["spec"]["m"]), (0, &json!("built"), &json!(8)), "{body}");
    assert!(body["took_ms"].as_f64().unwrap() > 0.0 && body.get("took").is_none(), "{body}");
    let measured = database.run(&["index", "tune", "--json", "--exact-up-to", "100", "--sample", "20"]);
    let tuning = &json_of(&measured)["spaces"][0]["tuning"];
    assert_eq!((measured.code, &tuning["is_reached"], &tuning["queries"]), (0, &json!(true), &json!(20)), "{tuning}");
    assert!(tuning["points"][0]["p95_ms"].as_f64().unwrap() > 0.0, "{tuning}");

    let dropped = database.run(&["index", "build", "--kind", "exact"]);
    let told = "space 1 (clustered@1/32): dropped: exact search is configured\n";
    assert_eq!((dropped.code, dropped.out.as_str(), dropped.err.as_str()), (0, told, ""));
    database.administer(&format!("DROP DATABASE {}", database.name));
}

#[test]
fn what_cannot_be_done_says_why() {
    let Some(database) = database() else { return };
    database.execute(STOCK);
    let scann = database.run(&["index", "status", "--kind", "scann"]);
    assert_eq!((scann.code, scann.out.contains("impossible: scann needs the extension")), (1, true), "{scann:?}");
    let build = database.run(&["index", "build", "--kind", "scann", "--json"]);
    assert_eq!((build.code, &json_of(&build)["spaces"][0]["outcome"]), (2, &json!("failed")), "{build:?}");
    assert!(build.err.contains("scann needs the extension alloydb_scann"), "{}", build.err);

    let unknown = database.run(&["index", "build", "--space", "9"]);
    assert_eq!((unknown.code, unknown.err.contains("there is no space 9")), (1, true), "{unknown:?}");
    let setting = database.run(&["index", "build", "--m", "1"]);
    assert_eq!((setting.code, setting.err.contains("index.m: given 1")), (1, true), "{setting:?}");
    let built = database.run(&["index", "build", "--min-rows", "100"]);
    assert_eq!(built.code, 0, "{built:?}");
    let target = database.run(&["index", "tune", "--target", "2"]);
    assert_eq!((target.code, target.err.contains("target: given 2")), (1, true), "{target:?}");

    let other = database.hold("SELECT pg_advisory_lock(hashtextextended('orchestra:index', 0))");
    let busy = database.run(&["index", "build", "--kind", "hnsw"]);
    assert_eq!((busy.code, busy.out.as_str()), (1, "space 1 (clustered@1/32): left as it is\n"), "{busy:?}");
    assert!(busy.err.contains("another builder is at work"), "{}", busy.err);
    drop(other);

    // Programs connect as a role that may not do this.
    let role = database.name.replace("test", "app");
    let mut command = database.command(&["db", "migrate", "--app-user", &role]);
    let made = ran(&command.env("ORCHESTRA_APP_PASSWORD", "hidden").output().unwrap());
    assert_eq!(made.code, 0, "{made:?}");
    let (_, host) = database.url.rsplit_once('@').unwrap();
    let url = format!("postgres://{role}:hidden@{host}");
    for arguments in [["index", "status"], ["index", "build"], ["index", "tune"]] {
        let refused = ran(&database.command(&arguments).env("DATABASE_URL", &url).output().unwrap());
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{refused:?}");
        let reason = format!("the role {role} does not own orchestra.memories: index work connects as the owner");
        assert!(refused.err.contains(&reason) && !refused.err.contains("hidden"), "{}", refused.err);
    }
    database.administer(&format!("DROP DATABASE {}", database.name));
    database.administer(&format!("DROP ROLE {role}"));
}

#[test]
fn a_database_that_is_not_there_or_has_no_schema_is_no_answer() {
    let url = "postgres://ann:hidden@127.0.0.1:1/memory";
    let silent = ran(&bare(&["index", "status"]).env("DATABASE_URL", url).output().unwrap());
    assert_eq!((silent.code, silent.out.as_str()), (2, ""));
    assert!(silent.err.contains("connect failed") && !silent.err.contains("hidden"), "{}", silent.err);
    let Some(database) = Database::new() else { return };
    let bare = database.run(&["index", "status"]);
    assert_eq!((bare.code, bare.out.as_str()), (2, ""), "{bare:?}");
    assert!(bare.err.contains("orchestra db migrate"), "{}", bare.err);
    database.administer(&format!("DROP DATABASE {}", database.name));
}
