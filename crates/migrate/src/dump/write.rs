//! Writes a dump.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use memory_core::{BoxError, Item, Replica};
use serde::Serialize;

use super::read::{Contents, header};
use super::{Header, Kept, Trailer};
use crate::engine::of;
use crate::record::Colour;
use crate::{Error, Result};

/// Writes all of blue into a file, `batch` items at a time. Nobody writes to blue meanwhile.
pub(crate) async fn write(path: &Path, of_move: Header, blue: &dyn Replica, batch: usize) -> Result<Kept> {
    let failed = |source: BoxError| Error::Dump { path: path.to_owned(), source };
    let at = path.to_owned();
    let mut writing = beside(path, move || Writing::begin(&at, &of_move)).await?;
    let mut after = None;
    loop {
        let page = blue.scan(after.as_ref(), batch).await.map_err(of(Colour::Blue, "scan"))?;
        writing = beside(path, move || writing.page(&page.items).map(|()| writing)).await?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let made_at = writing.header.made_at;
    let (at, Trailer { items, checksum }) = beside(path, move || writing.end()).await?;
    let path = std::path::absolute(at).map_err(|error| failed(error.into()))?;
    Ok(Kept { path: path.to_string_lossy().into_owned(), items, checksum, made_at })
}

/// A dump that is being written, beside its name. One that does not come to its name is taken away.
struct Writing {
    path: PathBuf,
    new: PathBuf,
    header: Header,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    items: u64,
    is_named: bool,
}

impl Writing {
    fn begin(path: &Path, header: &Header) -> Result<Self> {
        may_be_replaced(path, header)?;
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let failed = |error: io::Error| Error::Dump { path: new.clone(), source: error.into() };
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&new).map_err(failed)?;
        // It ends with the file handle, so also with the process. What a killed one left is written over.
        let is_mine = file.try_lock().is_ok() && is_still(&file, &new).map_err(failed)?;
        if !is_mine {
            return Err(failed(io::Error::other("another process writes it, or it is a link: wait, or take it away")));
        }
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(failed)?;
        file.set_len(0).map_err(failed)?;
        let (file, hasher) = (BufWriter::new(file), blake3::Hasher::new());
        let (path, header) = (path.to_owned(), header.clone());
        let mut writing = Self { path, new, header, file, hasher, items: 0, is_named: false };
        let header = writing.header.clone();
        writing.lines(&[header])?;
        Ok(writing)
    }

    fn page(&mut self, items: &[Item]) -> Result<()> {
        self.items += items.len() as u64;
        if items.is_empty() { Ok(()) } else { self.lines(items) }
    }

    /// A gzip member of these lines.
    fn lines(&mut self, lines: &[impl Serialize]) -> Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line).map_err(|error| self.failed(error))?;
            text.push(b'\n');
        }
        self.hasher.update(&text);
        let mut member = GzEncoder::new(&mut self.file, Compression::default());
        let written = member.write_all(&text).and_then(|()| member.finish().map(drop));
        written.map_err(|error| self.failed(error))
    }

    /// Ends the file, reads it back, and gives it its name.
    fn end(mut self) -> Result<(PathBuf, Trailer)> {
        let trailer = Trailer { items: self.items, checksum: self.hasher.finalize().to_hex().to_string() };
        self.lines(std::slice::from_ref(&trailer))?;
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).map_err(|error| self.failed(error))?;
        let there = Contents::look_through(&self.new).map_err(|error| self.failed(error))?;
        if there.trailer != trailer || there.header != self.header {
            return Err(self.failed("it does not read back as it was written"));
        }
        may_be_replaced(&self.path, &self.header)?;
        fs::rename(&self.new, &self.path).map_err(|error| self.failed(error))?;
        self.is_named = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| self.failed(error))?;
        Ok((self.path.clone(), trailer))
    }

    fn failed(&self, error: impl Into<BoxError>) -> Error {
        Error::Dump { path: self.new.clone(), source: error.into() }
    }
}

impl Drop for Writing {
    /// It would fill a disk that the record of the move may be on too. What is left all the same is written over next time.
    fn drop(&mut self) {
        if !self.is_named {
            let _ = fs::remove_file(&self.new);
        }
    }
}

/// Whether this is the file of that name: another process may have given it its name, or taken it away, since it was opened.
fn is_still(file: &File, path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let mine = file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(there) => Ok((mine.dev(), mine.ino()) == (there.dev(), there.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
    #[cfg(not(unix))]
    Ok(true)
}

/// Refuses a file that is not a dump of the same move.
fn may_be_replaced(path: &Path, new: &Header) -> Result<()> {
    let is_ours = match File::open(path) {
        Ok(file) => header(file).is_ok_and(|there| there.of == new.of),
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(Error::Dump { path: path.to_owned(), source: error.into() }),
    };
    if is_ours {
        return Ok(());
    }
    let reason = format!("{} is there, and is no dump of this move", path.display());
    Err(Error::refused(reason, "name another file for the dump, or take that one away"))
}

/// Runs what writes a file beside the runtime, not in it.
async fn beside<T: Send + 'static>(path: &Path, run: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let failed = |error: tokio::task::JoinError| Error::Dump { path: path.to_owned(), source: error.into() };
    tokio::task::spawn_blocking(run).await.map_err(failed)?
}
