//! Messages as a budget sends them, and waiting for what comes of them.

use std::time::{Duration, Instant};

use google_cloud_pubsub::model::Message;

pub fn budget_message(budget: &str, month: u32, body: &str) -> Message {
    let attributes = [("billingAccountId", "01D4EE-079462-DFD6EC"), ("budgetId", budget), ("schemaVersion", "1.0")];
    let body = body.replace("MONTH", &format!("{month:02}"));
    Message::new().set_data(body).set_attributes(attributes)
}

pub fn crossing(budget: &str, month: u32, kind: &str, threshold: f64) -> Message {
    let body = format!(
        r#"{{"budgetDisplayName":"memory {budget}","{kind}":{threshold},"costAmount":{},"costIntervalStart":"2026-MONTH-01T08:00:00Z","budgetAmount":125.0,"budgetAmountType":"SPECIFIED_AMOUNT","currencyCode":"USD"}}"#,
        threshold * 125.0
    );
    budget_message(budget, month, &body)
}

pub fn status(budget: &str, month: u32) -> Message {
    crossing(budget, month, "nothingExceeded", 0.3)
}

pub async fn eventually<F: Future<Output = bool>>(what: &str, patience: Duration, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + patience;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// SplitMix64, as good as any for a test.
pub struct Random(u64);

impl Random {
    /// Of `COST_MONITOR_TEST_SEED`, or of now. The seed is printed, which is shown when the test fails.
    pub fn of_test() -> Self {
        let seed = std::env::var("COST_MONITOR_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
        let now = || u64::try_from(chrono::Utc::now().timestamp_micros()).unwrap();
        let seed = seed.unwrap_or_else(now);
        println!("COST_MONITOR_TEST_SEED={seed}");
        Self(seed)
    }

    /// Below `bound`.
    pub fn next(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
