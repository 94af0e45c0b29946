//! The suite of `memory-testkit`.

use std::sync::Arc;

use async_trait::async_trait;
use memory_core::MemoryStore;
use memory_testkit::{StoreFixture, TestClock};

use crate::support::Home;

#[async_trait]
impl StoreFixture for Home {
    fn clock(&self) -> TestClock {
        self.clock.clone()
    }

    async fn open(&self) -> Arc<dyn MemoryStore> {
        Arc::new(self.open().await)
    }

    async fn close(&self, store: Arc<dyn MemoryStore>) {
        drop(store);
    }
}

// A test that finds no server ends here: `Home::new` has said so, or failed where the server is required.
macro_rules! home {
    () => {
        match super::Home::new() {
            Some(home) => home,
            None => return,
        }
    };
}

mod store {
    memory_testkit::store_suite!(home!());
}

mod consolidation {
    memory_testkit::consolidation_suite!(home!());
}

mod changes {
    memory_testkit::changes_suite!(home!());
}
