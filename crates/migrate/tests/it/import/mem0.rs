//! Tables of mem0.

use memory_core::{Error, MemoryKind, Replica, Writer};
use migrate::import::{Mem0, TableName};
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};

use super::{database, embedding, is_read_only, left_out, options, scan, space};

/// A table as mem0 makes it, and what it writes: in Python, in an older Python, in TypeScript; and rows that are none of it.
async fn collection(connection: &mut PgConnection) {
    let table = "CREATE TABLE IF NOT EXISTS mem0 (id UUID PRIMARY KEY, vector vector(3), payload JSONB)";
    connection.execute(table).await.expect("a table");
    let long = "x".repeat(65_537);
    let rows = [
        // Written last, and made first.
        (
            "0000000000000000000000000000000b",
            Some("[0,2,0]"),
            Some(json!({
                "data": "Prefers aisle seats", "hash": "5d4", "userId": "maya", "runId": "monday",
                "createdAt": "2024-01-02T03:04:05.678Z",
            })),
        ),
        (
            "0000000000000000000000000000000a",
            Some("[3,0,4]"),
            Some(json!({
                "data": "Is allergic to nuts 🥜", "hash": "9a1", "text_lemmatized": "be allergic nut", "user_id": "maya",
                "agent_id": "travel", "run_id": "tuesday", "actor_id": "Maya", "role": "user", "category": ["health", 1],
                "created_at": "2024-07-26T08:23:47.123456-07:00", "updated_at": "2025-01-01T00:00:00+00:00",
                "expiration_date": "2030-02-28",
            })),
        ),
        (
            "0000000000000000000000000000000c",
            None,
            Some(json!({
                "data": "Book by noon", "user_id": 17, "agent_id": null, "run_id": "", "memory_type": "procedural_memory",
            })),
        ),
        ("00000000000000000000000000000001", Some("[1,1,1]"), None),
        ("00000000000000000000000000000002", Some("[1,1,1]"), Some(json!(["a", "list"]))),
        (
            "00000000000000000000000000000003",
            Some("[1,1,1]"),
            Some(json!({"user_id": "maya", "created_at": "2024-01-01"})),
        ),
        ("00000000000000000000000000000004", Some("[1,1,1]"), Some(json!({"data": "x", "created_at": "yesterday"}))),
        ("00000000000000000000000000000005", Some("[1,1,1]"), Some(json!({"data": long}))),
        ("00000000000000000000000000000006", Some("[0,0,0]"), Some(json!({"data": "no direction"}))),
        ("00000000000000000000000000000007", Some("[1,1,1]"), Some(json!({"data": "x", "user_id": {"name": "maya"}}))),
        ("00000000000000000000000000000008", Some("[1,1,1]"), Some(json!({"data": "  "}))),
    ];
    for (id, vector, payload) in rows {
        sqlx::query("INSERT INTO mem0 (id, vector, payload) VALUES ($1::uuid, $2::vector, $3::jsonb)")
            .bind(id)
            .bind(vector)
            .bind(payload.map(|payload| payload.to_string()))
            .execute(&mut *connection)
            .await
            .expect("a row");
    }
}

fn table() -> TableName {
    "mem0".parse().expect("a name")
}

#[tokio::test]
async fn a_collection_of_mem0_is_read_as_it_is() {
    let Some((url, mut connection)) = database().await else { return };
    collection(&mut connection).await;
    let import = Mem0::open(&url, &table(), options(Some(space()))).await.expect("it opens");
    let all = scan(&import).await;
    let [untimed, first, second] = all.as_slice() else { panic!("{all:#?}") };
    // Rows without a time come first, those that are left out too.
    assert_eq!((untimed.ordinal < first.ordinal, first.ordinal < second.ordinal), (true, true));

    let memory = &first.current.memory;
    assert_eq!(memory.text, "Prefers aisle seats");
    assert_eq!(
        (memory.scope.user(), memory.scope.agent(), memory.scope.session()),
        (Some("maya"), None, Some("monday"))
    );
    assert_eq!(memory.valid_from.map(|at| at.to_rfc3339()), Some("2024-01-02T03:04:05.678+00:00".into()));
    assert_eq!(memory.recorded_at, memory.valid_from.expect("a time"));
    assert!(memory.metadata.is_empty(), "{:?}", memory.metadata);
    assert_eq!(first.current.embedding, embedding([0.0, 1.0, 0.0]));

    let memory = &second.current.memory;
    assert_eq!(memory.id.to_string(), "00000000-0000-0000-0000-00000000000a");
    assert_eq!((memory.scope.tenant_name(), memory.scope.agent()), ("acme", Some("travel")));
    assert_eq!((memory.actor.as_deref(), memory.kind, memory.version), (Some("Maya"), MemoryKind::Semantic, 1));
    assert_eq!((memory.origin.writer, memory.origin.path.as_str()), (Writer::Import, "import:mem0"));
    let kept = json!({"role": "user", "category": ["health", 1], "actor_id": "Maya", "expiration_date": "2030-02-28"});
    assert_eq!(serde_json::Value::from(memory.metadata.clone()), kept);
    assert_eq!(memory.recorded_at.to_rfc3339(), "2025-01-01T00:00:00+00:00");
    assert_eq!(memory.expires_at.map(|at| at.to_rfc3339()), Some("2030-03-01T00:00:00+00:00".into()));
    assert_eq!(second.current.embedding, embedding([0.6, 0.0, 0.8]));

    let memory = &untimed.current.memory;
    assert_eq!((memory.scope.user(), memory.scope.session()), (Some("17"), None));
    assert_eq!((memory.kind, memory.recorded_at), (MemoryKind::Procedural, options(None).recorded_at));
    assert_eq!(untimed.current.embedding, None, "to be embedded anew");

    let id = |last: u8| format!("00000000-0000-0000-0000-00000000000{last}");
    let expected = [
        (id(1), "payload: found null, expected an object"),
        (id(2), "payload: found a list, expected an object"),
        (id(4), "payload.created_at: found \"yesterday\", expected a time as in RFC 3339"),
        (id(5), "text: given 65537 bytes, allowed: at most 65536 bytes"),
        (id(6), "embedding: given all zeros, allowed: a vector with a direction"),
        (id(7), "payload.user_id: found an object, expected a text"),
        (id(8), "text: given \"  \", allowed: a text that is not blank"),
        (id(3), "payload.data: expected the text of the memory"),
    ];
    let mut found = left_out(&import);
    found.sort_unstable();
    let mut expected: Vec<(&str, &str)> = expected.iter().map(|(key, reason)| (key.as_str(), *reason)).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    is_read_only(&import, &all).await;

    // A second run gives the same; without a space the vectors stay behind.
    let again = Mem0::open(&url, &table(), options(Some(space()))).await.expect("it opens");
    assert_eq!(scan(&again).await, all);
    let texts = Mem0::open(&url, &table(), options(None)).await.expect("it opens");
    assert!(scan(&texts).await.iter().all(|whole| whole.current.embedding.is_none()));
    assert_eq!(texts.size().await.expect("a size").memories, 4, "the one without a direction too");
}

/// A table without a primary key, of a name that needs quotes, with vectors of another length.
#[tokio::test]
async fn rows_of_one_id_and_of_another_length_are_left_out() {
    let Some((url, mut connection)) = database().await else { return };
    let quoted = r#""a"";DROP TABLE x; --""#;
    let setup = format!(
        r#"CREATE SCHEMA "odd schema";
        CREATE TABLE "odd schema".{quoted} (id text, vector vector, payload jsonb);
        INSERT INTO "odd schema".{quoted} VALUES
            ('a', '[1,0,0]', '{{"data": "first", "created_at": "2024-01-01T00:00:00"}}'),
            ('a', '[1,0,0]', '{{"data": "second", "created_at": "2024-01-02T00:00:00"}}'),
            ('b', '[1,0]', '{{"data": "of two dimensions"}}'),
            (NULL, '[1,0,0]', '{{"data": "nameless"}}'),
            ('c', '[0,1,0]', '{{"data": "the last", "created_at": "2024-01-03T00:00:00"}}')"#
    );
    connection.execute(AssertSqlSafe(setup)).await.expect("a table");
    let name = TableName { schema: Some("odd schema".into()), table: r#"a";DROP TABLE x; --"#.into() };
    let import = Mem0::open(&url, &name, options(Some(space()))).await.expect("it opens");
    let all = scan(&import).await;
    let texts: Vec<&str> = all.iter().map(|whole| whole.current.memory.text.as_str()).collect();
    assert_eq!(texts, ["first", "the last"]);
    let id = all[0].current.memory.id;
    let found = left_out(&import);
    assert!(
        found.contains(&("a", format!("its id, {id}, is that of a row before it; expected each id once").as_str()))
    );
    assert!(found.contains(&("b", "embedding: given 2 values, allowed: 3 values, for text-embedding-3-small@1/3")));
    assert!(found.contains(&("", "id: found null, expected a text")), "{found:?}");
    assert_eq!(found.len(), 3);
    is_read_only(&import, &all).await;
}

#[tokio::test]
async fn what_is_no_table_of_mem0_is_refused() {
    let Some((url, mut connection)) = database().await else { return };
    connection.execute("CREATE TABLE theirs (id uuid, payload jsonb)").await.expect("a table");
    let open = async |url: &str, name: &str| {
        let opened = Mem0::open(&url.into(), &name.parse().expect("a name"), options(None)).await;
        let error = opened.expect_err("it is refused");
        assert!(matches!(error, Error::Unusable { .. }), "{error:?}");
        error.to_string()
    };
    use secrecy::ExposeSecret as _;
    let url = url.expose_secret();
    assert_eq!(open(url, "theirs").await, "mem0: public.theirs has no column vector; expected id, vector, payload");
    assert!(open(url, "nothing").await.starts_with("mem0: there is no table nothing;"));
    assert!(open("mysql://user:hunter2@host/x", "theirs").await.contains("the URL is none of a Postgres"));
    // A name that mem0 gave without quotes was folded.
    connection.execute("CREATE TABLE MyMemories (id uuid, vector vector(3), payload jsonb)").await.expect("a table");
    let name = "MyMemories".parse().expect("a name");
    Mem0::open(&url.into(), &name, options(None)).await.expect("it opens");
}

/// A source that is written to while it is read is not taken for what it was.
#[tokio::test]
async fn a_row_that_changes_meanwhile_is_an_error() {
    let Some((url, mut connection)) = database().await else { return };
    collection(&mut connection).await;
    let import = Mem0::open(&url, &table(), options(None)).await.expect("it opens");
    let change = r#"UPDATE mem0 SET payload = payload || '{"data": "something else"}' WHERE id = '00000000-0000-0000-0000-00000000000a'"#;
    connection.execute(change).await.expect("a change");
    let error = import.scan(None, 100).await.expect_err("it was changed").to_string();
    assert_eq!(
        error,
        "mem0: 00000000-0000-0000-0000-00000000000a was changed since the source was opened; stop writing to it and begin again"
    );
}
