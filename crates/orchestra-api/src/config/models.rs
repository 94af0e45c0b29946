//! Where models in files are looked for.

use std::path::{Path, PathBuf};

use embedders::MiniLmEmbedder;
use memory_core::{Error, Result};

/// The folders of models, the first before the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelFolders(Vec<PathBuf>);

impl ModelFolders {
    /// `models` alone when it is given.
    ///
    /// Else `models` of the data folder; beside the program, as a release or an image has them; and `assets` beside the program's
    /// folder, which is where a checkout has them. None of them depends on the folder the program is run in, and a model is taken
    /// by its hash only.
    pub fn new(models: Option<PathBuf>, data: &Path, program: Option<&Path>) -> Self {
        if let Some(models) = models {
            return Self(vec![models]);
        }
        let beside = program.and_then(Path::parent);
        let mut folders = vec![data.join("models")];
        folders.extend(beside.map(|folder| folder.join("models")));
        folders.extend(beside.and_then(Path::parent).map(|folder| folder.join("assets")));
        Self(folders)
    }

    /// The folder of minilm-int8, in the first of them that has it.
    pub fn minilm(&self) -> Option<PathBuf> {
        let mut folders = self.0.iter().map(|folder| folder.join(MiniLmEmbedder::NAME));
        folders.find(|folder| folder.join(MiniLmEmbedder::FILE_NAME).is_file())
    }

    /// The same for a setting that asks for it, and could be one of `others`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is in none of them.
    pub fn minilm_for(&self, setting: &str, others: &str) -> Result<PathBuf> {
        self.minilm().ok_or_else(|| {
            let folders: Vec<String> = self.0.iter().map(|folder| folder.display().to_string()).collect();
            let allowed = format!(
                "{others}, or --models DIR where DIR/{}/{} is; there is none in {}",
                MiniLmEmbedder::NAME,
                MiniLmEmbedder::FILE_NAME,
                folders.join(", ")
            );
            Error::invalid(setting, MiniLmEmbedder::NAME, allowed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_that_has_a_model_has_it_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let (data, program) = (folder.path().join("data"), folder.path().join("target/release/orchestra"));
        let folders = ModelFolders::new(None, &data, Some(&program));
        assert_eq!(folders.minilm(), None);
        for models in ["target/assets", "target/release/models", "data/models"] {
            let model = folder.path().join(models).join("minilm-int8");
            std::fs::create_dir_all(&model).unwrap();
            std::fs::write(model.join("model.onnx"), "").unwrap();
            assert_eq!(folders.minilm(), Some(model), "the last one comes first");
        }
        let elsewhere = ModelFolders::new(Some(folder.path().join("elsewhere")), &data, Some(&program));
        assert_eq!(elsewhere.minilm(), None, "a folder that is named is the only one");
    }

    #[test]
    fn a_model_that_is_asked_for_and_absent_is_an_error() {
        let folders = ModelFolders::new(None, Path::new("/data"), Some(Path::new("/opt/orchestra/orchestra")));
        let error = folders.minilm_for("cache_embedder", "auto, static-256").unwrap_err().to_string();
        insta::assert_snapshot!(error, @"cache_embedder: given minilm-int8, allowed: auto, static-256, or --models DIR where DIR/minilm-int8/model.onnx is; there is none in /data/models, /opt/orchestra/models, /opt/assets");
    }
}
