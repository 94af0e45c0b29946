//! What a server is asked besides what moves the store: searches, what it shows, and vectors.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use memory_core::{Embedder, Embedding, EmbeddingSpace, Error, MemoryId, Purpose, Result, Scope};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HttpReplica, PROVIDER, backend};
use crate::probe::{Answer, Hit, Search};

/// How many texts are sent in one call.
const TEXTS_AT_ONCE: usize = 64;

#[derive(Deserialize)]
struct Hits {
    hits: Option<Vec<Hit>>,
    took_us: u64,
}

#[derive(Deserialize)]
struct Sight {
    is_shown: bool,
    turn_before: Option<String>,
}

#[derive(Deserialize)]
struct Vectors {
    space: Arc<EmbeddingSpace>,
    vectors: Vec<Vec<f32>>,
}

fn vector_of(vector: &Embedding) -> Value {
    json!({"space": **vector.space(), "values": vector.values()})
}

impl HttpReplica {
    async fn look(&self, scope: &Scope, id: MemoryId) -> Result<Sight> {
        self.post("look", "look", &json!({"scope": scope, "id": id})).await
    }

    async fn vectors(&self, texts: &[&str]) -> Result<Vectors> {
        self.post("embed", "embed", &json!({"texts": texts})).await
    }

    /// What makes the vectors of the server's memories.
    ///
    /// # Errors
    /// As the server fails.
    pub async fn embedder(&self) -> Result<HttpEmbedder> {
        Ok(HttpEmbedder { space: self.vectors(&[]).await?.space, server: self.clone() })
    }
}

#[async_trait]
impl Search for HttpReplica {
    async fn search(&self, scope: &Scope, vector: Option<&Embedding>, text: &str) -> Result<Answer> {
        let body = json!({"scope": scope, "text": text, "vector": vector.map(vector_of)});
        let Hits { hits, took_us } = self.post("search", "search", &body).await?;
        Ok(Answer { hits: hits.unwrap_or_default(), took: Some(Duration::from_micros(took_us)) })
    }

    async fn nearest(&self, scope: &Scope, vector: &Embedding) -> Result<Option<Vec<MemoryId>>> {
        let body = json!({"scope": scope, "text": "", "vector": vector_of(vector), "exact": true});
        let Hits { hits, .. } = self.post("search", "search", &body).await?;
        Ok(hits.map(|hits| hits.into_iter().map(|hit| hit.id).collect()))
    }

    async fn shows(&self, scope: &Scope, id: MemoryId) -> Result<bool> {
        Ok(self.look(scope, id).await?.is_shown)
    }

    async fn turn_before(&self, scope: &Scope, id: MemoryId) -> Result<Option<String>> {
        Ok(self.look(scope, id).await?.turn_before)
    }
}

/// The embedder of a server.
#[derive(Debug, Clone)]
pub struct HttpEmbedder {
    server: HttpReplica,
    space: Arc<EmbeddingSpace>,
}

#[async_trait]
impl Embedder for HttpEmbedder {
    fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.space
    }

    async fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Embedding>> {
        if purpose != Purpose::Document {
            let reason = "a server gives a mover the vectors of memories alone".to_owned();
            return Err(Error::Unusable { provider: PROVIDER, reason, source: None });
        }
        let mut made = Vec::with_capacity(texts.len());
        for texts in texts.chunks(TEXTS_AT_ONCE) {
            let Vectors { space, vectors } = self.server.vectors(texts).await?;
            self.space.expect(&space)?;
            if vectors.len() != texts.len() {
                let said = format!("{} vectors were given for {} texts", vectors.len(), texts.len());
                return Err(backend("embed", false, said));
            }
            for values in vectors {
                made.push(Embedding::new(space.clone(), values)?);
            }
        }
        Ok(made)
    }
}
