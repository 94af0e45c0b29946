//! What multiplies in place of the CPU.

use crate::Vectors;

#[cfg(test)]
pub(crate) mod stand_in;

/// Why a device did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DeviceError(pub String);

/// Something that multiplies many vectors with many queries, and has memory of its own.
pub trait Device: Send {
    /// What it calls itself.
    fn name(&self) -> &str;

    /// How much of its memory is free, in bytes.
    ///
    /// # Errors
    /// As the device.
    fn free_bytes(&mut self) -> Result<u64, DeviceError>;

    /// Takes the queries, in place of those it had.
    ///
    /// # Errors
    /// As the device.
    fn load_queries(&mut self, queries: &Vectors) -> Result<(), DeviceError>;

    /// Takes vectors, in place of those it had: row by row, of as many dimensions as the queries.
    ///
    /// # Errors
    /// As the device.
    fn load_rows(&mut self, rows: &[f32]) -> Result<(), DeviceError>;

    /// Multiplies every query with every row, in 32 bits throughout.
    ///
    /// # Errors
    /// As the device.
    fn multiply(&mut self) -> Result<(), DeviceError>;

    /// The products of the last multiplication: all rows of the first query, then of the next one.
    ///
    /// # Errors
    /// As the device.
    fn products(&mut self) -> Result<Vec<f32>, DeviceError>;

    /// A sum for each query over its products, each with a weight of its row: the same products have the same sums to the bit.
    ///
    /// # Errors
    /// As the device.
    fn checksums(&mut self) -> Result<Vec<f32>, DeviceError>;
}

/// The weight of a row in a checksum, in `0.5..1.5`: rows that change places change the sum.
#[cfg(any(test, feature = "cuda"))]
#[must_use]
pub(crate) fn weight(row: usize) -> f32 {
    0.5 + (row as u32).wrapping_mul(0x9e37_79b9) as f32 / 4_294_967_296.0
}

/// How many rows are multiplied at once: what fits into half of the free memory beside the queries, and gives at most 1 GiB of
/// products. At least 1.
#[must_use]
pub(crate) fn rows_at_once(free_bytes: u64, dimensions: usize, queries: usize) -> usize {
    const VALUE: u64 = size_of::<f32>() as u64;
    const MOST_PRODUCTS: u64 = (1 << 30) / VALUE;
    let (dimensions, queries) = (dimensions as u64, queries.max(1) as u64);
    let room = (free_bytes / 2 / VALUE).saturating_sub(queries * dimensions);
    // A row, its products and its weight.
    let fit = room / (dimensions + queries + 1);
    // cuBLAS counts in 32 bits with a sign.
    fit.min(MOST_PRODUCTS / queries).clamp(1, i32::MAX as u64 / 2) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_multiplied_at_once_fits() {
        for (free, dimensions, queries) in
            [(8 << 30, 256, 100), (140 << 30, 1536, 2000), (1 << 20, 1536, 40), (24 << 30, 3, 1)]
        {
            let rows = rows_at_once(free, dimensions, queries) as u64;
            let bytes = 4 * (rows * (dimensions + queries + 1) as u64 + (queries * dimensions) as u64);
            assert!(bytes <= free / 2, "{rows} rows of {dimensions} with {queries} queries are {bytes} bytes");
            assert!(rows * queries as u64 * 4 <= 1 << 30);
        }
        assert_eq!(rows_at_once(0, 1536, 100), 1, "what cannot fit is refused by the device");
    }
}
