//! Values that somebody rejected: what they say is not written again.

use std::fmt;

use async_trait::async_trait;

use super::Cursor;
use crate::{Result, Scope, Timestamp, ValueKey, ValueKeys};

/// The values that are not to be written again, by their keys and without their texts.
///
/// A rejection is of one tenant, user and agent, each as it was set on the memory that was rejected, and of all sessions of
/// theirs: what one user rejected another may say.
///
/// # Contract
/// Each promise has a test of its name in `memory_testkit::store`.
/// - `a_rejected_value_is_refused`: from when `reject` returns no memory of the scope is written whose text has one of the
///   keys, by an insert or by an update that brings a text: the whole batch fails with
///   [`Error::ValueRejected`](crate::Error::ValueRejected), while what comes by import or consolidation is left out as
///   [`InsertStatus::RefusedRejected`](crate::InsertStatus::RefusedRejected). Memories that are there stay.
/// - `a_rejection_survives_expiry_and_pruning`: a rejection has no end. Nothing that expires or is forgotten takes it away.
/// - `a_rejection_is_the_scopes_own`: neither another tenant nor another user or agent of the same one is held by it, sees
///   it or lifts it.
/// - `a_rejection_can_be_lifted`: by its key, and then the value is written as any other.
#[async_trait]
pub trait Rejections: fmt::Debug + Send + Sync {
    /// Keeps rejections of one tenant, and says how many are new.
    async fn reject(&self, rejections: &[Rejection]) -> Result<u64>;

    /// The rejections inside a scope, oldest first, at most `limit`, from `after` on. The scope's session is not looked at.
    async fn rejected(&self, scope: &Scope, after: Option<Cursor>, limit: usize) -> Result<RejectionPage>;

    /// Takes a rejection of the scope's tenant back. Says whether there was one.
    async fn lift(&self, scope: &Scope, key: &ValueKey) -> Result<bool>;
}

/// A value that was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Whose value it is: the tenant, user and agent, without a session.
    pub scope: Scope,
    /// Its keys; the one that it reads as names it.
    pub keys: ValueKeys,
    /// When it was rejected.
    pub rejected_at: Timestamp,
    /// Who rejected it, as the caller's identity names them.
    pub rejected_by: String,
}

/// A page of rejections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectionPage {
    /// The rejections.
    pub rejections: Vec<Rejection>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<Cursor>,
}
