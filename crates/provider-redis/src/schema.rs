//! The index schema, read from `RedisVL`'s YAML.

use std::path::Path;

use memory_core::{Error, Result};
use serde::Deserialize;
use yaml_serde::{Mapping, Value};

/// The usual name of the schema's file.
pub const DEFAULT_SCHEMA_FILE: &str = "agent_memory.yaml";

/// Up to how many entries all are compared. Putting an entry into a graph costs ten times a plain store, and up to some
/// 30,500 entries `RediSearch` 2.10 leaves the graph aside in a search within a large scope: it compares all the same, and
/// takes longer than without a graph.
const FLAT_UP_TO: u64 = 30_000;
/// The effort of a search in a graph, unless told otherwise. The servers' own default of 10 finds 85 % of the sure hits
/// among 100,000 entries.
pub(crate) const DEFAULT_EF_RUNTIME: u32 = 100;

/// The index of the cache: its name, the prefix of its keys, its vector, and what of an entry's metadata is indexed.
///
/// The provider adds its own fields, whose names begin with an underscore.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexSchema {
    /// The index's name, before its version and shard.
    pub name: String,
    /// What the keys of entries begin with.
    pub prefix: String,
    /// The vector.
    pub vector: VectorField,
    /// Other fields, filled from an entry: `prompt`, `response`, `inserted_at` (Unix seconds), else its metadata.
    pub fields: Vec<IndexField>,
}

/// The indexed vector, compared by cosine.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorField {
    /// The field.
    pub name: String,
    /// Its dimensions.
    pub dimensions: usize,
    /// How exactly each number is kept.
    pub data_type: DataType,
    /// How it is searched.
    pub algorithm: Algorithm,
}

/// How exactly the numbers of a vector are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// 32 bits, on every server.
    Float32,
    /// 16 bits (IEEE 754 binary16), where the server has it: half the memory. Numbers are rounded to 11 bits, in the entry
    /// and in the request, and once more when the server makes vectors unit ones: the similarity that decides is off by up
    /// to 3e-3 at worst, by less than 1e-4 for vectors whose numbers are of about one size, as those of models are.
    Float16,
}

impl DataType {
    pub(crate) const ALL: [Self; 2] = [Self::Float32, Self::Float16];

    /// Its name in schemas, which is also the server's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
        }
    }
}

impl VectorField {
    /// The field of an entry that the vector is in. Each data type has its own, so that an entry can have both while the
    /// index is made again with another.
    pub(crate) fn stored(&self) -> String {
        match self.data_type {
            DataType::Float32 => self.name.clone(),
            other => format!("_{}_{}", self.name, other.name()),
        }
    }
}

/// How vectors are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// All are compared: exact, for small caches.
    Flat,
    /// A graph (HNSW, Malkov and Yashunin 2018): approximate, for large ones.
    Hnsw {
        /// Edges of a node.
        m: u32,
        /// Effort of putting a vector in.
        ef_construction: u32,
        /// Effort of a search.
        ef_runtime: u32,
    },
}

/// A field beside the vector: a tag, number or text that filters of requests can ask for, and that searches of other
/// tools find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexField {
    /// Its name, which is also its name in the metadata.
    pub name: String,
    /// What it holds.
    pub kind: FieldKind,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldKind {
    /// Words, each matched whole.
    Tag {
        /// What stands between two.
        separator: char,
        /// Whether case counts.
        case_sensitive: bool,
    },
    /// A number.
    Numeric,
    /// Text to search in; not every server has it.
    Text,
}

impl IndexSchema {
    /// The schema for vectors of `dimensions` and about `expected_entries` at once.
    #[must_use]
    pub fn sized(dimensions: usize, expected_entries: u64) -> Self {
        let algorithm = match expected_entries {
            0..=FLAT_UP_TO => Algorithm::Flat,
            _ => Algorithm::Hnsw { m: 16, ef_construction: 200, ef_runtime: DEFAULT_EF_RUNTIME },
        };
        Self {
            name: "agent_memory".into(),
            prefix: "agent_memory".into(),
            vector: VectorField { name: "prompt_vector".into(), dimensions, data_type: DataType::Float32, algorithm },
            fields: Vec::new(),
        }
    }

    /// Reads a schema from a file, usually [`DEFAULT_SCHEMA_FILE`].
    ///
    /// # Errors
    /// [`Error::Unusable`] when the file cannot be read, else as [`from_yaml`](Self::from_yaml).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| Error::Unusable {
            provider: crate::error::PROVIDER,
            reason: format!("{} cannot be read", path.display()),
            source: Some(error.into()),
        })?;
        Self::from_yaml(&text)
    }

    /// Reads a schema in the format of `RedisVL`'s `IndexSchema`.
    ///
    /// # Errors
    /// [`Error::Unusable`] for what is not a schema or has an unknown field, and [`Error::Invalid`] for what this cache
    /// cannot do. Both name the field.
    pub fn from_yaml(text: &str) -> Result<Self> {
        // The parser's message names the place: path, line and column.
        let file: File = yaml_serde::from_str(text)
            .map_err(|error| crate::error::unusable(format!("the index schema cannot be used: {error}"), None))?;
        let schema = file.schema()?;
        schema.validate()?;
        Ok(schema)
    }

    /// Checks names and numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the field.
    pub fn validate(&self) -> Result<()> {
        for (field, name) in [("index.name", &self.name), ("index.prefix", &self.prefix)] {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
                return Err(invalid(field, name, "1 to 64 letters, digits, _ - . or :"));
            }
        }
        let names = || std::iter::once(&self.vector.name).chain(self.fields.iter().map(|field| &field.name));
        for (at, name) in names().enumerate() {
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if name.len() > 64 || !plain || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                return Err(invalid("fields.name", name, "a letter, then letters, digits or _, at most 64"));
            }
            if names().take(at).any(|earlier| earlier == name) {
                return Err(invalid("fields.name", name, "each name once"));
            }
        }
        if !(1..=memory_core::MAX_DIMENSIONS).contains(&self.vector.dimensions) {
            let allowed = format!("1 to {}", memory_core::MAX_DIMENSIONS);
            return Err(invalid("fields.attrs.dims", self.vector.dimensions, allowed));
        }
        if let Algorithm::Hnsw { m, ef_construction, ef_runtime } = self.vector.algorithm {
            // The bounds of valkey-search, the narrowest of the servers.
            for (name, value, most) in
                [("m", m, 512), ("ef_construction", ef_construction, 4096), ("ef_runtime", ef_runtime, 4096)]
            {
                if !(1..=most).contains(&value) {
                    return Err(invalid(&format!("fields.attrs.{name}"), value, format!("1 to {most}")));
                }
            }
        }
        Ok(())
    }
}

fn invalid(field: &str, given: impl ToString, allowed: impl ToString) -> Error {
    Error::invalid(field, given, allowed.to_string()).within("index_schema")
}

// The wire form.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    version: Option<String>,
    index: FileIndex,
    fields: Vec<FileField>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileIndex {
    name: String,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    key_separator: Option<String>,
    #[serde(default)]
    storage_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileField {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    attrs: Mapping,
}

impl File {
    fn schema(self) -> Result<IndexSchema> {
        let only = |field: &str, given: Option<&str>, allowed: &str| match given {
            Some(given) if !given.eq_ignore_ascii_case(allowed) => Err(invalid(field, given, allowed)),
            _ => Ok(()),
        };
        only("version", self.version.as_deref(), "0.1.0")?;
        only("index.storage_type", self.index.storage_type.as_deref(), "hash")?;
        only("index.key_separator", self.index.key_separator.as_deref(), ":")?;
        let mut vector = None;
        let mut fields = Vec::new();
        for (at, field) in self.fields.into_iter().enumerate() {
            let mut attrs = Attrs { at: format!("fields[{at}].attrs"), left: field.attrs };
            if let Some(path) = field.path {
                return Err(invalid(&format!("fields[{at}].path"), path, "nothing: entries are hashes"));
            }
            let kind = match field.kind.as_str() {
                "vector" if vector.is_some() => {
                    return Err(invalid(&format!("fields[{at}]"), "a second vector", "one vector"));
                }
                "vector" => {
                    vector = Some(VectorField {
                        name: field.name,
                        dimensions: attrs.number("dims", None)? as usize,
                        data_type: attrs.data_type()?,
                        algorithm: attrs.algorithm()?,
                    });
                    attrs.finish()?;
                    continue;
                }
                "tag" => {
                    FieldKind::Tag { separator: attrs.separator()?, case_sensitive: attrs.flag("case_sensitive")? }
                }
                "numeric" => FieldKind::Numeric,
                "text" => FieldKind::Text,
                other => return Err(invalid(&format!("fields[{at}].type"), other, "vector, tag, numeric or text")),
            };
            attrs.finish()?;
            fields.push(IndexField { name: field.name, kind });
        }
        Ok(IndexSchema {
            prefix: self.index.prefix.unwrap_or_else(|| self.index.name.clone()),
            name: self.index.name,
            vector: vector.ok_or_else(|| invalid("fields", "no vector", "one field of type vector"))?,
            fields,
        })
    }
}

/// The attributes of a field. What is not taken out by name is unknown.
struct Attrs {
    at: String,
    left: Mapping,
}

impl Attrs {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    fn number(&mut self, name: &str, default: Option<u32>) -> Result<u32> {
        let value = self.take(name);
        let number = match (&value, default) {
            (None, Some(default)) => Some(default),
            (value, _) => value.as_ref().and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok()),
        };
        number.ok_or_else(|| self.invalid(name, value.as_ref(), "a whole number"))
    }

    fn flag(&mut self, name: &str) -> Result<bool> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            other => Err(self.invalid(name, other.as_ref(), "true or false")),
        }
    }

    fn word(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(word)) => Ok(Some(word)),
            other => Err(self.invalid(name, other.as_ref(), "a word")),
        }
    }

    fn separator(&mut self) -> Result<char> {
        let given = self.word("separator")?.unwrap_or_else(|| ",".into());
        let mut chars = given.chars();
        match (chars.next(), chars.next()) {
            (Some(separator), None) if separator.is_ascii() => Ok(separator),
            _ => Err(self.invalid("separator", Some(&Value::String(given)), "one ASCII character")),
        }
    }

    fn data_type(&mut self) -> Result<DataType> {
        let Some(given) = self.word("datatype")? else { return Ok(DataType::Float32) };
        let known = DataType::ALL.into_iter().find(|known| given.eq_ignore_ascii_case(known.name()));
        known.ok_or_else(|| self.invalid("datatype", Some(&Value::String(given)), "float32 or float16"))
    }

    fn algorithm(&mut self) -> Result<Algorithm> {
        let metric = self.word("distance_metric")?.filter(|given| !given.eq_ignore_ascii_case("cosine"));
        if let Some(given) = metric {
            return Err(self.invalid("distance_metric", Some(&Value::String(given)), "cosine"));
        }
        // Hints that change no answer: how much to set aside, and the slack of range queries, which are not sent.
        for ignored in ["initial_cap", "epsilon"] {
            self.take(ignored);
        }
        match self.word("algorithm")?.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("flat") => {
                self.take("block_size");
                Ok(Algorithm::Flat)
            }
            Some("hnsw") => Ok(Algorithm::Hnsw {
                m: self.number("m", Some(16))?,
                ef_construction: self.number("ef_construction", Some(200))?,
                ef_runtime: self.number("ef_runtime", Some(DEFAULT_EF_RUNTIME))?,
            }),
            Some(other) => Err(self.invalid("algorithm", Some(&Value::String(other.into())), "flat or hnsw")),
        }
    }

    /// Refuses what was not asked for, unless it is switched off.
    fn finish(self) -> Result<()> {
        let unknown = self.left.iter().find(|(_, value)| !matches!(value, Value::Null | Value::Bool(false)));
        match unknown {
            None => Ok(()),
            Some((name, value)) => {
                Err(self.invalid(name.as_str().unwrap_or("?"), Some(value), "not set: it is unknown or unsupported"))
            }
        }
    }

    fn invalid(&self, name: &str, given: Option<&Value>, allowed: &str) -> Error {
        let given = given.map_or("nothing".into(), |value| yaml_serde::to_string(value).unwrap_or_default());
        invalid(&format!("{}.{name}", self.at), given.trim(), allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../agent_memory.yaml");

    #[test]
    fn the_example_is_the_default_for_256_dimensions() {
        assert_eq!(IndexSchema::from_yaml(EXAMPLE).unwrap(), IndexSchema::sized(256, 100_000));
    }

    /// What `RedisVL`'s own semantic cache writes of its schema.
    #[test]
    fn a_file_of_redisvl_loads() {
        let schema = IndexSchema::from_yaml(
            "
version: 0.1.0
index: {name: llmcache, prefix: llmcache, key_separator: ':', storage_type: hash}
fields:
- {name: prompt, type: text, attrs: {sortable: false, weight: null}}
- {name: response, type: text}
- {name: inserted_at, type: numeric, attrs: {sortable: false}}
- {name: topics, type: tag, attrs: {separator: '|', case_sensitive: true}}
- name: prompt_vector
  type: vector
  attrs: {algorithm: flat, datatype: float32, dims: 768, distance_metric: cosine, initial_cap: null, block_size: null}
",
        )
        .unwrap();
        assert_eq!((schema.name.as_str(), schema.vector.dimensions, schema.fields.len()), ("llmcache", 768, 4));
        assert_eq!(schema.vector.algorithm, Algorithm::Flat);
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        let with = |from: &str, to: &str| {
            assert!(EXAMPLE.contains(from), "{from}");
            IndexSchema::from_yaml(&EXAMPLE.replace(from, to)).unwrap_err().to_string()
        };
        insta::assert_snapshot!(
            [
                with("storage_type: hash", "storage_type: json"),
                with("storage_type: hash", "storage: hash"),
                with("name: agent_memory", "name: 'agent {memory}'"),
                with("type: vector", "type: geo"),
                with("dims: 256", "dims: many"),
                with("dims: 256", "dims: 0"),
                with("dims: 256", "sortable: true"),
                with("datatype: float32", "datatype: bfloat16"),
                with("distance_metric: cosine", "distance_metric: l2"),
                with("algorithm: hnsw", "algorithm: svs-vamana"),
                with("m: 16", "m: 16\n      compression: LVQ8"),
                with("name: prompt_vector", "name: _group"),
                IndexSchema::from_yaml("index: {name: a}\nfields: []").unwrap_err().to_string(),
                IndexSchema::from_yaml("- 1").unwrap_err().to_string(),
            ].join("\n"),
            @"
        index_schema.index.storage_type: given json, allowed: hash
        redis: the index schema cannot be used: index: unknown field `storage`, expected one of `name`, `prefix`, `key_separator`, `storage_type` at line 8 column 3
        index_schema.index.name: given agent {memory}, allowed: 1 to 64 letters, digits, _ - . or :
        index_schema.fields[0].type: given geo, allowed: vector, tag, numeric or text
        index_schema.fields[0].attrs.dims: given many, allowed: a whole number
        index_schema.fields.attrs.dims: given 0, allowed: 1 to 4096
        index_schema.fields[0].attrs.dims: given nothing, allowed: a whole number
        index_schema.fields[0].attrs.datatype: given bfloat16, allowed: float32 or float16
        index_schema.fields[0].attrs.distance_metric: given l2, allowed: cosine
        index_schema.fields[0].attrs.algorithm: given svs-vamana, allowed: flat or hnsw
        index_schema.fields[0].attrs.compression: given LVQ8, allowed: not set: it is unknown or unsupported
        index_schema.fields.name: given _group, allowed: a letter, then letters, digits or _, at most 64
        index_schema.fields: given no vector, allowed: one field of type vector
        redis: the index schema cannot be used: invalid type: sequence, expected struct File
        "
        );
    }
}
