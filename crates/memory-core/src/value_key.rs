//! When two texts say the same value, so that one who knows only a hash of the first can refuse the second.
//!
//! A [`ValueKey`] is a hash: the text cannot be read out of it, and since the scope is in the hash, what two scopes
//! rejected cannot be compared. Who can read the store and guesses a text can find out whether that one was rejected.
//!
//! Equal are texts that differ in case, in white space and punctuation between words, in characters that are not seen, in
//! forms of the same character (NFKC), and in characters that look alike (Unicode UTS #39). Case folding and looks do not go
//! together: a small Greek nu looks like a v, its capital like an N. So a text has two forms, the one it reads as and the
//! one it looks like, and two texts are one value where any of their forms are equal.
//!
//! Accents, numbers and the symbols that carry a meaning stay: `año` is not `ano`, 10 is not 1.0, -5 is not 5, C# is not C.
//! A paraphrase is another value.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;

use crate::{Error, Result, Scope};

/// What a text says within a scope, as a hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ValueKey([u8; 32]);

impl ValueKey {
    /// The hash's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(scope: &Scope, form: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("orchestra-memory 1 value key");
        for part in [Some(scope.tenant_name()), scope.user(), scope.agent(), Some(form)] {
            // A name that is not set is no empty name.
            hasher.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
            hasher.update(part.unwrap_or_default().as_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }
}

impl From<[u8; 32]> for ValueKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ValueKey {
    /// As 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ValueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<ValueKey> for String {
    fn from(key: ValueKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for ValueKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for ValueKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        blake3::Hash::from_hex(text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| Error::invalid("key", text, "64 hexadecimal digits, as the list of rejections shows them"))
    }
}

/// The keys of a text within a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueKeys {
    /// Of the form that the text reads as, which names the value.
    pub reads: ValueKey,
    /// Of the form that the text looks like; the same for most texts.
    pub looks: ValueKey,
}

impl ValueKeys {
    /// The keys of `text` for one user and agent of a tenant. The session is not in them: what was rejected in one is
    /// rejected in all.
    #[must_use]
    pub fn of(scope: &Scope, text: &str) -> Self {
        let reads = form(text, read);
        let reads_key = ValueKey::of(scope, &reads);
        // Plain characters look like themselves.
        let looks = if text.is_ascii() { reads_key } else { ValueKey::of(scope, &form(text, drawn)) };
        Self { reads: reads_key, looks }
    }

    /// Both keys.
    #[must_use]
    pub fn both(&self) -> [ValueKey; 2] {
        [self.reads, self.looks]
    }
}

/// A text in the form in which two that are one value are equal. `each` says what stands for a character.
fn form(text: &str, each: fn(char, &mut String)) -> String {
    // What stands for a character may itself have another form: done again until nothing changes, which is at once for
    // nearly every text.
    const PASSES: usize = 8;
    let mut form = pass(text, each);
    for _ in 1..PASSES {
        if form.is_ascii() {
            break;
        }
        let next = pass(&form, each);
        if next == form {
            break;
        }
        form = next;
    }
    // A text of nothing but marks is those marks.
    if form.is_empty() { text.nfkc().collect() } else { form }
}

fn pass(text: &str, each: fn(char, &mut String)) -> String {
    let mut folded = String::with_capacity(text.len());
    if text.is_ascii() {
        // Nearly every text: its characters have one form each, and are all shown.
        text.chars().for_each(|c| each(c, &mut folded));
    } else {
        let shown = text.chars().filter(|c| !is_ignorable(*c)).nfkc().filter(|c| !is_ignorable(*c));
        shown.for_each(|c| each(c, &mut folded));
        folded = folded.nfkc().collect();
    }
    let mut form = String::with_capacity(folded.len());
    let mut is_apart = false;
    let mut rest = folded.chars().peekable();
    while let Some(c) = rest.next() {
        let is_minus = is_dash(c)
            && rest.peek().is_some_and(|next| next.is_numeric())
            && (is_apart || !form.ends_with(|last: char| last.is_alphanumeric()));
        if !is_minus && is_between_words(c) {
            is_apart = true;
            continue;
        }
        if std::mem::take(&mut is_apart) && !form.is_empty() {
            form.push(' ');
        }
        form.push(if is_minus { '-' } else { c });
    }
    form
}

/// A character as it reads: without its case.
fn read(c: char, form: &mut String) {
    if c.is_ascii() {
        return form.push(c.to_ascii_lowercase());
    }
    // By way of the capital, which brings together what has one capital: the two small sigmas, ß and ss.
    form.extend(c.to_uppercase().flat_map(char::to_lowercase));
}

/// A character as it looks. Plain characters look like themselves: the table takes an m for r and n, and an I for an l,
/// which would make one of "modem" and "modern". Numbers are never taken for letters or for each other.
fn drawn(c: char, form: &mut String) {
    if c.is_ascii() || !c.is_alphabetic() {
        return read(c, form);
    }
    let mut buffer = [0; 4];
    let looks = skeleton(c.encode_utf8(&mut buffer)).collect::<String>();
    match &*looks {
        // That of a capital I, which the table writes so.
        "l" if c.is_uppercase() => form.push('i'),
        looks => looks.chars().for_each(|c| read(c, form)),
    }
}

fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// White space, control characters, and punctuation that says nothing by itself.
fn is_between_words(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || is_dash(c)
        || matches!(c, '!' | '"' | '\'' | '(' | ')' | ',' | '.' | '/' | ':' | ';' | '?' | '[' | ']' | '\\' | '_' | '`')
        || matches!(c, '{' | '}' | '¡' | '§' | '¨' | '«' | '´' | '¶' | '·' | '¸' | '»' | '¿')
        // Marks of Greek, Armenian, Hebrew, Arabic, Devanagari and of general use, and of Chinese and Japanese.
        || matches!(c, '\u{37e}' | '\u{387}' | '\u{55a}'..='\u{55f}' | '\u{589}' | '\u{58a}' | '\u{5be}' | '\u{5f3}' | '\u{5f4}')
        || matches!(c, '\u{60c}' | '\u{61b}' | '\u{61f}' | '\u{6d4}' | '\u{964}' | '\u{965}' | '\u{2016}'..='\u{205e}')
        || matches!(c, '\u{2e00}'..='\u{2e5d}' | '\u{2800}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{301f}' | '\u{30fb}')
}

/// What is not drawn and says nothing: Unicode's `Default_Ignorable_Code_Point`, with marks of direction and of tags.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests;
