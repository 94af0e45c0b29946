//! Finding out what a file is, by its name and its beginning.

use std::fmt;

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Format, Source};

/// What a file seems to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// How to read it.
    pub format: Format,
    /// What says so.
    pub because: String,
}

impl Format {
    /// Finds out how to read `source`. `None` when nothing says what it is.
    #[must_use]
    pub fn detect(source: &Source) -> Option<Detected> {
        let text = source.text().unwrap_or_default();
        let name = source.file_name().to_lowercase();
        let detected = |format, because: &str| Some(Detected { format, because: because.to_owned() });
        if name.ends_with(".md") || name.ends_with(".markdown") {
            return detected(Self::Markdown, "its name ends in .md");
        }
        let json_name = [".json", ".jsonl", ".ndjson"].iter().any(|end| name.ends_with(end));
        let keys = first_keys(text);
        let has = |key: &str| keys.iter().any(|known| known == key);
        match text.trim_start().chars().next() {
            Some('"') => return detected(Self::Jsonl, "its first line is a JSON string"),
            Some('{' | '[') if !keys.is_empty() => {}
            Some('{' | '[') if json_name => {}
            Some(_) if !json_name => return detected(Self::Markdown, "it is text, not JSON"),
            _ => {}
        }
        if has("conversations") {
            detected(Self::Conversation, "it has \"conversations\"")
        } else if has("sessions") {
            detected(Self::Conversation, "it has \"sessions\"")
        } else if has("conversation") || has("session_1") {
            detected(Self::Conversation, "it has LoCoMo's \"conversation\" with numbered sessions")
        } else if has("mapping") {
            detected(Self::OpenaiChat, "it has ChatGPT's \"mapping\" of messages")
        } else if has("messages") {
            detected(Self::OpenaiChat, "it has \"messages\"")
        } else if ["id", "text", "origin", "recorded_at"].into_iter().all(has) {
            detected(Self::Orchestra, "its first line is a memory of our export")
        } else if has("text") || has("content") {
            detected(Self::Jsonl, "its first line has a text")
        } else {
            None
        }
    }
}

/// Whether a document of OpenAI chats is ChatGPT's own export, a tree of messages.
pub(super) fn is_chatgpt_export(text: &str) -> bool {
    first_keys(text).iter().any(|key| key == "mapping")
}

/// Whether a document of conversations has the shape of `LoCoMo`.
pub(super) fn is_locomo(text: &str) -> bool {
    first_keys(text).iter().any(|key| key == "conversation" || key == "session_1")
}

/// The keys of the document's object, or of the first object in its list, in their order. Reading stops at the first
/// key that says what the document is, so this is quick however long the document.
pub(super) fn first_keys(text: &str) -> Vec<String> {
    let mut keys = Vec::new();
    // The error says that the probe has seen enough, or that the document is broken, which its reader tells better.
    let _ = serde_json::Deserializer::from_str(text).deserialize_any(Probe { keys: &mut keys });
    keys
}

const DECISIVE: [&str; 6] = ["conversations", "sessions", "conversation", "mapping", "messages", "session_1"];

struct Probe<'a> {
    keys: &'a mut Vec<String>,
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        list.next_element_seed(self)?;
        Err(A::Error::custom("seen enough"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<String>()? {
            let decisive = DECISIVE.contains(&key.as_str());
            self.keys.push(key);
            if decisive {
                return Err(A::Error::custom("seen enough"));
            }
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(name: &str, text: &str) -> Option<Format> {
        Format::detect(&Source::new(name, text)).map(|detected| detected.format)
    }

    #[test]
    fn the_beginning_says_what_a_file_is() {
        assert_eq!(format("x", "# Notes\n"), Some(Format::Markdown));
        assert_eq!(format("x.md", "[a](b)"), Some(Format::Markdown));
        assert_eq!(format("x.json", r#"{"conversations": [1"#), Some(Format::Conversation));
        assert_eq!(format("x.json", r#"{"id": "a", "sessions": []}"#), Some(Format::Conversation));
        assert_eq!(format("x.json", r#"[{"qa": [], "conversation": {}}]"#), Some(Format::Conversation));
        assert_eq!(format("x.json", r#"[{"title": "t", "mapping": {}}]"#), Some(Format::OpenaiChat));
        assert_eq!(format("x.jsonl", "{\"messages\": []}\n{\"messages\": []}\n"), Some(Format::OpenaiChat));
        assert_eq!(
            format("x.jsonl", r#"{"id": "i", "text": "t", "origin": {}, "recorded_at": "r"}"#),
            Some(Format::Orchestra)
        );
        assert_eq!(format("x.jsonl", r#"{"id": "i", "text": "t"}"#), Some(Format::Jsonl));
        assert_eq!(format("x", "\"one\"\n\"two\"\n"), Some(Format::Jsonl));
        assert_eq!(format("x.json", r#"{"name": "other"}"#), None);
        assert_eq!(format("x.json", ""), None);
    }
}
