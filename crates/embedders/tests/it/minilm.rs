//! minilm-int8. The model's file is not part of the repository: `cargo xtask assets minilm-int8` places it, and what
//! needs it says that it was skipped where it is not. `MEMORY_TEST_REQUIRE=minilm` makes that a failure.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use embedders::MiniLmEmbedder;
use memory_core::{Embedder, Purpose};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    text: String,
    ids: Vec<u32>,
    /// Times 10,000, rounded.
    values: Vec<i16>,
}

fn reference() -> Vec<Reference> {
    serde_json::from_str(include_str!("../fixtures/minilm_reference.json")).unwrap()
}

/// The model, where it is.
fn model() -> Option<&'static MiniLmEmbedder> {
    static MODEL: OnceLock<Option<MiniLmEmbedder>> = OnceLock::new();
    let model = MODEL.get_or_init(|| {
        let models = std::env::var_os("ORCHESTRA_MODELS").map(PathBuf::from);
        let models = models.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/assets"));
        let folder = models.join(MiniLmEmbedder::NAME);
        if folder.exists() {
            return Some(MiniLmEmbedder::open(folder).unwrap());
        }
        let required = std::env::var("MEMORY_TEST_REQUIRE").unwrap_or_default();
        let required = required.split(',').any(|name| ["minilm", "all"].contains(&name.trim()));
        assert!(!required, "{}: there is no model; `cargo xtask assets minilm-int8` places it", folder.display());
        None
    });
    if model.is_none() {
        eprintln!("skipped: minilm-int8 is not there; `cargo xtask assets minilm-int8` places it");
    }
    model.as_ref()
}

#[test]
fn word_pieces_are_those_of_the_tokenizers_package() {
    let Some(model) = model() else { return };
    for Reference { text, ids, .. } in reference() {
        assert_eq!(model.token_ids(&text), ids, "{text:?}");
    }
}

#[test]
fn vectors_are_those_of_another_runtime_on_the_same_file() {
    let Some(model) = model() else { return };
    for Reference { text, values, .. } in reference() {
        let length = values.iter().map(|&value| f32::from(value).powi(2)).sum::<f32>().sqrt();
        let embedding = model.embed_one(&text);
        let product: f32 = embedding.values().iter().zip(&values).map(|(a, &b)| a * f32::from(b)).sum();
        assert!(product / length > 0.999_99, "{text:?}: cosine {}", product / length);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_gives_what_each_text_gives_alone_to_the_bit() {
    let Some(model) = model() else { return };
    let reference = reference();
    let mut texts: Vec<&str> = reference.iter().map(|reference| reference.text.as_str()).collect();
    texts.splice(3..3, ["", "🙂"]);
    let expected: Vec<_> = texts.iter().map(|text| model.embed_one(text)).collect();
    let (documents, queries) =
        tokio::join!(model.embed(&texts, Purpose::Document), model.embed(&texts, Purpose::Query));
    assert_eq!(documents.unwrap(), expected);
    assert_eq!(queries.unwrap(), expected);
    assert!(model.embed(&[], Purpose::Query).await.unwrap().is_empty());
}

#[test]
fn a_text_without_known_pieces_finds_itself_and_nothing_else() {
    let Some(model) = model() else { return };
    let unknown = ["", "🙂", "🙃", "🙂 🙂", "\u{10ffff}"];
    for text in unknown {
        for other in unknown.into_iter().chain(["smile", "hello world"]) {
            let similarity = model.embed_one(text).similarity(&model.embed_one(other)).unwrap();
            if text == other {
                assert!(similarity > 0.999_999, "{text:?}");
            } else {
                assert!(similarity.abs() < 0.35, "{text:?} and {other:?}: {similarity}");
            }
        }
    }
}

#[test]
fn the_space_names_the_model_and_its_weights() {
    let Some(model) = model() else { return };
    assert_eq!(model.space().to_string(), "minilm-int8@b2a68b34a45c/384");
    assert_eq!(format!("{model:?}").matches('\n').count(), 0, "the weights stay out of Debug");
}

#[test]
fn nearness_follows_meaning() {
    let Some(model) = model() else { return };
    let similarity = |a, b| model.embed_one(a).similarity(&model.embed_one(b)).unwrap();
    let near = similarity("How do I reset my password?", "I forgot my password, how can I change it?");
    let far = similarity("How do I reset my password?", "The train to Berlin leaves at noon");
    assert!(near > 0.7 && far < 0.2, "{near} and {far}");
}

#[test]
fn what_goes_beyond_the_longest_text_does_not_count() {
    let Some(model) = model() else { return };
    let long = "word ".repeat(254);
    assert_eq!(model.token_ids(&long).len(), 256);
    assert_eq!(model.embed_one(&long), model.embed_one(&format!("{long} and so on")));
    assert_ne!(model.embed_one(&long), model.embed_one(&"word ".repeat(253)));
}
