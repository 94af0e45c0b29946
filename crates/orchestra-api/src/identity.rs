//! Who calls, what they may do, how much of it, and what is written down about it.
//!
//! A request is let through in one place, [`crate::http`]'s admission: it finds the [`Identity`] by the API key that the
//! request shows, compares what the route [`Need`]s with what the key may do, takes a token out of the tenant's bucket,
//! and hands the identity to the handler. Handlers take the tenant from there and from nowhere else.
//!
//! - [`key`] is the text of an API key and its hash, [`keyring`] the file of hashes.
//! - [`gate`] holds the keys of a running server and reads them anew when the file changes.
//! - [`limits`] are the rate limit and the quota of a tenant, [`audit`] the log of what was written and deleted.
//! - [`settings`] is what a server is told about all of it.

pub mod access;
pub mod audit;
pub mod gate;
pub mod key;
pub mod keyring;
pub mod limits;
pub mod settings;

use memory_core::Scope;

pub use access::{Access, Need, Permission};

use crate::error::Problem;

/// Who calls. It comes from an API key, or from the way of a request that needs none, and never from an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The whole of the tenant that the caller speaks for.
    pub tenant: Scope,
    /// What the operator called the key; `owner` where none is needed.
    pub name: String,
    /// The key's prefix, which names it in lists and logs; `None` where none is needed.
    pub key: Option<String>,
    /// What the caller may do.
    pub access: Access,
}

impl Identity {
    /// The one who needs no key: the operator on the own machine. They may do everything, as `tenant`.
    #[must_use]
    pub fn owner(tenant: Scope) -> Self {
        Self { tenant, name: "owner".into(), key: None, access: Access::ALL }
    }

    /// Refuses what the caller may not do.
    ///
    /// # Errors
    /// A 403 that names the scope that the key lacks.
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.access.has(permission) { Ok(()) } else { Err(access::denied(permission)) }
    }
}
