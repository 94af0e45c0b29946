//! Whose memory it is.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The longest name of a tenant, user, agent or session, in bytes.
pub const MAX_SCOPE_NAME_BYTES: usize = 256;

/// Whose memory: a tenant, and within it optionally a user, an agent and a session.
///
/// The tenant comes from the caller's identity, never from an argument. On a write the scope says where the memory
/// belongs. On a read every part that is set must be equal; a part that is not set matches all, within the tenant.
/// The semantic cache is stricter: there all four parts are equal, set or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    tenant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

impl Scope {
    /// The whole of `tenant`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the name is empty, longer than [`MAX_SCOPE_NAME_BYTES`] or has control characters.
    pub fn tenant(tenant: impl Into<String>) -> Result<Self> {
        Ok(Self { tenant: name("tenant", tenant.into())?, user: None, agent: None, session: None })
    }

    /// This scope, narrowed to one user.
    ///
    /// # Errors
    /// [`Error::Invalid`], as for [`Scope::tenant`].
    pub fn with_user(self, user: impl Into<String>) -> Result<Self> {
        Ok(Self { user: Some(name("user", user.into())?), ..self })
    }

    /// This scope, narrowed to one agent.
    ///
    /// # Errors
    /// [`Error::Invalid`], as for [`Scope::tenant`].
    pub fn with_agent(self, agent: impl Into<String>) -> Result<Self> {
        Ok(Self { agent: Some(name("agent", agent.into())?), ..self })
    }

    /// This scope, narrowed to one session.
    ///
    /// # Errors
    /// [`Error::Invalid`], as for [`Scope::tenant`].
    pub fn with_session(self, session: impl Into<String>) -> Result<Self> {
        Ok(Self { session: Some(name("session", session.into())?), ..self })
    }

    /// The tenant's name.
    #[must_use]
    pub fn tenant_name(&self) -> &str {
        &self.tenant
    }

    /// The whole of this scope's tenant.
    #[must_use]
    pub fn whole_tenant(&self) -> Self {
        Self { tenant: self.tenant.clone(), user: None, agent: None, session: None }
    }

    /// This scope without its session: all that its user and its agent say in any of them.
    #[must_use]
    pub fn without_session(&self) -> Self {
        Self { session: None, ..self.clone() }
    }

    /// The user, if set.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The agent, if set.
    #[must_use]
    pub fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }

    /// The session, if set.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Whether a read in this scope sees what was written in `written`.
    #[must_use]
    pub fn covers(&self, written: &Scope) -> bool {
        let part = |asked: &Option<String>, has: &Option<String>| asked.is_none() || asked == has;
        self.tenant == written.tenant
            && part(&self.user, &written.user)
            && part(&self.agent, &written.agent)
            && part(&self.session, &written.session)
    }
}

fn name(field: &str, value: String) -> Result<String> {
    if value.is_empty() || value.len() > MAX_SCOPE_NAME_BYTES || value.chars().any(char::is_control) {
        let allowed = format!("1 to {MAX_SCOPE_NAME_BYTES} bytes of UTF-8 without control characters");
        return Err(Error::invalid(format!("scope.{field}"), format!("{value:?}"), allowed));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_scope_covers_what_is_inside_it_and_nothing_else() {
        let acme = Scope::tenant("acme").unwrap();
        let ann = acme.clone().with_user("ann").unwrap();
        let ann_monday = ann.clone().with_session("monday").unwrap();
        assert!(acme.covers(&ann) && acme.covers(&ann_monday) && ann.covers(&ann_monday));
        assert!(!ann.covers(&acme), "a user's read does not see what belongs to nobody in particular");
        assert!(!ann_monday.covers(&ann));
        assert!(!Scope::tenant("other").unwrap().covers(&ann));
    }

    #[test]
    fn names_are_checked() {
        for bad in ["", "a\u{0}b", &"x".repeat(MAX_SCOPE_NAME_BYTES + 1)] {
            let error = Scope::tenant("t").unwrap().with_user(bad).unwrap_err();
            assert!(error.to_string().starts_with("scope.user: given"), "{error}");
        }
    }
}
