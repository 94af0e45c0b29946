//! What is known of scopes, so that a search need not count them first.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memory_core::Scope;
use serde::{Deserialize, Serialize};

/// After how long a large scope is measured again, beside the searches that go on with what was known.
const LIFETIME: Duration = Duration::from_secs(60);
/// How many scopes are remembered.
const MOST: usize = 10_000;

/// How large a scope is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub rows: i64,
    /// Those of them that have a vector in the space that was asked for.
    pub compared: Option<i64>,
    /// Stems a memory.
    pub average_length: Option<f64>,
}

/// By scope and space.
#[derive(Debug, Default)]
pub(crate) struct Scopes(Mutex<HashMap<(Scope, i16), Entry>>);

#[derive(Debug)]
struct Entry {
    known: Known,
    /// When it is to be measured again.
    due: Instant,
}

impl Scopes {
    pub(crate) fn get(&self, scope: &Scope, space: i16) -> Option<Known> {
        self.lock().get(&(scope.clone(), space)).map(|entry| entry.known)
    }

    /// Whether it is time to measure a scope. Says so once, for whoever asks first.
    pub(crate) fn is_due(&self, scope: &Scope, space: i16, guess: Known) -> bool {
        let now = Instant::now();
        let mut scopes = self.lock();
        match scopes.get_mut(&(scope.clone(), space)) {
            Some(entry) if entry.due > now => false,
            Some(entry) => {
                entry.due = now + LIFETIME;
                true
            }
            None => {
                insert(&mut scopes, scope, space, guess);
                true
            }
        }
    }

    pub(crate) fn learn(&self, scope: &Scope, space: i16, known: Known) {
        insert(&mut self.lock(), scope, space, known);
    }

    pub(crate) fn forget(&self, tenant: &str) {
        self.lock().retain(|(scope, _), _| scope.tenant_name() != tenant);
    }

    // Every change is whole when it could panic, so a poisoned lock holds what it should.
    fn lock(&self) -> MutexGuard<'_, HashMap<(Scope, i16), Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(scopes: &mut HashMap<(Scope, i16), Entry>, scope: &Scope, space: i16, known: Known) {
    if scopes.len() >= MOST {
        // What is not asked for does not come due again.
        let now = Instant::now();
        scopes.retain(|_, entry| entry.due > now);
        if scopes.len() >= MOST {
            scopes.clear();
        }
    }
    scopes.insert((scope.clone(), space), Entry { known, due: Instant::now() + LIFETIME });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_measured_by_one_of_many() {
        let (scopes, scope) = (Scopes::default(), Scope::tenant("acme").unwrap());
        let guess = Known { rows: 7, compared: None, average_length: None };
        assert!(scopes.is_due(&scope, 1, guess) && !scopes.is_due(&scope, 1, guess));
        assert_eq!(scopes.get(&scope, 1), Some(guess));
        assert_eq!(scopes.get(&scope, 2), None);
        scopes.forget("acme");
        assert_eq!(scopes.get(&scope, 1), None);
    }
}
