//! The dashboards of `monitoring/dashboards`: whether they are well formed, and a copy of them beside a deployment.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::root;

/// Every dashboard of this checkout, in order.
pub fn files() -> Result<Vec<PathBuf>> {
    let folder = root().join("monitoring/dashboards");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", folder.display())),
    };
    let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

/// Keeps a copy of each in `folder`.
pub fn keep(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    for file in files()? {
        checked(&file)?;
        fs::copy(&file, copy_of(&file, folder)).with_context(|| format!("{}: cannot be copied", file.display()))?;
    }
    Ok(())
}

/// Whether the copies are those of this checkout.
pub fn are_kept(folder: &Path) -> bool {
    folder.exists() && files().is_ok_and(|files| files.iter().all(|file| same(file, &copy_of(file, folder))))
}

/// Says how many there are.
///
/// # Errors
/// When a copy is missing, or one is not well formed.
pub fn verify(folder: &Path) -> Result<String> {
    if !are_kept(folder) {
        bail!("{}: lacks dashboards of this checkout", folder.display());
    }
    let titles = files()?.iter().map(|file| checked(file)).collect::<Result<Vec<_>>>()?;
    Ok(if titles.is_empty() { "this checkout has none".into() } else { titles.join(", ") })
}

/// The title of a dashboard that has exactly one layout.
fn checked(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))?;
    title(&text).with_context(|| format!("{}: is no dashboard", file.display()))
}

fn title(text: &str) -> Result<String> {
    let dashboard: Value = serde_json::from_str(text)?;
    let layouts = ["mosaicLayout", "gridLayout", "rowLayout", "columnLayout"];
    let count = layouts.iter().filter(|layout| dashboard.get(**layout).is_some()).count();
    if count != 1 {
        bail!("it has {count} layouts, not one");
    }
    Ok(dashboard["displayName"].as_str().context("it has no displayName")?.to_owned())
}

fn copy_of(file: &Path, folder: &Path) -> PathBuf {
    folder.join(file.file_name().unwrap_or_default())
}

fn same(file: &Path, copy: &Path) -> bool {
    fs::read(copy).is_ok_and(|copy| fs::read(file).is_ok_and(|file| file == copy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashboard_has_a_name_and_one_layout() {
        assert_eq!(title(r#"{"displayName": "Costs", "mosaicLayout": {}}"#).unwrap(), "Costs");
        for bad in ["{}", r#"{"displayName": "x"}"#, r#"{"mosaicLayout": {}}"#, "["] {
            assert!(title(bad).is_err(), "{bad}");
        }
        assert!(title(r#"{"displayName": "x", "mosaicLayout": {}, "gridLayout": {}}"#).is_err());
    }
}
