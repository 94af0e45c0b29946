//! What a memory is called. Its name and the attempt that wrote it are the beginning of its text, so that whoever reads
//! a text anywhere knows whose it is and how old.

use std::fmt;

/// The tenants, by the word that their texts begin with.
pub const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// A memory: which tenant's, which worker's, and which of that worker's memories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub tenant: usize,
    pub worker: usize,
    pub number: usize,
}

impl Name {
    /// The text that one attempt writes.
    pub fn text(self, attempt: usize, words: &str) -> String {
        format!("{self} v{attempt} {words}")
    }

    /// The memory that a text is of, and the attempt that wrote it.
    pub fn of(text: &str) -> Option<(Self, usize)> {
        let mut words = text.split(' ');
        let (name, attempt) = (words.next()?, words.next()?);
        let tenant = TENANTS.iter().position(|tenant| name.starts_with(tenant))?;
        let (worker, number) = name[TENANTS[tenant].len()..].strip_prefix('w')?.split_once('n')?;
        let name = Self { tenant, worker: worker.parse().ok()?, number: number.parse().ok()? };
        Some((name, attempt.strip_prefix('v')?.parse().ok()?))
    }

    /// The question that a cached answer is filed under.
    pub fn question(self) -> String {
        format!("What is known of {self}?")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}w{}n{}", TENANTS[self.tenant], self.worker, self.number)
    }
}

#[test]
fn a_text_says_what_it_is() {
    let name = Name { tenant: 1, worker: 2, number: 17 };
    assert_eq!(Name::of(&name.text(3, "the harbour")), Some((name, 3)));
    for foreign in ["", "globexw2n17", "globexw2n17 3 x", "nobodyw2n17 v3 x", "globexw2 v3 x", "globexwn17 v3 x"] {
        assert_eq!(Name::of(foreign), None, "{foreign}");
    }
}
