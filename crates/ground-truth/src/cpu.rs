//! The CPU.

use std::thread;

use memory_core::arena::dot;

use crate::best::Best;
use crate::vectors::{Rows, Vectors, dot64, rounding};

/// How many bytes of vectors are compared with a query after the other: what stays in the nearest cache.
const BLOCK_BYTES: usize = 128 << 10;

/// How many threads compare.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Offers every row that `keep` lets through to each query; `first` is the number of the first row.
pub fn offer(
    queries: &Vectors,
    rows: Rows<'_>,
    first: usize,
    best: &mut [Best],
    keep: &(dyn Fn(usize, usize) -> bool + Sync),
) {
    let bound = rounding(rows.dimensions);
    let block = (BLOCK_BYTES / size_of::<f32>() / rows.dimensions).max(1);
    each(best, |from, best| {
        for begin in (0..rows.len()).step_by(block) {
            for (at, best) in best.iter_mut().enumerate() {
                let query = queries.row(from + at);
                for row in (begin..rows.len().min(begin + block)).filter(|&row| keep(from + at, row)) {
                    let vector = rows.row(row);
                    if f64::from(dot(query, vector)) + bound >= best.floor() {
                        best.offer(first + row, dot64(query, vector));
                    }
                }
            }
        }
    });
}

/// Has the threads share what there is; each call has the place of its first one.
pub fn each<T: Send>(all: &mut [T], work: impl Fn(usize, &mut [T]) + Sync) {
    let share = all.len().div_ceil(threads()).max(1);
    thread::scope(|scope| {
        for (part, some) in all.chunks_mut(share).enumerate() {
            let work = &work;
            scope.spawn(move || work(part * share, some));
        }
    });
}
