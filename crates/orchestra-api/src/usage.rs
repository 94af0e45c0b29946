//! What tenants use: counted for each tenant and operation, written down once a window.
//!
//! A request has a tally of its own while it is worked on, to which whatever does something for it adds: texts
//! that are embedded, answers that the cache gives. When the request is answered the tally goes into the window. A window
//! that is over becomes [`UsageEvent`]s: lines of the file of the settings, if there is one, and what `GET /v1/usage` adds
//! up. A process that dies loses at most the window that was open.

mod file;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Utc;
use memory_core::usage::{USAGE_VERSION, Usage, UsageEvent};
use memory_core::working::estimate_tokens;
use memory_core::{CacheHit, HitKind, Timestamp};

use file::UsageFile;

/// How many tenants and operations a window may hold; one that is full is over.
const MOST_IN_WINDOW: usize = 10_000;
/// How many events are kept to be asked for, and at most wait for a file that cannot be written.
const MOST_KEPT: usize = 50_000;
/// Of how much of a text the tokens are estimated.
const ESTIMATED_BYTES: usize = 4096;
/// Where whoever files an answer says in its metadata how many milliseconds it took to compute.
const COMPUTE_MS: &str = "compute_ms";

/// How usage is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageSettings {
    /// How long a window is.
    pub window: Duration,
    /// The file; none for none.
    pub file: Option<PathBuf>,
    /// How large it may grow before another takes its place, in bytes.
    pub max_file_bytes: u64,
}

/// What tenants used.
#[derive(Debug)]
pub struct UsageLog {
    window: Duration,
    open: Mutex<Open>,
    kept: Mutex<Kept>,
    file: Option<UsageFile>,
}

/// The window that is counted in.
#[derive(Debug)]
struct Open {
    from: Timestamp,
    usage: HashMap<(String, &'static str), Usage>,
}

/// Windows that are over.
#[derive(Debug)]
struct Kept {
    /// Since when nothing was dropped.
    since: Timestamp,
    events: VecDeque<UsageEvent>,
    /// How many of the last ones are not in the file yet.
    unwritten: usize,
}

/// What a tenant used within a time, by operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// Since when it is known.
    pub since: Timestamp,
    /// By operation, in the order of their names.
    pub operations: Vec<(String, Usage)>,
}

tokio::task_local! {
    static TALLY: Tally;
}

/// What a request uses, as far as it has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Usage>>);

impl Tally {
    /// Does the work of a request, whose use is added up here.
    pub(crate) async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        TALLY.scope(self.clone(), work).await
    }

    /// What was used until now.
    pub(crate) fn sum(&self) -> Usage {
        *lock(&self.0)
    }
}

/// Adds to what the request at hand uses; nothing where there is none.
pub(crate) fn note(add: impl FnOnce(&mut Usage)) {
    let _ = TALLY.try_with(|tally| add(&mut lock(&tally.0)));
}

/// Adds an answer of the cache.
pub(crate) fn note_hit(prompt: &str, hit: &CacheHit) {
    note(|usage| {
        match hit.kind {
            HitKind::Exact => usage.exact_hits += 1,
            HitKind::Semantic => usage.semantic_hits += 1,
        }
        usage.saved_tokens += tokens(prompt) + tokens(&hit.entry.response);
        usage.saved_ms += hit.entry.metadata.get(COMPUTE_MS).and_then(serde_json::Value::as_u64).unwrap_or(0);
    });
}

/// Adds texts that were embedded.
pub(crate) fn note_embedded(texts: &[&str]) {
    note(|usage| {
        usage.embedded_texts += texts.len() as u64;
        usage.embedded_tokens += texts.iter().map(|text| tokens(text)).sum::<u64>();
    });
}

/// An estimate; of a long text by its beginning, as a hit must not wait for it.
fn tokens(text: &str) -> u64 {
    let beginning = &text[..text.floor_char_boundary(ESTIMATED_BYTES)];
    let tokens = u64::from(estimate_tokens(beginning));
    tokens * text.len() as u64 / beginning.len().max(1) as u64
}

impl UsageLog {
    /// Begins the first window.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn open(settings: &UsageSettings) -> anyhow::Result<Self> {
        let file = settings.file.as_ref().map(|path| UsageFile::open(path.clone(), settings.max_file_bytes));
        Ok(Self::beginning(Utc::now(), settings.window, file.transpose()?))
    }

    fn beginning(now: Timestamp, window: Duration, file: Option<UsageFile>) -> Self {
        Self {
            window,
            open: Mutex::new(Open { from: now, usage: HashMap::new() }),
            kept: Mutex::new(Kept { since: now, events: VecDeque::new(), unwritten: 0 }),
            file,
        }
    }

    /// How long a window is.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Counts a request.
    pub fn count(&self, tenant: &str, operation: &'static str, usage: &Usage) {
        let mut open = lock(&self.open);
        *open.usage.entry((tenant.to_owned(), operation)).or_default() += usage;
        let is_full = open.usage.len() >= MOST_IN_WINDOW;
        drop(open);
        if is_full {
            self.end_window(Utc::now());
        }
    }

    /// Ends the window, and begins the next one.
    pub fn end_window(&self, now: Timestamp) {
        // Held meanwhile, so that whoever asks finds it in one of the two and not in both.
        let mut kept = lock(&self.kept);
        let former = std::mem::replace(&mut *lock(&self.open), Open { from: now, usage: HashMap::new() });
        let mut ended: Vec<UsageEvent> = former
            .usage
            .into_iter()
            .map(|((tenant, operation), usage)| UsageEvent {
                version: USAGE_VERSION,
                from: former.from,
                to: now,
                tenant,
                operation: operation.to_owned(),
                usage,
            })
            .collect();
        ended.sort_by(|one, other| (&one.tenant, &one.operation).cmp(&(&other.tenant, &other.operation)));
        kept.unwritten += ended.len();
        kept.events.extend(ended);
        while kept.events.len() > MOST_KEPT {
            kept.since = kept.events.pop_front().map_or(now, |event| event.to);
        }
        if kept.unwritten > kept.events.len() {
            let lost = kept.unwritten - kept.events.len();
            kept.unwritten = kept.events.len();
            tracing::error!(lost, "usage events were dropped that could not be written");
        }
    }

    /// Writes what is not in the file yet. What the file does not take now is tried again the next time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self) -> std::io::Result<()> {
        let mut kept = lock(&self.kept);
        if let Some(file) = &self.file {
            let written = kept.events.len() - kept.unwritten;
            file.append(kept.events.range(written..))?;
        }
        kept.unwritten = 0;
        Ok(())
    }

    /// What a tenant used in the windows that began in `from..to`, the open one included.
    #[must_use]
    pub fn used(&self, tenant: &str, from: Option<Timestamp>, to: Option<Timestamp>) -> Used {
        let is_asked = |at: Timestamp| from.is_none_or(|from| from <= at) && to.is_none_or(|to| at < to);
        let mut sums: HashMap<String, Usage> = HashMap::new();
        let kept = lock(&self.kept);
        let open = lock(&self.open);
        if is_asked(open.from) {
            for ((whose, operation), usage) in &open.usage {
                if whose == tenant {
                    *sums.entry((*operation).to_owned()).or_default() += usage;
                }
            }
        }
        for event in kept.events.iter().filter(|event| event.tenant == tenant && is_asked(event.from)) {
            *sums.entry(event.operation.clone()).or_default() += &event.usage;
        }
        let mut operations: Vec<_> = sums.into_iter().collect();
        operations.sort_by(|one, other| one.0.cmp(&other.0));
        Used { since: kept.since, operations }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn requests(operations: u64) -> Usage {
        Usage { operations, ..Usage::default() }
    }

    fn log(file: Option<UsageFile>) -> UsageLog {
        UsageLog::beginning(at(0), Duration::from_secs(60), file)
    }

    #[test]
    fn a_tenant_sees_its_own_windows_and_the_open_one() {
        let log = log(None);
        log.count("acme", "memories.add", &requests(2));
        log.count("other", "memories.add", &requests(7));
        log.end_window(at(60));
        log.count("acme", "memories.add", &requests(1));
        log.count("acme", "cache.lookup", &requests(4));
        let used = |from, to| {
            let used = log.used("acme", from, to);
            assert_eq!(used.since, at(0));
            used.operations.into_iter().map(|(name, usage)| (name, usage.operations)).collect::<Vec<_>>()
        };
        assert_eq!(used(None, None), [("cache.lookup".into(), 4), ("memories.add".into(), 3)]);
        assert_eq!(used(None, Some(at(60))), [("memories.add".into(), 2)]);
        assert_eq!(used(Some(at(1)), None), [("cache.lookup".into(), 4), ("memories.add".into(), 1)]);
        assert_eq!(log.used("nobody", None, None).operations, []);
    }

    #[test]
    fn a_window_that_is_full_is_over() {
        let log = log(None);
        for tenant in 0..MOST_IN_WINDOW + 1 {
            log.count(&tenant.to_string(), "stats", &requests(1));
        }
        assert_eq!((lock(&log.open).usage.len(), lock(&log.kept).events.len()), (1, MOST_IN_WINDOW));
    }

    #[test]
    fn what_is_kept_is_bounded_and_says_since_when() {
        let log = log(None);
        for window in 1..=(MOST_KEPT as i64 + 5) {
            log.count("acme", "stats", &requests(1));
            log.end_window(at(60 * window));
        }
        assert_eq!(log.used("acme", None, None).since, at(300));
        let kept = lock(&log.kept);
        assert_eq!((kept.events.len(), kept.unwritten), (MOST_KEPT, MOST_KEPT));
    }

    #[test]
    fn what_could_not_be_written_is_written_the_next_time_and_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage.jsonl");
        let log = log(Some(UsageFile::open(path.clone(), 1 << 20).unwrap()));
        log.count("acme", "stats", &requests(1));
        log.end_window(at(60));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        log.write().unwrap_err();
        std::fs::remove_dir(&path).unwrap();
        log.count("acme", "stats", &requests(2));
        log.end_window(at(120));
        log.write().unwrap();
        log.write().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let events: Vec<UsageEvent> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<_> = events.iter().map(|event| (event.from, event.to, event.usage.operations)).collect();
        assert_eq!(told, [(at(0), at(60), 1), (at(60), at(120), 2)]);
    }

    #[test]
    fn the_tokens_of_a_long_text_are_those_of_its_beginning_many_times() {
        let (short, long) = ("ä word ".repeat(10), "ä word ".repeat(10_000));
        assert_eq!(tokens(&short), u64::from(estimate_tokens(&short)));
        let ratio = tokens(&long) as f64 / f64::from(estimate_tokens(&long));
        assert!((0.99..1.01).contains(&ratio), "{ratio}");
        assert!(tokens("") <= 1);
    }

    #[tokio::test]
    async fn a_tally_is_of_one_request() {
        note_embedded(&["nobody counts this"]);
        let tally = Tally::default();
        tally.of(async { note_embedded(&["one", "two"]) }).await;
        note_embedded(&["nor this"]);
        assert_eq!((tally.sum().embedded_texts, tally.sum().embedded_tokens), (2, 2));
    }
}
