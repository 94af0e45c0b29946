//! Where a session is. Text of callers goes in as a hash, so there is nothing to escape.

use memory_core::Scope;

use crate::keys::{Keys, Shard, hashed};

/// Where the sessions of a tenant are: in the slot of its entries, and not among those that the index holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub shard: Shard,
    /// The key of the tenant's register.
    pub register: String,
    /// What the keys of the tenant's sessions begin with.
    sessions: String,
    /// What the session is called in the register.
    pub name: String,
}

impl Place {
    /// The place of the session that has exactly this scope.
    pub fn new(keys: &Keys, scope: &Scope) -> Self {
        let (shard, tenant) = (keys.shard(scope.tenant_name()), hashed(scope.tenant_name()));
        Self {
            shard,
            register: keys.sessions(shard, ":o:", &tenant),
            sessions: keys.sessions(shard, ":w:", &tenant),
            name: joined(scope, "-"),
        }
    }

    /// The pattern of what the sessions within a scope are called in the register.
    pub fn pattern(scope: &Scope) -> String {
        joined(scope, "*")
    }

    /// The keys that an append and a window use.
    pub fn keys(&self) -> [String; 2] {
        [self.register.clone(), self.session(&self.name)]
    }

    /// The key of the session of this name.
    pub fn session(&self, name: &str) -> String {
        format!("{}:{name}", self.sessions)
    }
}

/// The parts of a scope within its tenant. No hash is `unset`.
fn joined(scope: &Scope, unset: &str) -> String {
    [scope.user(), scope.agent(), scope.session()].map(|part| part.map_or_else(|| unset.to_owned(), hashed)).join(":")
}

#[cfg(test)]
mod tests {
    use memory_core::EmbeddingSpace;

    use super::*;
    use crate::schema::IndexSchema;

    #[test]
    fn a_session_is_in_its_tenants_slot_and_not_in_the_index() {
        let keys = Keys::new(&IndexSchema::sized(8, 1), 16, &EmbeddingSpace::new("m", "1", 8).unwrap());
        let scope = Scope::tenant("acme").unwrap().with_session("monday").unwrap();
        let (place, entries) = (Place::new(&keys, &scope), keys.entries(keys.shard("acme")));
        let slot = |key: &str| key[key.find('{').unwrap()..=key.find('}').unwrap()].to_owned();
        for key in place.keys() {
            assert_eq!(slot(&key), slot(&entries));
            assert!(!key.starts_with(&entries), "{key} is not indexed");
        }
    }

    #[test]
    fn every_part_of_a_scope_counts() {
        let keys = Keys::new(&IndexSchema::sized(8, 1), 16, &EmbeddingSpace::new("m", "1", 8).unwrap());
        let acme = || Scope::tenant("acme").unwrap();
        let mut sessions: Vec<String> = [
            acme().with_session("a").unwrap(),
            acme().with_session("-").unwrap(),
            acme().with_user("a").unwrap().with_session("a").unwrap(),
            acme().with_agent("a").unwrap().with_session("a").unwrap(),
            acme().with_user("-").unwrap().with_session("a").unwrap(),
            Scope::tenant("globex").unwrap().with_session("a").unwrap(),
        ]
        .map(|scope| Place::new(&keys, &scope).keys()[1].clone())
        .into();
        let all = sessions.len();
        sessions.sort_unstable();
        sessions.dedup();
        assert_eq!(sessions.len(), all);
    }
}
