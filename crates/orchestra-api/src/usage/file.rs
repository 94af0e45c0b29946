//! The file of usage events: a JSON object a line, read by its owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{NaiveDate, Utc};
use memory_core::usage::UsageEvent;

/// A file that is added to. When it is full, or of another day, it gets the time as a part of its name, and the next one
/// begins. Nothing is deleted: these are bills.
#[derive(Debug)]
pub struct UsageFile {
    path: PathBuf,
    max_bytes: u64,
}

impl UsageFile {
    /// The file at `path`, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(path: PathBuf, max_bytes: u64) -> anyhow::Result<Self> {
        to_append(&path).with_context(|| format!("cannot open the usage file {}", path.display()))?;
        Ok(Self { path, max_bytes })
    }

    /// Adds events, all or, where it fails, perhaps none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append<'a>(&self, events: impl Iterator<Item = &'a UsageEvent>) -> io::Result<()> {
        let mut text = Vec::new();
        for event in events {
            serde_json::to_writer(&mut text, event)?;
            text.push(b'\n');
        }
        if text.is_empty() {
            return Ok(());
        }
        self.make_room(text.len() as u64)?;
        let mut file = to_append(&self.path)?;
        // In one call, so that lines of several processes do not mix.
        file.write_all(&text)?;
        file.sync_data()
    }

    fn make_room(&self, more: u64) -> io::Result<()> {
        let Ok(metadata) = fs::metadata(&self.path) else { return Ok(()) };
        let day = metadata.modified().map(|at| chrono::DateTime::<Utc>::from(at).date_naive()).ok();
        let is_of_today = day.is_none_or(|day: NaiveDate| day == Utc::now().date_naive());
        if metadata.len() == 0 || is_of_today && metadata.len() + more <= self.max_bytes {
            return Ok(());
        }
        fs::rename(&self.path, self.former())
    }

    /// A name that no file has: the file's own with the time in it.
    fn former(&self) -> PathBuf {
        let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let (stem, extension) = (part(self.path.file_stem()), part(self.path.extension()));
        let now = Utc::now().format("%Y%m%dT%H%M%SZ");
        let name = |number: u32| match number {
            0 => format!("{stem}-{now}.{extension}"),
            number => format!("{stem}-{now}-{number}.{extension}"),
        };
        let mut names = (0..).map(|number| self.path.with_file_name(name(number)));
        names.find(|path| !path.exists()).unwrap_or_else(|| self.path.clone())
    }
}

fn to_append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use memory_core::usage::{USAGE_VERSION, Usage};

    use super::*;

    #[test]
    fn a_full_file_makes_room_and_no_line_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage.jsonl");
        let file = UsageFile::open(path.clone(), 1000).unwrap();
        let now = Utc::now();
        for number in 0..20 {
            let usage = Usage { operations: number, ..Usage::default() };
            let (tenant, operation) = ("acme".into(), "stats".into());
            let event = UsageEvent { version: USAGE_VERSION, from: now, to: now, tenant, operation, usage };
            file.append([&event].into_iter()).unwrap();
        }
        let mut numbers = Vec::new();
        let mut files = 0;
        for entry in fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            files += 1;
            assert!(entry.metadata().unwrap().len() <= 1000);
            #[cfg(unix)]
            assert_eq!(
                std::os::unix::fs::PermissionsExt::mode(&entry.metadata().unwrap().permissions()) & 0o777,
                0o600
            );
            let text = fs::read_to_string(entry.path()).unwrap();
            numbers.extend(text.lines().map(|line| serde_json::from_str::<UsageEvent>(line).unwrap().usage.operations));
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..20).collect::<Vec<_>>());
        assert!(files > 3 && path.exists(), "{files}");
    }
}
