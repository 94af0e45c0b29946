//! The guard's tokeniser: one pass from a prompt to words, numbers, codes and marks that every check shares.

use std::borrow::Cow;
use std::sync::LazyLock;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::{UnicodeNormalization, is_nfkc};

use super::chunks;
use super::lexicon::{self, Class};
use super::quantity;

/// What a token is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// A number with its unit; the key is the value, in digits where it has one. A weak one is generic.
    Number,
    /// An identifier, file name, address or flag: it means exactly what it says.
    Code,
    /// Punctuation that ends a clause or a sentence.
    Mark,
}

/// One unit of a prompt.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// As written, after NFKC: the evidence a refusal shows.
    pub text: String,
    /// Lower case.
    pub key: String,
    /// What two forms of one word share; equal to the key for anything but an English word.
    pub stem: String,
    pub kind: Kind,
    pub class: Class,
    /// The unit of a number; "" elsewhere.
    pub unit: &'static str,
    /// Written with a capital away from a sentence's start, or with a possessive "'s".
    pub capital: bool,
    pub first_in_sentence: bool,
}

/// A tokenised prompt.
#[derive(Debug)]
pub(super) struct Prompt {
    pub tokens: Vec<Token>,
    /// Quoted passages as keys joined by nothing, at most [`MAX_QUOTES`].
    pub quotes: Vec<(String, String)>,
    /// Stop lists and antonyms apply.
    pub english: bool,
    /// Capitals say something: neither a lower-case, nor an all-caps, nor a Title Case prompt.
    pub cased: bool,
}

const MAX_QUOTES: usize = 32;

static STEMMER: LazyLock<Stemmer> = LazyLock::new(|| Stemmer::create(Algorithm::English));

/// Reads a prompt; total on any input and linear in its length.
pub(super) fn read(prompt: &str) -> Prompt {
    let text: Cow<'_, str> = if prompt.is_ascii() || is_nfkc(prompt) { prompt.into() } else { prompt.nfkc().collect() };
    let text: Cow<'_, str> = if text.is_ascii() { text } else { text.chars().map(plain_punctuation).collect() };

    let mut tokens = Vec::with_capacity(text.len() / 5 + 4);
    for (line_number, line) in text.lines().enumerate() {
        if line_number > 0 {
            push_mark(&mut tokens, '.');
        }
        for chunk in line.split_whitespace() {
            chunks::split(chunk, &mut tokens);
        }
    }
    let english = is_english(&tokens);
    finish(&mut tokens, english);
    let cased = capitals_say_something(&tokens);
    let tokens = quantity::fold(tokens, english);
    let quotes = quotes(&text);
    Prompt { tokens, quotes, english, cased }
}

/// The stem two English forms of one word share: "sorting", "sorts" and "sort"; "children" and "child".
pub(super) fn stem(key: &str) -> String {
    let base = lexicon::base_form(key);
    if !base.is_ascii() {
        return base.to_owned();
    }
    STEMMER.stem(base).into_owned()
}

pub(super) fn push(tokens: &mut Vec<Token>, text: &str, key: String, kind: Kind) {
    let starts_upper = text.chars().next().is_some_and(char::is_uppercase);
    let stem = String::new();
    let capital = kind == Kind::Word && starts_upper;
    tokens.push(Token {
        text: text.to_owned(),
        key,
        stem,
        kind,
        class: Class::Content,
        unit: "",
        capital,
        first_in_sentence: false,
    });
}

pub(super) fn push_mark(tokens: &mut Vec<Token>, mark: char) {
    push(tokens, mark.encode_utf8(&mut [0; 4]), mark.to_string(), Kind::Mark);
}

/// Curly quotes, long dashes and full stops of other scripts as their ASCII likes.
fn plain_punctuation(c: char) -> char {
    match c {
        '‘' | '’' | '‚' | 'ʼ' | '´' => '\'',
        '“' | '”' | '„' | '«' | '»' | '「' | '」' => '"',
        '‐' | '‑' | '‒' | '–' | '—' | '−' => '-',
        '。' => '.',
        '、' | '،' => ',',
        '؟' => '?',
        _ => c,
    }
}

/// Stems, classes and capitals, which need the language and the neighbours.
fn finish(tokens: &mut [Token], english: bool) {
    let mut first = true;
    for token in tokens {
        if token.kind == Kind::Mark {
            first |= token.key != "," && token.key != "/";
            continue;
        }
        token.first_in_sentence = first;
        first = false;
        token.stem = match token.kind {
            Kind::Word if english => stem(&token.key),
            Kind::Code if english && token.key.bytes().all(|byte| byte.is_ascii_lowercase()) => stem(&token.key),
            _ => token.key.clone(),
        };
        if english && token.kind == Kind::Word {
            let is_country = token.key == "us" && token.text.starts_with('U');
            token.class = if is_country { Class::Content } else { lexicon::class_of(&token.key) };
        }
        let possessive = token.text.ends_with("'s") || token.text.ends_with("'S");
        token.capital &= token.class == Class::Content && (!token.first_in_sentence || possessive);
    }
}

/// English unless the script or the grammar words say otherwise; a prompt without grammar words passes for English.
fn is_english(tokens: &[Token]) -> bool {
    let words = || tokens.iter().filter(|token| token.kind == Kind::Word);
    let (mut total, mut foreign_script, mut english, mut foreign) = (0, 0, 0, 0);
    for word in words() {
        total += 1;
        foreign_script += usize::from(word.key.chars().any(|c| c.is_alphabetic() && !is_latin(c)));
        english += usize::from(lexicon::is_english_marker(&word.key));
        foreign += usize::from(lexicon::is_foreign_marker(&word.key));
    }
    foreign_script * 2 <= total && foreign <= english
}

fn is_latin(c: char) -> bool {
    c < '\u{250}' || ('\u{1e00}'..'\u{1f00}').contains(&c)
}

/// False when capitals are the rule (Title Case, ALL CAPS) or absent.
fn capitals_say_something(tokens: &[Token]) -> bool {
    let (mut lower, mut upper_grammar, mut lower_grammar) = (0, 0, 0);
    for token in tokens.iter().filter(|token| token.kind == Kind::Word && !token.first_in_sentence && token.key != "i")
    {
        let is_lower = !token.text.starts_with(char::is_uppercase);
        let is_grammar = token.class == Class::Function;
        lower += usize::from(is_lower);
        upper_grammar += usize::from(is_grammar && !is_lower);
        lower_grammar += usize::from(is_grammar && is_lower);
    }
    let is_title_case = upper_grammar > 1 && upper_grammar > lower_grammar || lower == 0 && tokens.len() > 3;
    tokens.iter().any(|token| token.capital) && !is_title_case
}

/// Passages in double quotes or backticks: as written, and as keys joined by nothing.
fn quotes(text: &str) -> Vec<(String, String)> {
    if !text.contains(['"', '`']) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['"', '`']) {
        let mark = rest.as_bytes()[start] as char;
        let inside = &rest[start + 1..];
        let Some(end) = inside.find(mark) else { break };
        let squashed = squash(&inside[..end]);
        if !squashed.is_empty() && found.len() < MAX_QUOTES {
            found.push((inside[..end].to_owned(), squashed));
        }
        rest = &inside[end + 1..];
    }
    found
}

/// Lower-case letters and digits only: "Wi-Fi" and "wifi" are one.
pub(super) fn squash(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curly_and_straight_quotes_are_one() {
        let keys = |prompt: &str| read(prompt).tokens.into_iter().map(|token| token.key).collect::<Vec<_>>();
        assert_eq!(keys("it doesn’t"), ["it", "does", "not"]);
        assert_eq!(read("say “hi there”").quotes, [("hi there".to_owned(), "hithere".to_owned())]);
    }

    #[test]
    fn forms_of_a_word_share_a_stem() {
        for (a, b) in [("sorting", "sorts"), ("children", "child"), ("colour", "color"), ("wrote", "write")] {
            assert_eq!(stem(a), stem(b));
        }
    }

    #[test]
    fn language_is_told_by_grammar_and_script() {
        assert!(read("How do I bake bread?").english);
        assert!(read("bread recipe").english);
        assert!(!read("Wie kann ich das Brot backen?").english);
        assert!(!read("как испечь хлеб").english);
    }

    #[test]
    fn capitals_count_only_where_they_are_not_the_rule() {
        assert!(read("Who is Ada Lovelace?").cased);
        assert!(!read("Who Is The Queen Of My Heart").cased);
        assert!(!read("WHO IS ADA LOVELACE").cased);
        assert!(!read("who is ada lovelace").cased);
    }
}
