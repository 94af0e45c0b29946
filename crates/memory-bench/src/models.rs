//! The model that is a file, where it was placed.

use std::path::PathBuf;

use anyhow::Result;
use embedders::MiniLmEmbedder;

/// Where models are.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// The folder of models, for minilm-int8; `cargo xtask assets minilm-int8` places it
    #[arg(long, env = "ORCHESTRA_MODELS", value_name = "DIR", default_value = "target/assets")]
    models: PathBuf,
}

impl Args {
    /// minilm-int8, if it was placed.
    pub fn minilm(&self) -> Result<Option<MiniLmEmbedder>> {
        let folder = self.models.join(MiniLmEmbedder::NAME);
        Ok(if folder.exists() { Some(MiniLmEmbedder::open(folder)?) } else { None })
    }
}

/// What is told in place of figures when it was not.
pub const ABSENT: &str = "minilm-int8 was not measured: `cargo xtask assets minilm-int8` places it";
