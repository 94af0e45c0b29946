//! Turns that state something that lasts. Extractive: a sentence as it was said, by rules that can be read here.

use std::fmt;

use super::{Derived, Promotion, Settings, Step, Window, holds};
use crate::{MemoryKind, Timestamp, Writer};

/// The rule by which a sentence lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// Who someone is.
    Identity,
    /// Where someone lives or works.
    Place,
    /// What someone likes or does not.
    Preference,
    /// What someone always or never does.
    Habit,
    /// What someone must not have.
    Health,
    /// What someone asked to be remembered.
    Asked,
}

impl fmt::Display for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "who someone is",
            Self::Place => "where someone lives or works",
            Self::Preference => "a preference",
            Self::Habit => "a habit",
            Self::Health => "what someone must not have",
            Self::Asked => "what was to be remembered",
        })
    }
}

/// Plans to keep what turns state that lasts.
pub(super) fn promote(window: &Window, settings: &Settings, now: Timestamp, steps: &mut Vec<Step>) {
    for turn in window.memories.iter().filter(|memory| memory.kind == MemoryKind::Message && holds(memory, now)) {
        let wanted = match settings.promotion {
            Promotion::Never => false,
            Promotion::Expiring => turn.expires_at.is_some(),
            Promotion::Always => true,
        };
        // Of nobody in particular it would be everybody's. What a model or a tool says is not what a person stated.
        let is_persons = turn.scope.user().is_some()
            && turn.origin.writer != Writer::Tool
            && !turn.actor.as_deref().is_some_and(|actor| ["assistant", "system", "tool"].contains(&actor));
        if !wanted || !is_persons {
            continue;
        }
        for (sentence, durable) in durable_sentences(&turn.text) {
            if let Some(successor) = Derived::promoted(turn, sentence) {
                steps.push(Step::Promote { successor: Box::new(successor), source: turn.clone(), durable });
            }
        }
    }
}

/// The sentences of `text` that last.
fn durable_sentences(text: &str) -> impl Iterator<Item = (&str, Durable)> {
    text.split_inclusive(['.', '!', '?', '\n'])
        .map(str::trim)
        .filter_map(|sentence| Some((sentence, durable(sentence)?)))
}

/// The rule by which a sentence lasts. A question, a supposition, what holds for a day, and what points to something said
/// before do not.
fn durable(sentence: &str) -> Option<Durable> {
    let words: Vec<String> = crate::text::words(sentence).collect();
    if sentence.ends_with('?') || !(3..=40).contains(&words.len()) {
        return None;
    }
    let padded = format!(" {} ", words.join(" "));
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| padded.contains(phrase));
    if has(PASSING) {
        return None;
    }
    let asked = ASKED.iter().any(|phrase| padded.contains(phrase));
    if !asked && has(POINTING) {
        return None;
    }
    // Whoever asks to have it remembered knows best.
    if asked {
        return Some(Durable::Asked);
    }
    RULES.iter().find(|(phrases, _)| has(phrases)).map(|(_, durable)| *durable)
}

const PASSING: &[&str] = &[
    " if ",
    " maybe ",
    " perhaps ",
    " might ",
    " would ",
    " could ",
    " today ",
    " tonight ",
    " tomorrow ",
    " right now ",
    " this morning ",
    " this week ",
    " at the moment ",
    " used to ",
    " not sure ",
];
const POINTING: &[&str] = &[" it ", " this ", " that ", " them ", " those ", " these ", " there ", " one ", " ones "];
const ASKED: &[&str] = &[" remember that ", " please remember ", " note that ", " keep in mind "];
const RULES: &[(&[&str], Durable)] = &[
    (&[" my name is ", " i am called ", " call me ", " my birthday is "], Durable::Identity),
    (&[" i live in ", " i moved to ", " i work at ", " i work for ", " i work as ", " i am based in "], Durable::Place),
    (&[" allergic to ", " intolerant ", " i am vegan ", " i am vegetarian "], Durable::Health),
    (
        &[
            " i prefer ",
            " i like ",
            " i love ",
            " i hate ",
            " i dislike ",
            " i enjoy ",
            " my favourite ",
            " my favorite ",
        ],
        Durable::Preference,
    ),
    (&[" i always ", " i never ", " i usually ", " every morning ", " every week "], Durable::Habit),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_from_what_passes() {
        let found: Vec<_> =
            durable_sentences("Hi! My name is Ann. I live in Lisbon. Where do you live? I'm tired today.")
                .map(|(sentence, _)| sentence)
                .collect();
        assert_eq!(found, ["My name is Ann.", "I live in Lisbon."]);
        for (sentence, expected) in [
            ("I prefer the window seat", Some(Durable::Preference)),
            ("I'm allergic to peanuts", Some(Durable::Health)),
            ("Please remember the door code is 4711", Some(Durable::Asked)),
            ("I like that one", None),
            ("Maybe I like tea", None),
            ("I would love some tea", None),
            ("Do you think I like tea?", None),
            ("Yes", None),
            ("The train was late", None),
        ] {
            assert_eq!(durable(sentence), expected, "{sentence}");
        }
    }
}
