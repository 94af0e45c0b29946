//! An embedder, seen from outside.

use std::sync::Arc;

use async_trait::async_trait;
use memory_core::{Embedder, Embedding, EmbeddingSpace, Purpose, Result};
use metrics::{Counter, counter};
use tracing::field::Empty;

use super::{Calls, EMBEDDED_TEXTS};
use crate::usage;

/// An embedder whose calls are spans, counted and timed.
#[derive(Debug)]
pub struct ObservedEmbedder {
    inner: Arc<dyn Embedder>,
    calls: Calls,
    texts: Counter,
}

impl ObservedEmbedder {
    /// `name` says whose texts it embeds: `memories` or `cache`.
    #[must_use]
    pub fn new(inner: Arc<dyn Embedder>, name: &'static str) -> Self {
        Self { inner, calls: Calls::of_embedder(name), texts: counter!(EMBEDDED_TEXTS, "embedder" => name) }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Embedder for ObservedEmbedder {
    fn space(&self) -> &Arc<EmbeddingSpace> {
        self.inner.space()
    }

    async fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Embedding>> {
        let model = &*self.inner.space().model;
        let span = tracing::debug_span!(
            "embedder",
            otel.name = %format_args!("embeddings {model}"),
            otel.kind = "client",
            otel.status_code = Empty,
            gen_ai.operation.name = "embeddings",
            gen_ai.request.model = model,
            error.type = Empty,
        );
        let made = self.calls.within(span, self.inner.embed(texts, purpose)).await;
        if made.is_ok() {
            self.texts.increment(texts.len() as u64);
            usage::note_embedded(texts);
        }
        made
    }
}
