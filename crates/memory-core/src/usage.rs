//! What was used: the events that bills, budgets and estimates are made from.
//!
//! An event counts what one tenant did with one operation within a window of time. It holds numbers and names of
//! operations; of what was said it holds how much, never what.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The version of [`UsageEvent`]'s form. A field more is the same version: whoever reads leaves out what they do not know.
pub const USAGE_VERSION: u32 = 1;

/// What a tenant used of an operation within a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageEvent {
    /// [`USAGE_VERSION`] when it was written.
    pub version: u32,
    /// The window's beginning.
    pub from: Timestamp,
    /// Its end, which is not in it.
    pub to: Timestamp,
    /// Whose.
    pub tenant: String,
    /// The operation, such as `memories.search`.
    pub operation: String,
    /// How much.
    #[serde(flatten)]
    pub usage: Usage,
}

/// How much was used. Everything adds up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Usage {
    /// Requests, whatever became of them.
    pub operations: u64,
    /// Those that were refused or failed.
    pub failures: u64,
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Bytes of the answers, before compression.
    pub bytes_out: u64,
    /// Texts that were embedded.
    pub embedded_texts: u64,
    /// Their tokens, estimated by [`estimate_tokens`](crate::working::estimate_tokens).
    pub embedded_tokens: u64,
    /// Answers that the cache gave for the very prompt.
    pub exact_hits: u64,
    /// Answers that the cache gave for a prompt of the same meaning.
    pub semantic_hits: u64,
    /// Answers that the cache gave and their reader called wrong; each is removed, so each counts once.
    pub false_hits: u64,
    /// Lookups that gave none.
    pub misses: u64,
    /// Tokens of the prompts and answers that no model had to read and write, estimated in the same way.
    pub saved_tokens: u64,
    /// Milliseconds that the answers had taken when they were computed, as far as whoever filed them said so.
    pub saved_ms: u64,
}

impl AddAssign<&Self> for Usage {
    fn add_assign(&mut self, more: &Self) {
        for (sum, more) in [
            (&mut self.operations, more.operations),
            (&mut self.failures, more.failures),
            (&mut self.bytes_in, more.bytes_in),
            (&mut self.bytes_out, more.bytes_out),
            (&mut self.embedded_texts, more.embedded_texts),
            (&mut self.embedded_tokens, more.embedded_tokens),
            (&mut self.exact_hits, more.exact_hits),
            (&mut self.semantic_hits, more.semantic_hits),
            (&mut self.false_hits, more.false_hits),
            (&mut self.misses, more.misses),
            (&mut self.saved_tokens, more.saved_tokens),
            (&mut self.saved_ms, more.saved_ms),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_line_and_a_later_one_can_be_read() {
        let usage = Usage { operations: 3, bytes_in: 120, ..Usage::default() };
        let at = |seconds| chrono::DateTime::from_timestamp(seconds, 0).unwrap();
        let event = UsageEvent {
            version: USAGE_VERSION,
            from: at(0),
            to: at(60),
            tenant: "acme".into(),
            operation: "memories.search".into(),
            usage,
        };
        let line = serde_json::to_string(&event).unwrap();
        insta::assert_snapshot!(line, @r#"{"version":1,"from":"1970-01-01T00:00:00Z","to":"1970-01-01T00:01:00Z","tenant":"acme","operation":"memories.search","operations":3,"failures":0,"bytes_in":120,"bytes_out":0,"embedded_texts":0,"embedded_tokens":0,"exact_hits":0,"semantic_hits":0,"false_hits":0,"misses":0,"saved_tokens":0,"saved_ms":0}"#);
        let later = line.replace("\"saved_ms\":0", "\"saved_joules\":7");
        assert_eq!(serde_json::from_str::<UsageEvent>(&later).unwrap(), event);
        let earlier = line.replace("\"false_hits\":0,", "");
        assert_eq!(serde_json::from_str::<UsageEvent>(&earlier).unwrap(), event);
    }

    #[test]
    fn usage_adds_up() {
        let mut sum = Usage { operations: 1, misses: u64::MAX, ..Usage::default() };
        sum += &Usage { operations: 2, misses: 1, saved_ms: 5, ..Usage::default() };
        assert_eq!(sum, Usage { operations: 3, misses: u64::MAX, saved_ms: 5, ..Usage::default() });
    }
}
