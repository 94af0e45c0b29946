//! What a key may do, and what a route needs.

use std::fmt;
use std::str::FromStr;

use axum::http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Problem;

/// One of the scopes that a key can have. None includes another: a key that only files what an agent saw has no need to
/// read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Reads, searches, cache lookups.
    Read,
    /// Writes, corrections, forgetting what is named, cache entries.
    Write,
    /// Forgetting a whole scope, and what concerns the process rather than a tenant.
    Admin,
    /// The whole store, of every tenant, for whoever moves it.
    Move,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Admin, Self::Move];

    /// Its name, as flags, the keys file and answers spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
            Self::Move => "move",
        }
    }
}

/// What a caller may do: a set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Permission>", into = "Vec<Permission>")]
pub struct Access(u8);

impl Access {
    /// Everything.
    pub const ALL: Self = Self(0b1111);

    /// Whether the scope is in the set.
    #[must_use]
    pub fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    fn permissions(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.has(*permission))
    }
}

impl From<Vec<Permission>> for Access {
    fn from(permissions: Vec<Permission>) -> Self {
        Self(permissions.into_iter().fold(0, |set, permission| set | 1 << permission as u8))
    }
}

impl From<Access> for Vec<Permission> {
    fn from(access: Access) -> Self {
        access.permissions().collect()
    }
}

impl fmt::Display for Access {
    /// As a list: `read,write`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.permissions().map(Permission::name).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Access {
    type Err = String;

    /// Reads a list such as `read,write`; at least one scope.
    fn from_str(text: &str) -> Result<Self, String> {
        let named = |name: &str| Permission::ALL.into_iter().find(|permission| permission.name() == name.trim());
        let permissions: Option<Vec<_>> = text.split(',').map(named).collect();
        permissions
            .map(Self::from)
            .ok_or_else(|| format!("{text:?} is no list of scopes; expected some of read,write,admin,move"))
    }
}

/// What a route needs of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: anyone may call it.
    Nothing,
    /// Nothing on an address that only this machine reaches, elsewhere the scope.
    NothingOnLoopback(Permission),
    /// An identity. What it may do is found out further on.
    Identity,
    /// An identity with the scope.
    Permission(Permission),
}

/// The refusal of a caller whose key lacks a scope.
#[must_use]
pub fn denied(permission: Permission) -> Problem {
    let needed = permission.name();
    let challenge = match permission {
        Permission::Read => "Bearer realm=\"orchestra\", error=\"insufficient_scope\", scope=\"read\"",
        Permission::Write => "Bearer realm=\"orchestra\", error=\"insufficient_scope\", scope=\"write\"",
        Permission::Admin => "Bearer realm=\"orchestra\", error=\"insufficient_scope\", scope=\"admin\"",
        Permission::Move => "Bearer realm=\"orchestra\", error=\"insufficient_scope\", scope=\"move\"",
    };
    Problem::bad_argument(
        "access_denied",
        "Authorization",
        "a key without it",
        format!("a key with the scope {needed}"),
    )
    .with_status(StatusCode::FORBIDDEN)
    .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_a_set_that_reads_and_writes_as_a_list() {
        let access: Access = "write, read,write".parse().unwrap();
        assert_eq!(access.to_string(), "read,write");
        assert!(access.has(Permission::Read) && access.has(Permission::Write) && !access.has(Permission::Admin));
        assert_eq!(serde_json::to_string(&access).unwrap(), r#"["read","write"]"#);
        assert_eq!(serde_json::from_str::<Access>(r#"["admin"]"#).unwrap().to_string(), "admin");
        assert_eq!("read,write,admin,move".parse::<Access>().unwrap(), Access::ALL);
        for bad in ["", "all", "read,", "Read"] {
            assert!(bad.parse::<Access>().unwrap_err().contains("read,write,admin"), "{bad}");
        }
    }
}
