//! BERT's tokenisation: basic tokenisation into words, then greedy longest-match word pieces.
//!
//! It gives what the `tokenizers` package gives for an uncased BERT, without special tokens.

mod pieces;
mod tables;

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

use pieces::{Pieces, Position};

/// A longer word is unknown, as in BERT.
const MAX_WORD_CHARS: usize = 100;
/// Room for a word of [`MAX_WORD_CHARS`] characters in UTF-8.
const MAX_WORD_BYTES: usize = 4 * MAX_WORD_CHARS;

/// Turns a text into the numbers of its word pieces.
pub(crate) struct WordPiece {
    pieces: Pieces,
}

impl WordPiece {
    /// Reads a `vocab.txt`, one piece on each line. The error says what is wrong with it.
    pub(crate) fn new(vocab: Cow<'static, [u8]>) -> Result<Self, String> {
        Ok(Self { pieces: Pieces::new(vocab)? })
    }

    /// How many pieces the vocabulary has.
    pub(crate) fn vocabulary_size(&self) -> usize {
        self.pieces.len()
    }

    /// Calls `visit` with the number of each piece of `text`, in their order; with `None` once for a word that has an
    /// unknown part.
    ///
    /// Linear in the length of the text, without any allocation.
    pub(crate) fn visit(&self, text: &str, mut visit: impl FnMut(Option<u32>)) {
        let mut word = Word::new();
        if text.is_ascii() {
            for byte in text.bytes() {
                match byte {
                    b'a'..=b'z' | b'0'..=b'9' => word.push_ascii(byte),
                    b'A'..=b'Z' => word.push_ascii(byte.to_ascii_lowercase()),
                    b' ' | b'\t' | b'\n' | b'\r' => self.finish(&mut word, &mut visit),
                    b'!'..=b'~' => {
                        self.finish(&mut word, &mut visit);
                        word.push_ascii(byte);
                        self.finish(&mut word, &mut visit);
                    }
                    // Control characters vanish, and what they parted becomes one word.
                    _ => {}
                }
            }
        } else {
            for c in normalized(text) {
                if c == ' ' {
                    self.finish(&mut word, &mut visit);
                } else if is_punctuation(c) {
                    self.finish(&mut word, &mut visit);
                    word.push(c);
                    self.finish(&mut word, &mut visit);
                } else {
                    word.push(c);
                }
            }
        }
        self.finish(&mut word, &mut visit);
    }

    /// Splits the word into the longest pieces from its start, and empties it.
    fn finish(&self, word: &mut Word, visit: &mut impl FnMut(Option<u32>)) {
        if word.chars == 0 {
            return;
        }
        if word.chars > MAX_WORD_CHARS {
            visit(None);
        } else if let Some(id) = self.pieces.find(&word.bytes[..word.len], Position::Start) {
            visit(Some(id));
        } else {
            self.split(&word.bytes[..word.len], visit);
        }
        word.clear();
    }

    fn split(&self, word: &[u8], visit: &mut impl FnMut(Option<u32>)) {
        let mut ids = [0; MAX_WORD_CHARS];
        let mut count = 0;
        let mut rest = word;
        let mut position = Position::Start;
        while !rest.is_empty() {
            // A match ends where a character ends, since both sides are UTF-8; so it is at least one character long.
            let lengths = (1..=rest.len().min(self.pieces.longest())).rev();
            let Some((id, bytes)) =
                lengths.into_iter().find_map(|bytes| Some((self.pieces.find(&rest[..bytes], position)?, bytes)))
            else {
                return visit(None);
            };
            ids[count] = id;
            count += 1;
            rest = &rest[bytes..];
            position = Position::Continuation;
        }
        ids[..count].iter().copied().map(Some).for_each(visit);
    }
}

/// The word being read. Characters past [`MAX_WORD_CHARS`] are counted but not kept: the word is unknown anyway.
struct Word {
    bytes: [u8; MAX_WORD_BYTES],
    len: usize,
    chars: usize,
}

impl Word {
    fn new() -> Self {
        Self { bytes: [0; MAX_WORD_BYTES], len: 0, chars: 0 }
    }

    fn clear(&mut self) {
        (self.len, self.chars) = (0, 0);
    }

    fn push_ascii(&mut self, byte: u8) {
        if self.chars < MAX_WORD_CHARS {
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        self.chars += 1;
    }

    fn push(&mut self, c: char) {
        if self.chars < MAX_WORD_CHARS {
            self.len += c.encode_utf8(&mut self.bytes[self.len..]).len();
        }
        self.chars += 1;
    }
}

/// The text as BERT's basic tokenisation sees it: cleaned, ideographs set apart by spaces, without accents, in lower case.
/// The only white space in it is `' '`.
fn normalized(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars()
        .filter(|&c| !is_dropped(c))
        .flat_map(|c| {
            let spaced = belongs(tables::IDEOGRAPHS, c);
            let c = if c.is_whitespace() { ' ' } else { c };
            [spaced.then_some(' '), Some(c), spaced.then_some(' ')].into_iter().flatten()
        })
        .nfd()
        .filter(|&c| !belongs(tables::ACCENTS, c))
        .flat_map(char::to_lowercase)
}

fn is_dropped(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r') } else { belongs(tables::DROPPED, c) }
}

fn is_punctuation(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_punctuation() } else { belongs(tables::PUNCTUATION, c) }
}

/// Whether a class of [`tables`] holds the character.
fn belongs(class: &[u32], c: char) -> bool {
    !c.is_ascii() && class.partition_point(|&boundary| boundary <= u32::from(c)) % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(vocab: &'static str, text: &str) -> Vec<&'static str> {
        let tokenizer = WordPiece::new(Cow::Borrowed(vocab.as_bytes())).unwrap();
        let lines: Vec<&str> = vocab.lines().collect();
        let mut found = Vec::new();
        tokenizer.visit(text, |id| found.push(id.map_or("?", |id| lines[id as usize])));
        found
    }

    #[test]
    fn the_longest_piece_wins_and_an_unknown_rest_makes_the_word_unknown() {
        let vocab = "un\nunaff\n##aff\n##able\n##ff\n.";
        assert_eq!(pieces(vocab, "unaffable. UNAFF!"), ["unaff", "##able", ".", "unaff", "?"]);
        assert_eq!(pieces(vocab, "unaffx un"), ["?", "un"]);
        assert_eq!(
            pieces(vocab, "un\u{0}aff un\taff"),
            ["unaff", "un", "?"],
            "a control character vanishes, a tab parts"
        );
    }

    #[test]
    fn both_paths_agree_on_ascii() {
        let vocab = "a\nb\n##b\n##c\n1\n##2\n-\n~";
        for text in ["abc A-B~", "a\u{1}b\u{b}c", "\r\n a12-b\t~~", "a\u{7f}b"] {
            let slow = pieces(vocab, &format!("{text} é")); // é is e, which is unknown
            let fast = pieces(vocab, &format!("{text} e"));
            assert_eq!(fast, slow, "{text:?}");
        }
    }

    #[test]
    fn accents_case_and_scripts_are_treated_as_bert_does() {
        let vocab = "cafe\n東\n京\ni\n\u{1112}\n##\u{1161}\n##\u{11ab}\n“\n”";
        assert_eq!(pieces(vocab, "CAFÉ cafe\u{301}"), ["cafe", "cafe"]);
        assert_eq!(pieces(vocab, "東京"), ["東", "京"]);
        assert_eq!(pieces(vocab, "İ"), ["i"]);
        assert_eq!(pieces(vocab, "한"), ["\u{1112}", "##\u{1161}", "##\u{11ab}"]);
        assert_eq!(pieces(vocab, "“café”"), ["“", "cafe", "”"]);
        assert_eq!(pieces(vocab, "ca\u{ad}fe\u{a0}i"), ["cafe", "i"], "a soft hyphen vanishes, a fixed space parts");
    }

    #[test]
    fn a_word_of_a_hundred_characters_is_the_longest() {
        let vocab = "é\na\n##é\n##a\n##e\ne";
        assert_eq!(pieces(vocab, &"a".repeat(100)).len(), 100);
        assert_eq!(pieces(vocab, &"a".repeat(101)), ["?"]);
        assert_eq!(pieces(vocab, &"é".repeat(100)).len(), 100);
        assert_eq!(pieces(vocab, &format!("{} a", "é".repeat(100_000))), ["?", "a"]);
    }
}
