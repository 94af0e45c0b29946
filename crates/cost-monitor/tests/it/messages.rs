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
