//! What keys, tags and indexes are called. Text of callers goes in as a hash, so there is nothing to escape.

use std::fmt::{self, Write as _};

use memory_core::{CacheEntryId, EmbeddingSpace, Fingerprint, MemoryId, Scope, text};
use uuid::Uuid;

use crate::schema::IndexSchema;

/// The layout of keys and fields. Another layout is another version, and so another index and other keys.
const LAYOUT: u32 = 2;

/// Names things for one index.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    index: String,
    prefix: String,
    shards: u16,
    space: String,
}

/// Which part of the keys, all of one slot, a tenant's entries are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Shard(u16);

impl Shard {
    pub(crate) fn number(self) -> usize {
        self.0.into()
    }
}

/// Which life of a tenant's cache it is. Every entry is named by its tenant's epoch, so that another epoch is an empty
/// cache at once, however much there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Epoch(u64);

impl Epoch {
    /// That of no tenant.
    pub(crate) const NONE: Self = Self(0);

    /// One that was never there before: should Redis lose the epoch, no former one comes back.
    pub(crate) fn new() -> Self {
        Self(Uuid::now_v7().as_u64_pair().1)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// All that must be equal, beside the prompt, for an answer to be the answer: scope, fingerprint, space and epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub shard: Shard,
    pub tag: String,
}

/// The place of an answer: one for each prompt of a group, whatever it is filed how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub shard: Shard,
    /// The first 128 bits of BLAKE3 over the group and the normalised prompt.
    pub hash: [u8; 16],
}

impl Keys {
    pub(crate) fn new(schema: &IndexSchema, shards: u16, space: &EmbeddingSpace) -> Self {
        Self { index: schema.name.clone(), prefix: schema.prefix.clone(), shards, space: space.to_string() }
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.shards).map(Shard)
    }

    pub(crate) fn shard(&self, tenant: &str) -> Shard {
        let hash = blake3::hash(tenant.as_bytes());
        let number = u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]);
        Shard(number % self.shards)
    }

    pub(crate) fn group(&self, scope: &Scope, fingerprint: Fingerprint, epoch: Epoch) -> Group {
        let parts = [Some(scope.tenant_name()), scope.user(), scope.agent(), scope.session(), Some(&self.space)];
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            match part {
                None => {
                    hasher.update(&[0]);
                }
                Some(part) => {
                    hasher.update(&[1]);
                    hasher.update(&(part.len() as u64).to_le_bytes());
                    hasher.update(part.as_bytes());
                }
            }
        }
        hasher.update(&fingerprint.0).update(&epoch.0.to_le_bytes());
        Group { shard: self.shard(scope.tenant_name()), tag: short(hasher.finalize()) }
    }

    /// The index of a shard.
    pub(crate) fn index(&self, shard: Shard) -> String {
        in_slot(&self.index, shard, "", "")
    }

    /// What the keys of a shard's entries begin with, and no other keys.
    pub(crate) fn entries(&self, shard: Shard) -> String {
        in_slot(&self.prefix, shard, ":e:", "")
    }

    /// The place of the answer to `prompt` in this group.
    pub(crate) fn place(group: &Group, prompt: &str) -> Place {
        let mut hasher = blake3::Hasher::new();
        hasher.update(group.tag.as_bytes());
        hasher.update(text::normalize(prompt).as_bytes());
        let mut hash = [0; 16];
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Place { shard: group.shard, hash }
    }

    /// The key of the entry at a place.
    pub(crate) fn entry(&self, place: Place) -> String {
        in_slot(&self.prefix, place.shard, ":e:", &hex(place.hash))
    }

    /// Where it says which index a shard has, and which is being made.
    pub(crate) fn mark(&self, shard: Shard) -> String {
        in_slot(&self.prefix, shard, ":index", "")
    }

    /// What a process holds while it makes a shard's index again.
    pub(crate) fn rebuilding(&self, shard: Shard) -> String {
        in_slot(&self.prefix, shard, ":rebuilding", "")
    }

    /// Where the response of an entry is when it is too long to be in it.
    pub(crate) fn response(entry_key: &str) -> String {
        match entry_key.rsplit_once(":e:") {
            Some((before, hash)) => format!("{before}:r:{hash}"),
            None => format!("{entry_key}:r"),
        }
    }

    /// Where it says who computes the answer of a place.
    pub(crate) fn fill(&self, place: Place) -> String {
        in_slot(&self.prefix, place.shard, ":f:", &hex(place.hash))
    }

    /// What is kept of a tenant's sessions, by the kind of it and the hash of the tenant.
    pub(crate) fn sessions(&self, shard: Shard, kind: &str, tenant: &str) -> String {
        in_slot(&self.prefix, shard, kind, tenant)
    }

    /// Where a tenant's epoch is, and the count of what was removed in it.
    pub(crate) fn tenant(&self, shard: Shard, tenant: &str) -> String {
        in_slot(&self.prefix, shard, ":t:", &hashed(tenant))
    }

    /// What the keys of a shard's tenants begin with, and no other keys.
    pub(crate) fn tenants(&self, shard: Shard) -> String {
        in_slot(&self.prefix, shard, ":t:", "")
    }
}

/// The parts of a scope as tags, the tenant's with its epoch: an entry has one for each part that is set, a selection asks
/// for all of its own.
pub(crate) fn scope_tags(scope: &Scope, epoch: Epoch) -> impl Iterator<Item = String> {
    let tenant = format!("t{}", hashed(&format!("{epoch}{}", scope.tenant_name())));
    let parts = [("u", scope.user()), ("a", scope.agent()), ("s", scope.session())];
    let parts = parts.into_iter().filter_map(|(kind, part)| part.map(|part| format!("{kind}{}", hashed(part))));
    std::iter::once(tenant).chain(parts)
}

pub(crate) fn id_tag(id: CacheEntryId) -> String {
    format!("i{}", id.0.simple())
}

pub(crate) fn memory_tag(id: MemoryId) -> String {
    format!("m{}", id.as_uuid().simple())
}

pub(crate) fn label_tag(label: &str) -> String {
    format!("l{}", hashed(label))
}

pub(crate) fn hashed(part: &str) -> String {
    short(blake3::hash(part.as_bytes()))
}

/// The first 128 bits in hexadecimal: 32 digits and letters.
fn short(hash: blake3::Hash) -> String {
    hash.to_hex()[..32].to_owned()
}

/// 128 bits in hexadecimal.
fn hex(bits: [u8; 16]) -> String {
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(&bits);
    short(hash.into())
}

/// A name with the hash tag of a shard's slot. Each lookup makes several, so it is put together without `format!`.
fn in_slot(base: &str, shard: Shard, kind: &str, hash: &str) -> String {
    const TAG: usize = 16;
    let mut name = String::with_capacity(base.len() + TAG + kind.len() + hash.len());
    name.push_str(base);
    let _ = write!(name, ":{LAYOUT}:{{{:02}}}", shard.0);
    name.push_str(kind);
    name.push_str(hash);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(shards: u16, model: &str) -> Keys {
        Keys::new(&IndexSchema::sized(8, 1), shards, &EmbeddingSpace::new(model, "1", 8).unwrap())
    }

    #[test]
    fn every_part_of_a_group_counts() {
        let scope = |parts: [Option<&str>; 3]| {
            let mut scope = Scope::tenant("a").unwrap();
            if let Some(user) = parts[0] {
                scope = scope.with_user(user).unwrap();
            }
            if let Some(agent) = parts[1] {
                scope = scope.with_agent(agent).unwrap();
            }
            if let Some(session) = parts[2] {
                scope = scope.with_session(session).unwrap();
            }
            scope
        };
        let (print, epoch) = (Fingerprint([1; 32]), Epoch(1));
        let mut tags: Vec<_> = [
            [None, None, None],
            [Some("b"), None, None],
            [None, Some("b"), None],
            [None, None, Some("b")],
            [Some("b"), Some("b"), None],
            [Some("bb"), None, None],
        ]
        .map(|parts| keys(1, "m").group(&scope(parts), print, epoch).tag)
        .into();
        tags.push(keys(1, "m").group(&Scope::tenant("ab").unwrap(), print, epoch).tag);
        tags.push(keys(1, "m").group(&scope([None, None, None]), Fingerprint([2; 32]), epoch).tag);
        tags.push(keys(1, "n").group(&scope([None, None, None]), print, epoch).tag);
        tags.push(keys(1, "m").group(&scope([None, None, None]), print, Epoch(2)).tag);
        let all = tags.len();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), all);
    }

    #[test]
    fn an_epoch_is_written_and_read() {
        let epoch = Epoch::new();
        assert_eq!(Epoch::parse(&epoch.to_string()), Some(epoch));
        assert_ne!(Epoch::new(), epoch);
        assert_eq!(Epoch::parse("not one"), None);
    }

    #[test]
    fn everything_of_a_tenant_is_in_one_slot() {
        let keys = keys(16, "m");
        let group = keys.group(&Scope::tenant("acme").unwrap(), Fingerprint([0; 32]), Epoch(1));
        let (index, entry) = (keys.index(group.shard), keys.entry(Keys::place(&group, "A prompt")));
        let slot = |key: &str| key[key.find('{').unwrap()..=key.find('}').unwrap()].to_owned();
        assert_eq!(slot(&index), slot(&entry));
        assert_eq!(slot(&index), slot(&Keys::response(&entry)));
        assert_eq!(slot(&index), slot(&keys.tenant(group.shard, "acme")));
        for other in [Keys::response(&entry), keys.tenant(group.shard, "acme")] {
            assert!(!other.starts_with(&keys.entries(group.shard)), "{other} is not indexed");
        }
        assert_eq!(entry, keys.entry(Keys::place(&group, " a PROMPT. ")));
        let used: std::collections::HashSet<_> = (0..200).map(|n| keys.shard(&n.to_string()).0).collect();
        assert_eq!(used.len(), 16);
    }
}
