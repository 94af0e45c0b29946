//! The vocabulary as a hash table that is built without an allocation for each piece.

use std::borrow::Cow;

/// Which of the two vocabularies a piece belongs to: `play` starts a word, `##ing` continues one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    Start,
    Continuation,
}

/// Finds the number of a piece: open addressing over the bytes of `vocab.txt`, which stay where they are.
pub(super) struct Pieces {
    vocab: Cow<'static, [u8]>,
    spans: Vec<Span>,
    /// The piece's number plus one; 0 is free. The length is a power of two, at least twice the number of pieces.
    slots: Vec<u32>,
    /// Bytes in the longest piece, which bounds the search for the longest match.
    longest: usize,
}

/// Where the text of a piece, without `##`, stands in the vocabulary.
struct Span {
    start: u32,
    bytes: u16,
    position: Position,
}

impl Pieces {
    /// Reads a `vocab.txt`: one piece on each line, the line's number (from 0) being the piece's.
    pub(super) fn new(vocab: Cow<'static, [u8]>) -> Result<Self, String> {
        if u32::try_from(vocab.len()).is_err() {
            return Err("the vocabulary is larger than 4 GiB".to_owned());
        }
        if let Err(error) = std::str::from_utf8(&vocab) {
            return Err(format!("the vocabulary is not UTF-8 text: {error}"));
        }
        let mut pieces = Self { spans: Vec::new(), slots: Vec::new(), longest: 0, vocab };
        pieces.read_lines()?;
        pieces.fill_slots()?;
        Ok(pieces)
    }

    /// How many pieces there are.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes in the longest piece.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The number of the piece that is exactly `text`.
    pub(super) fn find(&self, text: &[u8], position: Position) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = hash(text, position) as usize & mask;
        loop {
            let id = self.slots[at].checked_sub(1)?;
            let span = &self.spans[id as usize];
            if span.position == position && self.text(span) == text {
                return Some(id);
            }
            at = (at + 1) & mask;
        }
    }

    fn text(&self, span: &Span) -> &[u8] {
        let start = span.start as usize;
        &self.vocab[start..start + usize::from(span.bytes)]
    }

    fn read_lines(&mut self) -> Result<(), String> {
        let mut start = 0;
        for (number, line) in self.vocab.split_inclusive(|&byte| byte == b'\n').enumerate() {
            let piece = line.strip_suffix(b"\n").unwrap_or(line);
            let piece = piece.strip_suffix(b"\r").unwrap_or(piece);
            let (prefix, position) = match piece {
                [b'#', b'#', _, ..] => (2, Position::Continuation),
                _ => (0, Position::Start),
            };
            let Ok(bytes @ 1..) = u16::try_from(piece.len() - prefix) else {
                return Err(format!("line {} of the vocabulary is empty or too long", number + 1));
            };
            // Fits: the whole vocabulary has fewer than 2^32 bytes.
            self.spans.push(Span { start: (start + prefix) as u32, bytes, position });
            self.longest = self.longest.max(usize::from(bytes));
            start += line.len();
        }
        Ok(())
    }

    fn fill_slots(&mut self) -> Result<(), String> {
        let mask = (self.spans.len() * 2).next_power_of_two() - 1;
        let mut slots = vec![0; mask + 1];
        for (id, span) in self.spans.iter().enumerate() {
            let text = self.text(span);
            let mut at = hash(text, span.position) as usize & mask;
            while slots[at] != 0 {
                let other = slots[at] as usize - 1;
                if self.spans[other].position == span.position && self.text(&self.spans[other]) == text {
                    return Err(format!("lines {} and {} of the vocabulary are equal", other + 1, id + 1));
                }
                at = (at + 1) & mask;
            }
            // Fits: there are fewer pieces than bytes.
            slots[at] = id as u32 + 1;
        }
        self.slots = slots;
        Ok(())
    }
}

/// The multiply-and-rotate hash of the Rust compiler (`FxHash`), eight bytes at a time: the keys are short and not hostile.
fn hash(text: &[u8], position: Position) -> u64 {
    const FACTOR: u64 = 0x517c_c1b7_2722_0a95;
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let mut hash = mix(position as u64, text.len() as u64);
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    let rest = rest.iter().fold(0, |word, &byte| (word << 8) | u64::from(byte));
    hash = mix(hash, rest);
    // The product's high bits depend on every byte, its low bits do not.
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_found_in_its_own_position_only() {
        let pieces = Pieces::new(Cow::Borrowed(b"play\n##ing\n##\nplay#\r\n\xc3\xa9".as_slice())).unwrap();
        assert_eq!(pieces.len(), 5);
        assert_eq!(pieces.longest(), 5);
        assert_eq!(pieces.find(b"play", Position::Start), Some(0));
        assert_eq!(pieces.find(b"play", Position::Continuation), None);
        assert_eq!(pieces.find(b"ing", Position::Continuation), Some(1));
        assert_eq!(pieces.find(b"ing", Position::Start), None);
        assert_eq!(pieces.find(b"##", Position::Start), Some(2), "the prefix alone is a piece of its own");
        assert_eq!(pieces.find(b"play#", Position::Start), Some(3), "a carriage return is no part of the piece");
        assert_eq!(pieces.find("é".as_bytes(), Position::Start), Some(4));
        assert_eq!(pieces.find(b"", Position::Start), None);
    }

    #[test]
    fn a_bad_vocabulary_is_refused_with_the_line() {
        for (vocab, reason) in [
            (b"a\nb\na\n".as_slice(), "lines 1 and 3 of the vocabulary are equal"),
            (b"a\n\nb\n", "line 2 of the vocabulary is empty or too long"),
            (b"a\n\xff\n", "the vocabulary is not UTF-8 text: invalid utf-8 sequence of 1 bytes from index 2"),
        ] {
            assert_eq!(Pieces::new(Cow::Borrowed(vocab)).err().unwrap(), reason);
        }
        let empty = Pieces::new(Cow::Borrowed(b"".as_slice())).unwrap();
        assert_eq!(empty.find(b"a", Position::Start), None);
    }
}
