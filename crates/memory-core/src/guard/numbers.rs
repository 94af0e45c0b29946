//! Numbers with their units: "10k" is "10,000", "two km" is "2 kilometers", "3 kg" is not "3 lb".

use super::alignment::{Alignment, Side};
use super::lexicon::Class;
use super::tokens::{Kind, Prompt, Token};
use super::{GuardCheck, GuardRefusal, units};

/// Refuses when a quantity of one prompt has no equal in the other, or both name different units.
pub(super) fn check(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    let (mut asked, mut cached) = (unmatched(pair.asked_side()), unmatched(pair.cached_side()));
    asked.retain(|a| {
        let twin = cached.iter().position(|c| a.key == c.key && units::compatible(a.unit, c.unit));
        twin.map(|at| cached.remove(at)).is_none()
    });
    let other_units =
        matches!((asked.first(), cached.first()), (Some(a), Some(c)) if !a.unit.is_empty() && !c.unit.is_empty());
    if !other_units && asked.iter().chain(&cached).all(|token| is_weak(token)) {
        return bare_units(pair, refusals);
    }
    asked.sort_by_key(|token| is_weak(token));
    cached.sort_by_key(|token| is_weak(token));
    let same_value = matches!((asked.first(), cached.first()), (Some(a), Some(b)) if a.key == b.key);
    let check = if same_value { GuardCheck::Unit } else { GuardCheck::Number };
    let evidence = |found: &[&Token]| found.first().map(|token| token.text.to_string()).unwrap_or_default();
    refusals.push(GuardRefusal { check, asked: evidence(&asked), cached: evidence(&cached) });
}

const MAX_UNMATCHED: usize = 64;

fn unmatched(side: Side<'_>) -> Vec<&Token> {
    let numbers = side.tokens().filter(|(at, token)| token.kind == Kind::Number && side.partner[*at].is_none());
    numbers.map(|(_, token)| token).take(MAX_UNMATCHED).collect()
}

/// May be missing on the other side: "one", "first", "an hour".
fn is_weak(token: &Token) -> bool {
    token.class == Class::Generic
}

/// "weight in kg" against "weight in pounds": units without numbers, unmatched on both sides.
fn bare_units(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    if !pair.english {
        return;
    }
    let named = |prompt: &Prompt| -> Vec<(&'static str, String)> {
        let mut names: Vec<(&'static str, String)> = prompt
            .tokens
            .iter()
            .filter(|token| token.kind == Kind::Word)
            .filter_map(|token| token.word.unit.map(|name| (name, token)))
            .filter(|(_, token)| units::stands_alone(&token.key))
            .map(|(name, token)| (name, token.text.to_string()))
            .collect();
        names.sort();
        names.dedup_by(|a, b| a.0 == b.0);
        names
    };
    let (asked, cached) = (named(&pair.asked), named(&pair.cached));
    let lacks =
        |other: &[(&'static str, String)], name: &str| !other.iter().any(|(unit, _)| units::compatible(unit, name));
    let only_asked = asked.iter().find(|(name, _)| lacks(&cached, name));
    let only_cached = cached.iter().find(|(name, _)| lacks(&asked, name));
    if let (Some((_, a)), Some((_, c))) = (only_asked, only_cached) {
        refusals.push(GuardRefusal { check: GuardCheck::Unit, asked: a.clone(), cached: c.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare;
    use super::*;

    fn refused(asked: &str, cached: &str) -> bool {
        compare(asked, cached).iter().any(|r| matches!(r.check, GuardCheck::Number | GuardCheck::Unit))
    }

    #[test]
    fn equal_numbers_pass_however_they_are_written() {
        for (a, b) in [
            ("boil 2 eggs", "boil two eggs"),
            ("save 10k dollars", "save $10,000"),
            ("run 2 km", "run two kilometers"),
            ("1.5 million people", "1,500,000 people"),
            ("the 3rd president", "the third president"),
            ("one hundred and five steps", "105 steps"),
            ("50% off", "fifty percent off"),
            ("at 5 pm", "at 17:00 o'clock"),
            ("at 5:30 p.m.", "at 5:30pm"),
            ("a dozen eggs", "12 eggs"),
            ("upgrade to v1.2.3", "upgrade to 1.2.3"),
            ("a 65-year-old man", "a 65 year old man"),
            ("in an hour", "in one hour"),
            ("World War II", "World War 2"),
            ("in nineteen ninety", "in 1990"),
            ("twenty-one days", "21 days"),
            ("two pills daily", "two pills every day"),
            ("$1.50 coffee", "1.5 dollar coffee"),
            ("50 pounds", "£50"),
        ] {
            assert!(!refused(a, b), "{a} / {b}: {:?}", compare(a, b));
        }
    }

    #[test]
    fn different_numbers_are_refused() {
        for (a, b) in [
            ("boil 3 eggs", "boil 5 eggs"),
            ("boil three eggs", "boil 5 eggs"),
            ("dose of 1.5 mg", "dose of 15 mg"),
            ("python 3.1", "python 3.10"),
            ("version 1.2.3", "version 1.2.4"),
            ("the second president", "the third president"),
            ("at 5 am", "at 5 pm"),
            ("in 1990", "in 1991"),
            ("on 2024-01-02", "on 2024-01-03"),
            ("half the dose", "twice the dose"),
            ("10% off", "15% off"),
            ("flight at noon", "flight at midnight"),
            ("save money", "save 500 dollars"),
        ] {
            assert!(refused(a, b), "{a} / {b}");
        }
    }

    #[test]
    fn different_units_are_refused() {
        for (a, b) in [
            ("is 50 kg heavy", "is 50 lb heavy"),
            ("wait 5 ms", "wait 5 s"),
            ("100 USD", "100 EUR"),
            ("my weight in kilograms", "my weight in pounds"),
            ("bake at 180 degrees celsius", "bake at 180 degrees fahrenheit"),
        ] {
            assert!(refused(a, b), "{a} / {b}");
        }
    }

    #[test]
    fn one_as_a_pronoun_is_no_number() {
        assert!(!refused("which one is better", "which is better"));
    }
}
