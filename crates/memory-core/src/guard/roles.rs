//! Roles: which small word governs each content word, so that "to Paris from Rome" is "from Rome to Paris".

use super::lexicon::Class;
use super::tokens::{Kind, Token};

/// A content word with what governs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role {
    /// Position among the prompt's tokens.
    pub at: usize,
    /// The governing preposition or conjunction, "" for none.
    pub label: &'static str,
    /// Words governed by one occurrence of a label share a number.
    pub phrase: u32,
    /// Clauses end at commas and full stops.
    pub clause: u32,
}

/// The roles of the content words, in their order.
pub(super) fn read(tokens: &[Token]) -> Vec<Role> {
    let mut roles = Vec::with_capacity(tokens.len());
    let (mut label, mut phrase, mut clause) = ("", 0, 0);
    for (at, token) in tokens.iter().enumerate() {
        if token.kind == Kind::Mark {
            if token.key != "/" {
                (label, phrase, clause) = ("", phrase + 1, clause + 1);
            }
            continue;
        }
        let governs = if token.key == "to" && is_infinitive(tokens, at) { Some("") } else { token.word.label };
        if let Some(next) = governs {
            (label, phrase) = (next, phrase + 1);
        } else if token.word.ends_phrase && !opens_clause(label) {
            (label, phrase) = ("", phrase + 1);
        }
        if takes_part(token) {
            roles.push(Role { at, label, phrase, clause });
        }
    }
    roles
}

/// Whether a phrase of this label narrows a question to a place, a time, a purpose or a means.
pub(super) fn narrows(label: &str) -> bool {
    matches!(
        label,
        "in" | "on"
            | "at"
            | "for"
            | "during"
            | "before"
            | "after"
            | "since"
            | "until"
            | "using"
            | "with"
            | "under"
            | "near"
            | "within"
            | "while"
    )
}

/// Whether phrases of this label may stand in any order ("in May in Paris").
pub(super) fn is_adjunct(label: &str) -> bool {
    narrows(label) && !matches!(label, "before" | "after" | "under") || label == "if" || label == "because"
}

/// The label that says the reverse, as "from" does of "to".
pub(super) fn reverse(label: &str) -> Option<&'static str> {
    Some(match label {
        "to" => "from",
        "from" => "to",
        "before" => "after",
        "after" => "before",
        "over" => "under",
        "under" => "over",
        _ => return None,
    })
}

/// Content, and those generic words that can change sides with it ("good people do bad things").
fn takes_part(token: &Token) -> bool {
    token.class == Class::Content || matches!(&*token.stem, "good" | "person" | "love" | "like" | "old")
}

/// "to" before a verb: behind a question word or a word that asks for one, or at the start.
fn is_infinitive(tokens: &[Token], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| &tokens[before]) else { return true };
    before.kind == Kind::Mark
        || TAKES_INFINITIVE.contains(&&*before.key)
        || before.class != Class::Content
            && !matches!(
                &*before.key,
                "get" | "go" | "going" | "it" | "them" | "me" | "say" | "explain" | "give" | "show" | "describe"
            )
}

const TAKES_INFINITIVE: &[&str] = &[
    "bad",
    "safe",
    "unsafe",
    "legal",
    "illegal",
    "hard",
    "difficult",
    "dangerous",
    "healthy",
    "unhealthy",
    "cheap",
    "expensive",
    "cheaper",
    "worth",
    "wrong",
    "important",
    "rude",
    "late",
    "ready",
];

/// Every word that governs others, with its label.
pub(super) fn labels() -> impl Iterator<Item = (&'static str, &'static str)> {
    LABELS.iter().flat_map(|(words, label)| words.iter().map(move |word| (*word, *label)))
}

/// Words before which a phrase that a preposition began ends.
pub(super) const ENDS_PHRASE: &[&str] = &[
    "how", "what", "which", "who", "why", "where", "do", "does", "did", "is", "are", "was", "were", "am", "can",
    "could", "should", "would", "will", "may", "might", "must", "i", "we", "you", "he", "she", "they", "it", "has",
    "have", "had", "be", "that",
];

fn opens_clause(label: &str) -> bool {
    matches!(label, "if" | "when" | "because" | "before" | "after" | "since" | "until" | "while" | "than")
}

const LABELS: &[(&[&str], &str)] = &[
    (&["to", "toward", "towards", "into", "onto"], "to"),
    (&["from"], "from"),
    (&["than"], "than"),
    (&["versus", "vs", "against"], "versus"),
    (&["before"], "before"),
    (&["after"], "after"),
    (&["over", "above"], "over"),
    (&["under", "below"], "under"),
    (&["by"], "by"),
    (&["of"], "of"),
    (&["as"], "as"),
    (&["with"], "with"),
    (&["without", "not", "except", "no", "never", "excluding"], "without"),
    (&["in", "inside"], "in"),
    (&["on", "upon"], "on"),
    (&["at"], "at"),
    (&["for"], "for"),
    (&["about"], "about"),
    (&["between", "among"], "between"),
    (&["through", "via", "using"], "using"),
    (&["during"], "during"),
    (&["since"], "since"),
    (&["until"], "until"),
    (&["near", "around"], "near"),
    (&["within"], "within"),
    (&["if", "unless"], "if"),
    (&["when"], "when"),
    (&["while"], "while"),
    (&["because"], "because"),
    (&["instead"], "instead"),
];
