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

/// A query that one of these stems answers, as a `tsquery` in its textual form. None without a stem: it would find nothing.
pub(crate) fn any_of(stems: &[String]) -> Option<String> {
    let quoted = stems.iter().map(|stem| format!("'{}'", stem.replace('\\', "\\\\").replace('\'', "''")));
    (!stems.is_empty()).then(|| quoted.collect::<Vec<_>>().join(" | "))
}

/// How often each of some sorted stems stands in a `tsvector` in its binary form: which stem, how often. None for what is no such
/// thing.
pub(crate) fn frequencies(mut vector: &[u8], stems: &[String]) -> Option<Vec<(usize, f64)>> {
    let mut found = Vec::with_capacity(stems.len());
    let (count, rest) = vector.split_first_chunk()?;
    vector = rest;
    for _ in 0..u32::from_be_bytes(*count) {
        let end = vector.iter().position(|&byte| byte == 0)?;
        let (lexeme, rest) = (&vector[..end], &vector[end + 1..]);
        let (places, rest) = rest.split_first_chunk()?;
        let places = u16::from_be_bytes(*places);
        vector = rest.get(2 * usize::from(places)..)?;
        if let Ok(stem) = stems.binary_search_by(|stem| stem.as_bytes().cmp(lexeme)) {
            found.push((stem, f64::from(places)));
        }
    }
    Some(found)
}

/// What BM25 has to know of all texts that are searched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statistics {
    /// How many of them have words.
    pub worded: f64,
    /// How many stems each of these has on average; anything where there is none.
    pub average_length: f64,
}

impl Statistics {
    /// The BM25 of texts, as `search_memories` would have it, each told by which stems stand in it how often, and how many it has.
    /// Every text with a stem of the query is among them.
    pub(crate) fn bm25<'a>(
        &self,
        stems: &[String],
        texts: impl Iterator<Item = (&'a [(usize, f64)], i32)> + Clone,
    ) -> Vec<f32> {
        let mut with_stem = vec![0_u32; stems.len()];
        for &(stem, _) in texts.clone().flat_map(|(words, _)| words) {
            with_stem[stem] += 1;
        }
        let idf = |with_stem: u32| {
            let with_stem = f64::from(with_stem);
            (1.0 + ((self.worded - with_stem).max(0.0) + 0.5) / (with_stem + 0.5)).ln()
        };
        let idf: Vec<f64> = with_stem.into_iter().map(idf).collect();
        let average = self.average_length.max(1.0);
        let score = |(words, length): (&[(usize, f64)], i32)| {
            let norm = 0.9 * (0.6 + 0.4 * f64::from(length) / average);
            words.iter().map(|&(stem, frequency)| idf[stem] * frequency * 1.9 / (frequency + norm)).sum::<f64>() as f32
        };
        texts.map(score).collect()
    }
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

    #[test]
    fn a_vector_in_binary_says_how_often_stems_stand() {
        let vector = b"\0\0\0\x02car\0\0\x01\0\x02red\0\0\x02\0\x01\0\x03";
        let stems = ["bike".to_owned(), "car".into(), "red".into()];
        assert_eq!(frequencies(vector, &stems), Some(vec![(1, 1.0), (2, 2.0)]));
        assert_eq!(frequencies(&vector[..vector.len() - 1], &stems), None);
        assert_eq!(frequencies(b"\0\0\0\0", &stems), Some(Vec::new()));
    }

    #[test]
    fn stems_are_quoted() {
        assert_eq!(any_of(&["a'b".into(), "c\\d".into()]).unwrap(), "'a''b' | 'c\\\\d'");
        assert_eq!(any_of(&[]), None);
    }
}
