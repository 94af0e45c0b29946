//! Collections of LangChain.

use memory_core::{Error, MemoryKind, Replica};
use migrate::import::{Langchain, Members};
use serde_json::json;
use sqlx::Executor as _;

use super::{database, embedding, is_read_only, left_out, options, scan, space};

/// As `langchain-postgres` makes them.
const NEW: &str = "\
    CREATE TABLE langchain_pg_collection (uuid UUID NOT NULL PRIMARY KEY, name VARCHAR NOT NULL UNIQUE, cmetadata JSON);
    CREATE TABLE langchain_pg_embedding (
        id VARCHAR NOT NULL PRIMARY KEY,
        collection_id UUID REFERENCES langchain_pg_collection (uuid) ON DELETE CASCADE,
        embedding VECTOR,
        document VARCHAR,
        cmetadata JSONB
    );
    CREATE UNIQUE INDEX ix_langchain_pg_embedding_id ON langchain_pg_embedding (id);
    CREATE INDEX ix_cmetadata_gin ON langchain_pg_embedding USING gin (cmetadata jsonb_path_ops);";

/// As `langchain-community` makes them.
const OLD: &str = "\
    CREATE TABLE langchain_pg_collection (name VARCHAR, cmetadata JSON, uuid UUID NOT NULL PRIMARY KEY);
    CREATE TABLE langchain_pg_embedding (
        collection_id UUID REFERENCES langchain_pg_collection (uuid) ON DELETE CASCADE,
        embedding VECTOR,
        document VARCHAR,
        cmetadata JSON,
        custom_id VARCHAR,
        uuid UUID NOT NULL PRIMARY KEY
    );";

const COLLECTIONS: &str = "\
    INSERT INTO langchain_pg_collection (uuid, name, cmetadata) VALUES
        ('00000000-0000-0000-0000-0000000000c1', 'notes ''of'' ours', '{}'),
        ('00000000-0000-0000-0000-0000000000c2', 'other', NULL);";

#[tokio::test]
async fn a_collection_of_langchain_postgres_is_read_as_it_is() {
    let Some((url, mut connection)) = database().await else { return };
    connection.execute(NEW).await.expect("tables");
    connection.execute(COLLECTIONS).await.expect("collections");
    let rows = r#"
        INSERT INTO langchain_pg_embedding (id, collection_id, embedding, document, cmetadata) VALUES
        ('2', '00000000-0000-0000-0000-0000000000c1', '[0,5,0]', 'thud', '{"bar": "baz", "owner": "maya", "n": 1.5}'),
        ('0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d', '00000000-0000-0000-0000-0000000000c1', '[1,0,0]', 'foo', NULL),
        ('0190F3C2-7B1E-7C3A-9F00-3D5E8A1B2C4D', '00000000-0000-0000-0000-0000000000c1', '[1,0,0]', 'foo again', NULL),
        ('3', '00000000-0000-0000-0000-0000000000c1', NULL, 'without a vector', 'null'),
        ('4', '00000000-0000-0000-0000-0000000000c1', '[1,0,0]', NULL, '{}'),
        ('5', '00000000-0000-0000-0000-0000000000c1', '[1,0,0]', 'a list', '[1]'),
        ('6', '00000000-0000-0000-0000-0000000000c1', '[1,0,0,0]', 'of four', '{}'),
        ('7', '00000000-0000-0000-0000-0000000000c1', '[1,0,0]', 'of somebody', '{"owner": ["maya"]}'),
        ('8', '00000000-0000-0000-0000-0000000000c2', '[1,0,0]', 'elsewhere', '{}')"#;
    connection.execute(rows).await.expect("rows");
    let members = Members { user: Some("owner".into()), ..Members::default() };
    let open = async |collection: &str, schema: Option<&str>| {
        let schema = schema.map(str::to_owned);
        Langchain::open(&url, schema, collection, members.clone(), options(Some(space()))).await
    };
    let import = open("notes 'of' ours", None).await.expect("it opens");
    let all = scan(&import).await;
    let texts: Vec<&str> = all.iter().map(|whole| whole.current.memory.text.as_str()).collect();
    assert_eq!(texts, ["foo again", "thud", "without a vector"], "in the order of their keys");
    let thud = &all[1].current.memory;
    assert_eq!((thud.scope.user(), thud.kind), (Some("maya"), MemoryKind::Semantic));
    assert_eq!(serde_json::Value::from(thud.metadata.clone()), json!({"bar": "baz", "owner": "maya", "n": 1.5}));
    assert_eq!((thud.valid_from, thud.recorded_at), (None, options(None).recorded_at));
    assert_eq!(thud.origin.path, "import:langchain");
    assert_eq!(thud.id.as_uuid().get_version_num(), 5, "a function of the key");
    assert_eq!(all[1].current.embedding, embedding([0.0, 1.0, 0.0]));
    assert_eq!(all[0].current.memory.id.to_string(), "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d");
    assert_eq!(
        left_out(&import),
        [
            (
                "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d",
                "its id, 0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d, is that of a row before it; expected each id once"
            ),
            ("4", "document: found null, expected a text"),
            ("5", "cmetadata: found a list, expected an object"),
            ("6", "embedding: given 4 values, allowed: 3 values, for text-embedding-3-small@1/3"),
            ("7", "cmetadata.owner: found a list, expected a text"),
        ]
    );
    is_read_only(&import, &all).await;
    assert_eq!(scan(&open("notes 'of' ours", Some("public")).await.expect("it opens")).await, all, "the same again");
    let other = open("other", None).await.expect("it opens");
    assert_eq!(scan(&other).await.len(), 1);
    assert_eq!(open("none", None).await.expect("it opens").size().await.expect("a size").memories, 0);
    let error = open("other", Some("nowhere")).await.expect_err("there is no such schema");
    assert!(matches!(error, Error::Unusable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_collection_of_langchain_community_is_read_as_it_is() {
    let Some((url, mut connection)) = database().await else { return };
    connection.execute(OLD).await.expect("tables");
    connection.execute(COLLECTIONS).await.expect("collections");
    let rows = r#"
        INSERT INTO langchain_pg_embedding (collection_id, embedding, document, cmetadata, custom_id, uuid) VALUES
        ('00000000-0000-0000-0000-0000000000c2', '[0,0,7]', 'first', '{"a": {"b": [1, null]}}', 'doc-1',
            '00000000-0000-0000-0000-000000000001'),
        ('00000000-0000-0000-0000-0000000000c2', '[1,0,0]', 'first, added twice', '{"custom_id": "own"}', 'doc-1',
            '00000000-0000-0000-0000-000000000002'),
        ('00000000-0000-0000-0000-0000000000c2', '[1,0,0]', 'without a name', NULL, NULL,
            '00000000-0000-0000-0000-000000000003'),
        ('00000000-0000-0000-0000-0000000000c2', '[1,0,0]', 'a text', '"text"', NULL,
            '00000000-0000-0000-0000-000000000004')"#;
    connection.execute(rows).await.expect("rows");
    let open = async || Langchain::open(&url, None, "other", Members::default(), options(Some(space()))).await;
    let import = open().await.expect("it opens");
    let all = scan(&import).await;
    let metadata: Vec<serde_json::Value> =
        all.iter().map(|whole| whole.current.memory.metadata.clone().into()).collect();
    assert_eq!(
        metadata,
        [json!({"a": {"b": [1, null]}, "custom_id": "doc-1"}), json!({"custom_id": "own"}), json!({})]
    );
    assert_eq!(all[0].current.memory.id.to_string(), "00000000-0000-0000-0000-000000000001");
    assert_eq!(all[0].current.embedding, embedding([0.0, 0.0, 1.0]));
    let reason = "cmetadata: found a text, expected an object";
    assert_eq!(left_out(&import), [("00000000-0000-0000-0000-000000000004", reason)]);
    is_read_only(&import, &all).await;
    assert_eq!(scan(&open().await.expect("it opens")).await, all);
}
