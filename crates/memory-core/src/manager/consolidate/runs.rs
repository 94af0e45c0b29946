//! One run at a time.

use std::sync::{Mutex, PoisonError};

use crate::{Error, Result, Scope};

/// The scopes in which a consolidation runs, of a manager and its clones.
#[derive(Debug, Default)]
pub struct Runs(Mutex<Vec<Scope>>);

/// A run; it ends when this is dropped.
pub struct Run<'a> {
    runs: &'a Runs,
    scope: Scope,
}

impl Runs {
    /// Begins a run, unless one is under way in a scope that has memories in common with `scope`.
    pub fn begin(&self, scope: &Scope) -> Result<Run<'_>> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.iter().any(|other| overlap(other, scope)) {
            return Err(Error::Busy("a consolidation of this scope is under way"));
        }
        running.push(scope.clone());
        Ok(Run { runs: self, scope: scope.clone() })
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut running = self.runs.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = running.iter().position(|scope| *scope == self.scope) {
            running.swap_remove(at);
        }
    }
}

/// Whether a memory can be in both scopes.
fn overlap(a: &Scope, b: &Scope) -> bool {
    let part = |a: Option<&str>, b: Option<&str>| a.is_none() || b.is_none() || a == b;
    a.tenant_name() == b.tenant_name()
        && part(a.user(), b.user())
        && part(a.agent(), b.agent())
        && part(a.session(), b.session())
}
