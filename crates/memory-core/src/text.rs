//! How texts are made comparable.

use std::cell::RefCell;
use std::collections::HashMap;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization;

/// The text in the form in which two spellings of one text are equal: Unicode NFKC, lower case, typographic quotes and
/// dashes as their plain forms, invisible characters and trailing punctuation dropped, white space as single spaces.
#[must_use]
pub fn normalize(text: &str) -> String {
    let mut normalized = String::with_capacity(text.len());
    if text.is_ascii() {
        // The same for what needs no tables, which is most texts.
        for word in text.split(|c: char| c <= ' ' || c == '\u{7f}').filter(|word| !word.is_empty()) {
            if !normalized.is_empty() {
                normalized.push(' ');
            }
            normalized.push_str(word);
        }
        normalized.make_ascii_lowercase();
    } else {
        for c in text.nfkc().flat_map(char::to_lowercase) {
            push_normalized(c, &mut normalized);
        }
    }
    let end = normalized.trim_end_matches([' ', '.', '!', '?', ',', ';', ':', '…']).len();
    // A text of nothing but punctuation keeps it: "?" and "!" are different prompts.
    if end > 0 {
        normalized.truncate(end);
    } else {
        normalized.truncate(normalized.trim_end().len());
    }
    normalized
}

/// Adds a lower-cased character in its plain form.
fn push_normalized(c: char, normalized: &mut String) {
    let c = match c {
        '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2032}' => '\'',
        '\u{201c}' | '\u{201d}' | '\u{2033}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => return,
        c => c,
    };
    if c.is_whitespace() || c.is_control() {
        if !normalized.is_empty() && !normalized.ends_with(' ') {
            normalized.push(' ');
        }
    } else {
        normalized.push(c);
    }
}

/// The lower-cased words of a text: runs of letters and digits, an apostrophe inside a word dropped with what follows.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '\u{2019}'))
        .map(|word| word.split(['\'', '\u{2019}']).find(|part| !part.is_empty()).unwrap_or(""))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// The stems of a text's words, in order: what the lexical index holds and a query is matched by (Porter's English
/// stemmer, second version; words of other languages pass nearly unchanged).
#[must_use]
pub fn stems(text: &str) -> Vec<String> {
    // Stemming a word costs far more than looking it up, and the words of a memory repeat.
    const CACHED_WORDS: usize = 1 << 15;
    thread_local! {
        static STEMMER: Stemmer = Stemmer::create(Algorithm::English);
        static CACHE: RefCell<HashMap<String, String>> = RefCell::new(HashMap::new());
    }
    CACHE.with_borrow_mut(|cache| {
        words(text)
            .map(|word| {
                if let Some(stem) = cache.get(&word) {
                    return stem.clone();
                }
                let stem = STEMMER.with(|stemmer| stemmer.stem(&word).into_owned());
                if cache.len() >= CACHED_WORDS {
                    cache.clear();
                }
                cache.insert(word, stem.clone());
                stem
            })
            .collect()
    })
}

/// Whether a word carries grammar rather than content. Such words are left out of a lexical query, unless it has no
/// others: they match nearly every memory and say nothing about which one is meant.
#[must_use]
pub fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

// Sorted, for the binary search; a test keeps it so.
const STOP_WORDS: &[&str] = &[
    "a", "about", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been", "before",
    "being", "but", "by", "can", "could", "did", "do", "does", "doing", "done", "for", "from", "get", "got", "had",
    "has", "have", "having", "he", "her", "here", "hers", "him", "his", "how", "i", "if", "in", "into", "is", "it",
    "its", "just", "many", "me", "might", "more", "most", "much", "must", "my", "of", "on", "or", "our", "ours", "out",
    "over", "shall", "she", "should", "so", "some", "such", "than", "that", "the", "their", "theirs", "them", "then",
    "there", "these", "they", "this", "those", "to", "too", "up", "us", "was", "we", "were", "what", "when", "where",
    "which", "while", "who", "whom", "whose", "why", "will", "with", "would", "you", "your", "yours",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_text_normalize_alike() {
        for spelling in
            ["What's the ETA?", "what’s  the\teta", "WHAT'S THE ETA ?!", "what\u{200b}'s the eta…", "ｗhat's the ETA"]
        {
            assert_eq!(normalize(spelling), "what's the eta");
        }
        assert_ne!(normalize("?"), normalize("!"));
        assert_ne!(normalize("1.5"), normalize("15"));
    }

    proptest::proptest! {
        #[test]
        fn plain_text_normalizes_as_any_other(text in "[\\x00-\\x7f]{0,40}") {
            // A character that is dropped takes the text the long way.
            proptest::prop_assert_eq!(normalize(&text), normalize(&format!("\u{200b}{text}")));
        }
    }

    #[test]
    fn words_stem_alike() {
        assert_eq!(stems("Running shoes: she's running!"), ["run", "shoe", "she", "run"]);
        assert_eq!(stems("2023-05-08 café"), ["2023", "05", "08", "café"]);
    }

    #[test]
    fn stop_words_are_sorted() {
        assert!(STOP_WORDS.is_sorted());
    }
}
