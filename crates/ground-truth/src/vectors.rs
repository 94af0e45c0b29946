//! Vectors in rows, and how exactly they can be compared.

/// Why something cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A vector of another length.
    #[error("a vector of {actual} values among those of {expected}")]
    Dimensions {
        /// How many values the others have.
        expected: usize,
        /// How many this one has.
        actual: usize,
    },
    /// A vector whose length is not 1.
    #[error("a vector is of length {length}, not 1")]
    NotUnit {
        /// Its length.
        length: f64,
    },
    /// A GPU was asked for, and there is none.
    #[error("no GPU can be used: {reason}")]
    NoGpu {
        /// Why.
        reason: String,
    },
}

/// The most that the length of a vector may differ from 1.
const UNIT: f64 = 1e-3;

/// Vectors of length 1 and of as many dimensions, in rows that are numbered from 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    dimensions: usize,
    values: Vec<f32>,
}

impl Vectors {
    /// None yet, of so many dimensions.
    ///
    /// # Panics
    /// When there are no dimensions.
    #[must_use]
    pub fn new(dimensions: usize) -> Self {
        assert!(dimensions > 0, "a vector has a dimension");
        Self { dimensions, values: Vec::new() }
    }

    /// Adds a row at the end.
    ///
    /// # Errors
    /// [`Error::Dimensions`] and [`Error::NotUnit`].
    pub fn push(&mut self, vector: &[f32]) -> Result<(), Error> {
        if vector.len() != self.dimensions {
            return Err(Error::Dimensions { expected: self.dimensions, actual: vector.len() });
        }
        let length = dot64(vector, vector).sqrt();
        if length.is_nan() || (length - 1.0).abs() > UNIT {
            return Err(Error::NotUnit { length });
        }
        self.values.extend_from_slice(vector);
        Ok(())
    }

    /// How many values each has.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.dimensions
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All values, row by row.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values of a row.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimensions..][..self.dimensions]
    }

    /// So many rows from one on.
    pub(crate) fn part(&self, begin: usize, count: usize) -> Rows<'_> {
        Rows { dimensions: self.dimensions, values: &self.values[begin * self.dimensions..][..count * self.dimensions] }
    }
}

/// Some rows of vectors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub dimensions: usize,
    pub values: &'a [f32],
}

impl Rows<'_> {
    pub fn len(&self) -> usize {
        self.values.len() / self.dimensions
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimensions..][..self.dimensions]
    }
}

/// The dot product of two vectors of equal length, in 64 bits: the products of 32-bit values are exact in them.
pub(crate) fn dot64(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The most by which a dot product of two vectors of length 1, computed in 32 bits in any order, with or without fused
/// multiply-add, differs from the exact one.
///
/// |fl(x·y) − x·y| ≤ γ_d |x|·|y| with γ_d = du / (1 − du) and u = 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms, 2nd
/// edition, equation 3.5), and |x|·|y| is at most the product of the lengths. A tensor core that cuts values to 10 bits of
/// mantissa (TF32) does not keep to it.
#[must_use]
pub fn rounding(dimensions: usize) -> f64 {
    let sum = dimensions as f64 * f64::from(f32::EPSILON) / 2.0;
    sum / (1.0 - sum) * (1.0 + UNIT).powi(2)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Vectors without any order, the same ones for the same seed.
    pub fn random(count: usize, dimensions: usize, seed: u64) -> Vectors {
        crate::soak::random(count, dimensions, seed)
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let mut vectors = Vectors::new(2);
        vectors.push(&[0.6, 0.8]).unwrap();
        assert!(matches!(vectors.push(&[1.0]), Err(Error::Dimensions { expected: 2, actual: 1 })));
        for no_unit in [[1.0, 1.0], [0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 0.0]] {
            assert!(matches!(vectors.push(&no_unit), Err(Error::NotUnit { .. })), "{no_unit:?}");
        }
        assert_eq!((vectors.len(), vectors.row(0)), (1, [0.6, 0.8].as_slice()));
    }

    #[test]
    fn a_product_in_32_bits_keeps_to_the_bound() {
        for dimensions in [3, 256, 1536] {
            let vectors = random(40, dimensions, 7);
            for row in 0..40 {
                let (a, b) = (vectors.row(row), vectors.row(39 - row));
                let error = (f64::from(memory_core::arena::dot(a, b)) - dot64(a, b)).abs();
                assert!(error <= rounding(dimensions), "{error} in {dimensions} dimensions");
            }
        }
    }
}
