//! The embedders of Orchestra Memory: what turns a text into a vector.
//!
//! - [`StaticEmbedder`] is a table of word pieces inside the binary. It needs no network and takes a few microseconds
//!   for a short text. It is the default.
//! - [`MiniLmEmbedder`] is a transformer, run in this process out of one file that the caller names. It takes a few
//!   milliseconds, and tells apart what the table cannot: the semantic cache asks for it.
//! - [`OpenAiEmbedder`] asks a server that speaks OpenAI's `/v1/embeddings`, near or far. [`OpenAiConfig`] holds its
//!   settings.
//!
//! All are a [`memory_core::Embedder`], so whoever uses one does not know which it is:
//!
//! ```
//! use embedders::StaticEmbedder;
//! use memory_core::{Embedder, Purpose};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> memory_core::Result<()> {
//! let embedder: &dyn Embedder = &StaticEmbedder::built_in();
//! let texts = ["the cat sleeps on the sofa", "a kitten naps on the couch", "interest rates rose again"];
//! let embeddings = embedder.embed(&texts, Purpose::Document).await?;
//! let near = embeddings[0].similarity(&embeddings[1])?;
//! let far = embeddings[0].similarity(&embeddings[2])?;
//! assert!(near > far + 0.2);
//! # Ok(())
//! # }
//! ```
//!
//! Vectors of two embedders are never compared: each is of its own [`memory_core::EmbeddingSpace`].

mod minilm;
mod openai;
mod static_model;
mod weights;
mod wordpiece;

pub use minilm::MiniLmEmbedder;
pub use openai::{OpenAiConfig, OpenAiEmbedder};
pub use secrecy::SecretString;
pub use static_model::StaticEmbedder;
