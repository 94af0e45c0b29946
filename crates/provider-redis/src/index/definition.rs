//! What an index is made as, what it says of itself, and how the two compare.

use std::collections::BTreeMap;

use memory_core::{Error, Result};
use redis::{Cmd, Value};

use crate::entry::{EXPIRES, GROUP, LINKS, SCOPE};
use crate::error::unusable;
use crate::keys::{Keys, Shard};
use crate::query::text;
use crate::schema::{Algorithm, DEFAULT_EF_RUNTIME, DataType, FieldKind, IndexField, IndexSchema, VectorField};

/// An index as text: `field.property` and its value, in the words of the schema.
pub(crate) type Properties = BTreeMap<String, String>;

const VERSION_DIGITS: usize = 16;

/// The name of the index itself, also when it was asked for by its alias.
pub(crate) fn name_of(info: &Value) -> Option<&str> {
    pairs(info).find(|(name, _)| *name == "index_name").and_then(|(_, value)| text(value))
}

/// Whether the index holds all there is: after a restart with data it is filled again beside what else goes on.
pub(crate) fn is_complete(info: &Value) -> bool {
    let busy = ["indexing", "backfill_in_progress"];
    !pairs(info).any(|(name, value)| busy.contains(&name) && !matches!(scalar(value).as_deref(), Some("0") | None))
}

/// How much of all there is the index holds, `0.0..=1.0`.
pub(crate) fn filled(info: &Value) -> f32 {
    let percent = pairs(info).find(|(name, _)| *name == "percent_indexed");
    percent.and_then(|(_, value)| scalar(value)?.parse().ok()).unwrap_or(1.0)
}

/// Makes an index of this name over the entries of a shard.
pub(crate) fn create(name: &str, schema: &IndexSchema, keys: &Keys, shard: Shard) -> Cmd {
    let mut command = redis::cmd("FT.CREATE");
    command.arg(name).arg("ON").arg("HASH").arg("PREFIX").arg(1).arg(keys.entries(shard)).arg("SCHEMA");
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
    let data_type = schema.vector.data_type;
    let mut vector = vec!["TYPE".to_owned(), data_type.name().to_uppercase()];
    vector.extend(["DIM".into(), schema.vector.dimensions.to_string(), "DISTANCE_METRIC".into(), "COSINE".into()]);
    let algorithm = match schema.vector.algorithm {
        Algorithm::Flat => "FLAT",
        Algorithm::Hnsw { m, ef_construction, .. } => {
            vector.extend(["M".into(), m.to_string(), "EF_CONSTRUCTION".into(), ef_construction.to_string()]);
            "HNSW"
        }
    };
    command.arg(schema.vector.stored());
    // Searches name it alike, whatever its type.
    if data_type != DataType::Float32 {
        command.arg("AS").arg(&schema.vector.name);
    }
    command.arg("VECTOR").arg(algorithm).arg(vector.len()).arg(vector);
    command
}

/// A name for what [`create`] makes: of two schemas that make the same index it is the same.
pub(crate) fn version(schema: &IndexSchema, keys: &Keys, shard: Shard) -> String {
    let hash = blake3::hash(&create("", schema, keys, shard).get_packed_command());
    hash.to_hex()[..VERSION_DIGITS].to_owned()
}

/// The version that is in the name of an index.
pub(crate) fn version_of<'a>(index: &'a str, alias: &str) -> Option<&'a str> {
    let version = index.strip_prefix(alias)?.strip_prefix(':')?;
    (version.len() == VERSION_DIGITS && version.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(version)
}

/// What an index of this schema says of itself.
pub(crate) fn expected(schema: &IndexSchema, keys: &Keys, shard: Shard) -> Properties {
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
            FieldKind::Tag { separator, .. } => {
                put(&field.name, "separator", &separator.to_string());
                "tag"
            }
        };
        put(&field.name, "type", kind);
    }
    let name = &schema.vector.name;
    put(name, "type", "vector");
    put(name, "dims", &schema.vector.dimensions.to_string());
    put(name, "datatype", schema.vector.data_type.name());
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
pub(crate) fn properties(info: &Value) -> Properties {
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
                    let named = pairs(attribute).find(|(name, _)| *name == "attribute");
                    let named = named.or_else(|| pairs(attribute).find(|(name, _)| *name == "identifier"));
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
            "separator" => "separator",
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
pub(crate) fn compare(expected: &Properties, live: &Properties, index: &str, aliases: bool) -> Result<()> {
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
    let way_out = if !is_rebuildable(expected, live) {
        "other vectors or keys are needed, so drop it (the cache begins empty) or name another"
    } else if aliases {
        "rebuild it, which keeps the entries and is done while it is used, or name another"
    } else {
        "this server cannot rebuild an index while it is used, so drop it (the cache begins empty) or name another"
    };
    let differences = differences.join("\n");
    Err::<(), Error>(unusable(format!("index {index} differs from the schema; {way_out}:\n{differences}"), None))
}

/// Whether the entries of the one index can be those of the other: same keys, and vectors of the same name and dimensions.
pub(crate) fn is_rebuildable(expected: &Properties, live: &Properties) -> bool {
    let fixed = |property: &&String| *property == "prefix" || property.ends_with(".dims");
    expected.keys().filter(fixed).all(|property| live.get(property) == expected.get(property))
}

/// The schema of a live index. What the index does not say is as in `like`: its names, and the effort of a search.
pub(crate) fn schema_of(info: &Value, like: &IndexSchema) -> Option<IndexSchema> {
    let properties = properties(info);
    let get = |field: &str, property: &str| properties.get(&format!("{field}.{property}")).map(String::as_str);
    let number = |field: &str, property: &str| get(field, property)?.parse::<u32>().ok();
    let (mut vector, mut fields) = (None, Vec::new());
    for (name, kind) in &properties {
        let Some(name) = name.strip_suffix(".type").filter(|name| !name.starts_with('_')) else { continue };
        let kind = match kind.as_str() {
            "numeric" => FieldKind::Numeric,
            "text" => FieldKind::Text,
            "tag" => {
                let separator = get(name, "separator").and_then(|text| text.chars().next()).unwrap_or(',');
                FieldKind::Tag { separator, case_sensitive: is_case_sensitive(info, name) }
            }
            "vector" => {
                let data_type = get(name, "datatype")?;
                let algorithm = match get(name, "algorithm")? {
                    "flat" => Algorithm::Flat,
                    _ => Algorithm::Hnsw {
                        m: number(name, "m")?,
                        ef_construction: number(name, "ef_construction")?,
                        ef_runtime: match like.vector.algorithm {
                            Algorithm::Hnsw { ef_runtime, .. } => ef_runtime,
                            Algorithm::Flat => DEFAULT_EF_RUNTIME,
                        },
                    },
                };
                vector = Some(VectorField {
                    name: name.to_owned(),
                    dimensions: number(name, "dims")?.try_into().ok()?,
                    data_type: DataType::ALL.into_iter().find(|known| known.name() == data_type)?,
                    algorithm,
                });
                continue;
            }
            _ => return None,
        };
        fields.push(IndexField { name: name.to_owned(), kind });
    }
    // In the order of the other, so that equal ones are equal.
    fields.sort_by_key(|field| like.fields.iter().position(|known| known.name == field.name).unwrap_or(usize::MAX));
    Some(IndexSchema { name: like.name.clone(), prefix: like.prefix.clone(), vector: vector?, fields })
}

fn is_case_sensitive(info: &Value, field: &str) -> bool {
    let attributes = pairs(info).find(|(name, _)| *name == "attributes");
    let Some((_, Value::Array(attributes))) = attributes else { return false };
    attributes.iter().any(|attribute| {
        let named = pairs(attribute).any(|(name, value)| name == "attribute" && text(value) == Some(field));
        let Value::Array(words) = attribute else { return false };
        named && words.iter().any(|word| text(word) == Some("CASESENSITIVE"))
    })
}

#[cfg(test)]
mod tests {
    use memory_core::EmbeddingSpace;

    use super::*;
    use crate::query::shown;

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
        let of = |schema: IndexSchema| {
            shown(&create("NAME", &schema, &keys(&schema), keys(&schema).shards().next().unwrap()))
        };
        let mut half = IndexSchema::sized(8, 1);
        half.vector.data_type = DataType::Float16;
        insta::assert_snapshot!([of(schema(100_000)), of(IndexSchema::sized(8, 1)), of(half)].join("\n"), @"
        FT.CREATE NAME ON HASH PREFIX 1 agent_memory:2:{00}:e: SCHEMA _group TAG CASESENSITIVE _scope TAG CASESENSITIVE _links TAG CASESENSITIVE _expires NUMERIC topic TAG SEPARATOR | price NUMERIC prompt_vector VECTOR HNSW 10 TYPE FLOAT32 DIM 8 DISTANCE_METRIC COSINE M 16 EF_CONSTRUCTION 200
        FT.CREATE NAME ON HASH PREFIX 1 agent_memory:2:{00}:e: SCHEMA _group TAG CASESENSITIVE _scope TAG CASESENSITIVE _links TAG CASESENSITIVE _expires NUMERIC prompt_vector VECTOR FLAT 6 TYPE FLOAT32 DIM 8 DISTANCE_METRIC COSINE
        FT.CREATE NAME ON HASH PREFIX 1 agent_memory:2:{00}:e: SCHEMA _group TAG CASESENSITIVE _scope TAG CASESENSITIVE _links TAG CASESENSITIVE _expires NUMERIC _prompt_vector_float16 AS prompt_vector VECTOR FLAT 6 TYPE FLOAT16 DIM 8 DISTANCE_METRIC COSINE
        ");
    }

    #[test]
    fn a_difference_is_shown_property_by_property() {
        let shard = keys(&schema(1)).shards().next().unwrap();
        let of = |schema: &IndexSchema| expected(schema, &keys(schema), shard);
        let wanted = of(&schema(100_000));
        assert!(compare(&wanted, &wanted, "i", true).is_ok());
        let mut other = schema(1);
        other.vector.dimensions = 9;
        other.fields.remove(0);
        other.fields.push(IndexField { name: "body".into(), kind: FieldKind::Text });
        insta::assert_snapshot!(compare(&wanted, &of(&other), "i", true).unwrap_err(), @"
        redis: index i differs from the schema; other vectors or keys are needed, so drop it (the cache begins empty) or name another:
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
