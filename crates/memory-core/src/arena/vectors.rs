//! Exact nearest neighbours by cosine similarity.
//!
//! A first pass compares 8-bit copies of the vectors, which is bound by memory and so four times faster than 32-bit
//! ones. Rounding moves a dot product by at most a length that is known for every vector (Cauchy–Schwarz:
//! |q·v − q̂·v̂| ≤ |q − q̂||v̂| + |q||v − v̂|), so every vector that could still be among the best is compared again in 32
//! bits. The result is therefore exactly that of a 32-bit scan.

use crate::{Error, Result};

/// Vectors of one dimension, in rows that are numbered from 0 and never move.
#[derive(Debug, Default)]
pub struct VectorArena {
    dimensions: usize,
    /// Row-major 8-bit codes, `dimensions` each.
    codes: Vec<i8>,
    /// Row-major 32-bit values, `dimensions` each.
    values: Vec<f32>,
    rows: Vec<RowScale>,
    live: usize,
}

/// How a row's codes relate to its values.
#[derive(Debug, Clone, Copy)]
struct RowScale {
    /// `value ≈ code × scale`; 0 marks a row without a vector.
    scale: f32,
    /// |v − v̂|, the length of what rounding took away.
    error: f32,
}

const NO_VECTOR: RowScale = RowScale { scale: 0.0, error: 0.0 };

impl VectorArena {
    /// An empty arena for vectors of `dimensions` values.
    #[must_use]
    pub fn new(dimensions: usize) -> Self {
        Self { dimensions, ..Self::default() }
    }

    /// The number of rows, with and without a vector.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The number of rows that have a vector.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// The size in memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.codes.capacity() + self.values.capacity() * size_of::<f32>() + self.rows.capacity() * size_of::<RowScale>()
    }

    /// Gives `row` a vector of length 1 in place of any it had; rows in between that do not exist yet have none.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the vector's length is not the arena's.
    pub fn set(&mut self, row: usize, vector: &[f32]) -> Result<()> {
        if vector.len() != self.dimensions {
            let given = format!("{} values", vector.len());
            return Err(Error::invalid("embedding", given, format!("{} values", self.dimensions)));
        }
        if row >= self.rows.len() {
            self.rows.resize(row + 1, NO_VECTOR);
            self.codes.resize((row + 1) * self.dimensions, 0);
            self.values.resize((row + 1) * self.dimensions, 0.0);
        }
        let span = row * self.dimensions..(row + 1) * self.dimensions;
        let codes = &mut self.codes[span.clone()];
        let scale = quantize(vector, codes);
        let error = residual(vector, codes, scale);
        self.values[span].copy_from_slice(vector);
        self.live += usize::from(self.rows[row].scale == 0.0);
        self.rows[row] = RowScale { scale, error };
        Ok(())
    }

    /// Takes `row`'s vector away.
    pub fn clear(&mut self, row: usize) {
        if let Some(scale) = self.rows.get_mut(row)
            && scale.scale != 0.0
        {
            *scale = NO_VECTOR;
            self.live -= 1;
        }
    }

    /// The vector of `row`, if it has one.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&[f32]> {
        let has = self.rows.get(row)?.scale != 0.0;
        has.then(|| &self.values[row * self.dimensions..(row + 1) * self.dimensions])
    }

    /// The cosine similarity of `query` (of length 1) and `row`, if it has a vector.
    #[must_use]
    pub fn similarity(&self, query: &[f32], row: usize) -> Option<f32> {
        self.get(row).map(|vector| dot(query, vector).clamp(-1.0, 1.0))
    }

    /// The `limit` rows nearest to `query` (of length 1) among those `keep` lets through, nearest first, ties by row, each
    /// with its cosine similarity. Exact. `keep` is called once for each row that has a vector.
    pub fn nearest(&self, query: &[f32], limit: usize, mut keep: impl FnMut(usize) -> bool) -> Vec<(usize, f32)> {
        if limit == 0 || self.live == 0 || query.len() != self.dimensions {
            return Vec::new();
        }
        let mut query_codes = vec![0_i8; self.dimensions];
        let query_scale = quantize(query, &mut query_codes);
        if query_scale == 0.0 {
            return Vec::new();
        }
        let query_error = residual(query, &query_codes, query_scale);
        // |v̂| is at most |v| + |v − v̂| = 1 + error. A little is added for the float noise of these sums themselves.
        let bound = |row: RowScale| query_error * (1.0 + row.error) + row.error * (1.0 + query_error) + 1e-5;

        let mut rough: Vec<(u32, f32)> = Vec::with_capacity(self.live);
        dots_i8(&self.codes, &query_codes, |row, dot| {
            let scale = self.rows[row];
            if scale.scale != 0.0 && keep(row) {
                rough.push((row as u32, dot as f32 * scale.scale * query_scale));
            }
        });
        if rough.len() > limit {
            // The limit-th best lower bound: what lies below it with its upper bound cannot be among the best.
            let mut lows: Vec<f32> = rough.iter().map(|&(row, score)| score - bound(self.rows[row as usize])).collect();
            let (_, &mut cut, _) = lows.select_nth_unstable_by(limit - 1, |a, b| b.total_cmp(a));
            rough.retain(|&(row, score)| score + bound(self.rows[row as usize]) >= cut);
        }
        let mut nearest: Vec<(usize, f32)> = rough
            .into_iter()
            .map(|(row, _)| {
                let row = row as usize;
                let vector = &self.values[row * self.dimensions..(row + 1) * self.dimensions];
                (row, dot(query, vector).clamp(-1.0, 1.0))
            })
            .collect();
        let by_similarity = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if nearest.len() > limit {
            nearest.select_nth_unstable_by(limit - 1, by_similarity);
            nearest.truncate(limit);
        }
        nearest.sort_unstable_by(by_similarity);
        nearest
    }
}

/// Writes the 8-bit codes of `vector` and gives their scale, 0 for a vector of zeros.
fn quantize(vector: &[f32], codes: &mut [i8]) -> f32 {
    let largest = vector.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        codes.fill(0);
        return 0.0;
    }
    let scale = largest / 127.0;
    for (code, value) in codes.iter_mut().zip(vector) {
        *code = (value / scale).round() as i8;
    }
    scale
}

fn residual(vector: &[f32], codes: &[i8], scale: f32) -> f32 {
    vector.iter().zip(codes).map(|(value, &code)| (value - f32::from(code) * scale).powi(2)).sum::<f32>().sqrt()
}

/// The dot product of two vectors of equal length.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Independent sums, so that the compiler may use vector instructions without reordering a float sum.
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Calls `each` with every row's number and its integer dot product with `query`.
fn dots_i8(codes: &[i8], query: &[i8], mut each: impl FnMut(usize, i32)) {
    // A block's products are kept and handed on together, so that the tight loop is free of calls.
    const BLOCK: usize = 256;
    let mut products = [0_i32; BLOCK];
    // Widened once here and not once for every row.
    let query: Vec<i16> = query.iter().map(|&code| i16::from(code)).collect();
    for (block, rows) in codes.chunks(BLOCK * query.len()).enumerate() {
        let count = rows.len() / query.len();
        dots_i8_block(rows, &query, &mut products[..count]);
        for (row, &product) in products[..count].iter().enumerate() {
            each(block * BLOCK + row, product);
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn dots_i8_block(rows: &[i8], query: &[i16], products: &mut [i32]) {
    #[target_feature(enable = "avx2")]
    fn with_avx2(rows: &[i8], query: &[i16], products: &mut [i32]) {
        dots_i8_portable(rows, query, products);
    }
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "the feature was detected in the line above")]
        // SAFETY: `with_avx2` is safe code that only needs the CPU to have AVX2, which it has.
        unsafe {
            with_avx2(rows, query, products);
        }
    } else {
        dots_i8_portable(rows, query, products);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn dots_i8_block(rows: &[i8], query: &[i16], products: &mut [i32]) {
    dots_i8_portable(rows, query, products);
}

/// The loop the compiler vectorises; inlined into each clone, so that it is compiled for that clone's instructions.
/// Written as one plain sum: with chunks and a remainder of our own the compiler made much slower code of it.
#[inline(always)]
fn dots_i8_portable(rows: &[i8], query: &[i16], products: &mut [i32]) {
    for (row, product) in rows.chunks_exact(query.len()).zip(products) {
        // At most 127² for each of 4096 dimensions: no overflow.
        *product = row.iter().zip(query).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(values: Vec<f32>) -> Vec<f32> {
        let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        values.into_iter().map(|value| value / norm).collect()
    }

    fn vectors(dimensions: usize) -> impl Strategy<Value = Vec<Vec<f32>>> {
        let value = prop_oneof![4 => -1.0_f32..1.0, 1 => Just(0.0_f32), 1 => -50.0_f32..50.0];
        let vector = prop::collection::vec(value, dimensions)
            .prop_filter("a direction", |vector| vector.iter().any(|value| value.abs() > 1e-3))
            .prop_map(unit);
        prop::collection::vec(vector, 2..120)
    }

    proptest! {
        #[test]
        fn nearest_is_exactly_a_full_scan(vectors in vectors(40), limit in 1_usize..30, skip in 1_usize..5) {
            let (query, stored) = vectors.split_last().unwrap();
            let mut arena = VectorArena::new(40);
            for (row, vector) in stored.iter().enumerate() {
                arena.set(row, vector).unwrap();
            }
            let keep = |row: usize| row.is_multiple_of(skip);
            let mut scan: Vec<(usize, f32)> =
                stored.iter().enumerate().filter(|(row, _)| keep(*row)).map(|(row, vector)| (row, dot(query, vector).clamp(-1.0, 1.0))).collect();
            scan.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            scan.truncate(limit);
            prop_assert_eq!(arena.nearest(query, limit, keep), scan);
        }
    }

    #[test]
    fn a_cleared_row_is_not_found_and_can_be_set_again() {
        let mut arena = VectorArena::new(2);
        arena.set(3, &[1.0, 0.0]).unwrap();
        assert_eq!((arena.rows(), arena.live()), (4, 1));
        arena.clear(3);
        assert_eq!(arena.nearest(&[1.0, 0.0], 5, |_| true), []);
        arena.set(3, &[0.0, 1.0]).unwrap();
        assert_eq!(arena.nearest(&[0.0, 1.0], 5, |_| true), [(3, 1.0)]);
        assert!(arena.set(0, &[1.0]).is_err());
    }
}
