//! The functions between the matrices. They use additions, multiplications, divisions and square roots only, so that the
//! compiler can vectorise them and every machine gives the same bits.

/// Values that are summed side by side: the compiler may not reorder a float sum by itself.
const LANES: usize = 16;

/// A normalisation to mean 0 and variance 1, then a scale and a shift for each value.
pub(super) struct LayerNorm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl LayerNorm {
    /// As the model has it.
    const EPSILON: f32 = 1e-12;

    /// Normalises each row in place.
    #[inline(always)]
    pub(super) fn apply(&self, rows: &mut [f32]) {
        let length = self.weight.len();
        for row in rows.chunks_exact_mut(length) {
            let mean = sum(row, |value| value) / length as f32;
            let variance = sum(row, |value| (value - mean) * (value - mean)) / length as f32;
            let factor = 1.0 / (variance + Self::EPSILON).sqrt();
            for ((value, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
                *value = (*value - mean) * factor * weight + bias;
            }
        }
    }
}

/// The sum of a function of each value.
#[inline(always)]
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += of(chunk[lane]);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|&value| of(value)).sum::<f32>()
}

/// Replaces scores by the shares of their exponentials, which sum to 1.
#[inline(always)]
pub(super) fn softmax(scores: &mut [f32]) {
    let mut largest = [f32::MIN; LANES];
    let (chunks, rest) = scores.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            largest[lane] = if chunk[lane] > largest[lane] { chunk[lane] } else { largest[lane] };
        }
    }
    let largest = largest.iter().chain(rest).fold(f32::MIN, |largest, &score| largest.max(score));
    for score in &mut *scores {
        *score = exp(*score - largest);
    }
    let factor = 1.0 / sum(scores, |value| value);
    for score in scores {
        *score *= factor;
    }
}

/// Applies the Gaussian error linear unit, x · Φ(x), to each value.
#[inline(always)]
pub(super) fn gelu(values: &mut [f32]) {
    for value in values {
        *value = 0.5 * *value * (1.0 + erf(*value * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// The error function, to 2e-7: formula 7.1.26 of Abramowitz and Stegun.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let polynomial = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    (1.0 - polynomial * exp(-size * size)).copysign(x)
}

/// The exponential function of a value of at most 88, to a relative 2e-7; below -87, where it is nearly 0, that of -87.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Near 1.5 · 2^23 there is no room for a fraction: adding it rounds.
    const MAGIC: f32 = 12_582_912.0;
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let power = shifted - MAGIC;
    // ln 2 in two parts, the first with so few digits that its multiples are exact.
    let rest = x - power * 0.693_359_4 + power * 2.121_944_4e-4;
    // Taylor's series around 0 to the sixth power, for at most ln 2 / 2 on either side.
    let series = 1.0 / 720.0;
    let series = series * rest + 1.0 / 120.0;
    let series = series * rest + 1.0 / 24.0;
    let series = series * rest + 1.0 / 6.0;
    let series = series * rest + 0.5;
    let series = series * rest + 1.0;
    let series = series * rest + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127) << 23;
    series * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_erf_are_close() {
        for step in -8_700..=880 {
            let x = step as f32 * 0.01;
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 3e-7, "exp({x}) is {}", exp(x));
        }
        assert!(exp(-1000.0) < 1e-37 && exp(f32::MIN) < 1e-37);
        // From a table.
        for (x, expected) in
            [(0.0, 0.0), (0.1, 0.112_462_916), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3), (4.0, 1.0)]
        {
            assert!((erf(x) - expected).abs() < 3e-7 && (erf(-x) + expected).abs() < 3e-7, "erf({x}) is {}", erf(x));
        }
        assert_eq!((erf(50.0), erf(-50.0)), (1.0, -1.0));
    }

    #[test]
    fn shares_sum_to_one_and_keep_their_order() {
        let mut scores: Vec<f32> = (0..37).map(|at| (at * 17 % 37) as f32 * 3.0 - 50.0).collect();
        let before = scores.clone();
        softmax(&mut scores);
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        for (a, b) in
            before.iter().zip(&before[1..]).zip(scores.iter().zip(&scores[1..])).map(|((a, b), (c, d))| (a < b, c < d))
        {
            assert_eq!(a, b);
        }
        let mut huge = [3e38, 3e38, -3e38];
        softmax(&mut huge);
        assert_eq!(huge, [0.5, 0.5, huge[2]]);
    }

    #[test]
    fn rows_are_normalised_each_by_itself() {
        let norm = LayerNorm { weight: vec![2.0; 20], bias: vec![1.0; 20] };
        let mut rows: Vec<f32> = (0..40).map(|at| if at < 20 { at as f32 } else { 1e6 * at as f32 }).collect();
        norm.apply(&mut rows);
        for row in rows.chunks(20) {
            let mean = row.iter().sum::<f32>() / 20.0;
            let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / 20.0;
            assert!((mean - 1.0).abs() < 1e-5 && (variance - 4.0).abs() < 1e-4, "mean {mean}, variance {variance}");
        }
    }
}
