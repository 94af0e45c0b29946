//! The guard's tokeniser: one pass from a prompt to words, numbers, codes and marks that every check shares.

use std::borrow::Cow;

use smol_str::SmolStr;
use unicode_normalization::{UnicodeNormalization, is_nfkc};

use super::chunks;
use super::lexicon::Class;
use super::negation::Cues;
use super::quantity;
use super::roles::{self, Role};
use super::words::{Stem, Word};

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
    pub text: SmolStr,
    /// Lower case.
    pub key: SmolStr,
    /// What two forms of one word share; equal to the key for anything but an English word.
    pub stem: SmolStr,
    /// What the lists say of the key, and of the stem.
    pub word: &'static Word,
    pub of_stem: &'static Stem,
    pub kind: Kind,
    pub class: Class,
    /// The unit of a number; "" elsewhere.
    pub unit: &'static str,
    /// Written with a capital away from a sentence's start, or with a possessive "'s".
    pub capital: bool,
    pub first_in_sentence: bool,
}

/// A tokenised prompt.
#[derive(Debug, Clone)]
pub(super) struct Prompt {
    pub tokens: Vec<Token>,
    /// The positions of all tokens but marks, by stem and then by position, and by key.
    pub by_stem: Vec<usize>,
    by_key: Vec<usize>,
    /// What governs each content word.
    pub roles: Vec<Role>,
    /// What negates.
    pub cues: Cues,
    /// Quoted passages as keys joined by nothing, at most [`MAX_QUOTES`].
    pub quotes: Vec<(SmolStr, SmolStr)>,
    /// Stop lists and antonyms apply.
    pub english: bool,
    /// Capitals say something: neither a lower-case, nor an all-caps, nor a Title Case prompt.
    pub cased: bool,
}

const MAX_QUOTES: usize = 32;

/// Reads a prompt; total on any input, in time that grows little faster than its length.
///
/// Stemming is what takes longest, so words that stand in `beside` too, a prompt that was read before, have their stems
/// from there.
pub(super) fn read(prompt: &str, beside: Option<&Prompt>) -> Prompt {
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
    finish(&mut tokens, english, beside.filter(|beside| beside.english));
    let cased = capitals_say_something(&tokens);
    let tokens = quantity::fold(tokens, english);
    let quotes = quotes(&text);
    Prompt::new(tokens, quotes, english, cased)
}

impl Prompt {
    pub fn new(tokens: Vec<Token>, quotes: Vec<(SmolStr, SmolStr)>, english: bool, cased: bool) -> Self {
        let (by_stem, by_key) = (sorted(&tokens, |token| &token.stem), sorted(&tokens, |token| &token.key));
        let (roles, cues) = (roles::read(&tokens), Cues::of(&tokens));
        Self { tokens, by_stem, by_key, roles, cues, quotes, english, cased }
    }

    /// All tokens but marks.
    pub fn words(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|token| token.kind != Kind::Mark)
    }

    /// A token other than a mark that has this key.
    pub fn with_key(&self, key: &str) -> Option<&Token> {
        let found = self.by_key.binary_search_by(|&at| (*self.tokens[at].key).cmp(key));
        found.ok().map(|found| &self.tokens[self.by_key[found]])
    }

    fn word(&self, key: &str) -> Option<&Token> {
        self.with_key(key).filter(|token| token.kind == Kind::Word)
    }
}

pub(super) fn push(tokens: &mut Vec<Token>, text: &str, key: &str, kind: Kind) {
    let starts_upper = text.chars().next().is_some_and(char::is_uppercase);
    let capital = kind == Kind::Word && starts_upper;
    tokens.push(Token {
        text: SmolStr::new(text),
        key: SmolStr::new(key),
        stem: SmolStr::default(),
        word: if matches!(kind, Kind::Word | Kind::Code) { Word::of(key) } else { Word::unlisted() },
        of_stem: Stem::unlisted(),
        kind,
        class: Class::Content,
        unit: "",
        capital,
        first_in_sentence: false,
    });
}

pub(super) fn push_mark(tokens: &mut Vec<Token>, mark: char) {
    let mut buffer = [0; 4];
    let mark = mark.encode_utf8(&mut buffer);
    push(tokens, mark, mark, Kind::Mark);
}

/// The positions of all tokens but marks, by a text of theirs and then by position.
fn sorted(tokens: &[Token], text: impl Fn(&Token) -> &str) -> Vec<usize> {
    // Eight bytes as a number decide most comparisons.
    let prefix = |at: usize| {
        let text = text(&tokens[at]).as_bytes();
        let mut prefix = [0; 8];
        prefix[..text.len().min(8)].copy_from_slice(&text[..text.len().min(8)]);
        u64::from_be_bytes(prefix)
    };
    let words = (0..tokens.len()).filter(|&at| tokens[at].kind != Kind::Mark);
    let mut order = Vec::with_capacity(tokens.len());
    order.extend(words.map(|at| (prefix(at), at)));
    order.sort_unstable_by(|&(a_prefix, a), &(b_prefix, b)| {
        let by_text = || text(&tokens[a]).cmp(text(&tokens[b])).then(a.cmp(&b));
        a_prefix.cmp(&b_prefix).then_with(by_text)
    });
    order.into_iter().map(|(_, at)| at).collect()
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
fn finish(tokens: &mut [Token], english: bool, beside: Option<&Prompt>) {
    let mut first = true;
    for token in tokens {
        if token.kind == Kind::Mark {
            first |= token.key != "," && token.key != "/";
            continue;
        }
        token.first_in_sentence = first;
        first = false;
        let has_stem = token.kind == Kind::Word
            || token.kind == Kind::Code && token.key.bytes().all(|byte| byte.is_ascii_lowercase());
        (token.stem, token.of_stem) = if !english || !has_stem {
            (token.key.clone(), Stem::of(&token.key))
        } else if let Some(same) = beside.and_then(|beside| beside.word(&token.key)) {
            (same.stem.clone(), same.of_stem)
        } else {
            token.word.stem(&token.key)
        };
        if english && token.kind == Kind::Word {
            let is_country = token.key == "us" && token.text.starts_with('U');
            token.class = if is_country { Class::Content } else { token.word.class };
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
        english += usize::from(word.word.english);
        foreign += usize::from(word.word.foreign);
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
fn quotes(text: &str) -> Vec<(SmolStr, SmolStr)> {
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
            found.push((inside[..end].into(), squashed));
        }
        rest = &inside[end + 1..];
    }
    found
}

/// Lower-case letters and digits only: "Wi-Fi" and "wifi" are one.
pub(super) fn squash(text: &str) -> SmolStr {
    if text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return text.into();
    }
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::super::words::stem;
    use super::*;

    #[test]
    fn curly_and_straight_quotes_are_one() {
        let keys = |prompt: &str| read(prompt, None).tokens.into_iter().map(|token| token.key).collect::<Vec<_>>();
        assert_eq!(keys("it doesn’t"), ["it", "does", "not"]);
        assert_eq!(read("say “hi there”", None).quotes, [("hi there".into(), "hithere".into())]);
    }

    #[test]
    fn forms_of_a_word_share_a_stem() {
        for (a, b) in [("sorting", "sorts"), ("children", "child"), ("colour", "color"), ("wrote", "write")] {
            assert_eq!(stem(a), stem(b));
        }
    }

    #[test]
    fn language_is_told_by_grammar_and_script() {
        assert!(read("How do I bake bread?", None).english);
        assert!(read("bread recipe", None).english);
        assert!(!read("Wie kann ich das Brot backen?", None).english);
        assert!(!read("как испечь хлеб", None).english);
    }

    #[test]
    fn capitals_count_only_where_they_are_not_the_rule() {
        assert!(read("Who is Ada Lovelace?", None).cased);
        assert!(!read("Who Is The Queen Of My Heart", None).cased);
        assert!(!read("WHO IS ADA LOVELACE", None).cased);
        assert!(!read("who is ada lovelace", None).cased);
    }
}
