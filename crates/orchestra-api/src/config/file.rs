//! The configuration file, read along the list of settings, so that an error has its line.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use memory_core::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::list::SETTINGS;
use super::names;
use super::secret::Secret;
use super::setting::{Kind, Setting, Value};

/// Reads the file. A path in it that is relative is so to its folder.
///
/// # Errors
/// [`Error::Invalid`], with the file, its line where there is one, what was given and what is allowed.
pub fn read(path: &Path) -> Result<BTreeMap<&'static str, Value>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::invalid("config", path.display(), format!("a file of text: {error}")))?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<BTreeMap<&'static str, Value>> {
    let reader = Reader {
        folder: path.parent().unwrap_or(Path::new("")),
        read: RefCell::default(),
        seen: RefCell::default(),
        refused: RefCell::default(),
    };
    let file = path.display();
    let is_blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(is_blank) {
        return Ok(BTreeMap::new());
    }
    let outcome =
        Section { reader: &reader, prefix: String::new() }.deserialize(yaml_serde::Deserializer::from_str(text));
    let Err(error) = outcome else { return Ok(reader.read.into_inner()) };
    let line = error.location().map(|place| format!(":{}", place.line())).unwrap_or_default();
    Err(match reader.refused.into_inner() {
        Some(Refused { field, given, allowed }) => Error::invalid(format!("{file}{line}: {field}"), given, allowed),
        // The library's messages name kinds of values, never a value of ours.
        None => {
            let told = error.to_string();
            Error::Invalid {
                field: format!("{file}{line}"),
                given: told.split(" at line ").next().unwrap_or_default().to_owned(),
                allowed: "a file of settings, as `orchestra config schema` says".into(),
            }
        }
    })
}

struct Reader<'a> {
    folder: &'a Path,
    read: RefCell<BTreeMap<&'static str, Value>>,
    seen: RefCell<BTreeSet<String>>,
    refused: RefCell<Option<Refused>>,
}

struct Refused {
    field: String,
    given: String,
    allowed: String,
}

impl Reader<'_> {
    /// Keeps the refusal for when the library says which line it was at.
    fn refuse<E: serde::de::Error>(&self, field: &str, given: impl ToString, allowed: impl Into<String>) -> E {
        let refused = Refused { field: field.into(), given: given.to_string(), allowed: allowed.into() };
        *self.refused.borrow_mut() = Some(refused);
        E::custom("refused")
    }
}

/// The entries of the file or of a section of it.
struct Section<'r, 'a> {
    reader: &'r Reader<'a>,
    prefix: String,
}

impl<'de> DeserializeSeed<'de> for Section<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Section<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings, each as `name: value`")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        // The default message would show the text.
        Err(E::custom("text where there should be settings, each as `name: value`"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key_seed(Key { section: &self })? {
            match names::find(&key) {
                Some(setting) => {
                    let value = entries.next_value_seed(Entry { reader: self.reader, setting })?;
                    self.reader.read.borrow_mut().insert(setting.key, value);
                }
                None => entries.next_value_seed(Section { reader: self.reader, prefix: format!("{key}.") })?,
            }
        }
        Ok(())
    }
}

/// A name in a section. Gives the key: of a setting, or of a section.
struct Key<'s, 'r, 'a> {
    section: &'s Section<'r, 'a>,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_, '_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_, '_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a setting")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<String, E> {
        let Section { reader, prefix } = self.section;
        let key = format!("{prefix}{name}");
        let section = format!("{key}.");
        if !SETTINGS.iter().any(|setting| setting.key == key || setting.key.starts_with(&section)) {
            return Err(reader.refuse(&key, "an unknown setting", suggestion(prefix, name)));
        }
        if !reader.seen.borrow_mut().insert(key.clone()) {
            return Err(reader.refuse(&key, "the same name twice", "once"));
        }
        Ok(key)
    }
}

/// What was probably meant.
fn suggestion(prefix: &str, name: &str) -> String {
    let here = SETTINGS.iter().filter_map(|setting| setting.key.strip_prefix(prefix)?.split('.').next());
    let elsewhere = || SETTINGS.iter().find(|setting| setting.key.rsplit('.').next() == Some(name));
    match (names::nearest(name, here), elsewhere()) {
        (Some(known), _) => format!("{prefix}{known}, which is the nearest"),
        (_, Some(setting)) => format!("{}, which is the nearest", setting.key),
        _ => "what `orchestra config schema` lists".into(),
    }
}

/// The value of a setting.
struct Entry<'r, 'a> {
    reader: &'r Reader<'a>,
    setting: &'static Setting,
}

impl Entry<'_, '_> {
    fn refuse<E: serde::de::Error>(&self, given: impl ToString, allowed: impl Into<String>) -> E {
        self.reader.refuse(self.setting.key, given, allowed)
    }

    fn is_secret(&self) -> bool {
        matches!(self.setting.kind, Kind::Secret)
    }

    /// What is neither text nor a part of a reference.
    fn no_text<E: serde::de::Error>(&self, given: &str) -> E {
        let allowed =
            if self.is_secret() { format!("{}, as text in quotes", Secret::ALLOWED) } else { self.setting.allowed() };
        self.refuse(given, allowed)
    }
}

impl<'de> DeserializeSeed<'de> for Entry<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.setting.kind {
            Kind::Secret | Kind::List(_) => deserializer.deserialize_any(self),
            // Whatever it looks like: a tenant 007 is no number.
            _ => deserializer.deserialize_str(self),
        }
    }
}

impl<'de> Visitor<'de> for Entry<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.setting.allowed())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        let parsed = self.setting.parse(text);
        let given = || match text {
            "" => "nothing".into(),
            _ if self.is_secret() => "what is none of them".into(),
            text => text.to_owned(),
        };
        match parsed.map_err(|allowed| self.refuse(given(), allowed))? {
            Value::Path(path) => Ok(Value::Path(self.reader.folder.join(path))),
            value => Ok(value),
        }
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Err(self.no_text("nothing"))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Value, E> {
        Err(self.no_text("a yes or no"))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Value, E> {
        Err(self.no_text("a number"))
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Value, E> {
        Err(self.no_text("a number"))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value, E> {
        Err(self.no_text("a number"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        if self.is_secret() {
            return Err(self.no_text("a list"));
        }
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        if !self.is_secret() {
            return Err(self.no_text("a section"));
        }
        let entry: Option<(String, String)> = entries.next_entry()?;
        let only = entries.next_key::<String>()?.is_none();
        let Some((kind, place)) = entry.filter(|_| only) else {
            return Err(self.no_text("not one reference"));
        };
        match Secret::reference(&kind, &place) {
            None => Err(self.refuse(format!("{{{kind}: …}}"), Secret::ALLOWED)),
            Some(Err(allowed)) => Err(self.refuse(format!("{{{kind}: …}}"), allowed)),
            Some(Ok(Secret::File(path))) => Ok(Value::Secret(Secret::File(self.reader.folder.join(path)))),
            Some(Ok(secret)) => Ok(Value::Secret(secret)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<&'static str, Value>, String> {
        parse(text, Path::new("etc/orchestra.yaml")).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_read_with_their_sections() {
        let file = "\
tenant: 007
long_term_enabled: no
redis:
  url: {env: REDIS}
  shards: 16
  nodes: [a:1, b:2]
  index_schema: agent_memory.yaml
alloydb:
  password:
    file: password
  index: {kind: hnsw}
";
        let read = read(file).unwrap();
        let shown: Vec<String> = read.iter().map(|(key, value)| format!("{key}={}", value.to_json())).collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        alloydb.index.kind="hnsw"
        alloydb.password={"file":"etc/password"}
        long_term_enabled=false
        redis.index_schema="etc/agent_memory.yaml"
        redis.nodes=["a:1","b:2"]
        redis.shards=16
        redis.url={"env":"REDIS"}
        tenant="007"
        "#);
    }

    #[test]
    fn the_readmes_example_is_read() {
        let readme = include_str!("../../../../README.md");
        let example = readme.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        let read = read(example).unwrap();
        assert!(read.contains_key("redis.url") && read.contains_key("alloydb.host"), "{read:?}");
    }

    #[test]
    fn an_empty_file_says_nothing() {
        for text in ["", "# nothing\n\n", "redis:\n"] {
            assert!(read(text).unwrap().is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_no_secret() {
        let mistakes = [
            "a: 1",
            "tenat: acme",
            "shards: 4",
            "redis:\n  shard: 4",
            "redis:\n  shards: 0",
            "redis: {shards: many}",
            "tenant: a\ntenant: b",
            "tenant:",
            "tenant: [a]",
            "redis: hunter2",
            "redis:\n  password: 12345",
            "redis:\n  password: {vault: hunter2}",
            "redis:\n  password: [hunter2]",
            "redis:\n  password: {env: A, file: B}",
            "redis:\n  nodes:\n  - {}",
            "alloydb:\n  tls: hard",
            "tenant: \"hunter2",
        ];
        let told: Vec<String> = mistakes.iter().map(|text| read(text).unwrap_err()).collect();
        let told = told.join("\n");
        assert!(!told.contains("hunter2") && !told.contains("12345"), "{told}");
        insta::assert_snapshot!(told);
    }
}
