//! Texts as Postgres searches them: stems in a `tsvector`, made by the core's stemmer, so that words are the same ones
//! for every provider.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use memory_core::arena::Bm25Query;
use memory_core::text;

/// A `tsvector` takes no longer lexeme than 2 KB. What is longer is no word that anybody asks for whole.
const MAX_STEM_BYTES: usize = 512;
/// A `tsvector` knows no later place.
const LAST_PLACE: usize = 16_383;

/// A lexical text as a `tsvector` in its textual form, and the number of its stems.
pub(crate) fn words(lexical_text: &str) -> (String, i32) {
    let stems = text::stems(lexical_text);
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, stem) in stems.iter().enumerate() {
        places.entry(cut(stem)).or_default().push((at + 1).min(LAST_PLACE));
    }
    let mut vector = String::with_capacity(lexical_text.len() + 8 * places.len());
    for (stem, mut places) in places {
        places.dedup();
        let stem = stem.replace('\\', "\\\\").replace('\'', "''");
        let _ = write!(vector, "'{stem}':");
        for (at, place) in places.iter().enumerate() {
            let _ = write!(vector, "{}{place}", if at > 0 { "," } else { "" });
        }
        vector.push(' ');
    }
    (vector, i32::try_from(stems.len()).unwrap_or(i32::MAX))
}

/// The stems of a query.
pub(crate) fn query(text: &str) -> Vec<String> {
    let mut stems: Vec<String> = Bm25Query::new(text).stems().iter().map(|stem| cut(stem).to_owned()).collect();
    stems.dedup();
    stems
}

fn cut(stem: &str) -> &str {
    &stem[..stem.floor_char_boundary(MAX_STEM_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_how_often_they_stand() {
        assert_eq!(words("Red cars, red bikes"), ("'bike':4 'car':2 'red':1,3 ".to_owned(), 4));
        assert_eq!(words("…"), (String::new(), 0));
    }

    #[test]
    fn an_endless_word_is_cut_in_texts_and_queries_alike() {
        let endless = "é".repeat(5000);
        let stem = &query(&endless)[0];
        assert!(stem.len() <= MAX_STEM_BYTES && words(&endless).0.contains(&**stem));
    }
}
