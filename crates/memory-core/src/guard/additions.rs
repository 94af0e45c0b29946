//! One-sided additions: "population of X" and "population density of X", "best laptops" and "best laptops for gaming".

use super::alignment::{Alignment, Side};
use super::lexicon::Class;
use super::roles::{self, Role};
use super::tokens::{Kind, Token};
use super::{GuardCheck, GuardRefusal};

/// Refuses when one prompt says all the other says and more that narrows it.
pub(super) fn check(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    if !pair.english {
        return;
    }
    let (asked, cached) = (news(pair.asked_side(), pair.cached_side()), news(pair.cached_side(), pair.asked_side()));
    if asked.is_empty() != cached.is_empty() {
        if has_narrowing(pair.asked_side(), &pair.asked.roles) || has_narrowing(pair.cached_side(), &pair.cached.roles)
        {
            refusals.push(refusal(&asked, &cached));
        }
        return;
    }
    if asked.is_empty() {
        let (asked, cached) = (turns(pair.asked_side()), turns(pair.cached_side()));
        if asked.is_some() != cached.is_some() {
            refusals.push(refusal(asked.as_slice(), cached.as_slice()));
        }
        return;
    }
    let narrower_asked = narrowing(pair.asked_side(), &pair.asked.roles);
    let narrower_cached = narrowing(pair.cached_side(), &pair.cached.roles);
    let only_asked = !narrower_asked.is_empty() && narrower_cached.is_empty() && cached.len() == 1 && asked.len() > 1;
    let only_cached = !narrower_cached.is_empty() && narrower_asked.is_empty() && asked.len() == 1 && cached.len() > 1;
    if only_asked || only_cached {
        refusals.push(refusal(&narrower_asked, &narrower_cached));
    }
}

/// What a side says that the other does not: content, without the kind of thing a name is ("the Python language").
fn news<'a>(side: Side<'a>, other: Side<'_>) -> Vec<&'a Token> {
    let unmatched = side.unmatched().filter(|(at, token)| {
        token.class == Class::Content && !is_kind_of_neighbour(side, *at, token) && !is_asked_by(other, token)
    });
    unmatched.map(|(_, token)| token).collect()
}

/// Whether any news is a modifier ("vegan restaurants"), a new head ("population density", "mass of"), or a phrase of
/// its own ("for gaming"). A verb that the other prompt puts as "get" or leaves to a noun is none of these.
fn has_narrowing(side: Side<'_>, roles: &[Role]) -> bool {
    let in_phrase =
        !phrases(side, roles, |label| roles::narrows(label) || matches!(label, "of" | "as" | "by" | "if" | "when"))
            .is_empty();
    let is_known = |at: Option<usize>| {
        let token = at.and_then(|at| side.prompt.tokens.get(at).map(|token| (at, token)));
        token.is_some_and(|(at, token)| {
            (token.class == Class::Content || token.kind == Kind::Number)
                && token.kind != Kind::Mark
                && side.partner[at].is_some()
        })
    };
    let is_narrowing = |at: usize, token: &Token| {
        let before = side.key_before(at);
        let is_verb = VERB_FOLLOWS.contains(&before);
        token.kind != Kind::Word
            || matches!(before, "every" | "each" | "only")
            || token.key == "only"
            || side.key_after(at) == "of"
            || !is_verb && (is_known(Some(at + 1)) || is_known(at.checked_sub(1)))
    };
    let mut unmatched = side.unmatched();
    in_phrase
        || unmatched.any(|(at, token)| {
            token.class == Class::Content && !is_kind_of_neighbour(side, at, token) && is_narrowing(at, token)
        })
}

const VERB_FOLLOWS: &[&str] =
    &["i", "to", "you", "we", "they", "not", "can", "please", "should", "will", "and", "who", "that", ""];

/// A noun that the other prompt's question word says: "the cost of" and "how much is".
fn is_asked_by(other: Side<'_>, token: &Token) -> bool {
    let word: &[&str] = match &*token.stem {
        "cost" | "price" | "fee" | "expens" => &["much"],
        "date" | "day" | "time" | "year" | "deadlin" => &["when"],
        "place" | "locat" => &["where"],
        "durat" | "length" => &["long"],
        "age" => &["old"],
        "distanc" => &["far"],
        "frequenc" => &["often"],
        _ => return false,
    };
    other.tokens().any(|(_, token)| word.contains(&&*token.key))
}

/// A noun that only repeats what kind of thing its neighbour is.
fn is_kind_of_neighbour(side: Side<'_>, at: usize, token: &Token) -> bool {
    let is_content = |at: Option<usize>| {
        at.and_then(|at| side.prompt.tokens.get(at))
            .is_some_and(|token| token.class == Class::Content && token.kind != Kind::Mark)
    };
    let named = is_content(at.checked_sub(1)) || is_content(Some(at + 1)) || side.key_after(at) == "of";
    let is_tail = is_content(at.checked_sub(1)) && !is_content(Some(at + 1));
    KINDS.contains(&&*token.stem) && named || TAILS.contains(&&*token.stem) && is_tail
}

/// A word of grammar that turns a bare question into another one: "what is X" and "what is X used for".
fn turns<'a>(side: Side<'a>) -> Option<&'a Token> {
    let mut tokens = side.tokens();
    let turn = tokens.find(|(at, token)| match &*token.key {
        "used" => side.key_after(*at) == "for",
        "invented" | "all" | "every" => side.partner[*at].is_none() && side.key_before(*at) == "delete",
        _ => false,
    });
    turn.map(|(_, token)| token)
}

/// Words in a phrase of place, time, purpose or means none of which the other prompt has.
fn narrowing<'a>(side: Side<'a>, roles: &[Role]) -> Vec<&'a Token> {
    phrases(side, roles, roles::narrows)
}

/// The words of the phrases whose label is `wanted` and whose words are all without a partner.
fn phrases<'a>(side: Side<'a>, roles: &[Role], wanted: impl Fn(&str) -> bool) -> Vec<&'a Token> {
    let mut found = Vec::new();
    for phrase in roles.chunk_by(|a, b| a.phrase == b.phrase) {
        let narrows = wanted(phrase[0].label) && phrase.iter().all(|role| side.partner[role.at].is_none());
        if narrows {
            found.extend(phrase.iter().map(|role| &side.prompt.tokens[role.at]));
        }
    }
    found
}

fn refusal(asked: &[&Token], cached: &[&Token]) -> GuardRefusal {
    let evidence = |tokens: &[&Token]| {
        let shown: Vec<&str> = tokens.iter().take(MAX_SHOWN).map(|token| &*token.text).collect();
        shown.join(" ")
    };
    GuardRefusal { check: GuardCheck::Addition, asked: evidence(asked), cached: evidence(cached) }
}

const MAX_SHOWN: usize = 4;

/// Stems of nouns that name a kind of thing beside its name.
const KINDS: &[&str] = &[
    "citi",
    "countri",
    "compani",
    "languag",
    "program",
    "word",
    "phrase",
    "app",
    "websit",
    "site",
    "page",
    "account",
    "softwar",
    "tool",
    "command",
    "function",
    "featur",
    "button",
    "mode",
    "file",
    "devic",
    "system",
    "servic",
    "onlin",
    "recip",
    "movi",
    "film",
    "book",
    "song",
    "team",
    "disea",
    "diseas",
    "condit",
    "virtual",
    "digit",
    "local",
    "person",
    "version",
    "statement",
    "syntax",
    "formula",
    "role",
    "number",
    "new",
    "whole",
    "entir",
];

/// Stems of nouns that add little behind another noun: "bakery business", "writing skills", "boiling time".
const TAILS: &[&str] = &["busi", "skill", "time", "hour", "polici", "process"];

#[cfg(test)]
mod tests {
    use super::super::{GuardCheck, compare};

    fn refused(asked: &str, cached: &str) -> bool {
        compare(asked, cached).iter().any(|r| r.check == GuardCheck::Addition)
    }

    #[test]
    fn one_sided_narrowing_is_refused_both_ways() {
        for (a, b) in [
            ("What is the population density of Japan?", "What is the population of Japan?"),
            ("What was the capital of France before the war?", "What was the capital of France?"),
            ("best laptops for gaming", "best laptops"),
            ("How do I install Git on Windows?", "How do I install Git?"),
            ("what is a hash map used for", "what is a hash map"),
            ("What are cheap toys for toddlers?", "What are inexpensive toys?"),
        ] {
            assert!(refused(a, b), "{a} / {b}");
            assert!(refused(b, a), "{b} / {a}");
        }
    }

    #[test]
    fn padding_passes() {
        for (a, b) in [
            ("Please tell me how to quickly sort a list", "how to sort a list"),
            ("What is the best way to peel garlic?", "How do I peel garlic?"),
            ("Hi, could you explain exactly what inflation currently means?", "what does inflation mean"),
            ("What is the cost of a ticket to Milan?", "How much is a ticket to Milan?"),
            ("the capital city of Peru", "the capital of Peru"),
        ] {
            assert!(!refused(a, b), "{a} / {b}: {:?}", compare(a, b));
        }
    }
}
