//! `minilm-int8`: the transformer all-MiniLM-L6-v2 with 8-bit weights, run in this process.

mod activations;
mod encoder;
mod linear;
mod onnx;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use memory_core::{BoxError, Embedder, Embedding, EmbeddingSpace, Error, Purpose, Result};
use tokio::sync::Semaphore;

use crate::static_model::{self, direction_of_unknown};
use crate::wordpiece::WordPiece;
use encoder::{Encoder, MAX_PIECES, WIDTH};
use onnx::Graph;

/// The BLAKE3 hash of the one file that is taken. The SHA-256 hash of the same file, which the packages pin, is
/// `8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6`.
const FILE_HASH: &str = "b2a68b34a45c28477ee9619f6f1ed03064209e3c3dae66aac2cedc4ee59c286d";
/// Its size in bytes.
const FILE_BYTES: usize = 22_928_619;

/// BERT's numbers of the pieces that our vocabulary lacks or moves.
const UNKNOWN: u32 = 100;
const START: u32 = 101;
const END: u32 = 102;
/// What is between a line of our vocabulary, from its line 2 on, and BERT's number of that piece: ours leaves out the
/// unused pieces and those of `START`, `END` and the mask.
const OFFSET: u32 = 997;

/// As many pieces are worked on together: about 20 ms, and enough to read the weights once for several short texts.
const PIECES_OF_A_PASS: usize = 64;

/// An embedder that runs a transformer in this process: all-MiniLM-L6-v2, 384 dimensions, English, weights in 8 bits.
///
/// It tells apart what [`StaticEmbedder`](crate::StaticEmbedder) cannot, at a thousand times the cost: about 3 ms for a
/// short text on one core with AVX2, 100 ms for the longest; without AVX2 ten times as long. No network; the model is one
/// file that the caller names, and no other file is taken.
///
/// A text is split as an uncased BERT does it. What goes beyond 256 word pieces, about 190 English words, does not count.
/// The vector is the mean of what the last layer says of each piece, scaled to length 1. It is the same to the bit on every
/// machine with IEEE arithmetic and in every batch.
///
/// A text without any known piece (empty, only emoji) gets a pseudo-random direction, as with the static model, so that it
/// finds itself and nothing else.
///
/// A clone shares the weights.
#[derive(Clone)]
pub struct MiniLmEmbedder {
    model: Arc<Model>,
}

struct Model {
    space: Arc<EmbeddingSpace>,
    tokenizer: WordPiece,
    encoder: Encoder,
    /// One for each core: more texts at once would only slow each other down.
    turns: Semaphore,
}

impl MiniLmEmbedder {
    /// The model's name, in its space and as the name of the folder it is placed in.
    pub const NAME: &str = "minilm-int8";
    /// The name of the file in that folder.
    pub const FILE_NAME: &str = "model.onnx";

    /// Reads the model: `path` is its file, or a folder that holds it as `model.onnx`.
    ///
    /// It reads 23 MB and takes some 50 ms. Afterwards the file is not needed any more.
    ///
    /// # Errors
    /// [`Error::Unusable`] when there is no such file, it cannot be read, or it is not exactly the expected one.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let path = if path.is_dir() { path.join(Self::FILE_NAME) } else { path.to_owned() };
        let shown = path.display();
        let file = std::fs::read(&path).map_err(|error| {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    format!("{shown}: there is no such file; `cargo xtask assets minilm-int8` in a checkout places it")
                }
                _ => format!("{shown}: the model cannot be read"),
            };
            unusable(reason, Some(error.into()))
        })?;
        if file.len() != FILE_BYTES {
            let reason = format!("{shown}: not the model, or cut off: it has {} bytes, not {FILE_BYTES}", file.len());
            return Err(unusable(reason, None));
        }
        let hash = blake3::hash(&file).to_hex();
        if hash.as_str() != FILE_HASH {
            let reason = format!(
                "{shown}: another model, or damaged: its BLAKE3 hash is {hash}, not {FILE_HASH}; remove it and place it \
                 again"
            );
            return Err(unusable(reason, None));
        }
        let encoder = Graph::new(&file).and_then(|graph| Encoder::new(&graph));
        let encoder = encoder.map_err(|reason| unusable(format!("{shown}: not the model: {reason}"), None))?;
        let tokenizer = WordPiece::new(static_model::BUILT_IN_VOCAB.into()).expect("the tests read the same bytes");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let model = Model {
            space: Arc::new(EmbeddingSpace::new(Self::NAME, &FILE_HASH[..12], WIDTH)?),
            tokenizer,
            encoder,
            turns: Semaphore::new(cores),
        };
        Ok(Self { model: Arc::new(model) })
    }

    /// The vector of one text, at once and without a runtime.
    #[must_use]
    pub fn embed_one(&self, text: &str) -> Embedding {
        self.model.embed_some(&[text]).pop().expect("a vector for each text")
    }

    /// BERT's numbers of the word pieces of a text that count, `[CLS]` and `[SEP]` at its ends among them.
    #[must_use]
    pub fn token_ids(&self, text: &str) -> Vec<u32> {
        self.model.piece_ids(text)
    }
}

/// Both purposes give the same vector.
///
/// The work is done on the runtime's threads for blocking work, so it needs a tokio runtime; as many texts as there are
/// cores are worked on at once, others wait for their turn. Dropping the future ends a batch after a few texts.
#[async_trait]
impl Embedder for MiniLmEmbedder {
    fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.model.space
    }

    async fn embed(&self, texts: &[&str], _purpose: Purpose) -> Result<Vec<Embedding>> {
        let mut embeddings = Vec::with_capacity(texts.len());
        while embeddings.len() < texts.len() {
            let turn = self.model.turns.acquire().await.expect("nobody closes it");
            let mut pieces = 0;
            // A piece is seldom shorter than two characters, and a text has two pieces more.
            let pass = texts[embeddings.len()..].iter().take_while(|text| {
                let before = pieces;
                pieces += 2 + text.len().div_ceil(4).min(MAX_PIECES);
                before < PIECES_OF_A_PASS
            });
            let (model, pass) = (Arc::clone(&self.model), pass.map(|&text| text.to_owned()).collect::<Vec<_>>());
            let made = tokio::task::spawn_blocking(move || model.embed_some(&pass)).await;
            drop(turn);
            embeddings.extend(made.map_err(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Error::Embedder {
                    model: Self::NAME.to_owned(),
                    reason: "the runtime is shutting down".to_owned(),
                    retryable: false,
                    source: Some(error.into()),
                },
            })?);
        }
        Ok(embeddings)
    }
}

impl fmt::Debug for MiniLmEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MiniLmEmbedder").field("space", &self.model.space).finish_non_exhaustive()
    }
}

impl Model {
    /// The vectors of some texts, computed together.
    fn embed_some(&self, texts: &[impl AsRef<str>]) -> Vec<Embedding> {
        let pieces = texts.iter().map(|text| self.piece_ids(text.as_ref()));
        let pieces: Vec<_> = pieces.map(|ids| ids.iter().any(is_known).then_some(ids)).collect();
        let known: Vec<bool> = pieces.iter().map(Option::is_some).collect();
        let pieces: Vec<Vec<u32>> = pieces.into_iter().flatten().collect();
        let mut means = self.encoder.means(&pieces).into_iter();
        let vectors = texts.iter().zip(known).map(|(text, known)| {
            let mean = if known { means.next() } else { None };
            let values = mean.unwrap_or_else(|| direction_of_unknown(text.as_ref(), WIDTH));
            Embedding::new(Arc::clone(&self.space), values).expect("the one file that is taken has finite weights")
        });
        vectors.collect()
    }

    fn piece_ids(&self, text: &str) -> Vec<u32> {
        let mut ids = vec![START];
        self.tokenizer.visit(text, |id| {
            if ids.len() < MAX_PIECES - 1 {
                ids.push(id.map_or(UNKNOWN, |id| id + OFFSET));
            }
        });
        ids.push(END);
        ids
    }
}

fn is_known(id: &u32) -> bool {
    ![UNKNOWN, START, END].contains(id)
}

fn unusable(reason: String, source: Option<BoxError>) -> Error {
    Error::Unusable { provider: MiniLmEmbedder::NAME, reason, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_model_is_refused_with_the_reason() {
        let folder = std::env::temp_dir().join(format!("minilm-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(MiniLmEmbedder::FILE_NAME);
        let refused = |path: &Path| {
            let error = MiniLmEmbedder::open(path).unwrap_err();
            assert!(matches!(error, Error::Unusable { .. }), "{error:?}");
            error.to_string().replace(&folder.display().to_string(), "DIR")
        };
        let absent = refused(&folder);
        std::fs::write(&path, "<html>").unwrap();
        let other = refused(&path);
        std::fs::write(&path, vec![0; FILE_BYTES]).unwrap();
        let damaged = refused(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        insta::assert_snapshot!([absent, other, damaged].join("\n"), @"
        minilm-int8: DIR/model.onnx: there is no such file; `cargo xtask assets minilm-int8` in a checkout places it
        minilm-int8: DIR/model.onnx: not the model, or cut off: it has 6 bytes, not 22928619
        minilm-int8: DIR/model.onnx: another model, or damaged: its BLAKE3 hash is 227055972cd6f96dcdf970f650dc06cc65222d91049c561371f3990cd96039d3, not b2a68b34a45c28477ee9619f6f1ed03064209e3c3dae66aac2cedc4ee59c286d; remove it and place it again
        ");
    }

    #[test]
    fn the_vocabulary_of_the_static_model_gives_the_numbers_of_bert() {
        let lines: Vec<&str> = std::str::from_utf8(static_model::BUILT_IN_VOCAB).unwrap().lines().collect();
        for (piece, number) in [("!", 999), ("the", 1996), ("password", 20_786), ("##\u{ff5e}", 30_521)] {
            assert_eq!(lines.iter().position(|line| *line == piece), Some(number - OFFSET as usize), "{piece}");
        }
        assert_eq!(lines.len() + OFFSET as usize, 30_522);
    }
}
