//! Names, codes and quotations: what is called something else is something else.

use super::alignment::{Alignment, Side};
use super::lexicon::Class;
use super::tokens::{Kind, Prompt, Token, squash};
use super::{GuardCheck, GuardRefusal};

/// Refuses for names unmatched on both sides, and for codes and quotations unmatched on either.
pub(super) fn check(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    codes(pair, refusals);
    quotations(pair, refusals);
    names(pair, refusals);
}

const MAX_UNMATCHED: usize = 32;

fn codes(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    let unmatched = |side: Side<'_>| {
        let mut tokens = side.tokens();
        tokens
            .find(|(at, token)| token.kind == Kind::Code && side.partner[*at].is_none())
            .map(|(_, token)| token.text.to_string())
    };
    let (asked, cached) = (unmatched(pair.asked_side()), unmatched(pair.cached_side()));
    if asked.is_some() || cached.is_some() {
        refusals.push(GuardRefusal {
            check: GuardCheck::Name,
            asked: asked.unwrap_or_default(),
            cached: cached.unwrap_or_default(),
        });
    }
}

/// A quotation must occur in the other prompt, quoted or not.
fn quotations(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    let missing = |prompt: &Prompt, other: &Prompt| {
        if prompt.quotes.is_empty() {
            return None;
        }
        let mut text = String::new();
        other.tokens.iter().for_each(|token| text.push_str(&squash(&token.text)));
        prompt.quotes.iter().find(|(_, squashed)| !text.contains(&**squashed)).map(|(shown, _)| shown.to_string())
    };
    let (asked, cached) = (missing(&pair.asked, &pair.cached), missing(&pair.cached, &pair.asked));
    if asked.is_some() || cached.is_some() {
        refusals.push(GuardRefusal {
            check: GuardCheck::Name,
            asked: asked.unwrap_or_default(),
            cached: cached.unwrap_or_default(),
        });
    }
}

fn names(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    let (asked, cached) = (pair.asked_side(), pair.cached_side());
    let (in_asked, in_cached) = (unmatched_names(asked), unmatched_names(cached));
    let found = match (in_asked.first(), in_cached.first()) {
        (Some(&(_, a)), Some(&(_, c))) => Some((a, c)),
        (Some(_), None) if !pair.cached.cased => in_place_of(asked, &in_asked, cached),
        (None, Some(_)) if !pair.asked.cased => in_place_of(cached, &in_cached, asked).map(|(c, a)| (a, c)),
        _ => None,
    };
    if let Some((a, c)) = found {
        refusals.push(GuardRefusal { check: GuardCheck::Name, asked: a.text.to_string(), cached: c.text.to_string() });
    }
}

fn unmatched_names(side: Side<'_>) -> Vec<(usize, &Token)> {
    if !side.prompt.cased {
        return Vec::new();
    }
    side.unmatched().filter(|(_, token)| token.kind == Kind::Word && token.capital).take(MAX_UNMATCHED).collect()
}

/// A lower-case prompt shows no names, so look for an unmatched word in the place of one: "of france" for "of Germany",
/// or the one word that differs at all.
fn in_place_of<'a>(side: Side<'a>, names: &[(usize, &'a Token)], other: Side<'a>) -> Option<(&'a Token, &'a Token)> {
    let replacements: Vec<(usize, &Token)> = other
        .unmatched()
        .filter(|(_, token)| token.class == Class::Content && token.kind == Kind::Word)
        .take(MAX_UNMATCHED)
        .collect();
    if let (&[(_, name)], &[(_, replacement)], 1) = (names, replacements.as_slice(), side.unmatched().count()) {
        return Some((name, replacement));
    }
    names.iter().find_map(|&(at, name)| {
        let same_place = |&&(there, _): &&(usize, &Token)| {
            let (before, after) = (side.key_before(at), side.key_after(at));
            (is_anchor(before) && before == other.key_before(there))
                || (is_anchor(after) && after == other.key_after(there))
        };
        replacements.iter().find(same_place).map(|&(_, other)| (name, other))
    })
}

/// A neighbour that fixes a place; articles and marks stand anywhere.
fn is_anchor(key: &str) -> bool {
    !matches!(key, "" | "." | "," | "/" | "the" | "a" | "an" | "and" | "or" | "is" | "are" | "my" | "i" | "to")
}

#[cfg(test)]
mod tests {
    use super::super::{GuardCheck, compare};

    fn refused(asked: &str, cached: &str) -> bool {
        compare(asked, cached).iter().any(|r| r.check == GuardCheck::Name)
    }

    #[test]
    fn names_unmatched_on_both_sides_are_refused() {
        for (a, b) in [
            ("Who founded Wikimedia?", "Who founded Mozilla?"),
            ("Where was Elon Musk born?", "Where was Jeff Bezos born?"),
            ("what is the capital of ruritania", "What is the capital of Genovia?"),
            ("Acme's refund policy", "Globex's refund policy"),
            ("Flights to Lisbon", "flights to porto"),
        ] {
            assert!(refused(a, b), "{a} / {b}");
            assert!(refused(b, a), "{b} / {a}");
        }
    }

    #[test]
    fn a_name_in_another_form_is_the_same_name() {
        for (a, b) in [
            ("Is Germany in the EU?", "is germany in the european union"),
            ("the German economy", "the economy of Germany"),
            ("rent in New York City", "rent in NYC"),
            ("Set up Wi-Fi at home", "set up wifi at home"),
            ("HOW DO I CALL ACME?", "How do I call Acme?"),
            ("How To Reset My Password", "how to reset my password"),
        ] {
            assert!(!refused(a, b), "{a} / {b}: {:?}", compare(a, b));
        }
    }

    #[test]
    fn a_code_on_one_side_or_a_different_one_is_refused() {
        for (a, b) in [
            ("fix error E0308", "fix error E0309"),
            ("open main.rs", "open lib.rs"),
            ("what is max_connections", "what is work_mem"),
            ("compile with --release", "compile"),
            ("mail bob@example.com", "mail eve@example.com"),
            ("learn C++", "learn C#"),
            ("what does `foo` do", "what does `bar` do"),
            ("translate \"good day\"", "translate \"good night\""),
        ] {
            assert!(refused(a, b), "{a} / {b}");
            assert!(refused(b, a), "{b} / {a}");
        }
    }

    #[test]
    fn a_code_is_the_same_however_it_is_joined() {
        assert!(compare("is utf-8 a charset", "is UTF8 a charset").is_empty());
        assert!(compare("covid-19 symptoms", "Covid 19 symptoms").is_empty());
        assert!(compare("what does \"break a leg\" mean", "what does break a leg mean").is_empty());
    }
}
