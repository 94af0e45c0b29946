//! BM25 over the words of texts.
//!
//! The statistics are those of the rows a query may see and of no others: a rarity that came from another tenant's texts
//! would leak what they hold and move the ranking.

use std::collections::HashMap;

use crate::text;

// Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009. k1 and b are Anserini's for
// short passages (Yang, Fang, Lin 2017), which memories are: with Lucene's 1.2 and 0.75 `cargo xtask bench recall` finds
// less among the first.
const K1: f32 = 0.9;
const B: f32 = 0.4;

/// An inverted index in memory, over rows that are numbered from 0.
#[derive(Debug, Default)]
pub struct LexicalArena {
    terms: HashMap<Box<str>, u32>,
    /// For each term the rows that hold it, ascending where rows were added in order, and how often.
    postings: Vec<Vec<Posting>>,
    /// For each row the number of its words; 0 for a row without a text.
    lengths: Vec<u32>,
    /// For each row its terms, to take it out again.
    row_terms: Vec<Box<[u32]>>,
    total_length: u64,
    live: usize,
}

#[derive(Debug, Clone, Copy)]
struct Posting {
    row: u32,
    frequency: u16,
}

/// A query's distinct stems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bm25Query {
    stems: Vec<String>,
}

impl Bm25Query {
    /// The stems of the query's words that are not stop words; of all its words where it has no others.
    #[must_use]
    pub fn new(query: &str) -> Self {
        let content: Vec<String> = text::words(query).filter(|word| !text::is_stop_word(word)).collect();
        let mut stems = if content.is_empty() { text::stems(query) } else { text::stems(&content.join(" ")) };
        stems.sort_unstable();
        stems.dedup();
        Self { stems }
    }

    /// The stems.
    #[must_use]
    pub fn stems(&self) -> &[String] {
        &self.stems
    }
}

/// What rarity is measured over: a number of rows, their words, and the rows that hold each of a query's stems.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bm25Statistics {
    rows: u64,
    total_length: u64,
    with_stem: Vec<u64>,
}

/// The BM25 of the rows that a query matches; 0 for all others.
#[derive(Debug, Default)]
pub struct Bm25Scores {
    by_row: Vec<f32>,
    rows: Vec<u32>,
}

impl Bm25Scores {
    /// The score of a row, 0 when it holds no word of the query.
    #[must_use]
    pub fn get(&self, row: usize) -> f32 {
        self.by_row.get(row).copied().unwrap_or(0.0)
    }

    /// The number of rows that hold a word of the query.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no row holds a word of the query.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows that hold a word of the query with their scores, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, f32)> {
        self.rows.iter().map(|&row| (row as usize, self.by_row[row as usize]))
    }
}

impl LexicalArena {
    /// The number of rows that have a text.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// The size in memory, in bytes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let terms: usize = self.terms.keys().map(|term| term.len() + 40).sum();
        let postings: usize =
            self.postings.iter().map(|postings| postings.capacity() * size_of::<Posting>() + 24).sum();
        let rows: usize = self.row_terms.iter().map(|terms| terms.len() * 4 + 20).sum();
        terms + postings + rows
    }

    /// Gives `row` a text in place of any it had.
    pub fn set(&mut self, row: usize, text: &str) {
        self.clear(row);
        if row >= self.lengths.len() {
            self.lengths.resize(row + 1, 0);
            self.row_terms.resize_with(row + 1, Box::default);
        }
        let stems = text::stems(text);
        let mut counts: HashMap<u32, u16> = HashMap::with_capacity(stems.len());
        for stem in &stems {
            let next = self.postings.len() as u32;
            let term = *self.terms.entry(stem.as_str().into()).or_insert(next);
            if term == next {
                self.postings.push(Vec::new());
            }
            let count = counts.entry(term).or_default();
            *count = count.saturating_add(1);
        }
        for (&term, &frequency) in &counts {
            self.postings[term as usize].push(Posting { row: row as u32, frequency });
        }
        self.lengths[row] = stems.len() as u32;
        self.row_terms[row] = counts.into_keys().collect();
        self.total_length += stems.len() as u64;
        self.live += usize::from(!stems.is_empty());
    }

    /// Takes `row`'s text away.
    pub fn clear(&mut self, row: usize) {
        let Some(length) = self.lengths.get_mut(row).map(std::mem::take).filter(|&length| length > 0) else { return };
        self.total_length -= u64::from(length);
        self.live -= 1;
        for term in std::mem::take(&mut self.row_terms[row]) {
            self.postings[term as usize].retain(|posting| posting.row as usize != row);
        }
    }

    /// Adds this arena's part, over the rows `keep` lets through, to the statistics of a query.
    ///
    /// A query over several arenas adds them up first, so that all are scored by the same statistics. `all` says that
    /// `keep` lets every row through, which spares the count.
    pub fn add_statistics(
        &self,
        query: &Bm25Query,
        statistics: &mut Bm25Statistics,
        all: bool,
        keep: impl Fn(usize) -> bool,
    ) {
        statistics.with_stem.resize(query.stems.len(), 0);
        if all {
            statistics.rows += self.live as u64;
            statistics.total_length += self.total_length;
        } else {
            for (row, &length) in self.lengths.iter().enumerate() {
                if length > 0 && keep(row) {
                    statistics.rows += 1;
                    statistics.total_length += u64::from(length);
                }
            }
        }
        for (stem, count) in query.stems.iter().zip(&mut statistics.with_stem) {
            let postings = self.postings_of(stem);
            *count +=
                if all { postings.len() } else { postings.iter().filter(|posting| keep(posting.row as usize)).count() }
                    as u64;
        }
    }

    /// The BM25 of every row that holds a word of the query and that `keep` lets through.
    pub fn scores(&self, query: &Bm25Query, statistics: &Bm25Statistics, keep: impl Fn(usize) -> bool) -> Bm25Scores {
        let mut scores = Bm25Scores { by_row: vec![0.0; self.lengths.len()], rows: Vec::new() };
        let average = (statistics.total_length as f32 / statistics.rows.max(1) as f32).max(1.0);
        for (stem, &with_stem) in query.stems.iter().zip(&statistics.with_stem) {
            let rarity = idf(statistics.rows, with_stem);
            for posting in self.postings_of(stem) {
                let row = posting.row as usize;
                if keep(row) {
                    let frequency = f32::from(posting.frequency);
                    let length = self.lengths[row] as f32;
                    let part = frequency * (K1 + 1.0) / (frequency + K1 * (1.0 - B + B * length / average));
                    let score = &mut scores.by_row[row];
                    if *score == 0.0 {
                        scores.rows.push(posting.row);
                    }
                    *score += rarity * part;
                }
            }
        }
        scores
    }

    fn postings_of(&self, stem: &str) -> &[Posting] {
        self.terms.get(stem).map_or(&[], |&term| &self.postings[term as usize])
    }
}

/// ln(1 + (N − n + ½) / (n + ½)): never negative, as in Lucene.
fn idf(rows: u64, with_stem: u64) -> f32 {
    let (rows, with_stem) = (rows as f32, with_stem as f32);
    (1.0 + (rows - with_stem + 0.5) / (with_stem + 0.5)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(arena: &LexicalArena, query: &str) -> HashMap<usize, f32> {
        let query = Bm25Query::new(query);
        let mut statistics = Bm25Statistics::default();
        arena.add_statistics(&query, &mut statistics, true, |_| true);
        arena.scores(&query, &statistics, |_| true).iter().collect()
    }

    fn arena(texts: &[&str]) -> LexicalArena {
        let mut arena = LexicalArena::default();
        for (row, text) in texts.iter().enumerate() {
            arena.set(row, text);
        }
        arena
    }

    #[test]
    fn rare_words_and_short_texts_weigh_more() {
        let arena = arena(&["the cat sat", "the cat ran far away over the hills", "a dog sat"]);
        let found = scores(&arena, "cats sitting on hills");
        assert!(found[&1] > found[&0], "hills is rarer than cat: {found:?}");
        assert!(!found.contains_key(&2), "sat is not the stem of sitting: {found:?}");
        let found = scores(&arena, "cat");
        assert!(found[&0] > found[&1], "the shorter text is more about it: {found:?}");
    }

    #[test]
    fn scores_are_bm25_to_the_digit() {
        // N = 2, n = 1, tf = 2, length 4, average 3: idf = ln(1 + 1.5/1.5), part = 2 * 1.9 / (2 + 0.9 * (0.6 + 0.4 * 4/3)).
        let found = scores(&arena(&["red red blue green", "blue green"]), "red");
        let expected = 2.0_f32.ln() * 3.8 / (2.0 + 0.9 * (0.6 + 0.4 * 4.0 / 3.0));
        assert!((found[&0] - expected).abs() < 1e-6, "{found:?} {expected}");
    }

    #[test]
    fn a_replaced_or_cleared_text_leaves_no_trace() {
        let mut changed = arena(&["red apple", "green pear", "blue plum"]);
        changed.set(1, "yellow banana");
        changed.clear(2);
        assert_eq!(scores(&changed, "red"), scores(&arena(&["red apple", "yellow banana"]), "red"));
        assert!(scores(&changed, "green pear blue plum").is_empty());
        assert_eq!(changed.live(), 2);
    }

    #[test]
    fn a_query_of_stop_words_alone_still_finds() {
        assert!(scores(&arena(&["who are you", "nothing here"]), "Who are you?").contains_key(&0));
    }
}
