//! Vectors of another space than the target's are made anew on the way, from the texts; spaces never mix.

use std::collections::HashMap;
use std::sync::Arc;

use memory_core::manager::in_context;
use memory_core::{
    Embedder, Embedding, EmbeddingSpace, Error, Item, ItemKey, Memory, Purpose, Result, StoredVersion, WholeMemory,
};

use super::Side;

/// How many texts are embedded at once.
const AT_ONCE: usize = 64;

/// The items as the target is to have them.
pub(super) async fn adapt(from: &Side, to: &Side, mut items: Vec<Item>) -> Result<Vec<Item>> {
    let Some(embedder) = &to.embedder else { return Ok(items) };
    let space = embedder.space();
    let keys: Vec<ItemKey> = items.iter().filter(|item| is_of_another(item, space)).map(Item::key).collect();
    if keys.is_empty() {
        return Ok(items);
    }
    let held = held(to, &keys, space).await?;
    let mut texts: Vec<String> = Vec::new();
    for version in versions(&mut items) {
        if needs(version, space) {
            let (id, number) = (version.memory.id, version.memory.version);
            match held.get(&(id, number)).filter(|(text, _)| *text == version.memory.text) {
                Some((_, embedding)) => version.embedding = Some(embedding.clone()),
                None => texts.push(text_of(from, &version.memory).await?),
            }
        }
    }
    let mut made = embed(&**embedder, &texts).await?.into_iter();
    for version in versions(&mut items) {
        if needs(version, space) {
            version.embedding = made.next();
        }
    }
    Ok(items)
}

/// The vectors that the target has already, by the version that they are of, with its text.
async fn held(
    to: &Side,
    keys: &[ItemKey],
    space: &Arc<EmbeddingSpace>,
) -> Result<HashMap<(memory_core::MemoryId, u64), (String, Embedding)>> {
    let mut there = to.replica.read(keys).await?;
    let mut held = HashMap::new();
    for StoredVersion { memory, embedding } in versions(&mut there) {
        if let Some(embedding) = embedding.take_if(|embedding| embedding.space() == space) {
            held.insert((memory.id, memory.version), (std::mem::take(&mut memory.text), embedding));
        }
    }
    Ok(held)
}

/// As the text was embedded when it was written. Of a turn before, what it says now; a side without a search does not tell turns.
async fn text_of(from: &Side, memory: &Memory) -> Result<String> {
    let (Some(search), Some(_)) = (&from.search, memory.scope.session()) else { return Ok(memory.text.clone()) };
    let before = search.turn_before(&memory.scope.whole_tenant(), memory.id).await?;
    Ok(in_context(before.as_deref(), &memory.text))
}

async fn embed(embedder: &dyn Embedder, texts: &[String]) -> Result<Vec<Embedding>> {
    let mut made = Vec::with_capacity(texts.len());
    for texts in texts.chunks(AT_ONCE) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vectors = embedder.embed(&texts, Purpose::Document).await?;
        if vectors.len() != texts.len() {
            let reason = format!("{} vectors for {} texts", vectors.len(), texts.len());
            let model = embedder.space().model.clone();
            return Err(Error::Embedder { model, reason, retryable: false, source: None });
        }
        made.extend(vectors);
    }
    Ok(made)
}

fn versions(items: &mut [Item]) -> impl Iterator<Item = &mut StoredVersion> {
    let wholes = items.iter_mut().filter_map(|item| match item {
        Item::Memory(whole) => Some(&mut **whole),
        _ => None,
    });
    wholes.flat_map(|WholeMemory { current, former, .. }| {
        former.iter_mut().map(|former| &mut former.version).chain([current])
    })
}

fn is_of_another(item: &Item, space: &Arc<EmbeddingSpace>) -> bool {
    let Item::Memory(whole) = item else { return false };
    needs(&whole.current, space) || whole.former.iter().any(|former| needs(&former.version, space))
}

/// What has no vector has none on the other side either, until it is given one where it is in use.
fn needs(version: &StoredVersion, space: &Arc<EmbeddingSpace>) -> bool {
    version.embedding.as_ref().is_some_and(|embedding| embedding.space() != space)
}
