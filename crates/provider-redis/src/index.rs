//! The index: made if it is not there, compared with the schema if it is.

use std::collections::BTreeMap;

use memory_core::{Error, Result};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};

use crate::entry::{EXPIRES, GROUP, LINKS, SCOPE};
use crate::error::{backend, unusable};
use crate::keys::{Keys, Shard};
use crate::query::text;
use crate::schema::{Algorithm, FieldKind, IndexSchema};

/// What a server can do, found out by trying: the texts of its errors are no promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Searches vectors, with a filter by tag and number: what the cache needs.
    pub vectors: bool,
    /// Indexes text.
    pub text: bool,
    /// Gives an index a second name, which can be moved to another.
    pub aliases: bool,
}

/// An index as text: `field.property` and its value, in the words of the schema.
type Properties = BTreeMap<String, String>;

/// Finds out what the server can do, with an index that no key belongs to and that is dropped again.
pub(crate) async fn probe(connection: &mut MultiplexedConnection, keys: &Keys, shard: Shard) -> Result<Capabilities> {
    let name = format!("{}:probe:{}", keys.index(shard), uuid::Uuid::now_v7().simple());
    let create = |fields: &[&str]| {
        let mut create = redis::cmd("FT.CREATE");
        create.arg(&name).arg("ON").arg("HASH").arg("PREFIX").arg(1).arg(format!("{name}:")).arg("SCHEMA").arg(fields);
        create
    };
    let vector = ["v", "VECTOR", "FLAT", "6", "TYPE", "FLOAT32", "DIM", "2", "DISTANCE_METRIC", "COSINE"];
    let mut can = Capabilities { vectors: false, text: false, aliases: false };
    let mut fields = vec!["g", "TAG", "e", "NUMERIC"];
    fields.extend(vector);
    can.vectors = tried(connection, &create(&fields)).await?;
    if can.vectors {
        let alias = format!("{name}:alias");
        let mut add = redis::cmd("FT.ALIASADD");
        can.aliases = tried(connection, add.arg(&alias).arg(&name)).await?;
        tried(connection, redis::cmd("FT.DROPINDEX").arg(&name)).await?;
        fields.extend(["t", "TEXT"]);
        can.text = tried(connection, &create(&fields)).await?;
        if can.text {
            tried(connection, redis::cmd("FT.DROPINDEX").arg(&name)).await?;
        }
    }
    Ok(can)
}

/// Whether the server did it. A connection that fails is an error; a server that refuses is an answer.
async fn tried(connection: &mut MultiplexedConnection, command: &Cmd) -> Result<bool> {
    match command.query_async::<Value>(connection).await {
        Ok(_) => Ok(true),
        Err(error) if is_refusal(&error) => Ok(false),
        Err(error) => Err(backend("probe", error)),
    }
}

/// Whether the server understood and said no, as against not being reached or not being ready.
pub(crate) fn is_refusal(error: &redis::RedisError) -> bool {
    use redis::{ErrorKind, ServerErrorKind};
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError) | ErrorKind::Extension)
}

/// Makes the index of a shard if it is not there.
///
/// # Errors
/// [`Error::Unusable`] with the difference when there is one that is not as the schema says.
pub(crate) async fn ensure(
    connection: &mut MultiplexedConnection,
    schema: &IndexSchema,
    keys: &Keys,
    shard: Shard,
) -> Result<()> {
    // Another process may make it at the same moment, or drop it: whoever comes second looks again.
    for _ in 0..3 {
        match info(connection, &keys.index(shard)).await? {
            Some(live) => return compare(&expected(schema, keys, shard), &properties(&live), &keys.index(shard)),
            None => {
                if tried(connection, &create(schema, keys, shard)).await? {
                    return Ok(());
                }
            }
        }
    }
    Err(unusable(format!("index {} can neither be made nor read", keys.index(shard)), None))
}

/// `FT.INFO`, or `None` when there is no such index.
pub(crate) async fn info(connection: &mut MultiplexedConnection, index: &str) -> Result<Option<Value>> {
    match redis::cmd("FT.INFO").arg(index).query_async::<Value>(connection).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if is_refusal(&error) => Ok(None),
        Err(error) => Err(backend("connect", error)),
    }
}

/// Whether the index holds all there is: after a restart with data it is filled again beside what else goes on.
pub(crate) fn is_complete(info: &Value) -> bool {
    let busy = ["indexing", "backfill_in_progress"];
    !pairs(info).any(|(name, value)| busy.contains(&name) && !matches!(scalar(value).as_deref(), Some("0") | None))
}

fn create(schema: &IndexSchema, keys: &Keys, shard: Shard) -> Cmd {
    let mut command = redis::cmd("FT.CREATE");
    command.arg(keys.index(shard)).arg("ON").arg("HASH").arg("PREFIX").arg(1).arg(keys.entries(shard)).arg("SCHEMA");
    for tag in [GROUP, SCOPE, LINKS] {
        command.arg(tag).arg("TAG").arg("CASESENSITIVE");
    }
    command.arg(EXPIRES).arg("NUMERIC");
    for field in &schema.fields {
        command.arg(&field.name);
        match &field.kind {
            FieldKind::Numeric => command.arg("NUMERIC"),
            FieldKind::Text => command.arg("TEXT"),
            FieldKind::Tag { separator, case_sensitive } => {
                command.arg("TAG").arg("SEPARATOR").arg(separator.to_string());
                command.arg(case_sensitive.then_some("CASESENSITIVE"))
            }
        };
    }
    let mut vector = vec!["TYPE".to_owned(), "FLOAT32".into(), "DIM".into(), schema.vector.dimensions.to_string()];
    vector.extend(["DISTANCE_METRIC".into(), "COSINE".into()]);
    let algorithm = match schema.vector.algorithm {
        Algorithm::Flat => "FLAT",
        Algorithm::Hnsw { m, ef_construction, .. } => {
            vector.extend(["M".into(), m.to_string(), "EF_CONSTRUCTION".into(), ef_construction.to_string()]);
            "HNSW"
        }
    };
    command.arg(&schema.vector.name).arg("VECTOR").arg(algorithm).arg(vector.len()).arg(vector);
    command
}

fn expected(schema: &IndexSchema, keys: &Keys, shard: Shard) -> Properties {
    let mut expected = Properties::from([("prefix".to_owned(), keys.entries(shard))]);
    let mut put = |field: &str, property: &str, value: &str| {
        expected.insert(format!("{field}.{property}"), value.to_lowercase());
    };
    for tag in [GROUP, SCOPE, LINKS] {
        put(tag, "type", "tag");
    }
    put(EXPIRES, "type", "numeric");
    for field in &schema.fields {
        let kind = match field.kind {
            FieldKind::Numeric => "numeric",
            FieldKind::Text => "text",
            FieldKind::Tag { .. } => "tag",
        };
        put(&field.name, "type", kind);
    }
    let name = &schema.vector.name;
    put(name, "type", "vector");
    put(name, "dims", &schema.vector.dimensions.to_string());
    put(name, "datatype", "float32");
    put(name, "distance_metric", "cosine");
    match schema.vector.algorithm {
        Algorithm::Flat => put(name, "algorithm", "flat"),
        Algorithm::Hnsw { m, ef_construction, .. } => {
            put(name, "algorithm", "hnsw");
            put(name, "m", &m.to_string());
            put(name, "ef_construction", &ef_construction.to_string());
        }
    }
    expected
}

/// What a live index says of itself, in the schema's words. Servers differ in what they say.
fn properties(info: &Value) -> Properties {
    let mut properties = Properties::new();
    for (name, value) in pairs(info) {
        match (name, value) {
            ("index_definition", definition) => {
                let prefixes = pairs(definition).find(|(name, _)| *name == "prefixes");
                if let Some((_, Value::Array(prefixes))) = prefixes {
                    let prefixes: Vec<_> = prefixes.iter().filter_map(scalar).collect();
                    properties.insert("prefix".into(), prefixes.join(", "));
                }
            }
            ("attributes", Value::Array(attributes)) => {
                for attribute in attributes {
                    let named = pairs(attribute).find(|(name, _)| *name == "identifier");
                    if let Some(field) = named.and_then(|(_, value)| scalar(value)) {
                        describe(&field, attribute, &mut properties);
                    }
                }
            }
            _ => {}
        }
    }
    properties
}

fn describe(field: &str, attribute: &Value, properties: &mut Properties) {
    for (name, value) in pairs(attribute) {
        let property = match name.to_lowercase().as_str() {
            "type" => "type",
            // Valkey's words after Redis's.
            "dim" | "dimensions" => "dims",
            "data_type" => "datatype",
            "distance_metric" => "distance_metric",
            "algorithm" | "name" => "algorithm",
            "m" => "m",
            "ef_construction" => "ef_construction",
            _ => {
                if matches!(value, Value::Array(_)) {
                    describe(field, value, properties);
                }
                continue;
            }
        };
        match scalar(value) {
            Some(text) => {
                properties.insert(format!("{field}.{property}"), text.to_lowercase());
            }
            None => describe(field, value, properties),
        }
    }
}

/// Names and values of a list in which they alternate. Words without a value, such as `CASESENSITIVE`, come last.
fn pairs(list: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let items: &[Value] = if let Value::Array(items) = list { items } else { &[] };
    items.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, &pair[1])))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Int(number) => Some(number.to_string()),
        other => text(other).map(str::to_owned),
    }
}

/// Refuses an index that is not as expected. What a server does not say is not compared, but every field must be there.
fn compare(expected: &Properties, live: &Properties, index: &str) -> Result<()> {
    let said = |property: &str| live.get(property).map_or("absent", String::as_str);
    let mut differences: Vec<String> = expected
        .iter()
        .filter(|(property, wanted)| match live.get(*property) {
            Some(has) => has != *wanted,
            None => property.ends_with(".type"),
        })
        .map(|(property, wanted)| format!("  {property}: {wanted} in the schema, {} in the index", said(property)))
        .collect();
    let unknown = live.iter().filter(|(name, _)| name.ends_with(".type") && !expected.contains_key(*name));
    differences.extend(unknown.map(|(name, has)| format!("  {name}: absent in the schema, {has} in the index")));
    if differences.is_empty() {
        return Ok(());
    }
    let differences = differences.join("\n");
    Err::<(), Error>(unusable(
        format!(
            "index {index} differs from the schema; drop it (the cache begins empty) or name another:\n{differences}"
        ),
        None,
    ))
}

#[cfg(test)]
mod tests {
    use memory_core::EmbeddingSpace;

    use super::*;
    use crate::query::shown;
    use crate::schema::IndexField;

    fn schema(entries: u64) -> IndexSchema {
        let mut schema = IndexSchema::sized(8, entries);
        schema.fields = vec![
            IndexField { name: "topic".into(), kind: FieldKind::Tag { separator: '|', case_sensitive: false } },
            IndexField { name: "price".into(), kind: FieldKind::Numeric },
        ];
        schema
    }

    fn keys(schema: &IndexSchema) -> Keys {
        Keys::new(schema, 1, &EmbeddingSpace::new("m", "1", 8).unwrap())
    }

    #[test]
    fn the_index_is_the_common_subset() {
        let of = |schema: IndexSchema| shown(&create(&schema, &keys(&schema), keys(&schema).shards().next().unwrap()));
        insta::assert_snapshot!([of(schema(100_000)), of(IndexSchema::sized(8, 1))].join("\n"), @"
        FT.CREATE agent_memory:2:{00} ON HASH PREFIX 1 agent_memory:2:{00}:e: SCHEMA _group TAG CASESENSITIVE _scope TAG CASESENSITIVE _links TAG CASESENSITIVE _expires NUMERIC topic TAG SEPARATOR | price NUMERIC prompt_vector VECTOR HNSW 10 TYPE FLOAT32 DIM 8 DISTANCE_METRIC COSINE M 16 EF_CONSTRUCTION 200
        FT.CREATE agent_memory:2:{00} ON HASH PREFIX 1 agent_memory:2:{00}:e: SCHEMA _group TAG CASESENSITIVE _scope TAG CASESENSITIVE _links TAG CASESENSITIVE _expires NUMERIC prompt_vector VECTOR FLAT 6 TYPE FLOAT32 DIM 8 DISTANCE_METRIC COSINE
        ");
    }

    #[test]
    fn a_difference_is_shown_property_by_property() {
        let shard = keys(&schema(1)).shards().next().unwrap();
        let of = |schema: &IndexSchema| expected(schema, &keys(schema), shard);
        let wanted = of(&schema(100_000));
        assert!(compare(&wanted, &wanted, "i").is_ok());
        let mut other = schema(1);
        other.vector.dimensions = 9;
        other.fields.remove(0);
        other.fields.push(IndexField { name: "body".into(), kind: FieldKind::Text });
        insta::assert_snapshot!(compare(&wanted, &of(&other), "i").unwrap_err(), @"
        redis: index i differs from the schema; drop it (the cache begins empty) or name another:
          prompt_vector.algorithm: hnsw in the schema, flat in the index
          prompt_vector.dims: 8 in the schema, 9 in the index
          topic.type: tag in the schema, absent in the index
          body.type: absent in the schema, text in the index
        ");
    }

    /// The shape that valkey-search documents: what belongs to the vector is a list in the list.
    #[test]
    fn valkey_says_it_in_other_words() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let list = |items: &[Value]| Value::Array(items.to_vec());
        let vector = list(&[
            bulk("identifier"),
            bulk("v"),
            bulk("type"),
            bulk("VECTOR"),
            bulk("index"),
            list(&[
                bulk("dimensions"),
                Value::Int(8),
                bulk("distance_metric"),
                bulk("COSINE"),
                bulk("data_type"),
                bulk("FLOAT32"),
                bulk("algorithm"),
                list(&[
                    bulk("name"),
                    bulk("HNSW"),
                    bulk("m"),
                    Value::Int(16),
                    bulk("ef_construction"),
                    Value::Int(200),
                ]),
            ]),
        ]);
        let info = list(&[bulk("backfill_in_progress"), bulk("1"), bulk("attributes"), list(&[vector])]);
        let shown: Vec<_> = properties(&info).iter().map(|(name, value)| format!("{name}={value}")).collect();
        insta::assert_snapshot!(shown.join(" "), @"v.algorithm=hnsw v.datatype=float32 v.dims=8 v.distance_metric=cosine v.ef_construction=200 v.m=16 v.type=vector");
        assert!(!is_complete(&info));
    }
}
