//! Which model the semantic cache compares prompts by.

use std::path::PathBuf;

use embedders::MiniLmEmbedder;
use memory_core::Result;
use memory_core::manager::DEFAULT_CACHE_THRESHOLD;

use super::models::ModelFolders;
use super::{BUILT_IN_CACHE_THRESHOLD, EmbedderSettings};

/// The cache's model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheEmbedderSettings {
    /// The memories' embedder.
    OfMemories,
    /// The model inside this program.
    BuiltIn,
    /// minilm-int8 in this folder.
    MiniLm(PathBuf),
}

impl CacheEmbedderSettings {
    /// Chooses by the setting, and by what is in `folders`. A model that embeds the memories too is read once.
    ///
    /// # Errors
    /// [`Error::Invalid`](memory_core::Error::Invalid) when minilm-int8 is asked for and in none of them.
    pub(super) fn choose(setting: &str, embedder: &EmbedderSettings, folders: &ModelFolders) -> Result<Self> {
        let found = match setting {
            "static-256" => return Ok(Self::BuiltIn),
            MiniLmEmbedder::NAME => Some(folders.minilm_for("cache_embedder", "auto, static-256")?),
            _ => folders.minilm(),
        };
        Ok(match (found, embedder) {
            (Some(model), EmbedderSettings::MiniLm(of_memories)) if model == *of_memories => Self::OfMemories,
            (Some(model), _) => Self::MiniLm(model),
            (None, _) => Self::OfMemories,
        })
    }

    /// The threshold that belongs to the model.
    pub(super) fn threshold(&self, embedder: &EmbedderSettings) -> f32 {
        match (self, embedder) {
            (Self::BuiltIn, _) | (Self::OfMemories, EmbedderSettings::BuiltIn) => BUILT_IN_CACHE_THRESHOLD,
            (Self::MiniLm(_), _)
            | (Self::OfMemories, EmbedderSettings::MiniLm(_) | EmbedderSettings::OpenAi { .. }) => {
                DEFAULT_CACHE_THRESHOLD
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_taken_where_it_is_and_the_memories_embedder_where_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let folders = ModelFolders::new(Some(folder.path().to_owned()), folder.path(), None);
        let choose =
            |setting: &str, embedder: &EmbedderSettings| CacheEmbedderSettings::choose(setting, embedder, &folders);
        let built_in = EmbedderSettings::BuiltIn;
        assert_eq!(choose("auto", &built_in).unwrap(), CacheEmbedderSettings::OfMemories);
        assert!(choose("minilm-int8", &built_in).is_err());
        let model = folder.path().join("minilm-int8");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("model.onnx"), "").unwrap();
        for setting in ["auto", "minilm-int8"] {
            assert_eq!(choose(setting, &built_in).unwrap(), CacheEmbedderSettings::MiniLm(model.clone()));
            let same = EmbedderSettings::MiniLm(model.clone());
            assert_eq!(choose(setting, &same).unwrap(), CacheEmbedderSettings::OfMemories, "it is read once");
        }
        assert_eq!(choose("static-256", &built_in).unwrap(), CacheEmbedderSettings::BuiltIn);
    }

    #[test]
    fn each_model_has_its_threshold() {
        let minilm = CacheEmbedderSettings::MiniLm("m".into());
        assert_eq!(minilm.threshold(&EmbedderSettings::BuiltIn), 0.85);
        assert_eq!(CacheEmbedderSettings::BuiltIn.threshold(&EmbedderSettings::BuiltIn), 0.90);
        assert_eq!(CacheEmbedderSettings::OfMemories.threshold(&EmbedderSettings::BuiltIn), 0.90);
        assert_eq!(CacheEmbedderSettings::OfMemories.threshold(&EmbedderSettings::MiniLm("m".into())), 0.85);
    }
}
