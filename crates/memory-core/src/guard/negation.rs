//! Negation: "is it safe" and "is it not safe" are two questions.

use super::alignment::{Alignment, Side};
use super::tokens::Prompt;
use super::{GuardCheck, GuardRefusal};

/// Refuses when one prompt negates and the other does not, or when equal wording is negated another number of times.
pub(super) fn check(pair: &Alignment, refusals: &mut Vec<GuardRefusal>) {
    let (asked, cached) = (Cues::of(&pair.asked, pair.english), Cues::of(&pair.cached, pair.english));
    let one_sided = match (asked.negates(), cached.negates()) {
        (true, false) => !cached.soft,
        (false, true) => !asked.soft,
        _ => false,
    };
    let same_words = pair.asked_side().unmatched().next().is_none() && pair.cached_side().unmatched().next().is_none();
    let counted = same_words && asked.negates() && cached.negates() && asked.strong.len() != cached.strong.len();
    if one_sided || counted {
        refusals.push(GuardRefusal {
            check: GuardCheck::Negation,
            asked: asked.strong.join(" "),
            cached: cached.strong.join(" "),
        });
    }
}

#[derive(Debug, Default)]
struct Cues {
    /// Words that negate.
    strong: Vec<String>,
    /// Words that may stand for the other prompt's negation: "unable" for "cannot", "gluten-free" for "without gluten".
    soft: bool,
}

impl Cues {
    fn of(prompt: &Prompt, english: bool) -> Self {
        let mut cues = Self::default();
        let side = Side { prompt, partner: &[] };
        let mut skip_until = 0;
        for (at, token) in side.tokens() {
            if at < skip_until {
                continue;
            }
            if let Some(length) = polite_phrase(prompt, at) {
                skip_until = at + length;
                continue;
            }
            let key = &*token.key;
            let (before, after) = (side.key_before(at), side.key_after(at));
            let strong = match key {
                "no" => !matches!(before, "or" | "yes") && (after != "," || !token.first_in_sentence),
                "not" => before != "or" && !matches!(after, "only" | "just"),
                "stop" => {
                    matches!(before, "to" | "i" | "" | "and" | "you" | "please" | "should" | "can" | "must" | "." | ",")
                }
                _ => STRONG.contains(&key) || PREVENTING.contains(&key) || !english && is_foreign_negation(key),
            };
            if strong {
                cues.strong.push(token.text.clone());
            }
            cues.soft |= SOFT.contains(&&*token.stem) || (key.len() > 5 && key.ends_with("less"));
        }
        cues
    }

    fn negates(&self) -> bool {
        !self.strong.is_empty()
    }
}

/// The length of a phrase at `at` that is negative in form only: "why don't you", "I don't know how".
fn polite_phrase(prompt: &Prompt, at: usize) -> Option<usize> {
    POLITE
        .iter()
        .find(|phrase| {
            phrase
                .iter()
                .enumerate()
                .all(|(offset, word)| prompt.tokens.get(at + offset).is_some_and(|token| token.key == *word))
        })
        .map(|phrase| phrase.len())
}

fn is_foreign_negation(key: &str) -> bool {
    FOREIGN.contains(&key)
        || key.starts_with("kein")
        || key.contains("ません")
        || key.chars().any(|c| matches!(c, '不' | '没' | '沒' | '無' | '无' | '未' | '别'))
}

const STRONG: &[&str] = &[
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
const PREVENTING: &[&str] = &["avoid", "avoiding", "prevent", "preventing", "prevents", "stopping", "don"];

const SOFT: &[&str] = &[
    "unabl", "fail", "failur", "refus", "broken", "break", "free", "lack", "miss", "prevent", "avoid", "block", "stop",
    "disabl", "cancel", "reject", "deni", "exclud", "quit", "instead", "imposs", "stuck", "turn", "keep", "forbid",
    "ban",
];

const POLITE: &[&[&str]] = &[
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

const FOREIGN: &[&str] = &[
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
