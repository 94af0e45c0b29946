//! The built-in model.

use embedders::StaticEmbedder;
use memory_core::{Embedder, Purpose};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    text: String,
    ids: Vec<u32>,
    values: Vec<f32>,
}

fn reference() -> Vec<Reference> {
    serde_json::from_str(include_str!("../fixtures/reference.json")).unwrap()
}

#[test]
fn word_pieces_are_those_of_the_tokenizers_package() {
    let model = StaticEmbedder::built_in();
    for Reference { text, ids, .. } in reference() {
        assert_eq!(model.token_ids(&text), ids, "{text:?}");
    }
}

#[test]
fn vectors_are_those_of_an_independent_computation() {
    let model = StaticEmbedder::built_in();
    for Reference { text, values, .. } in reference() {
        let embedding = model.embed_one(&text);
        for (at, (actual, expected)) in embedding.values().iter().zip(&values).enumerate() {
            assert!(
                (actual - expected).abs() < 1e-5,
                "value {at} of {text:?} is {actual}, not {expected}; after a change of the model run make_reference.py"
            );
        }
    }
}

#[tokio::test]
async fn embed_gives_what_embed_one_gives_for_both_purposes() {
    let model = StaticEmbedder::built_in();
    let reference = reference();
    let texts: Vec<&str> = reference.iter().map(|reference| reference.text.as_str()).cycle().take(2_000).collect();
    let expected: Vec<_> = texts.iter().map(|text| model.embed_one(text)).collect();
    for purpose in [Purpose::Document, Purpose::Query] {
        assert_eq!(model.embed(&texts, purpose).await.unwrap(), expected);
    }
    assert!(model.embed(&[], Purpose::Query).await.unwrap().is_empty());
}

#[test]
fn the_space_names_the_model_and_its_weights() {
    let model = StaticEmbedder::built_in();
    let space = model.space();
    assert_eq!((space.model.as_str(), space.dimensions, space.normalized), ("static-256", 256, true));
    assert!(space.revision.len() == 12 && space.revision.bytes().all(|byte| byte.is_ascii_hexdigit()), "{space}");
    assert_eq!(format!("{model:?}").matches('\n').count(), 0, "the table stays out of Debug");

    let weights = include_bytes!("../../assets/static-256/model.safetensors");
    let vocab = include_bytes!("../../assets/static-256/vocab.txt");
    let same = StaticEmbedder::from_parts(weights.as_slice(), vocab.as_slice(), "static-256").unwrap();
    assert_eq!(same.space(), space, "the same files give the same space");
    let mut other = weights.to_vec();
    *other.last_mut().unwrap() ^= 1;
    let other = StaticEmbedder::from_parts(other, vocab.as_slice(), "static-256").unwrap();
    assert_ne!(other.space(), space, "other weights give another space");
}

#[test]
fn nearness_follows_meaning() {
    let model = StaticEmbedder::built_in();
    let similarity = |a, b| model.embed_one(a).similarity(&model.embed_one(b)).unwrap();
    let near = similarity("How do I reset my password?", "I forgot my login credentials");
    let far = similarity("How do I reset my password?", "The train to Berlin leaves at noon");
    assert!(near > far + 0.2, "{near} and {far}");
}

#[test]
fn a_text_without_known_pieces_finds_itself_and_nothing_else() {
    let model = StaticEmbedder::built_in();
    let unknown = ["", "🙂", "🙃", "🙂🙂", "\u{10ffff}"];
    for text in unknown {
        assert!(model.token_ids(text).is_empty(), "{text:?}");
        for other in unknown.into_iter().chain(["smile", "hello world"]) {
            let similarity = model.embed_one(text).similarity(&model.embed_one(other)).unwrap();
            if text == other {
                assert!(similarity > 0.999_999, "{text:?}");
            } else {
                assert!(similarity.abs() < 0.35, "{text:?} and {other:?}: {similarity}");
            }
        }
    }
    assert_eq!(model.embed_one(" 🙂 "), model.embed_one("🙂"), "spelling that normalisation drops does not count");
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let model = StaticEmbedder::built_in();
    let embedding = model.embed_one(text);
    let length = embedding.values().iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    prop_assert!((length - 1.0).abs() < 1e-6, "length {}", length);
    prop_assert_eq!(&embedding, &model.embed_one(text));
    Ok(())
}

proptest! {
    #[test]
    fn any_characters_give_a_vector_of_length_1(characters in proptest::collection::vec(any::<char>(), 0..200)) {
        check(&characters.into_iter().collect::<String>())?;
    }

    #[test]
    fn any_latin_text_gives_a_vector_of_length_1(text in "[ -~\t\n\u{e0}-\u{ff}\u{300}-\u{310}]{0,300}") {
        check(&text)?;
    }

    #[test]
    fn case_and_white_space_do_not_count(words in proptest::collection::vec("[a-z]{1,12}", 1..12)) {
        let model = StaticEmbedder::built_in();
        prop_assert_eq!(model.embed_one(&words.join(" ")), model.embed_one(&words.join("\n\t ").to_uppercase()));
    }
}
