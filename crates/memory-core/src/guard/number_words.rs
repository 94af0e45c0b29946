//! Numbers written as words.

use super::quantity::Parsed;
use super::tokens::Token;
use super::units;

/// Number words: "twenty-one", "one hundred and five", "two thousand", "third", "half", "a dozen".
pub(super) fn from_words(tokens: &[Token], at: usize) -> Option<(Parsed, usize, bool)> {
    let key = &*tokens[at].key;
    let next_key = |i: usize| tokens.get(i).map_or("", |token| &*token.key);
    let previous = if at > 0 { &*tokens[at - 1].key } else { "" };
    let fixed = |value: f64| Some((Parsed::from_value(value), at + 1, false));
    match key {
        "noon" | "midnight" => return fixed(0.0),
        "half" => return fixed(0.5),
        "twice" => return fixed(2.0),
        "dozen" if !matches!(previous, "a" | "one") => return fixed(12.0),
        "first" => return Some((Parsed::from_value(1.0), at + 1, true)),
        _ if EVERY.contains(&key) => return Some((Parsed::from_value(1.0), at + 1, true)),
        "second" if matches!(previous, "a" | "per" | "each" | "every" | "any" | "split") => return None,
        "a" | "an" if units::scale(next_key(at + 1)).is_some() || next_key(at + 1) == "dozen" => {
            return Some((Parsed::from_value(1.0), at + 1, false));
        }
        "a" | "an" | "every" | "each" | "per"
            if units::canonical(next_key(at + 1)).is_some() && units::stands_alone(next_key(at + 1)) =>
        {
            return Some((Parsed::from_value(1.0), at + 1, true));
        }
        _ => {}
    }
    let (mut total, mut part, mut next) = (0.0, small_number(key)?, at + 1);
    let mut ordinal = is_ordinal(key);
    while !ordinal {
        let word = next_key(next);
        if let Some(more) = small_number(word).filter(|_| word != "second") {
            let year = (10.0..20.0).contains(&part) && more >= 10.0 || part == 20.0 && (10.0..100.0).contains(&more);
            let fits = more < 10.0 && part >= 20.0 && part % 10.0 == 0.0
                || more < 100.0 && part >= 100.0 && part % 100.0 == 0.0;
            match (year, fits) {
                (true, _) => part = part * 100.0 + more,
                (_, true) => part += more,
                _ => break,
            }
            ordinal = is_ordinal(word);
        } else if let Some(scale) = units::scale(word) {
            match scale {
                100.0 => part *= scale,
                _ => {
                    total += part * scale;
                    part = 0.0;
                }
            }
        } else if word == "and" && (part >= 100.0 || part == 0.0) && small_number(next_key(next + 1)).is_some() {
            if part == 0.0 {
                part = small_number(next_key(next + 1)).unwrap_or(0.0);
                next += 1;
            }
        } else if part == 0.0 && total > 0.0 && small_number(word).is_some() {
            part = small_number(word).unwrap_or(0.0);
        } else {
            break;
        }
        next += 1;
    }
    Some((Parsed::from_value(total + part), next, key == "one"))
}

fn is_ordinal(key: &str) -> bool {
    ORDINALS.contains(&key)
}

pub(super) fn small_number(key: &str) -> Option<f64> {
    let at = |list: &[&str]| list.iter().position(|word| *word == key);
    if let Some(value) = at(SMALL).or_else(|| at(ORDINALS).filter(|&value| value > 1)) {
        return Some(value as f64);
    }
    if let Some(tens) = at(TENS) {
        return Some((tens + 2) as f64 * 10.0);
    }
    at(ROMAN).map(|value| (value + 2) as f64).filter(|_| !matches!(key, "v" | "vi" | "x" | "xi"))
}

/// Every word that [`small_number`] knows.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let lists = [SMALL, ORDINALS, TENS, ROMAN];
    lists.into_iter().flatten().copied().filter(|key| small_number(key).is_some())
}

const SMALL: &[&str] = &[
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

/// "daily" is "a day".
pub(super) const EVERY: &[&str] = &["daily", "weekly", "monthly", "yearly", "annually", "hourly"];

const ORDINALS: &[&str] = &[
    "zeroth",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
];

const TENS: &[&str] = &["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// From two up: "World War II" is "World War 2". The letters that are also words or names are left out when looked up.
const ROMAN: &[&str] = &["ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv"];
