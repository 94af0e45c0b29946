//! The question word, where all else is equal: "when was she born" is not "where was she born".

use super::alignment::{Alignment, Side};
use super::lexicon::Class;
use super::{GuardCheck, GuardRefusal};

/// Refuses when both prompts have the same content and ask for a time, a place, a person, a reason or an amount in turn.
///
/// "How" and "what" ask for anything ("how do I", "what is the way to"), so they never refuse.
pub(super) fn check(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    if !pair.english || !has_same_content(pair.asked_side()) || !has_same_content(pair.cached_side()) {
        return;
    }
    if let (Some(asked), Some(cached)) = (sought(pair.asked_side()), sought(pair.cached_side()))
        && asked != cached
    {
        refusals.push(GuardRefusal { check: GuardCheck::Question, asked: asked.into(), cached: cached.into() });
    }
}

fn has_same_content(side: Side<'_>) -> bool {
    side.unmatched().all(|(_, token)| token.class != Class::Content)
}

/// What the only question word asks for, when it is a definite thing.
fn sought(side: Side<'_>) -> Option<&'static str> {
    let mut words = side.tokens().filter(|(_, token)| token.word.asks);
    let (at, word) = words.next()?;
    if words.next().is_some() {
        return None;
    }
    let after = side.key_after(at);
    Some(match (&*word.key, after) {
        ("who" | "whom" | "whose", _) => "who",
        ("when", _) | ("what", "time") => "when",
        ("where", _) | ("what", "place") => "where",
        ("why", _) => "why",
        ("how", "many" | "much") => "how much",
        ("how", "long") => "how long",
        ("how", "often") => "how often",
        ("how", "far") => "how far",
        ("how", "old") => "how old",
        _ => return None,
    })
}

pub(super) const WORDS: &[&str] = &["who", "whom", "whose", "when", "where", "why", "how", "what", "which"];

#[cfg(test)]
mod tests {
    use super::super::{GuardCheck, compare};

    fn refused(asked: &str, cached: &str) -> bool {
        compare(asked, cached).iter().any(|r| r.check == GuardCheck::Question)
    }

    #[test]
    fn another_thing_asked_of_the_same_content_is_refused() {
        assert!(refused("When was Mozart born?", "Where was Mozart born?"));
        assert!(refused("how long is the flight", "how much is the flight"));
    }

    #[test]
    fn how_and_what_ask_for_anything() {
        assert!(!refused("How do I sort a list?", "What is the way to sort a list?"));
        assert!(!refused("What time does the store open?", "When does the store open?"));
        assert!(!refused("When I brake my car makes a noise, why?", "Why does my car make a noise when I brake?"));
    }
}
