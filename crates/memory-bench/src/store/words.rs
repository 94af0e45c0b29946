//! Searches by words alone in scopes of several sizes: how many of the best by exact BM25 they find, and how long they take.

use std::time::Instant;

use anyhow::Result;
use memory_core::arena::{Bm25Query, Bm25Scores, Bm25Statistics, LexicalArena};
use memory_core::{MemoryStore as _, SearchRequest};

use super::database::{Database, Searched, id_of};
use super::goals::Goals;
use crate::corpus;
use crate::report::{Report, Table, Times, micros};

/// How many best are compared.
const K: usize = 10;
/// How many queries are asked.
const QUERIES: usize = 200;
/// Scores of one row that differ by less are the same: they are summed up in another order.
const ROUNDING: f32 = 1e-4;

/// Measures questions of as many words as the memories, common ones among them.
pub async fn run(database: &Database, report: &mut Report, goals: &mut Goals) -> Result<()> {
    let queries = corpus::sentences(QUERIES, 12);
    let title = format!("searches of {} memories by words alone, one at a time", database.size.rows);
    let columns = ["scope", "memories", "recall@10", "worst query", "p50", "p99", "exact by its report"];
    let mut table = Table::new(title, &columns);
    for searched in database.searched()? {
        let texts = Texts::of(database, &searched);
        let (mut times, mut recalls, mut exact) = (Vec::new(), Vec::new(), 0);
        // Once before, so that the scope is known, as it is to a program that has run for some seconds.
        for is_measured in [false, true] {
            for query in &queries {
                let request = request(&searched, query);
                let begun = Instant::now();
                let answer = database.provider.search(&request).await?;
                if !is_measured {
                    continue;
                }
                times.push(begun.elapsed());
                exact += usize::from(answer.arms.iter().all(|arm| arm.exact));
                let scores = texts.scores(query);
                let mut best: Vec<f32> = scores.iter().map(|(_, score)| score).collect();
                best.sort_unstable_by(|a, b| b.total_cmp(a));
                best.truncate(K);
                let Some(least) = best.last() else { continue };
                // Texts repeat: whichever of equals is found is as good.
                let is_good = |row: usize| scores.get(row) >= least - ROUNDING;
                let found = answer.candidates.iter().filter(|candidate| {
                    texts.numbers.iter().position(|&number| id_of(number) == candidate.memory.id).is_some_and(is_good)
                });
                recalls.push(found.count() as f64 / best.len() as f64);
            }
        }
        let recall = recalls.iter().sum::<f64>() / recalls.len().max(1) as f64;
        let times = Times::from_times(times);
        goals.recall_of_words.note(recall);
        goals.words = goals.words.max(Some(times.p50()));
        table.row([
            searched.name.to_owned(),
            texts.numbers.len().to_string(),
            format!("{recall:.3}"),
            format!("{:.1}", recalls.iter().copied().fold(1.0, f64::min)),
            micros(times.p50()),
            micros(times.percentile(0.99)),
            format!("{exact} of {QUERIES}"),
        ]);
    }
    report.table(table);
    Ok(())
}

fn request(searched: &Searched, query: &str) -> SearchRequest {
    SearchRequest {
        scope: searched.scope.clone(),
        embedding: None,
        text: Some(query.to_owned()),
        filter: None,
        candidates: K,
        neighbours: false,
        also: Vec::new(),
        as_of: None,
        best: None,
        at_least: None,
    }
}

/// The texts of a scope, with their exact BM25.
struct Texts {
    /// Those of the memories, a row each.
    numbers: Vec<usize>,
    arena: LexicalArena,
}

impl Texts {
    fn of(database: &Database, searched: &Searched) -> Self {
        let numbers: Vec<usize> = (0..database.size.rows).filter(|&number| (searched.holds)(number)).collect();
        let mut arena = LexicalArena::default();
        for (row, &number) in numbers.iter().enumerate() {
            arena.set(row, database.text(number));
        }
        Self { numbers, arena }
    }

    fn scores(&self, query: &str) -> Bm25Scores {
        let query = Bm25Query::new(query);
        let mut statistics = Bm25Statistics::default();
        self.arena.add_statistics(&query, &mut statistics, true, |_| true);
        self.arena.scores(&query, &statistics, |_| true)
    }
}
