//! The static model: the vector of a text is the mean of the rows of its word pieces.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use memory_core::{Embedder, Embedding, EmbeddingSpace, Error, Purpose, Result};

use crate::weights::Weights;
use crate::wordpiece::WordPiece;

static BUILT_IN_MODEL: &[u8] = include_bytes!("../assets/static-256/model.safetensors");
pub(crate) static BUILT_IN_VOCAB: &[u8] = include_bytes!("../assets/static-256/vocab.txt");

/// After so many bytes of text a batch lets other tasks run: about a millisecond of work.
const BYTES_BEFORE_YIELD: usize = 64 * 1024;

/// An embedder that looks word pieces up in a table: no network, no transformer, a few microseconds for a short text.
///
/// The text is split as an uncased BERT does it (lower case, no accents, word pieces; no special tokens). Its vector is
/// the mean of the table's rows of the pieces it knows, scaled to length 1; the order of words does not matter. Time is
/// linear in the length of the text, and all of the text counts.
///
/// A text without any known piece (empty, only emoji, an unknown script) has no mean. It gets a pseudo-random direction
/// made from [`memory_core::text::normalize`] of the text: the same for the same text, and nearly at right angles to
/// everything else, so that it finds itself and nothing else.
///
/// A clone shares the table.
#[derive(Clone)]
pub struct StaticEmbedder {
    model: Arc<Model>,
}

struct Model {
    space: Arc<EmbeddingSpace>,
    tokenizer: WordPiece,
    weights: Weights,
}

impl StaticEmbedder {
    /// The name of the model inside the binary.
    pub const BUILT_IN_NAME: &str = "static-256";

    /// The model inside the binary: 256 dimensions, English, 29,525 word pieces.
    ///
    /// It is read once in a process, in a few milliseconds; its rows stay in the binary's own pages.
    #[must_use]
    pub fn built_in() -> Self {
        static BUILT_IN: OnceLock<StaticEmbedder> = OnceLock::new();
        BUILT_IN
            .get_or_init(|| {
                Self::from_parts(BUILT_IN_MODEL, BUILT_IN_VOCAB, Self::BUILT_IN_NAME)
                    .expect("the tests read the same bytes")
            })
            .clone()
    }

    /// A model from the bytes of a `model.safetensors` and a `vocab.txt`.
    ///
    /// The model has the tensors `embeddings`, I8 `[pieces, dimensions]`, and `scales`, F16 `[pieces]`; other tensors are
    /// ignored. The vocabulary has one piece on each line, in the order of the rows, `##` before those inside a word. Its
    /// space has the model name `name` and, as revision, the first 12 hexadecimal digits of the BLAKE3 hash of both files
    /// one after the other, so other weights are another space.
    ///
    /// # Errors
    /// [`Error::Unusable`] when a file is damaged or the two do not fit each other; [`Error::Invalid`] when the name is
    /// empty or the model has more than [`memory_core::MAX_DIMENSIONS`] dimensions.
    pub fn from_parts(
        model: impl Into<Cow<'static, [u8]>>,
        vocab: impl Into<Cow<'static, [u8]>>,
        name: &str,
    ) -> Result<Self> {
        let (model, vocab) = (model.into(), vocab.into());
        let revision = revision(&model, &vocab);
        let unusable = |what: &str, reason: String| Error::Unusable {
            provider: "static embedder",
            reason: format!("the {what} of model {name:?} cannot be used: {reason}"),
            source: None,
        };
        let weights = Weights::new(model).map_err(|reason| unusable("weights", reason))?;
        let tokenizer = WordPiece::new(vocab).map_err(|reason| unusable("vocabulary", reason))?;
        if weights.rows() != tokenizer.vocabulary_size() {
            let reason = format!("it has {} pieces for {} rows", tokenizer.vocabulary_size(), weights.rows());
            return Err(unusable("vocabulary", reason));
        }
        let space = Arc::new(EmbeddingSpace::new(name, revision, weights.dimensions())?);
        Ok(Self { model: Arc::new(Model { space, tokenizer, weights }) })
    }

    /// The vector of one text, at once and without a runtime.
    #[must_use]
    pub fn embed_one(&self, text: &str) -> Embedding {
        let Model { space, tokenizer, weights } = &*self.model;
        // The sum has the direction of the mean, and the length is made 1 anyway.
        let mut sums = vec![0.0; space.dimensions];
        tokenizer.visit(text, |id| {
            if let Some(id) = id {
                weights.add_row(id, &mut sums);
            }
        });
        if sums.iter().all(|&sum| sum == 0.0) {
            sums = direction_of_unknown(text, space.dimensions);
        }
        Embedding::new(Arc::clone(space), sums).expect("scales are finite, and the sums are not all zero")
    }

    /// The numbers of the word pieces of a text, in their order: the rows whose mean is its vector.
    #[must_use]
    pub fn token_ids(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.model.tokenizer.visit(text, |id| ids.extend(id));
        ids
    }
}

/// Both purposes give the same vector. Nothing can fail.
#[async_trait]
impl Embedder for StaticEmbedder {
    fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.model.space
    }

    async fn embed(&self, texts: &[&str], _purpose: Purpose) -> Result<Vec<Embedding>> {
        let mut embeddings = Vec::with_capacity(texts.len());
        let mut bytes_since_yield = 0;
        for text in texts {
            if bytes_since_yield >= BYTES_BEFORE_YIELD {
                tokio::task::yield_now().await;
                bytes_since_yield = 0;
            }
            embeddings.push(self.embed_one(text));
            // Even an empty text costs about as much as a short one.
            bytes_since_yield += text.len().max(64);
        }
        Ok(embeddings)
    }
}

impl fmt::Debug for StaticEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticEmbedder").field("space", &self.model.space).finish_non_exhaustive()
    }
}

fn revision(model: &[u8], vocab: &[u8]) -> String {
    let mut hex = blake3::Hasher::new().update(model).update(vocab).finalize().to_hex().to_string();
    hex.truncate(12);
    hex
}

/// A direction that depends on nothing but the normalised text.
pub(crate) fn direction_of_unknown(text: &str, dimensions: usize) -> Vec<f32> {
    let mut bytes = vec![0; dimensions];
    blake3::Hasher::new().update(memory_core::text::normalize(text).as_bytes()).finalize_xof().fill(&mut bytes);
    // The half makes the values symmetric around zero, and none of them zero.
    bytes.into_iter().map(|byte| f32::from(byte.cast_signed()) + 0.5).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"embeddings":{"dtype":"I8","shape":[3,2],"data_offsets":[0,6]},"scales":{"dtype":"F16","shape":[3],"data_offsets":[6,12]}}"#;

    fn tiny() -> Vec<u8> {
        let rows = [3, 0, 0, 4, 0xfd, 0];
        let ones = [0x00, 0x3c, 0x00, 0x3c, 0x00, 0x3c];
        [&(HEADER.len() as u64).to_le_bytes(), HEADER.as_bytes(), &rows, &ones].concat()
    }

    #[test]
    fn a_vector_is_the_mean_of_the_rows() {
        let model = StaticEmbedder::from_parts(tiny(), b"east\nnorth\nwest\n".as_slice(), "compass").unwrap();
        assert_eq!(model.embed_one("East").values(), [1.0, 0.0]);
        assert_eq!(model.embed_one("north, east!").values(), [0.6, 0.8]);
        assert_eq!(model.embed_one("north nowhere").values(), [0.0, 1.0], "an unknown word counts for nothing");
        assert_eq!(model.token_ids("north east west"), [1, 0, 2]);
        let undecided = model.embed_one("east west");
        assert_eq!(undecided, model.embed_one("East  WEST"), "rows that cancel out give the direction of the text");
    }

    #[test]
    fn the_revision_follows_the_weights_and_the_vocabulary() {
        let space = |model: Vec<u8>, vocab: &'static [u8]| {
            StaticEmbedder::from_parts(model, vocab, "compass").unwrap().space().to_string()
        };
        let first = space(tiny(), b"east\nnorth\nwest\n");
        assert_eq!(first, space(tiny(), b"east\nnorth\nwest\n"));
        let mut other = tiny();
        *other.last_mut().unwrap() = 0x40;
        assert_ne!(first, space(other, b"east\nnorth\nwest\n"));
        assert_ne!(first, space(tiny(), b"north\neast\nwest\n"));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let refused = |model: Vec<u8>, vocab: &'static [u8], name| {
            StaticEmbedder::from_parts(model, vocab, name).unwrap_err().to_string()
        };
        insta::assert_snapshot!([
            refused(tiny(), b"east\nnorth\n", "compass"),
            refused(tiny(), b"east\nnorth\neast\n", "compass"),
            refused(tiny()[..40].to_vec(), b"east\nnorth\nwest\n", "compass"),
            refused(tiny(), b"east\nnorth\nwest\n", ""),
        ].join("\n"), @r#"
        static embedder: the vocabulary of model "compass" cannot be used: it has 2 pieces for 3 rows
        static embedder: the vocabulary of model "compass" cannot be used: lines 1 and 3 of the vocabulary are equal
        static embedder: the weights of model "compass" cannot be used: it is cut off, or not a safetensors file: the header ends at byte 123
        embedding.model: given "", allowed: a model's name
        "#);
    }
}
