//! Which model the semantic cache compares prompts by, and where it is looked for.

use std::path::{Path, PathBuf};

use embedders::MiniLmEmbedder;
use memory_core::manager::DEFAULT_CACHE_THRESHOLD;
use memory_core::{Error, Result};

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
    /// Chooses by the setting, and by what is in `folders`, folders of models, the first before the others.
    ///
    /// # Errors
    /// [`Error::Invalid`] when minilm-int8 is asked for and in none of them.
    pub(super) fn choose(setting: &str, folders: &[PathBuf]) -> Result<Self> {
        let found = || {
            let mut folders = folders.iter().map(|folder| folder.join(MiniLmEmbedder::NAME));
            folders.find(|folder| folder.join(MiniLmEmbedder::FILE_NAME).is_file()).map(Self::MiniLm)
        };
        match setting {
            "static-256" => Ok(Self::BuiltIn),
            MiniLmEmbedder::NAME => found().ok_or_else(|| {
                let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
                let allowed = format!(
                    "auto, static-256, or --models DIR where DIR/{}/{} is; there is none in {}",
                    MiniLmEmbedder::NAME,
                    MiniLmEmbedder::FILE_NAME,
                    folders.join(", ")
                );
                Error::invalid("cache_embedder", MiniLmEmbedder::NAME, allowed)
            }),
            _ => Ok(found().unwrap_or(Self::OfMemories)),
        }
    }

    /// The threshold that belongs to the model.
    pub(super) fn threshold(&self, embedder: &EmbedderSettings) -> f32 {
        match (self, embedder) {
            (Self::BuiltIn, _) | (Self::OfMemories, EmbedderSettings::BuiltIn) => BUILT_IN_CACHE_THRESHOLD,
            (Self::MiniLm(_), _) | (Self::OfMemories, EmbedderSettings::OpenAi { .. }) => DEFAULT_CACHE_THRESHOLD,
        }
    }
}

/// Where models are looked for: in `models` alone when it is given.
///
/// Else in `models` of the data folder; beside the program, as a release or an image has them; and in `assets` beside the
/// program's folder, which is where a checkout has them. None of them depends on the folder the program is run in, and a
/// model is taken by its hash only.
pub(super) fn model_folders(models: Option<PathBuf>, data: &Path, program: Option<&Path>) -> Vec<PathBuf> {
    if let Some(models) = models {
        return vec![models];
    }
    let beside = program.and_then(Path::parent);
    let mut folders = vec![data.join("models")];
    folders.extend(beside.map(|folder| folder.join("models")));
    folders.extend(beside.and_then(Path::parent).map(|folder| folder.join("assets")));
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_taken_where_it_is_and_the_memories_embedder_where_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = |models: &str| {
            let model = folder.path().join(models).join("minilm-int8");
            std::fs::create_dir_all(&model).unwrap();
            std::fs::write(model.join("model.onnx"), "").unwrap();
            CacheEmbedderSettings::MiniLm(model)
        };
        let (data, program) = (folder.path().join("data"), folder.path().join("target/release/orchestra"));
        let folders = model_folders(None, &data, Some(&program));
        let auto = || CacheEmbedderSettings::choose("auto", &folders).unwrap();
        assert_eq!(auto(), CacheEmbedderSettings::OfMemories);
        for models in ["target/assets", "target/release/models", "data/models"] {
            let placed = place(models);
            assert_eq!(auto(), placed, "the last one comes first");
        }
        let named = CacheEmbedderSettings::choose("static-256", &folders).unwrap();
        assert_eq!(named, CacheEmbedderSettings::BuiltIn);
        let elsewhere = model_folders(Some(folder.path().join("elsewhere")), &data, Some(&program));
        let named = CacheEmbedderSettings::choose("auto", &elsewhere).unwrap();
        assert_eq!(named, CacheEmbedderSettings::OfMemories, "a folder that is named is the only one");
    }

    #[test]
    fn a_model_that_is_asked_for_and_absent_is_an_error() {
        let folders = model_folders(None, Path::new("/data"), Some(Path::new("/opt/orchestra/orchestra")));
        let error = CacheEmbedderSettings::choose("minilm-int8", &folders).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"cache_embedder: given minilm-int8, allowed: auto, static-256, or --models DIR where DIR/minilm-int8/model.onnx is; there is none in /data/models, /opt/orchestra/models, /opt/assets");
    }

    #[test]
    fn each_model_has_its_threshold() {
        let minilm = CacheEmbedderSettings::MiniLm("m".into());
        assert_eq!(minilm.threshold(&EmbedderSettings::BuiltIn), 0.85);
        assert_eq!(CacheEmbedderSettings::BuiltIn.threshold(&EmbedderSettings::BuiltIn), 0.90);
        assert_eq!(CacheEmbedderSettings::OfMemories.threshold(&EmbedderSettings::BuiltIn), 0.90);
    }
}
