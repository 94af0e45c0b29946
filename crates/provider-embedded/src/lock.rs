//! One process for one file.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use memory_core::Result;

use crate::error::unusable;

/// A lock of the operating system on `<file>.lock`, held until it is dropped or the process ends, however it ends.
///
/// The file stays behind: to remove it could let two processes each hold a lock, one on the removed file.
#[derive(Debug)]
pub(crate) struct ProcessLock {
    file: File,
}

impl ProcessLock {
    /// Takes the lock that belongs to the database at `path`.
    pub(crate) fn acquire(path: &Path) -> Result<Self> {
        let lock = lock_path(path);
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&lock).map_err(|error| {
                unusable(&lock, "cannot be written; give a folder this process may write to", Some(error.into()))
            })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder writes its id right after it has the lock, so it may not be there yet.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("process {pid}"),
                };
                let reason = format!("is in use by {holder}; one process opens it at a time");
                return Err(unusable(path, reason, None));
            }
            Err(TryLockError::Error(error)) => {
                let reason = "cannot be locked; the file system must support file locks";
                return Err(unusable(&lock, reason, Some(error.into())));
            }
        }
        // For the reader of an error message only, so a full disk is no reason to fail.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { file })
    }
}

impl Drop for ProcessLock {
    /// Gives the lock up, rather than only its handle: a process that another thread is just about to start has a copy
    /// of that for a moment, and would hold the lock with it.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    lock.into()
}
