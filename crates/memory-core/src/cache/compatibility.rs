//! What must be equal beside the prompt, and its fingerprint.

use serde::{Deserialize, Serialize};

/// What must be equal, beside the prompt, for an answer to be the answer: who answered, under which instructions, with
/// which tools, in which format, with which parameters. Parts that are absent are a value of their own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compatibility {
    /// The model that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The tools the model could call, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<serde_json::Value>,
    /// The format of the answer, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<serde_json::Value>,
    /// Sampling and other parameters, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<serde_json::Value>,
}

impl Compatibility {
    /// The fingerprint: BLAKE3 over the parts, each with its length, JSON with sorted keys.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        let mut part = |value: Option<&[u8]>| match value {
            None => {
                hasher.update(&[0]);
            }
            Some(bytes) => {
                hasher.update(&[1]);
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            }
        };
        part(self.model.as_deref().map(str::as_bytes));
        part(self.system.as_deref().map(str::as_bytes));
        for value in [&self.tools, &self.response_format, &self.parameters] {
            part(value.as_ref().map(canonical).as_deref().map(str::as_bytes));
        }
        Fingerprint(*hasher.finalize().as_bytes())
    }
}

/// JSON text with sorted keys, whatever order the map type keeps.
fn canonical(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            let members: Vec<_> = members
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}

/// A [`Compatibility`] in 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);
