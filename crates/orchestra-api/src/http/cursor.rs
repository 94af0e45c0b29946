//! Where a page ended, as callers carry it: opaque, and of no use in another list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use memory_core::{Cursor, Scope};

use crate::error::Problem;

/// How much of the hash goes with the position. It finds mistakes and keeps no secret: a cursor opens nothing that its
/// caller could not list from the beginning.
const CHECK_BYTES: usize = 8;

/// The list that a cursor belongs to.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    /// What is listed.
    pub name: &'static str,
    /// Whose.
    pub scope: &'a Scope,
    /// In which order.
    pub newest_first: bool,
}

impl List<'_> {
    /// The cursor of the next page; none on the last.
    #[must_use]
    pub fn next(&self, position: Option<Cursor>) -> Option<String> {
        let position = position?.0.to_le_bytes();
        Some(URL_SAFE_NO_PAD.encode([position, self.check(position)].concat()))
    }

    /// The position that a cursor says.
    ///
    /// # Errors
    /// A 400 when this list gave no such cursor.
    pub fn position(&self, cursor: Option<&str>) -> Result<Option<Cursor>, Problem> {
        let Some(text) = cursor else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let parts = bytes.as_deref().and_then(|bytes| bytes.split_first_chunk());
        match parts {
            Some((&position, check)) if check == self.check(position) => Ok(Some(Cursor(u64::from_le_bytes(position)))),
            _ => {
                let allowed = "the next of a page of this list, unchanged, with the same scope and order";
                Err(Problem::bad_argument("invalid_cursor", "cursor", format!("{text:?}"), allowed))
            }
        }
    }

    fn check(&self, position: [u8; 8]) -> [u8; CHECK_BYTES] {
        let mut hasher = blake3::Hasher::new();
        let scope = self.scope;
        let order = if self.newest_first { "newest" } else { "oldest" };
        for part in
            [Some(self.name), Some(order), Some(scope.tenant_name()), scope.user(), scope.agent(), scope.session()]
        {
            // Whether a part is there, and how long it is: two scopes never look the same.
            hasher.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
            hasher.update(part.unwrap_or_default().as_bytes());
        }
        hasher.update(&position);
        let mut check = [0; CHECK_BYTES];
        hasher.finalize_xof().fill(&mut check);
        check
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_by_its_own_list_alone() {
        let ann = Scope::tenant("acme").unwrap().with_user("ann").unwrap();
        let list = List { name: "memories", scope: &ann, newest_first: false };
        let cursor = list.next(Some(Cursor(17))).unwrap();
        assert_eq!(list.position(Some(&cursor)).unwrap(), Some(Cursor(17)));
        assert_eq!((list.next(None), list.position(None).unwrap()), (None, None));
        let others = [
            Scope::tenant("acme").unwrap(),
            Scope::tenant("acme").unwrap().with_agent("ann").unwrap(),
            Scope::tenant("acm").unwrap().with_user("eann").unwrap(),
        ];
        for scope in &others {
            assert!(List { scope, ..list }.position(Some(&cursor)).is_err(), "{scope:?}");
        }
        assert!(List { newest_first: true, ..list }.position(Some(&cursor)).is_err());
        assert!(List { name: "messages", ..list }.position(Some(&cursor)).is_err());
        for at in 0..cursor.len() {
            let mut changed = cursor.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(list.position(Some(&changed)).unwrap_err().code(), "invalid_cursor", "{changed}");
            assert!(list.position(Some(&cursor[..at])).is_err());
        }
        assert!(list.position(Some("17")).is_err() && list.position(Some("é")).is_err());
    }
}
