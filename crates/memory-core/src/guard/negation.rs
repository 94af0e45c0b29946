//! Negation: "is it safe" and "is it not safe" are two questions.

use super::alignment::Alignment;
use super::tokens::{Kind, Prompt, Token};
use super::{GuardCheck, GuardRefusal};

/// Refuses when one prompt negates and the other does not, or when equal wording is negated another number of times.
pub(super) fn check(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    let (asked, cached) = (&pair.asked.cues, &pair.cached.cues);
    let counts = |cue: &&Cue| cue.english || !pair.english;
    let (in_asked, in_cached) =
        (asked.strong.iter().filter(counts).count(), cached.strong.iter().filter(counts).count());
    let one_sided = match (in_asked > 0, in_cached > 0) {
        (true, false) => !cached.soft,
        (false, true) => !asked.soft,
        _ => false,
    };
    let same_words = || pair.asked_side().unmatched().chain(pair.cached_side().unmatched()).next().is_none();
    if one_sided || in_asked > 0 && in_cached > 0 && in_asked != in_cached && same_words() {
        let evidence = |prompt: &Prompt| {
            let cues = prompt.cues.strong.iter().filter(counts);
            cues.map(|cue| &*prompt.tokens[cue.at].text).collect::<Vec<_>>().join(" ")
        };
        refusals.push(GuardRefusal {
            check: GuardCheck::Negation,
            asked: evidence(&pair.asked),
            cached: evidence(&pair.cached),
        });
    }
}

/// What negates in a prompt.
#[derive(Debug, Clone, Default)]
pub(super) struct Cues {
    strong: Vec<Cue>,
    /// Words that may stand for the other prompt's negation: "unable" for "cannot", "gluten-free" for "without gluten".
    soft: bool,
}

/// A word that negates.
#[derive(Debug, Clone, Copy)]
struct Cue {
    /// Position among the prompt's tokens.
    at: usize,
    /// It negates in English; else only where a prompt is not English.
    english: bool,
}

impl Cues {
    pub fn of(tokens: &[Token]) -> Self {
        let mut cues = Self::default();
        let mut skip_until = 0;
        for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.kind != Kind::Mark) {
            if at < skip_until {
                continue;
            }
            if token.word.opens_polite
                && let Some(length) = polite_phrase(tokens, at)
            {
                skip_until = at + length;
                continue;
            }
            let key = &*token.key;
            let english = token.word.negates && negates(tokens, at);
            if english || token.word.negates_elsewhere || is_foreign_negation(key) {
                cues.strong.push(Cue { at, english });
            }
            cues.soft |= token.of_stem.softens || (key.len() > 5 && key.ends_with("less"));
        }
        cues
    }
}

/// Whether a word that can negate does so between these neighbours.
fn negates(tokens: &[Token], at: usize) -> bool {
    let key = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map_or("", |token| &*token.key);
    let (before, after) = (key(at.checked_sub(1)), key(Some(at + 1)));
    match &*tokens[at].key {
        "no" => !matches!(before, "or" | "yes") && (after != "," || !tokens[at].first_in_sentence),
        "not" => before != "or" && !matches!(after, "only" | "just"),
        "stop" => matches!(before, "to" | "i" | "" | "and" | "you" | "please" | "should" | "can" | "must" | "." | ","),
        _ => true,
    }
}

/// The length of a phrase at `at` that is negative in form only: "why don't you", "I don't know how".
fn polite_phrase(tokens: &[Token], at: usize) -> Option<usize> {
    POLITE
        .iter()
        .find(|phrase| {
            phrase
                .iter()
                .enumerate()
                .all(|(offset, word)| tokens.get(at + offset).is_some_and(|token| token.key == *word))
        })
        .map(|phrase| phrase.len())
}

fn is_foreign_negation(key: &str) -> bool {
    key.starts_with("kein")
        || !key.is_ascii() && (key.contains("ません") || key.contains(['不', '没', '沒', '無', '无', '未', '别']))
}

pub(super) const STRONG: &[&str] = &[
    "not",
    "never",
    "no",
    "none",
    "nobody",
    "nothing",
    "nowhere",
    "neither",
    "without",
    "except",
    "excluding",
    "hardly",
    "barely",
    "nor",
];

/// Verbs that ask for something not to happen.
pub(super) const PREVENTING: &[&str] =
    &["avoid", "avoiding", "prevent", "preventing", "prevents", "stop", "stopping", "don"];

/// Stems of words that may stand for a negation.
pub(super) const SOFT: &[&str] = &[
    "unabl", "fail", "failur", "refus", "broken", "break", "free", "lack", "miss", "prevent", "avoid", "block", "stop",
    "disabl", "cancel", "reject", "deni", "exclud", "quit", "instead", "imposs", "stuck", "turn", "keep", "forbid",
    "ban",
];

pub(super) const POLITE: &[&[&str]] = &[
    &["why", "do", "not", "you"],
    &["why", "do", "not", "we"],
    &["could", "not", "you"],
    &["can", "you", "not"],
    &["can", "not", "you"],
    &["would", "not", "you"],
    &["will", "not", "you"],
    &["do", "not", "know", "how"],
    &["do", "not", "know", "what"],
    &["do", "not", "know", "where"],
    &["do", "not", "understand"],
    &["do", "not", "remember", "how"],
    &["can", "not", "remember"],
    &["can", "not", "figure", "out"],
    &["not", "sure"],
    &["no", "idea"],
    &["no", "problem"],
    &["no", "matter"],
    &["do", "not", "worry"],
    &["not", "mind"],
    &["if", "not"],
    &["never", "mind"],
];

/// Words that negate in other languages.
pub(super) const FOREIGN: &[&str] = &[
    "nicht",
    "nie",
    "niemals",
    "ohne",
    "pas",
    "jamais",
    "sans",
    "aucun",
    "aucune",
    "nunca",
    "sin",
    "ningún",
    "ninguna",
    "não",
    "sem",
    "niet",
    "geen",
    "zonder",
    "nooit",
    "non",
    "mai",
    "senza",
    "не",
    "нет",
    "без",
    "никогда",
    "inte",
    "utan",
    "ikke",
    "uten",
    "aldri",
    "bez",
    "nigdy",
    "ne",
    "değil",
    "nem",
    "ei",
    "לא",
    "لا",
    "ليس",
    "बिना",
    "नहीं",
];

#[cfg(test)]
mod tests {
    use super::super::{GuardCheck, compare};

    fn refused(asked: &str, cached: &str) -> bool {
        compare(asked, cached).iter().any(|r| r.check == GuardCheck::Negation)
    }

    #[test]
    fn one_sided_negation_is_refused() {
        for (a, b) in [
            ("Is it safe to eat raw eggs?", "Is it not safe to eat raw eggs?"),
            ("Why can I log in?", "Why can't I log in?"),
            ("pizza with cheese", "pizza with no cheese"),
            ("Should I take it with food?", "Should I never take it with food?"),
            ("travel with a visa", "travel without a visa"),
            ("files except logs", "files and logs"),
            ("How to avoid taxes", "How to pay taxes"),
            ("Kann ich das essen?", "Kann ich das nicht essen?"),
            ("我可以吃吗", "我不可以吃吗"),
        ] {
            assert!(refused(a, b), "{a} / {b}");
            assert!(refused(b, a), "{b} / {a}");
        }
    }

    #[test]
    fn negation_in_both_passes_in_any_form() {
        for (a, b) in [
            ("Why can't I log in?", "Why cannot I log in?"),
            ("Why am I unable to log in?", "Why can't I log in?"),
            ("cake without gluten", "gluten-free cake"),
            ("My phone won’t charge", "my phone will not charge"),
            ("stop my dog from barking", "prevent my dog from barking"),
        ] {
            assert!(!refused(a, b), "{a} / {b}: {:?}", compare(a, b));
        }
    }

    #[test]
    fn politeness_is_no_negation() {
        assert!(!refused("Can't you tell me how to bake bread?", "How to bake bread?"));
        assert!(!refused("I don't know how to reset my password", "how to reset my password"));
    }

    #[test]
    fn not_un_is_the_prefixed_word() {
        assert!(compare("Is it not safe to swim here?", "Is it unsafe to swim here?").is_empty());
    }

    #[test]
    fn a_second_negation_in_equal_words_is_refused() {
        assert!(refused("Can I not pay and not travel?", "Can I pay and not travel?"));
    }
}
