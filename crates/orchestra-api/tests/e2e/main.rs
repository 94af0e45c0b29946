//! The server as an operator sets it up, over HTTP, on real services: one scenario on every set-up, and outages.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod client;
mod logs;
mod metrics;
mod outages;
mod process;
mod scenario;
mod setup;
mod traces;

use setup::Setup;

/// One scenario, a test for each set-up; one without its services says so and is skipped.
macro_rules! on_every_setup {
    ($($setup:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $setup() {
            let Some(setup) = Setup::$setup().await else { return };
            scenario::run(&setup).await;
        }
    )*};
}

on_every_setup! {
    embedded,
    postgres_without_cache,
    redis_over_embedded,
    redis_and_postgres,
    redis_and_postgres_with_two_replicas,
}
