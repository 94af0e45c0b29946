//! A layer `x · W + b` whose matrix is stored in 8-bit integers.
//!
//! The rows that go in are rounded to integers of about 15 bits, each row by a scale of its own; the products are then
//! exact integer sums. So the result does not depend on the machine's vector instructions or on what else is in a batch.

/// Outputs that are computed side by side.
const BLOCK: usize = 16;
/// Rows that are computed side by side, so that a matrix is read once for all of them.
const ROWS: usize = 4;

/// A pair of weights for each output of a block, those of two neighbouring inputs: signed bytes, eight in each word, the
/// first in its lowest bits.
type Weights = [i64; BLOCK / 4];

/// A linear layer.
pub(super) struct Linear {
    inputs: usize,
    /// For each block of outputs, for each pair of inputs.
    weights: Vec<Weights>,
    /// What a weight of 1 means, for each output.
    scales: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    /// A layer from its matrix, `inputs` rows of `bias.len()` signed bytes, and the scale of each column.
    ///
    /// `inputs` is even and at most 32,768; the number of outputs is a multiple of 16.
    pub(super) fn new(matrix: &[u8], scales: Vec<f32>, bias: Vec<f32>) -> Self {
        let outputs = bias.len();
        let inputs = matrix.len() / outputs;
        let mut weights = Vec::with_capacity(matrix.len() / (2 * BLOCK));
        for block in (0..outputs).step_by(BLOCK) {
            for pair in matrix.chunks_exact(2 * outputs) {
                let (even, odd) = pair.split_at(outputs);
                let byte = |at: usize| (if at.is_multiple_of(2) { even } else { odd })[block + at / 2];
                weights.push(std::array::from_fn(|word| {
                    i64::from_le_bytes(std::array::from_fn(|at| byte(8 * word + at)))
                }));
            }
        }
        Self { inputs, weights, scales, bias }
    }

    /// The layers side by side: one pass over what goes into all of them.
    pub(super) fn joined(layers: impl IntoIterator<Item = Self>) -> Self {
        let mut layers = layers.into_iter();
        let mut joined = layers.next().expect("there is at least one layer to join");
        for layer in layers {
            joined.weights.extend(layer.weights);
            joined.scales.extend(layer.scales);
            joined.bias.extend(layer.bias);
        }
        joined
    }

    /// How many values come out for each row.
    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Writes the outputs of every row of `codes` to `out`, row after row.
    pub(super) fn apply(&self, codes: &Codes, out: &mut Vec<f32>) {
        out.clear();
        out.resize(codes.scales.len() * self.outputs(), 0.0);
        multiply(self, codes, out);
    }
}

/// Rows of values, rounded to integers.
#[derive(Default)]
pub(super) struct Codes {
    /// Pairs of neighbouring values, row after row; the first of two in the lower half, both signed.
    pairs: Vec<i32>,
    /// What a code of 1 means, for each row.
    scales: Vec<f32>,
}

impl Codes {
    /// Rounds rows of `length` values, in place of the rows from before.
    #[inline(always)]
    pub(super) fn round(&mut self, rows: &[f32], length: usize) {
        // No sum of `length` products with a weight of -128 leaves an i32, and the codes fit an i16.
        let limit = (i32::MAX / (128 * length as i32)).min(i32::from(i16::MAX)) as f32;
        self.pairs.clear();
        self.scales.clear();
        for row in rows.chunks_exact(length) {
            let largest =
                row.iter().fold(0.0_f32, |largest, value| if value.abs() > largest { value.abs() } else { largest });
            // A row of zeros has the codes 0 at any scale; this one keeps the factor finite.
            let largest = largest.max(1e-30);
            let factor = limit / largest;
            self.scales.push(largest / limit);
            self.pairs.extend(
                row.as_chunks::<2>().0.iter().map(|&[a, b]| nearest(a * factor) & 0xffff | nearest(b * factor) << 16),
            );
        }
    }
}

/// The nearest integer to a value within ±2^15. A number near 1.5 · 2^23 has no room for a fraction, so that the sum is
/// rounded by the addition itself; unlike `round`, this needs no instruction that some machines lack.
#[inline(always)]
fn nearest(value: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    (value + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()).cast_signed()
}

#[cfg(target_arch = "x86_64")]
fn multiply(layer: &Linear, codes: &Codes, out: &mut [f32]) {
    #[target_feature(enable = "avx2")]
    fn with_avx2(layer: &Linear, codes: &Codes, out: &mut [f32]) {
        multiply_with(layer, codes, out, |weights, rows| avx2::products(weights, rows));
    }
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "the feature was detected in the line above")]
        // SAFETY: `with_avx2` is safe code that only needs the CPU to have AVX2, which it has.
        unsafe {
            with_avx2(layer, codes, out);
        }
    } else {
        multiply_with(layer, codes, out, products);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply(layer: &Linear, codes: &Codes, out: &mut [f32]) {
    multiply_with(layer, codes, out, products);
}

/// Calls `products` for each block of outputs and each group of rows.
#[inline(always)]
fn multiply_with(
    layer: &Linear,
    codes: &Codes,
    out: &mut [f32],
    products: impl Fn(&[Weights], [&[i32]; ROWS]) -> [[i32; BLOCK]; ROWS],
) {
    let (pairs, outputs, rows) = (layer.inputs / 2, layer.outputs(), codes.scales.len());
    for (block, weights) in layer.weights.chunks_exact(pairs).enumerate() {
        let columns = block * BLOCK..(block + 1) * BLOCK;
        let (scales, bias) = (&layer.scales[columns.clone()], &layer.bias[columns.clone()]);
        for start in (0..rows).step_by(ROWS) {
            // The last row stands in for those that a last group lacks; it is written again as it was.
            let group: [usize; ROWS] = std::array::from_fn(|at| (start + at).min(rows - 1));
            let sums = products(weights, group.map(|row| &codes.pairs[row * pairs..(row + 1) * pairs]));
            for (row, sums) in group.into_iter().zip(&sums) {
                let out = &mut out[row * outputs..][columns.clone()];
                for lane in 0..BLOCK {
                    out[lane] = sums[lane] as f32 * (codes.scales[row] * scales[lane]) + bias[lane];
                }
            }
        }
    }
}

/// The sums of the products of a block of weights and some rows.
#[inline(always)]
fn products(weights: &[Weights], rows: [&[i32]; ROWS]) -> [[i32; BLOCK]; ROWS] {
    let mut sums = [[0; BLOCK]; ROWS];
    let rows = rows.map(|row| &row[..weights.len()]);
    for (at, weights) in weights.iter().enumerate() {
        let weights = weights.map(i64::to_le_bytes);
        let weights = weights.as_flattened();
        for (row, sums) in rows.iter().zip(&mut sums) {
            let (even, odd) = (i32::from(row[at] as i16), row[at] >> 16);
            for lane in 0..BLOCK {
                let [a, b] = [weights[2 * lane], weights[2 * lane + 1]].map(|byte| i32::from(byte.cast_signed()));
                sums[lane] += a * even + b * odd;
            }
        }
    }
    sums
}

/// The same with the one instruction that all of this is laid out for, and that the compiler does not find by itself: it
/// multiplies sixteen 16-bit numbers and adds the products in pairs. Without it a text takes five times as long.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm_set_epi64x, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_extract_epi32, _mm256_madd_epi16,
        _mm256_set1_epi32, _mm256_setzero_si256,
    };

    use super::{BLOCK, ROWS, Weights};

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn products(weights: &[Weights], rows: [&[i32]; ROWS]) -> [[i32; BLOCK]; ROWS] {
        let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
        let rows = rows.map(|row| &row[..weights.len()]);
        for (at, &[a, b, c, d]) in weights.iter().enumerate() {
            let low = _mm256_cvtepi8_epi16(_mm_set_epi64x(b, a));
            let high = _mm256_cvtepi8_epi16(_mm_set_epi64x(d, c));
            for (row, sums) in rows.iter().zip(&mut sums) {
                let pair = _mm256_set1_epi32(row[at]);
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(low, pair));
                sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(high, pair));
            }
        }
        let mut lanes = [[0; BLOCK]; ROWS];
        for (lanes, [low, high]) in lanes.iter_mut().zip(sums) {
            let (first, second) = lanes.split_at_mut(BLOCK / 2);
            first.copy_from_slice(&to_lanes(low));
            second.copy_from_slice(&to_lanes(high));
        }
        lanes
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn to_lanes(sums: __m256i) -> [i32; BLOCK / 2] {
        [
            _mm256_extract_epi32::<0>(sums),
            _mm256_extract_epi32::<1>(sums),
            _mm256_extract_epi32::<2>(sums),
            _mm256_extract_epi32::<3>(sums),
            _mm256_extract_epi32::<4>(sums),
            _mm256_extract_epi32::<5>(sums),
            _mm256_extract_epi32::<6>(sums),
            _mm256_extract_epi32::<7>(sums),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A layer of any 8-bit weights, -128 among them, and rows of any values.
    fn cases() -> impl Strategy<Value = (usize, Vec<i8>, Vec<f32>)> {
        (1_usize..20, 1_usize..10).prop_flat_map(|(pairs, rows)| {
            let value = prop_oneof![4 => -10.0_f32..10.0, 1 => Just(0.0_f32), 1 => Just(1e20_f32)];
            (
                Just(2 * pairs),
                prop::collection::vec(any::<i8>(), 2 * pairs * 2 * BLOCK),
                prop::collection::vec(value, rows * 2 * pairs),
            )
        })
    }

    proptest! {
        #[test]
        fn a_layer_is_what_its_formula_says((inputs, matrix, rows) in cases()) {
            let outputs = 2 * BLOCK;
            let bytes: Vec<u8> = matrix.iter().map(|byte| byte.cast_unsigned()).collect();
            let scales: Vec<f32> = (0..outputs).map(|at| 0.01 * (at + 1) as f32).collect();
            let bias: Vec<f32> = (0..outputs).map(|at| at as f32 - 7.0).collect();
            let layer = Linear::new(&bytes, scales.clone(), bias.clone());
            let mut codes = Codes::default();
            codes.round(&rows, inputs);
            let mut out = Vec::new();
            layer.apply(&codes, &mut out);
            for (row, out) in rows.chunks(inputs).zip(out.chunks(outputs)) {
                let largest = row.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                for (column, &actual) in out.iter().enumerate() {
                    let product: f64 = row.iter().zip(matrix.chunks(outputs)).map(|(&x, weights)| f64::from(x) * f64::from(weights[column])).sum();
                    let expected = product * f64::from(scales[column]) + f64::from(bias[column]);
                    // Each value is rounded by at most half a code, of which the largest has 32,767.
                    let allowed = f64::from(largest) / 65_000.0 * 128.0 * inputs as f64 * f64::from(scales[column]) + 1e-4;
                    prop_assert!((f64::from(actual) - expected).abs() <= allowed + expected.abs() * 1e-6, "{} is not {}", actual, expected);
                }
            }
            let mut portable = vec![0.0; out.len()];
            multiply_with(&layer, &codes, &mut portable, products);
            prop_assert_eq!(out, portable, "every machine gives the same bits");
        }
    }

    #[test]
    fn a_row_of_zeros_gives_the_bias() {
        let layer = Linear::new(&[0x7f; 2 * BLOCK], vec![1e30; BLOCK], vec![0.5; BLOCK]);
        let mut codes = Codes::default();
        codes.round(&[0.0; 2], 2);
        let mut out = Vec::new();
        layer.apply(&codes, &mut out);
        assert_eq!(out, [0.5; BLOCK]);
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        for inputs in [384, 1536] {
            let layer = Linear::new(&vec![0x80; inputs * BLOCK], vec![1.0; BLOCK], vec![0.0; BLOCK]);
            let mut codes = Codes::default();
            codes.round(&vec![1.0; inputs], inputs);
            let mut out = Vec::new();
            layer.apply(&codes, &mut out);
            for value in out {
                assert!((value / (-128.0 * inputs as f32) - 1.0).abs() < 1e-6, "{value}");
            }
        }
    }
}
