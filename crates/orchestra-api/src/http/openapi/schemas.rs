//! The schemas of the types on the wire, as programs that know nothing of Rust read them.

use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::text;

/// The schemas of what is sent and of what is answered. A type that is both looks the same both ways.
pub struct Schemas {
    /// Of what is sent.
    pub sent: SchemaGenerator,
    /// Of what is answered.
    pub answered: SchemaGenerator,
}

impl Schemas {
    /// None yet.
    pub fn new() -> Self {
        let settings = || {
            let settings = SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            });
            settings.with_transform(in_plain_words)
        };
        Self {
            sent: settings().for_deserialize().into_generator(),
            answered: settings().for_serialize().into_generator(),
        }
    }

    /// All of them by their names.
    pub fn merged(mut self) -> Map<String, Value> {
        let mut all = self.sent.take_definitions(true);
        for (name, schema) in self.answered.take_definitions(true) {
            if let Some(sent) = all.get(&name) {
                debug_assert_eq!(*sent, schema, "{name} is two schemas");
            }
            all.insert(name, schema);
        }
        all.sort_keys();
        all
    }
}

/// Takes out of a schema what only a Rust program can read.
pub fn in_plain_words(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = text::plain(description);
    }
    // What is `null` is left out, and an `f32` is not the number that people wrote.
    let is_float = schema.get("format").is_some_and(|format| format == "float");
    if is_float || schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    transform_subschemas(&mut in_plain_words, schema);
    name_the_choices(schema);
}

/// Makes alternatives that are one text each into a list of these texts, with what each means in the description: so
/// programs that make clients know an enumeration.
fn name_the_choices(schema: &mut Schema) {
    let choices: Option<Vec<(&str, &str)>> = schema.get("oneOf").and_then(Value::as_array).and_then(|all| {
        all.iter().map(|one| Some((one["const"].as_str()?, one["description"].as_str().unwrap_or_default()))).collect()
    });
    let Some(choices) = choices else { return };
    let names: Vec<Value> = choices.iter().map(|(name, _)| json!(name)).collect();
    let told = choices.iter().filter(|(_, meaning)| !meaning.is_empty());
    let lines: Vec<String> = told.map(|(name, meaning)| format!("- `{name}`: {meaning}")).collect();
    let about = schema.get("description").and_then(Value::as_str).map(str::to_owned);
    let description = about.into_iter().chain((!lines.is_empty()).then(|| lines.join("\n"))).collect::<Vec<_>>();
    schema.remove("oneOf");
    schema.insert("type".into(), json!("string"));
    schema.insert("enum".into(), json!(names));
    if !description.is_empty() {
        schema.insert("description".into(), json!(description.join("\n\n")));
    }
}
