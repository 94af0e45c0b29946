//! The suite of `memory-testkit`.

use std::sync::Arc;

use async_trait::async_trait;
use memory_core::MemoryStore;
use memory_testkit::replica::{self, ReplicaFixture};
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

#[async_trait]
impl ReplicaFixture for Home {
    fn clock(&self) -> TestClock {
        self.clock.clone()
    }

    async fn open(&self) -> replica::Home {
        replica::Home { store: Arc::new(self.open().await), replica: Arc::new(self.replica().await) }
    }

    async fn close(&self, home: replica::Home) {
        drop(home);
    }

    async fn sweep(&self, _: &replica::Home) {
        self.open().await.remove_expired().await.expect("an answer");
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

mod moves {
    memory_testkit::replica_suite!(home!());
}

mod changes {
    memory_testkit::changes_suite!(home!());
}
