//! Reads a dump.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use flate2::bufread::GzDecoder;
use memory_core::{
    BoxError, ChangeLag, ChangePosition, Clock, Error, Gate, Item, ItemChange, ItemKey, Replica, ReplicaSize, Result,
    ScanPage, ScanPosition, Timestamp, Writers,
};

use super::{FORMAT, Header, Trailer, VERSION};

const PROVIDER: &str = "dump";
/// The longest that a first line is, in bytes: what is no dump is not read to its end to find that out.
const HEADER: u64 = 64 * 1024;
/// How long stores keep the answer to a write that was sent with a key.
const KEY_LIFETIME: TimeDelta = TimeDelta::hours(24);

/// A store in a file, which can be read only.
#[derive(Clone)]
pub struct Dump {
    path: PathBuf,
    contents: Arc<Contents>,
    clock: Arc<dyn Clock>,
}

impl Dump {
    /// Opens a dump, reads all of it, and checks it. `clock` tells what has expired since it was made.
    ///
    /// # Errors
    /// [`Error::Unusable`] for what is no dump, or not whole.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let at = path.to_owned();
        let contents = beside(path, move || Contents::look_through(&at)).await?;
        Ok(Self { path: path.to_owned(), contents: Arc::new(contents), clock })
    }

    /// Which move it was made by, and when.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.contents.header
    }

    /// What is there of an item by now.
    fn is_there(item: &Item, now: Timestamp) -> bool {
        match item {
            Item::Memory(whole) => !whole.current.memory.is_expired(now),
            Item::IdempotencyKey(answered) => now - answered.created_at < KEY_LIFETIME,
            _ => true,
        }
    }

    fn is_only_read(&self) -> Error {
        unusable(&self.path, "it can only be read: it may be moved from, and neither followed nor moved to", None)
    }
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dump").field("path", &self.path).field("header", &self.contents.header).finish_non_exhaustive()
    }
}

#[async_trait]
impl Replica for Dump {
    async fn capture(&self, _: &str) -> Result<()> {
        Err(self.is_only_read())
    }

    /// There is none.
    async fn release(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn scan(&self, after: Option<&ScanPosition>, limit: usize) -> Result<ScanPage> {
        let allowed = "a place in the order of scanning that this dump gave";
        let (page, skip) = match after {
            None => (0, 0),
            Some(after) => parse(&after.0).ok_or_else(|| Error::invalid("after", &after.0, allowed))?,
        };
        let pages = self.contents.pages.len();
        if page >= pages {
            return Ok(ScanPage { items: Vec::new(), next: None });
        }
        let (at, contents) = (self.path.clone(), self.contents.clone());
        let items = beside(&self.path, move || contents.page(&mut open(&at)?, page)).await?;
        let (to, now) = (skip.saturating_add(limit.max(1)), self.clock.now());
        let next = match to < items.len() {
            true => Some((page, to)),
            false => Some((page + 1, 0)).filter(|(next, _)| *next < pages),
        };
        let items = items.into_iter().take(to).skip(skip).filter(|item| Self::is_there(item, now)).collect();
        Ok(ScanPage { items, next: next.map(|(page, skip)| ScanPosition(format!("{page}:{skip}"))) })
    }

    async fn read(&self, keys: &[ItemKey]) -> Result<Vec<Item>> {
        let (at, contents, wanted, now) = (self.path.clone(), self.contents.clone(), keys.to_vec(), self.clock.now());
        let mut found = beside(&self.path, move || contents.find(&at, &wanted)).await?;
        let item = |key: &ItemKey| {
            let item = found.remove(key).filter(|item| Self::is_there(item, now));
            item.unwrap_or_else(|| Item::Absent(key.clone()))
        };
        Ok(keys.iter().map(item).collect())
    }

    async fn changed(&self, _: &str, _: usize) -> Result<Vec<ItemChange>> {
        Err(self.is_only_read())
    }

    async fn acknowledge(&self, _: &str, _: &ChangePosition) -> Result<()> {
        Err(self.is_only_read())
    }

    async fn lag(&self, _: &str) -> Result<ChangeLag> {
        Err(self.is_only_read())
    }

    async fn write(&self, _: u64, _: Vec<Item>) -> Result<()> {
        Err(self.is_only_read())
    }

    async fn size(&self) -> Result<ReplicaSize> {
        let Contents { memories, bytes, trailer, .. } = &*self.contents;
        Ok(ReplicaSize { memories: *memories, others: trailer.items - memories, bytes: *bytes })
    }

    async fn gate(&self) -> Result<Gate> {
        Ok(Gate { epoch: 0, writers: Writers::Clients })
    }

    async fn set_gate(&self, _: Gate) -> Result<()> {
        Err(self.is_only_read())
    }
}

/// What is in a file, and where.
#[derive(Debug)]
pub(super) struct Contents {
    pub header: Header,
    pub trailer: Trailer,
    /// Where each page of items begins, in bytes.
    pages: Vec<u64>,
    /// The page that each item is in, by a hash of its key.
    index: HashMap<[u8; 16], usize>,
    memories: u64,
    bytes: u64,
}

impl Contents {
    /// Reads a file to its end, and checks that it is whole.
    pub fn look_through(path: &Path) -> Result<Self, BoxError> {
        let header = header(File::open(path)?)?;
        let mut file = open(path)?;
        let first = member(&mut file)?.ok_or("it is empty")?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&first);
        let (mut pages, mut index, mut memories, mut items) = (Vec::new(), HashMap::new(), 0, 0);
        loop {
            let begins = file.stream_position()?;
            let text = member(&mut file)?.ok_or("its end is missing")?;
            if text.starts_with(br#"{"items":"#) {
                let trailer: Trailer = serde_json::from_slice(&text)?;
                let checksum = hasher.finalize().to_hex();
                if (trailer.items, trailer.checksum.as_str()) != (items, checksum.as_str()) {
                    return Err("what is in it is not what its end says".into());
                }
                if !file.fill_buf()?.is_empty() {
                    return Err("something follows on its end".into());
                }
                let bytes = file.stream_position()?;
                return Ok(Self { header, trailer, pages, index, memories, bytes });
            }
            hasher.update(&text);
            for item in parse_items(&text)? {
                items += 1;
                memories += u64::from(matches!(item, Item::Memory(_)));
                index.insert(hash(&item.key())?, pages.len());
            }
            pages.push(begins);
        }
    }

    fn page(&self, file: &mut BufReader<File>, page: usize) -> Result<Vec<Item>, BoxError> {
        file.seek(SeekFrom::Start(self.pages[page]))?;
        parse_items(&member(file)?.ok_or("it was changed since it was opened")?)
    }

    /// Those of these items that are there.
    fn find(&self, path: &Path, keys: &[ItemKey]) -> Result<HashMap<ItemKey, Item>, BoxError> {
        let mut by_page = BTreeMap::<usize, HashSet<&ItemKey>>::new();
        for key in keys {
            if let Some(page) = self.index.get(&hash(key)?) {
                by_page.entry(*page).or_default().insert(key);
            }
        }
        let (mut file, mut found) = (open(path)?, HashMap::new());
        for (page, wanted) in by_page {
            let items = self.page(&mut file, page)?;
            let items = items.into_iter().map(|item| (item.key(), item));
            found.extend(items.filter(|(key, _)| wanted.contains(key)));
        }
        Ok(found)
    }
}

/// The first line of a file.
pub(super) fn header(file: File) -> Result<Header, BoxError> {
    let mut text = Vec::new();
    let read = GzDecoder::new(BufReader::new(file)).take(HEADER).read_to_end(&mut text);
    read.map_err(|_| "it is no dump of a store")?;
    let header: Header = serde_json::from_slice(&text).map_err(|_| "it is no dump of a store")?;
    if header.format != FORMAT {
        return Err("it is no dump of a store".into());
    }
    if header.version != VERSION {
        return Err(format!("it is of version {}; this program reads version {VERSION}", header.version).into());
    }
    Ok(header)
}

fn parse_items(text: &[u8]) -> Result<Vec<Item>, BoxError> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
}

fn parse(position: &str) -> Option<(usize, usize)> {
    let (page, skip) = position.split_once(':')?;
    Some((page.parse().ok()?, skip.parse().ok()?))
}

fn hash(key: &ItemKey) -> Result<[u8; 16], BoxError> {
    let hash = blake3::hash(&serde_json::to_vec(key)?);
    Ok(*hash.as_bytes().first_chunk().ok_or("a hash is 32 bytes")?)
}

fn open(path: &Path) -> io::Result<BufReader<File>> {
    File::open(path).map(BufReader::new)
}

/// What is in the gzip member that begins here; none at the end of the file.
fn member(file: &mut BufReader<File>) -> io::Result<Option<Vec<u8>>> {
    if file.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut text = Vec::new();
    GzDecoder::new(file).read_to_end(&mut text)?;
    Ok(Some(text))
}

/// Runs what reads a file beside the runtime, not in it.
async fn beside<T: Send + 'static>(
    path: &Path,
    run: impl FnOnce() -> Result<T, BoxError> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(run).await.unwrap_or_else(|error| Err(error.into()));
    done.map_err(|error| unusable(path, "it cannot be used as a dump; take another copy of it", Some(error)))
}

fn unusable(path: &Path, reason: &str, source: Option<BoxError>) -> Error {
    Error::Unusable { provider: PROVIDER, reason: format!("{}: {reason}", path.display()), source }
}
