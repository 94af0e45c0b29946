//! The budget's brake, followed while the server runs: the file that `cost-monitor watch` writes, or whoever does.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use memory_core::brake::{Brake, CONSOLIDATION_PAUSE};
use memory_core::{Embedder, Embedding, EmbeddingSpace, Error, Purpose, Result};
use metrics::{Unit, describe_gauge, gauge};

const IN_FORCE: &str = "orchestra_budget_brake";
/// How often the file is looked at.
pub const EVERY: Duration = Duration::from_secs(3);

pub(crate) fn describe() {
    describe_gauge!(IN_FORCE, Unit::Count, "Whether the budget's brake has an action in force");
}

/// What is in force.
#[derive(Debug)]
pub struct BudgetBrake {
    file: Option<PathBuf>,
    /// Whether somebody has to be paid for what the memories' embedder does.
    is_paid: bool,
    now: Mutex<Brake>,
    /// When each tenant was consolidated last, if not long ago.
    consolidated: Mutex<HashMap<String, Instant>>,
}

impl BudgetBrake {
    /// A brake that is off until the file is [looked at](Self::look).
    #[must_use]
    pub fn new(file: Option<PathBuf>, is_paid: bool) -> Self {
        let brake = Self { file, is_paid, now: Mutex::default(), consolidated: Mutex::default() };
        brake.tell(Brake::default());
        brake
    }

    /// What is in force now.
    #[must_use]
    pub fn now(&self) -> Brake {
        *lock(&self.now)
    }

    /// Whether nothing is to be embedded now that has to be paid for.
    #[must_use]
    pub fn refuses_embedding(&self) -> bool {
        self.is_paid && self.now().refuse_embedding
    }

    /// Looks at the file. Without one nothing is in force; while it cannot be read, what was in force stays so.
    ///
    /// # Errors
    /// When it cannot be read, or is of another form.
    pub fn look(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let brake = match std::fs::read(file) {
            Ok(text) => Brake::parse(&text).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Brake::default(),
            Err(error) => return Err(error),
        };
        if std::mem::replace(&mut *lock(&self.now), brake) != brake {
            let Brake { tighten_cache, slow_consolidation, refuse_embedding } = brake;
            tracing::warn!(tighten_cache, slow_consolidation, refuse_embedding, "the budget's brake was changed");
            self.tell(brake);
        }
        Ok(())
    }

    fn tell(&self, brake: Brake) {
        let Brake { tighten_cache, slow_consolidation, refuse_embedding } = brake;
        for (action, is_on) in [
            ("tighten_cache", tighten_cache),
            ("slow_consolidation", slow_consolidation),
            ("refuse_embedding", refuse_embedding),
        ] {
            gauge!(IN_FORCE, "action" => action).set(f64::from(u8::from(is_on)));
        }
    }

    /// How long a tenant has to wait until it may be consolidated; `None` for not at all.
    #[must_use]
    pub fn consolidation_wait(&self, tenant: &str, now: Instant) -> Option<Duration> {
        let since = lock(&self.consolidated).get(tenant).map(|at| now.duration_since(*at))?;
        self.now().consolidation_wait(since)
    }

    /// Says that a tenant was consolidated.
    pub fn consolidated(&self, tenant: &str, now: Instant) {
        let mut consolidated = lock(&self.consolidated);
        consolidated.retain(|_, at| now.duration_since(*at) < CONSOLIDATION_PAUSE);
        consolidated.insert(tenant.to_owned(), now);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An embedder that has to be paid for: while the brake refuses new embeddings it is as one that is away.
#[derive(Debug)]
pub struct BrakedEmbedder {
    inner: Arc<dyn Embedder>,
    brake: Arc<BudgetBrake>,
}

impl BrakedEmbedder {
    /// Puts the brake before an embedder.
    #[must_use]
    pub fn new(inner: Arc<dyn Embedder>, brake: Arc<BudgetBrake>) -> Self {
        Self { inner, brake }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Embedder for BrakedEmbedder {
    fn space(&self) -> &Arc<EmbeddingSpace> {
        self.inner.space()
    }

    async fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Embedding>> {
        if self.brake.refuses_embedding() {
            return Err(Error::Embedder {
                model: self.space().model.clone(),
                reason: "the budget's brake refuses new embeddings".to_owned(),
                retryable: true,
                source: None,
            });
        }
        self.inner.embed(texts, purpose).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_followed_and_what_cannot_be_read_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("brake.json");
        let brake = BudgetBrake::new(Some(file.clone()), true);
        brake.look().unwrap();
        assert_eq!(brake.now(), Brake::default());
        let on = Brake { refuse_embedding: true, ..Brake::default() };
        std::fs::write(&file, on.text()).unwrap();
        brake.look().unwrap();
        assert!(brake.refuses_embedding());
        for damaged in ["", "{", r#"{"version":2}"#] {
            std::fs::write(&file, damaged).unwrap();
            brake.look().unwrap_err();
            assert_eq!(brake.now(), on);
        }
        std::fs::remove_file(&file).unwrap();
        brake.look().unwrap();
        assert_eq!(brake.now(), Brake::default());
        assert!(!BudgetBrake::new(None, true).refuses_embedding());
    }

    #[test]
    fn what_costs_nothing_is_not_refused() {
        let brake = BudgetBrake::new(None, false);
        *lock(&brake.now) = Brake { refuse_embedding: true, ..Brake::default() };
        assert!(!brake.refuses_embedding());
    }

    #[test]
    fn consolidation_is_slowed_for_each_tenant_and_as_long_as_it_holds() {
        let brake = BudgetBrake::new(None, false);
        let begun = Instant::now();
        let after = |minutes: u64| begun + Duration::from_secs(60 * minutes);
        brake.consolidated("acme", begun);
        assert_eq!(brake.consolidation_wait("acme", after(1)), None);
        *lock(&brake.now) = Brake { slow_consolidation: true, ..Brake::default() };
        assert_eq!(brake.consolidation_wait("acme", after(10)), Some(Duration::from_secs(50 * 60)));
        assert_eq!(brake.consolidation_wait("other", after(10)), None);
        assert_eq!(brake.consolidation_wait("acme", after(60)), None);
        brake.consolidated("other", after(60));
        assert_eq!(lock(&brake.consolidated).len(), 1, "what is long ago is not kept");
        *lock(&brake.now) = Brake::default();
        assert_eq!(brake.consolidation_wait("other", after(61)), None);
    }
}
