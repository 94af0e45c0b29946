//! The messages of sessions that go on, seen from outside.

use std::sync::Arc;

use async_trait::async_trait;
use memory_core::{AppendReceipt, AppendRequest, Result, Scope, Window, WindowRequest, WorkingMemory};

use super::Calls;

const TIER: &str = "working";

/// A working memory whose calls are spans, counted and timed.
#[derive(Debug)]
pub struct ObservedWorkingMemory {
    inner: Arc<dyn WorkingMemory>,
    system: &'static str,
    append: Calls,
    window: Calls,
    clear: Calls,
    forget_within: Calls,
}

impl ObservedWorkingMemory {
    /// `system` is what the messages are on, as OpenTelemetry names database systems: `redis`, `sqlite`.
    #[must_use]
    pub fn new(inner: Arc<dyn WorkingMemory>, system: &'static str) -> Self {
        let calls = |operation| Calls::of_tier(TIER, operation);
        Self {
            inner,
            system,
            append: calls("append"),
            window: calls("window"),
            clear: calls("clear"),
            forget_within: calls("forget_within"),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl WorkingMemory for ObservedWorkingMemory {
    async fn append(&self, request: AppendRequest) -> Result<AppendReceipt> {
        self.append.of_database(self.system, self.inner.append(request)).await
    }

    async fn window(&self, request: &WindowRequest) -> Result<Window> {
        self.window.of_database(self.system, self.inner.window(request)).await
    }

    async fn clear(&self, scope: &Scope) -> Result<u64> {
        self.clear.of_database(self.system, self.inner.clear(scope)).await
    }

    async fn forget_within(&self, scope: &Scope, dry_run: bool) -> Result<u64> {
        self.forget_within.of_database(self.system, self.inner.forget_within(scope, dry_run)).await
    }
}
