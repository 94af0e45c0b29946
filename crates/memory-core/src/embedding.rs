//! Vectors, the space they live in, and the trait that makes them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The most dimensions a vector may have.
pub const MAX_DIMENSIONS: usize = 4096;

/// What makes two vectors comparable: the model, its revision, the dimensions and the normalisation.
///
/// Every vector, index and cache entry carries it. Vectors of two spaces are never compared, even when their
/// dimensions are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EmbeddingSpace {
    /// The model's name: `static-256`.
    pub model: String,
    /// The revision of the model's weights; another revision is another space.
    pub revision: String,
    /// The number of values in a vector, 1 to [`MAX_DIMENSIONS`].
    pub dimensions: usize,
    /// Whether vectors are scaled to length 1. Ours always are, so that a dot product is the cosine similarity.
    pub normalized: bool,
}

impl EmbeddingSpace {
    /// A space of vectors of length 1.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the model's name is empty or `dimensions` is outside 1 to [`MAX_DIMENSIONS`].
    pub fn new(model: impl Into<String>, revision: impl Into<String>, dimensions: usize) -> Result<Self> {
        let model = model.into();
        if model.is_empty() {
            return Err(Error::invalid("embedding.model", "\"\"", "a model's name"));
        }
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(Error::invalid("embedding.dimensions", dimensions, format!("1 to {MAX_DIMENSIONS}")));
        }
        Ok(Self { model, revision: revision.into(), dimensions, normalized: true })
    }

    /// Refuses a vector of another space.
    ///
    /// # Errors
    /// [`Error::SpaceMismatch`].
    pub fn expect(&self, other: &EmbeddingSpace) -> Result<()> {
        if self == other {
            return Ok(());
        }
        Err(Error::SpaceMismatch { expected: self.to_string(), actual: other.to_string() })
    }
}

/// `model@revision/dimensions`, the name a store files vectors under.
impl fmt::Display for EmbeddingSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.model, self.revision, self.dimensions)?;
        if self.normalized { Ok(()) } else { write!(f, "/raw") }
    }
}

/// A vector of length 1 in its space: `space.dimensions` finite values.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    space: Arc<EmbeddingSpace>,
    values: Vec<f32>,
}

impl Embedding {
    /// Checks `values` and scales them to length 1.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the length is not the space's, a value is NaN or infinite, or all are zero.
    pub fn new(space: Arc<EmbeddingSpace>, mut values: Vec<f32>) -> Result<Self> {
        if values.len() != space.dimensions {
            let given = format!("{} values", values.len());
            return Err(Error::invalid("embedding", given, format!("{} values, for {space}", space.dimensions)));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::invalid(format!("embedding[{at}]"), values[at], "a finite 32-bit number"));
        }
        // In f64, so that neither tiny nor huge values under- or overflow when squared.
        let norm = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        if norm == 0.0 {
            return Err(Error::invalid("embedding", "all zeros", "a vector with a direction"));
        }
        // A vector that has length 1 up to 32-bit rounding stays as it is, so that what a store gives back is what it was
        // given, to the bit.
        if (norm - 1.0).abs() > 1e-6 {
            for value in &mut values {
                *value = (f64::from(*value) / norm) as f32;
            }
        }
        Ok(Self { space, values })
    }

    /// The space the vector lives in.
    #[must_use]
    pub fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.space
    }

    /// The values; their squares sum to 1.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Cosine similarity, in `-1.0..=1.0`.
    ///
    /// # Errors
    /// [`Error::SpaceMismatch`] when `other` is of another space.
    pub fn similarity(&self, other: &Embedding) -> Result<f32> {
        self.space.expect(&other.space)?;
        Ok(crate::arena::dot(&self.values, &other.values).clamp(-1.0, 1.0))
    }
}

/// What a text is embedded for. Some models make different vectors for the two; symmetric models ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A text to be found later.
    Document,
    /// A text to search with.
    Query,
}

/// Turns texts into vectors of one space.
///
/// # Contract
/// - One vector for each text, in the order of the texts, all of [`space`](Self::space).
/// - The same text and purpose give the same vector, up to the model's own float noise.
/// - A failure embeds nothing: there are no partial results.
#[async_trait]
pub trait Embedder: fmt::Debug + Send + Sync {
    /// The space of every vector this embedder makes.
    fn space(&self) -> &Arc<EmbeddingSpace>;

    /// One vector for each text, in their order.
    ///
    /// # Errors
    /// [`Error::Embedder`] when the model cannot be reached or refuses.
    async fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Embedding>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(model: &str) -> Arc<EmbeddingSpace> {
        Arc::new(EmbeddingSpace::new(model, "1", 3).unwrap())
    }

    #[test]
    fn a_vector_is_checked_and_scaled() {
        let embedding = Embedding::new(space("m"), vec![3.0, 0.0, 4.0]).unwrap();
        assert_eq!(embedding.values(), [0.6, 0.0, 0.8]);
        for (values, field) in [
            (vec![1.0, 2.0], "embedding: given 2 values, allowed: 3 values, for m@1/3"),
            (vec![1.0, f32::NAN, 0.0], "embedding[1]: given NaN"),
            (vec![1.0, 0.0, f32::INFINITY], "embedding[2]: given inf"),
            (vec![0.0; 3], "embedding: given all zeros"),
        ] {
            let error = Embedding::new(space("m"), values).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
        assert!(Embedding::new(space("m"), vec![f32::MAX; 3]).is_ok(), "huge values do not overflow");
        assert!(Embedding::new(space("m"), vec![f32::MIN_POSITIVE; 3]).is_ok(), "tiny values do not underflow");
    }

    #[test]
    fn spaces_never_mix_even_at_equal_dimensions() {
        let a = Embedding::new(space("a"), vec![1.0, 0.0, 0.0]).unwrap();
        let b = Embedding::new(space("b"), vec![1.0, 0.0, 0.0]).unwrap();
        assert!(matches!(a.similarity(&b), Err(Error::SpaceMismatch { .. })));
    }
}
