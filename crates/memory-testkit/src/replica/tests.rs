//! The suite on the model, and on models that break a promise each.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use memory_core::MemoryStore;

use super::model::{Fault, Model};
use super::{Home, ReplicaFixture};
use crate::{StoreFixture, TestClock};

struct Fixture {
    clock: TestClock,
    model: Model,
    is_broken: bool,
}

impl Fixture {
    fn new() -> Self {
        let clock = TestClock::new();
        Self { model: Model::new(Arc::new(clock.clone())), clock, is_broken: false }
    }

    fn broken(fault: Fault) -> Self {
        let clock = TestClock::new();
        Self { model: Model::broken(Arc::new(clock.clone()), fault), clock, is_broken: true }
    }
}

#[async_trait]
impl ReplicaFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.clock.clone()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(if self.is_broken { 1 } else { 60 })
    }

    async fn open(&self) -> Home {
        Home::of(self.model.clone())
    }

    async fn close(&self, _: Home) {}

    async fn sweep(&self, _: &Home) {
        self.model.sweep();
    }
}

#[async_trait]
impl StoreFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.clock.clone()
    }

    async fn open(&self) -> Arc<dyn MemoryStore> {
        Arc::new(self.model.clone())
    }

    async fn close(&self, _: Arc<dyn MemoryStore>) {}
}

mod keeps {
    crate::replica_suite!(super::Fixture::new());
}

mod store {
    crate::store_suite!(super::Fixture::new());
}

/// One test for each promise that a fault breaks: the suite sees it.
macro_rules! sees {
    ($($promise:ident: $($fault:ident),+;)*) => {
        mod sees {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    for fault in [$(super::Fault::$fault),+] {
                        super::fails(fault, async |fixture| super::super::$promise(fixture).await).await;
                    }
                }
            )*
        }
    };
}

sees! {
    a_scan_and_the_changes_after_miss_nothing: UpdatesAreNotNoted, RejectionsAreNotNoted;
    every_change_is_captured: UpdatesAreNotNoted, RejectionsAreNotNoted;
    what_is_read_is_of_one_moment: HistoryIsTorn;
    what_is_written_reads_the_same: OrdinalsAreLost, HistoryIsTorn;
    what_is_forgotten_is_never_written_back: ForgottenComesBack;
    a_closed_store_takes_no_writes: GateIsOpen;
    an_older_epoch_changes_nothing: AnyEpochWrites;
    an_opened_store_goes_on: OrdinalsBeginAgain;
}

async fn fails(fault: Fault, test: impl AsyncFn(&Fixture)) {
    let fixture = Fixture::broken(fault);
    let ended = futures_util::FutureExt::catch_unwind(AssertUnwindSafe(test(&fixture))).await;
    assert!(ended.is_err(), "the suite does not see {fault:?}");
}
