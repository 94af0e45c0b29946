//! The JSON Schema of the configuration file, made from the list of settings.

use serde_json::{Value, json};

use super::list::SETTINGS;
use super::setting::{Kind, Setting};

/// The schema, as editors read it.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = section();
    for setting in SETTINGS {
        let mut place = &mut schema;
        let mut names = setting.key.split('.').peekable();
        while let Some(name) = names.next() {
            place = &mut place["properties"][name];
            if place.is_null() {
                *place = if names.peek().is_some() { section() } else { property(setting) };
            }
        }
    }
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("The configuration of Orchestra Memory");
    schema
}

fn section() -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": {}})
}

fn property(setting: &Setting) -> Value {
    let mut property = match setting.kind {
        Kind::Text(_) | Kind::Path(_) | Kind::Address => json!({"type": "string", "minLength": 1}),
        Kind::Secret => secret(),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Integer(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Number(least, most, _) => json!({"type": "number", "minimum": least, "maximum": most}),
        Kind::Choice(choices) => {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            json!({"type": "string", "enum": names})
        }
        Kind::List(_) => json!({"type": "array", "items": {"type": "string"}}),
    };
    property["description"] = json!(format!("{} Variable: {}", setting.about, setting.variable()));
    if let Some(default) = setting.default.and_then(|default| setting.parse(default).ok()) {
        property["default"] = default.to_json();
    }
    property
}

fn secret() -> Value {
    let reference = |kind: &str, pattern: &str| {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": [kind],
            "properties": {kind: {"type": "string", "pattern": pattern}},
        })
    };
    json!({"oneOf": [
        {"type": "string", "minLength": 1},
        reference("env", "^[^=]+$"),
        reference("file", "."),
        reference("secret_manager", "^projects/[^/]+/secrets/[^/]+/versions/[^/]+$"),
    ]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_its_place_in_the_schema() {
        let schema = json_schema();
        for setting in SETTINGS {
            let pointer = format!("/properties/{}", setting.key.replace('.', "/properties/"));
            let property = schema.pointer(&pointer).unwrap_or(&Value::Null);
            assert!(property["description"].as_str().is_some_and(|text| text.contains(setting.about)), "{pointer}");
        }
        let shards = &schema["properties"]["redis"]["properties"]["shards"];
        assert_eq!((&shards["minimum"], &shards["maximum"], &shards["default"]), (&json!(1), &json!(1000), &json!(1)));
        assert_eq!(schema["properties"]["redis"]["additionalProperties"], json!(false));
    }
}
