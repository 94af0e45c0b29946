//! What a notice says.

use serde_json::{Value, json};

use crate::alert::Kind;
use crate::policy::Action;
use crate::state::Delivery;

/// For people. Names come from the budget, and are plain text here.
#[must_use]
pub fn text(delivery: &Delivery) -> String {
    let alert = &delivery.alert;
    let what = match alert.kind {
        Kind::Actual => "has reached",
        Kind::Forecast => "is forecast to reach",
    };
    let name: String =
        alert.budget_name.chars().filter(|letter| !letter.is_control() && !"<>&".contains(*letter)).collect();
    let done: Vec<&str> = actions(delivery).collect();
    let done = match done.is_empty() {
        true => "Nothing is held back.".to_owned(),
        false => format!("In force now: {}. `cost-monitor brake release` ends it.", done.join(", ")),
    };
    format!(
        "The memory's budget {name} {what} {} of {} {}: {} so far in the period since {}. {done}",
        alert.threshold,
        alert.budget,
        alert.currency,
        alert.cost,
        alert.period.format("%Y-%m-%d")
    )
}

fn actions(delivery: &Delivery) -> impl Iterator<Item = &'static str> {
    delivery.actions.iter().filter(|action| **action != Action::Notify).map(|action| action.name())
}

/// For programs.
#[must_use]
pub(super) fn json(delivery: &Delivery) -> Value {
    let alert = &delivery.alert;
    json!({
        "alert_id": alert.id(),
        "budget_id": alert.budget_id,
        "budget_name": alert.budget_name,
        "cost_interval_start": alert.period,
        "kind": alert.kind,
        "threshold": f64::from(alert.threshold.0) / 1e6,
        "cost_micros": alert.cost,
        "budget_micros": alert.budget,
        "currency_code": alert.currency,
        "actions": actions(delivery).collect::<Vec<_>>(),
        "text": text(delivery),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::alert::{Alert, Share};
    use crate::money::Micros;

    #[test]
    fn a_notice_says_how_it_stands_and_what_was_done() {
        let alert = Alert {
            budget_id: "de72f49d".into(),
            budget_name: "memory <prod>\n".into(),
            period: chrono::DateTime::from_timestamp(1_767_254_400, 0).unwrap(),
            kind: Kind::Actual,
            threshold: Share(800_000),
            cost: Micros(100_010_000),
            budget: Micros(125_000_000),
            currency: "USD".into(),
        };
        let actions = BTreeSet::from([Action::Notify, Action::TightenCache]);
        let delivery = Delivery { channel: "team".into(), alert, actions, attempts: 0 };
        insta::assert_snapshot!(text(&delivery), @"The memory's budget memory prod has reached 80 % of 125.00 USD: 100.01 so far in the period since 2026-01-01. In force now: tighten_cache. `cost-monitor brake release` ends it.");
        insta::assert_snapshot!(json(&delivery)["actions"], @r#"["tighten_cache"]"#);
    }
}
