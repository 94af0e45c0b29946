//! Who owns the files of a server, and whom it runs as: Postgres refuses to run as root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The user `nobody`, and its group.
#[cfg(unix)]
const NOBODY: u32 = 65534;

/// Makes a copy that everybody can read.
#[cfg(unix)]
const COPY: &str = r#"cp -R "$0" "$1" && chmod -R a+rX "$1""#;

/// A folder that only its owner can enter. It must be new: another user of the machine may have made one of that name.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(|| format!("{}: cannot be made", folder.display()))
}

/// A file that only its owner can read.
pub(super) fn write_file(file: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(file).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("{}: cannot be written", file.display()))
}

/// Gives what root has made to `nobody`. What another user has made stays with that user: `false`.
#[cfg(unix)]
pub(super) fn give_to_nobody(path: &Path) -> Result<bool> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    if fs::metadata(path)?.uid() != 0 {
        return Ok(false);
    }
    chown(path, Some(NOBODY), Some(NOBODY)).with_context(|| format!("{}: has to stay root's", path.display()))?;
    Ok(true)
}

#[cfg(not(unix))]
pub(super) fn give_to_nobody(_: &Path) -> Result<bool> {
    Ok(false)
}

#[cfg(unix)]
pub(super) fn run_as_nobody(command: &mut Command) {
    std::os::unix::process::CommandExt::uid(command, NOBODY);
    std::os::unix::process::CommandExt::gid(command, NOBODY);
}

#[cfg(not(unix))]
pub(super) fn run_as_nobody(_: &mut Command) {}

/// Where `nobody` can run what is unpacked: in a checkout below a folder that is closed to others, such as /root, it
/// is copied to the folder for temporary files, once for each version.
#[cfg(unix)]
pub(super) fn reachable(unpacked: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let unpacked = unpacked.canonicalize()?;
    let may_enter = |folder: &Path| fs::metadata(folder).is_ok_and(|folder| folder.mode() & 0o001 != 0);
    if unpacked.ancestors().all(may_enter) {
        return Ok(unpacked);
    }
    let name = unpacked.file_name().context("the folder has a name")?.to_string_lossy().into_owned();
    let copy = std::env::temp_dir().join(format!("memory-services-{name}"));
    if !copy.exists() {
        let part = std::env::temp_dir().join(format!("memory-services-{name}.{}", std::process::id()));
        // Whatever this process lets others do with what it makes.
        let copied = Command::new("sh").args(["-c", COPY]).args([&unpacked, &part]).output();
        let output = copied.context("sh cannot be started")?;
        if !output.status.success() {
            bail!("the programs cannot be copied: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        // Another process may have been first: then its copy is used.
        if fs::rename(&part, &copy).is_err() {
            fs::remove_dir_all(&part)?;
        }
    }
    let owner = fs::symlink_metadata(&copy)?;
    if !owner.is_dir() || owner.uid() != 0 {
        bail!("{}: is not root's; remove it", copy.display());
    }
    Ok(copy)
}

#[cfg(not(unix))]
pub(super) fn reachable(unpacked: &Path) -> Result<PathBuf> {
    Ok(unpacked.to_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn what_nobody_cannot_reach_is_copied_whole() {
        let closed = std::env::temp_dir().join(format!("memory-test-closed-{}", std::process::id()));
        make_folder(&closed).unwrap();
        let unpacked = closed.join(format!("unpacked-{}", std::process::id()));
        fs::create_dir_all(unpacked.join("bin")).unwrap();
        fs::write(unpacked.join("bin/program"), "1").unwrap();
        let copied = reachable(&unpacked);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
        let in_place = reachable(&unpacked).unwrap();
        let canonical = unpacked.canonicalize().unwrap();
        let root = fs::metadata(&closed).unwrap().uid() == 0;
        fs::remove_dir_all(&closed).unwrap();
        assert_eq!(in_place, canonical);
        // Root alone runs anything as another user, and trusts a copy of its own only.
        if root {
            let copied = copied.unwrap();
            assert_ne!(copied, canonical);
            assert_eq!(fs::read_to_string(copied.join("bin/program")).unwrap(), "1");
            fs::remove_dir_all(copied).unwrap();
        }
    }
}
