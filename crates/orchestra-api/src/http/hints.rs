//! What metadata says in the words of other systems: who spoke, and when.
//!
//! People bring turns of conversations with the speaker and the date in their metadata. Ranking wants both in their own
//! fields, so where `actor` or `valid_from` is not given it is read from there. The metadata stays as it is.

use memory_core::memory::MAX_ACTOR_BYTES;
use memory_core::{Metadata, Timestamp};
use serde_json::Value;

use crate::import::time;

const ACTOR_KEYS: [&str; 6] = ["actor", "speaker", "author", "sender", "from", "role"];
const TIME_KEYS: [&str; 9] = [
    "valid_from",
    "date",
    "timestamp",
    "datetime",
    "date_time",
    "time",
    "session_date",
    "session_date_time",
    "created_at",
];

/// Who said it, by the metadata.
#[must_use]
pub fn actor(metadata: &Metadata) -> Option<String> {
    let name = |key: &&str| {
        metadata.get(*key)?.as_str().filter(|name| !name.trim().is_empty() && name.len() <= MAX_ACTOR_BYTES)
    };
    ACTOR_KEYS.iter().find_map(name).map(str::to_owned)
}

/// When it was said, by the metadata: a text in one of the forms that imports read.
#[must_use]
pub fn valid_from(metadata: &Metadata) -> Option<Timestamp> {
    TIME_KEYS.iter().find_map(|key| metadata.get(*key)?.as_str().and_then(|text| time::from_json(&Value::from(text))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(value: Value) -> Metadata {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn the_speaker_and_the_date_are_found() {
        let turn = metadata(json!({"dia_id": "D1:3", "speaker": "Caroline", "session_date": "1:56 pm on 8 May, 2023"}));
        assert_eq!(actor(&turn).as_deref(), Some("Caroline"));
        assert_eq!(valid_from(&turn).map(|at| at.to_rfc3339()).as_deref(), Some("2023-05-08T13:56:00+00:00"));
    }

    #[test]
    fn what_is_neither_is_left_alone() {
        let other = metadata(json!({"speaker": 7, "from": " ", "date": "soon", "timestamp": 17, "city": "Lisbon"}));
        assert_eq!((actor(&other), valid_from(&other)), (None, None));
    }
}
