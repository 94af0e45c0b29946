//! Prints the cosine similarity of two texts, as the built-in model sees it:
//! `cargo run --package embedders --example similarity -- "the cat sleeps" "a kitten naps"`

use embedders::StaticEmbedder;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let texts: Vec<String> = std::env::args().skip(1).collect();
    let [a, b] = texts.as_slice() else {
        return Err("give two texts, each in quotes".into());
    };
    let model = StaticEmbedder::built_in();
    println!("{:.3}", model.embed_one(a).similarity(&model.embed_one(b))?);
    Ok(())
}
