//! Keeps a device busy, and verifies all it computes.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::Vectors;
use crate::cpu;
use crate::device::{Device, DeviceError, rows_at_once};
use crate::vectors::{dot64, rounding};

/// How large the products are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// How many queries there are.
    pub queries: usize,
    /// How many vectors, at most; fewer where the device's memory does not hold as many.
    pub vectors: usize,
    /// Of how many dimensions.
    pub dimensions: usize,
}

impl Default for Size {
    /// 275 GFLOP, and 512 MiB of products.
    fn default() -> Self {
        Self { queries: 4096, vectors: 32_768, dimensions: 1024 }
    }
}

/// How many queries of the first product are computed on the CPU too.
const SAMPLE: usize = 16;

/// What was computed, and how much of it was wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Soak {
    /// What computed.
    pub by: String,
    /// How often all queries were multiplied with all vectors.
    pub products: u64,
    /// For how long, in seconds, checks included.
    pub seconds: f64,
    /// 10¹² additions and multiplications a second: 2 × queries × vectors × dimensions for each product.
    pub tflops: f64,
    /// How many values of the first product were computed on the CPU too.
    pub checked: u64,
    /// The most by which such a value differed.
    pub deviation: f64,
    /// The most by which it may differ: [`rounding`].
    pub allowed: f64,
    /// How many products were wrong: the first one by the CPU, each further one by checksums that are not those of the first, to
    /// the bit.
    pub mismatches: u64,
}

/// Multiplies the same vectors over and over, as long as `goes_on`, and at least twice.
///
/// cuBLAS gives the same bits at every run on the same device ("Results reproducibility" of its manual), so that a sum over the
/// products of each query, taken by the device and read back each time, tells a product that is not like the first. That one is
/// compared with the CPU's in full for some of its queries.
///
/// # Errors
/// When the device does not do what it is asked.
pub fn soak(device: &mut dyn Device, size: Size, mut goes_on: impl FnMut(&Soak) -> bool) -> Result<Soak, DeviceError> {
    let queries = random(size.queries, size.dimensions, 1);
    device.load_queries(&queries)?;
    let count = size.vectors.min(rows_at_once(device.free_bytes()?, size.dimensions, size.queries));
    let rows = random(count, size.dimensions, 2);
    device.load_rows(rows.values())?;
    let mut soak = Soak { by: device.name().to_owned(), allowed: rounding(size.dimensions), ..Soak::default() };
    device.multiply()?;
    let products = device.products()?;
    let sums = device.checksums()?;
    compare(&queries, &rows, &products, &mut soak);
    drop(products);
    let flop = 2.0 * size.queries as f64 * count as f64 * size.dimensions as f64;
    let began = Instant::now();
    loop {
        device.multiply()?;
        let again = device.checksums()?;
        soak.mismatches += u64::from(again.iter().map(|sum| sum.to_bits()).ne(sums.iter().map(|sum| sum.to_bits())));
        soak.products += 1;
        soak.seconds = began.elapsed().as_secs_f64();
        soak.tflops = flop * soak.products as f64 / soak.seconds.max(1e-9) / 1e12;
        if !goes_on(&soak) {
            return Ok(soak);
        }
    }
}

/// Compares products with the CPU's.
fn compare(queries: &Vectors, rows: &Vectors, products: &[f32], soak: &mut Soak) {
    if products.len() != queries.len() * rows.len() {
        soak.mismatches += 1;
        return;
    }
    let step = queries.len().div_ceil(SAMPLE).max(1);
    let mut deviations = vec![0.0_f64; queries.len().div_ceil(step)];
    cpu::each(&mut deviations, |from, deviations| {
        for (at, most) in deviations.iter_mut().enumerate() {
            let query = (from + at) * step;
            for (row, &product) in products[query * rows.len()..][..rows.len()].iter().enumerate() {
                let deviation = (f64::from(product) - dot64(queries.row(query), rows.row(row))).abs();
                *most = if deviation.is_nan() { f64::MAX } else { most.max(deviation) };
            }
        }
    });
    soak.checked = (deviations.len() * rows.len()) as u64;
    soak.deviation = deviations.into_iter().fold(0.0, f64::max);
    soak.mismatches += u64::from(soak.deviation > soak.allowed);
}

/// Vectors in random directions, the same ones for the same seed.
#[must_use]
pub(crate) fn random(count: usize, dimensions: usize, seed: u64) -> Vectors {
    let mut vectors = Vectors::new(dimensions);
    let mut values = vec![0.0_f32; dimensions];
    let mut state = seed;
    for _ in 0..count {
        for value in &mut values {
            // SplitMix64 (Steele, Lea and Flood, OOPSLA 2014); four of them added are near enough to a normal distribution.
            *value = (0..4).map(|_| (next(&mut state) >> 40) as f32 / 16_777_216.0 - 0.5).sum();
        }
        let length = dot64(&values, &values).sqrt() as f32;
        values.iter_mut().for_each(|value| *value /= length);
        // Only a vector of zeros has no direction, and that is left out.
        let _ = vectors.push(&values);
    }
    vectors
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
