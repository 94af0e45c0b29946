//! Reads quantities: a number, its scale and its unit become one token.

use smol_str::format_smolstr;

use super::lexicon::Class;
use super::number_words::{EVERY, from_words};
use super::tokens::{Kind, Token};
use super::units;
use super::words::{Stem, Word};

/// Replaces each run of tokens that says one quantity by one number token.
pub(super) fn fold(tokens: Vec<Token>, english: bool) -> Vec<Token> {
    let might_count = |token: &Token| token.kind == Kind::Number || token.word.counts;
    if !tokens.iter().any(might_count) {
        return tokens;
    }
    let mut quantities = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let found = quantity(&tokens, at, english);
        let next = found.as_ref().map_or(at + 1, |(_, next)| *next);
        quantities.extend(found.map(|(quantity, next)| (at, next, quantity)));
        at = next;
    }
    let mut folded = Vec::with_capacity(tokens.len());
    let mut quantities = quantities.into_iter().peekable();
    let mut tokens = tokens.into_iter().enumerate();
    while let Some((at, token)) = tokens.next() {
        let Some((_, next, quantity)) = quantities.next_if(|(start, ..)| *start == at) else {
            folded.push(token);
            continue;
        };
        if token.kind == Kind::Number && units::is_currency(quantity.unit) {
            drop_currency_before(&mut folded);
        }
        folded.push(quantity.token(&token));
        tokens.by_ref().take(next - at - 1).for_each(drop);
    }
    folded
}

/// The "$" of "$5" is in the number now.
fn drop_currency_before(folded: &mut Vec<Token>) {
    let is_sign =
        folded.last().is_some_and(|token| token.kind == Kind::Word && token.word.unit.is_some_and(units::is_currency));
    if is_sign {
        folded.pop();
    }
}

/// Words other than small numbers that a quantity may start with.
pub(super) const STARTS: [&str; 17] = [
    "first", "daily", "weekly", "monthly", "yearly", "annually", "hourly", "noon", "midnight", "half", "twice",
    "dozen", "a", "an", "every", "each", "per",
];

/// A number as the prompt means it.
#[derive(Debug)]
struct Quantity {
    /// Canonical decimal text, a clock time in minutes, or a date or version as spelt.
    value: String,
    unit: &'static str,
    weak: bool,
    text: String,
}

impl Quantity {
    fn token(self, first: &Token) -> Token {
        Token {
            stem: format_smolstr!("{} {}", self.value, self.unit),
            word: Word::unlisted(),
            of_stem: Stem::unlisted(),
            text: self.text.into(),
            key: self.value.into(),
            kind: Kind::Number,
            class: if self.weak { Class::Generic } else { Class::Content },
            unit: self.unit,
            capital: false,
            first_in_sentence: first.first_in_sentence,
        }
    }
}

/// The quantity that starts at `at`, and the token after it.
fn quantity(tokens: &[Token], at: usize, english: bool) -> Option<(Quantity, usize)> {
    let token = &tokens[at];
    let next_key = |i: usize| tokens.get(i).map_or("", |token| &*token.key);
    let (mut number, mut next, mut weak) = match token.kind {
        Kind::Number => (Parsed::from_digits(&token.key), at + 1, false),
        Kind::Word if english && token.word.counts => from_words(tokens, at)?,
        _ => return None,
    };
    if let "noon" | "midnight" = &*token.key {
        let value = if token.key == "noon" { "720" } else { "0" };
        return Some((
            Quantity { value: value.into(), unit: "clock", weak: false, text: token.text.to_string() },
            next,
        ));
    }
    let before =
        if at > 0 { units::canonical(&tokens[at - 1].key).filter(|unit| units::is_currency(unit)) } else { None };
    while let Some(scale) =
        units::scale(next_key(next)).or(if next_key(next) == "m" { before.map(|_| 1e6) } else { None })
    {
        number.scale(scale);
        next += 1;
    }
    if token.kind == Kind::Number && matches!(next_key(next), "st" | "nd" | "rd" | "th" | "x") {
        next += 1;
    }
    if let "am" | "pm" | "o'clock" | "oclock" = next_key(next) {
        let (unit, value) = number.clock(next_key(next));
        return Some((Quantity { value, unit, weak: false, text: joined(tokens, at, next + 1) }, next + 1));
    }
    let mut unit = before.unwrap_or("");
    if EVERY.contains(&&*token.key) {
        unit = units::canonical(&token.key).unwrap_or("");
    }
    while let Some(name) = units::canonical(next_key(next)).filter(|_| number.is_plain()) {
        let ambiguous = name == "us" || name == "s" && next_key(next) == "s" && token.key.len() == 4;
        if ambiguous {
            break;
        }
        unit = name;
        next += 1;
        if name != "degree" && name != "°" {
            break;
        }
    }
    if at > 0 && matches!(&*tokens[at - 1].key, "aged" | "age") {
        unit = "year";
    }
    if unit == "dozen" {
        number.scale(12.0);
        unit = "";
    }
    weak &= number.text == "1";
    if token.kind == Kind::Word && matches!(&*token.key, "a" | "an") && unit.is_empty() && number.text == "1" {
        return None;
    }
    Some((Quantity { value: number.canonical(unit), unit, weak, text: joined(tokens, at, next) }, next))
}

fn joined(tokens: &[Token], from: usize, to: usize) -> String {
    let shown: Vec<&str> = tokens[from..to.min(tokens.len())].iter().map(|token| &*token.text).collect();
    shown.join(" ")
}

/// A number before its unit is known.
pub(super) struct Parsed {
    text: String,
    value: Option<f64>,
}

impl Parsed {
    /// Exact up to fifteen digits; anything longer, dotted twice, a date or a time stays text.
    fn from_digits(key: &str) -> Self {
        let value = if key.len() <= 15 { key.parse::<f64>().ok() } else { None };
        Self { text: key.to_owned(), value }
    }

    pub fn from_value(value: f64) -> Self {
        Self { text: value.to_string(), value: Some(value) }
    }

    fn is_plain(&self) -> bool {
        self.value.is_some()
    }

    fn scale(&mut self, by: f64) {
        if let Some(value) = self.value {
            *self = Self::from_value((value * by * 1e6).round() / 1e6);
        }
    }

    /// "3.10" keeps its zero without a unit, where it may be a version; "1.50" dollars does not.
    fn canonical(&self, unit: &str) -> String {
        let is_decimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        match self.value {
            // As it would be written again, which takes long to find out.
            Some(_) if is_decimal(&self.text) => self.text.clone(),
            Some(value) if !unit.is_empty() || !self.text.contains('.') => value.to_string(),
            _ if self.text.contains(':') => self.clock("").1,
            _ => self.text.clone(),
        }
    }

    /// Minutes since midnight.
    fn clock(&self, half: &str) -> (&'static str, String) {
        let (hours, minutes) = self.text.split_once(':').unwrap_or((&self.text, "0"));
        let (Ok(hours), Ok(minutes)) = (hours.parse::<u32>(), minutes.parse::<u32>()) else {
            return ("clock", format!("{}{half}", self.text));
        };
        let hours = match half {
            "pm" if hours < 12 => hours + 12,
            "am" if hours == 12 => 0,
            _ => hours,
        };
        ("clock", hours.saturating_mul(60).saturating_add(minutes).to_string())
    }
}
