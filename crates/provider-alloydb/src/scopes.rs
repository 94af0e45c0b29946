//! What is known of scopes, and of several that were searched together, so that a search need not count them first.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memory_core::Scope;
use serde::{Deserialize, Serialize};

/// After how long a large scope is measured again, beside the searches that go on with what was known.
const LIFETIME: Duration = Duration::from_secs(60);
/// Or after so many times as long as measuring took, so that it is never more than a hundredth of the work.
const REST: u32 = 100;
/// How many scopes are remembered.
const MOST: usize = 10_000;

/// How much is in some scopes together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub rows: i64,
    /// Those of them that have a vector in the space that was asked for.
    pub compared: Option<i64>,
    /// Stems a memory.
    pub average_length: Option<f64>,
    /// How many memories have each common stem. A measured scope has no other common ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stems: Option<HashMap<String, f64>>,
}

/// By what is searched together, all of one tenant, and space.
#[derive(Debug, Default)]
pub(crate) struct Scopes(Mutex<HashMap<Key, Entry>>);

type Key = (Vec<Scope>, i16);

#[derive(Debug)]
struct Entry {
    known: Known,
    /// When it is to be measured again.
    due: Instant,
}

impl Scopes {
    /// With no other stems than these.
    pub(crate) fn get(&self, scopes: &[&Scope], space: i16, stems: &[String]) -> Option<Known> {
        let entries = self.lock();
        let known = &entries.get(&key(scopes, space))?.known;
        let rows = |all: &HashMap<String, f64>| {
            stems.iter().filter_map(|stem| Some((stem.clone(), *all.get(stem)?))).collect()
        };
        Some(Known { stems: known.stems.as_ref().map(rows), ..*known })
    }

    /// Whether it is time to measure what is in the scopes. Says so once, for whoever asks first.
    pub(crate) fn is_due(&self, scopes: &[&Scope], space: i16, guess: &Known) -> bool {
        let now = Instant::now();
        let key = key(scopes, space);
        let mut scopes = self.lock();
        match scopes.get_mut(&key) {
            Some(entry) if entry.due > now => false,
            Some(entry) => {
                entry.due = now + LIFETIME;
                true
            }
            None => {
                insert(&mut scopes, key, guess.clone(), LIFETIME);
                true
            }
        }
    }

    /// `took`: how long it took to find out.
    pub(crate) fn learn(&self, scopes: &[&Scope], space: i16, known: Known, took: Duration) {
        insert(&mut self.lock(), key(scopes, space), known, LIFETIME.max(took * REST));
    }

    pub(crate) fn forget(&self, tenant: &str) {
        self.lock().retain(|(scopes, _), _| scopes.iter().all(|scope| scope.tenant_name() != tenant));
    }

    // Every change is whole when it could panic, so a poisoned lock holds what it should.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(scopes: &[&Scope], space: i16) -> Key {
    (scopes.iter().copied().cloned().collect(), space)
}

fn insert(scopes: &mut HashMap<Key, Entry>, key: Key, known: Known, lifetime: Duration) {
    if scopes.len() >= MOST {
        // What is not asked for does not come due again.
        let now = Instant::now();
        scopes.retain(|_, entry| entry.due > now);
        if scopes.len() >= MOST {
            scopes.clear();
        }
    }
    scopes.insert(key, Entry { known, due: Instant::now() + lifetime });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_measured_by_one_of_many() {
        let (scopes, acme) = (Scopes::default(), Scope::tenant("acme").unwrap());
        let (ann, bob) = (acme.clone().with_user("ann").unwrap(), acme.with_user("bob").unwrap());
        let both = [&ann, &bob];
        let guess = Known { rows: 7, compared: None, average_length: None, stems: None };
        assert!(scopes.is_due(&both, 1, &guess) && !scopes.is_due(&both, 1, &guess));
        assert_eq!(scopes.get(&both, 1, &[]), Some(guess));
        assert_eq!(scopes.get(&both, 2, &[]), None);
        assert_eq!(scopes.get(&[&ann], 1, &[]), None, "what is known of both is not known of one");
        scopes.forget("acme");
        assert_eq!(scopes.get(&both, 1, &[]), None);
    }

    #[test]
    fn no_stems_are_told_but_those_asked_for() {
        let (scopes, acme) = (Scopes::default(), Scope::tenant("acme").unwrap());
        let stems =
            |stems: &[(&str, f64)]| Some(stems.iter().map(|(stem, rows)| ((*stem).to_owned(), *rows)).collect());
        let known = |stems| Known { rows: 7, compared: Some(7), average_length: Some(3.5), stems };
        scopes.learn(&[&acme], 1, known(stems(&[("day", 3.0), ("go", 2.0)])), Duration::ZERO);
        assert_eq!(scopes.get(&[&acme], 1, &["go".into(), "rare".into()]), Some(known(stems(&[("go", 2.0)]))));
    }
}
