//! Ids that come from what a memory is, so that importing it again finds it.

use uuid::Uuid;

use super::Names;

/// What makes an imported memory the same memory, whichever file it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The tenant it is written for: the same file imported for two tenants gives two sets of memories.
    pub tenant: &'a str,
    /// Whose it is, with the session.
    pub scope: &'a Names,
    /// Its place in the session, from 0; 0 outside a session.
    pub ordinal: u64,
    /// Who said it.
    pub actor: Option<&'a str>,
    /// What was said.
    pub text: &'a str,
    /// What else tells it apart where there is no session: the time of a note, the heading above a paragraph.
    pub distinction: &'a str,
}

impl Identity<'_> {
    /// The id: a `UUIDv8` of BLAKE3 over the parts, each with its length.
    #[must_use]
    pub fn id(&self) -> Uuid {
        let mut hasher = blake3::Hasher::new_derive_key("orchestra-memory 2025 import identity v1");
        let mut part = |value: Option<&str>| match value {
            None => {
                hasher.update(&[0]);
            }
            Some(text) => {
                hasher.update(&[1]);
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        };
        part(Some(self.tenant));
        part(self.scope.user.as_deref());
        part(self.scope.agent.as_deref());
        part(self.scope.session.as_deref());
        part(Some(&self.ordinal.to_string()));
        part(self.actor);
        part(Some(self.text));
        part(Some(self.distinction));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Parts = (String, Option<String>, Option<String>, u64, Option<String>, String, String);

    fn id(parts: &Parts) -> Uuid {
        let (tenant, user, session, ordinal, actor, text, distinction) = parts;
        let scope = Names { user: user.clone(), agent: None, session: session.clone() };
        Identity { tenant, scope: &scope, ordinal: *ordinal, actor: actor.as_deref(), text, distinction }.id()
    }

    fn parts() -> impl Strategy<Value = Parts> {
        // Few letters, so that parts that run into one another would be found.
        let word = || "[ab]{0,3}";
        (
            word(),
            proptest::option::of(word()),
            proptest::option::of(word()),
            0..3u64,
            proptest::option::of(word()),
            word(),
            word(),
        )
    }

    proptest! {
        #[test]
        fn ids_are_equal_exactly_when_all_parts_are(a in parts(), b in parts()) {
            prop_assert_eq!(id(&a), id(&a.clone()));
            prop_assert_eq!(id(&a) == id(&b), a == b);
        }

        #[test]
        fn ids_are_uuids_of_version_8(a in parts()) {
            prop_assert_eq!(id(&a).get_version_num(), 8);
            prop_assert_eq!(id(&a).get_variant(), uuid::Variant::RFC4122);
        }
    }

    #[test]
    fn the_derivation_never_changes() {
        // If this fails, every file that was imported before would be imported a second time.
        let scope = Names { user: Some("maya".into()), agent: None, session: Some("monday".into()) };
        let identity = Identity {
            tenant: "default",
            scope: &scope,
            ordinal: 3,
            actor: Some("Maya"),
            text: "The window seat.",
            distinction: "",
        };
        insta::assert_snapshot!(identity.id(), @"67073edd-2732-8412-831a-2c86d25e3af9");
    }
}
