//! The messages of a Cloud Billing budget, as they come over Pub/Sub, and the alerts in them.
//!
//! A budget sends several messages a day whatever its state, each at least once and in no order. An alert is that a
//! threshold was passed in a period: the same one in however many messages.

use std::collections::HashMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::money::Micros;

/// The version of the messages' form that is known.
const SCHEMA_VERSION: &str = "1.0";
/// More than a budget's message ever has.
const MOST_BYTES: usize = 64 * 1024;

/// Why a message is none of a budget's. Its text goes into the dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The attribute is missing.
    #[error("attribute {0} is missing")]
    NoAttribute(&'static str),
    /// Messages of another form.
    #[error("schemaVersion is {0:?}, known is \"1.0\"")]
    SchemaVersion(String),
    /// The body is not what the form says.
    #[error("the body is no budget notification: {0}")]
    Body(String),
    /// A field has a value that cannot be.
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
}

/// What a threshold is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The cost so far.
    Actual,
    /// What the period is expected to cost.
    Forecast,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Actual => "actual",
            Self::Forecast => "forecast",
        })
    }
}

/// A share of a budget, in millionths: 800,000 is 80 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(pub u32);

impl Share {
    /// The nearest share; `None` below zero and above a thousand times the budget.
    #[must_use]
    pub fn from_ratio(ratio: f64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
        (0.0..=1000.0).contains(&ratio).then(|| Self((ratio * 1e6).round() as u32))
    }
}

/// As a percentage.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 1e4)
    }
}

/// One message: how a budget stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetMessage {
    /// The budget's uuid.
    pub budget_id: String,
    /// Its display name.
    pub budget_name: String,
    /// When the budget's period began.
    pub period: DateTime<Utc>,
    /// The cost in the period so far.
    pub cost: Micros,
    /// The budget of the period.
    pub budget: Micros,
    /// The currency of both.
    pub currency: String,
    /// The highest thresholds passed, at most one of each kind.
    pub passed: Vec<(Kind, Share)>,
}

/// A threshold was passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The budget's uuid.
    pub budget_id: String,
    /// Its display name.
    pub budget_name: String,
    /// When the budget's period began.
    pub period: DateTime<Utc>,
    /// What was compared.
    pub kind: Kind,
    /// The highest threshold that was passed.
    pub threshold: Share,
    /// The cost in the period so far.
    pub cost: Micros,
    /// The budget of the period.
    pub budget: Micros,
    /// The currency of both.
    pub currency: String,
}

impl Alert {
    /// The same for the same threshold of the same period, whichever message says so.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}/{}/{}", self.budget_id, self.period.format("%Y-%m-%dT%H:%M:%SZ"), self.kind, self.threshold.0)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    budget_display_name: String,
    cost_amount: f64,
    cost_interval_start: DateTime<Utc>,
    budget_amount: f64,
    #[serde(rename = "budgetAmountType")]
    _budget_amount_type: AmountType,
    currency_code: String,
    alert_threshold_exceeded: Option<f64>,
    forecast_threshold_exceeded: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum AmountType {
    SpecifiedAmount,
    LastMonthCost,
    LastPeriodsCost,
}

impl BudgetMessage {
    /// Reads a message by its attributes and its data.
    ///
    /// # Errors
    /// When it is none of a budget's.
    pub fn parse(attributes: &HashMap<String, String>, data: &[u8]) -> Result<Self, Malformed> {
        let attribute = |name: &'static str| {
            let value = attributes.get(name).filter(|value| !value.is_empty() && value.len() <= 256);
            value.ok_or(Malformed::NoAttribute(name))
        };
        let version = attribute("schemaVersion")?;
        if version != SCHEMA_VERSION {
            return Err(Malformed::SchemaVersion(version.chars().take(40).collect()));
        }
        attribute("billingAccountId")?;
        let budget_id = attribute("budgetId")?.clone();
        if data.len() > MOST_BYTES {
            return Err(Malformed::Body("it is too long".into()));
        }
        let body: Body = serde_json::from_slice(data).map_err(|error| Malformed::Body(error.to_string()))?;
        let money = |units, name| Micros::from_units(units).ok_or(Malformed::OutOfRange(name));
        let share = |ratio, name| Share::from_ratio(ratio).ok_or(Malformed::OutOfRange(name));
        if body.currency_code.len() != 3 {
            return Err(Malformed::OutOfRange("currencyCode"));
        }
        let mut passed = Vec::new();
        if let Some(ratio) = body.alert_threshold_exceeded {
            passed.push((Kind::Actual, share(ratio, "alertThresholdExceeded")?));
        }
        if let Some(ratio) = body.forecast_threshold_exceeded {
            passed.push((Kind::Forecast, share(ratio, "forecastThresholdExceeded")?));
        }
        Ok(Self {
            budget_id,
            budget_name: body.budget_display_name,
            period: body.cost_interval_start,
            cost: money(body.cost_amount, "costAmount")?,
            budget: money(body.budget_amount, "budgetAmount")?,
            currency: body.currency_code,
            passed,
        })
    }

    /// The alerts in it; none when no threshold was passed.
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        let alert = |&(kind, threshold): &(Kind, Share)| Alert {
            budget_id: self.budget_id.clone(),
            budget_name: self.budget_name.clone(),
            period: self.period,
            kind,
            threshold,
            cost: self.cost,
            budget: self.budget,
            currency: self.currency.clone(),
        };
        self.passed.iter().map(alert).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> HashMap<String, String> {
        let attributes =
            [("schemaVersion", "1.0"), ("billingAccountId", "01D4EE-079462-DFD6EC"), ("budgetId", "de72f49d")];
        attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    // As the documentation of budgets shows it.
    const BODY: &str = r#"{"budgetDisplayName":"memory","alertThresholdExceeded":0.8,"forecastThresholdExceeded":1.0,
        "costAmount":100.01,"costIntervalStart":"2026-01-01T08:00:00Z","budgetAmount":125.00,
        "budgetAmountType":"SPECIFIED_AMOUNT","currencyCode":"USD"}"#;

    #[test]
    fn a_message_holds_an_alert_of_each_kind() {
        let message = BudgetMessage::parse(&attributes(), BODY.as_bytes()).unwrap();
        assert_eq!((message.cost, message.budget), (Micros(100_010_000), Micros(125_000_000)));
        let ids: Vec<String> = message.alerts().iter().map(Alert::id).collect();
        let expected =
            ["de72f49d/2026-01-01T08:00:00Z/actual/800000", "de72f49d/2026-01-01T08:00:00Z/forecast/1000000"];
        assert_eq!(ids, expected);
        let status = BODY.replace("alertThresholdExceeded", "a").replace("forecastThresholdExceeded", "f");
        assert_eq!(BudgetMessage::parse(&attributes(), status.as_bytes()).unwrap().alerts(), []);
    }

    #[test]
    fn an_alert_is_the_same_whatever_the_cost_and_the_clock_that_says_it() {
        let one = BudgetMessage::parse(&attributes(), BODY.as_bytes()).unwrap().alerts()[0].id();
        let other = BODY.replace("100.01", "101.5").replace("08:00:00Z", "00:00:00-08:00");
        assert_eq!(BudgetMessage::parse(&attributes(), other.as_bytes()).unwrap().alerts()[0].id(), one);
    }

    #[test]
    fn what_is_no_budgets_message_is_told() {
        let refused = |change: &dyn Fn(&mut HashMap<String, String>), body: &str| {
            let mut attributes = attributes();
            change(&mut attributes);
            BudgetMessage::parse(&attributes, body.as_bytes()).unwrap_err().to_string()
        };
        let same = |_: &mut HashMap<String, String>| {};
        let reasons = [
            refused(&|attributes| drop(attributes.remove("budgetId")), BODY),
            refused(&|attributes| drop(attributes.insert("schemaVersion".into(), "2.0".into())), BODY),
            refused(&same, "{"),
            refused(&same, &BODY.replace("\"currencyCode\":\"USD\"", "\"currency\":\"USD\"")),
            refused(&same, &BODY.replace("SPECIFIED_AMOUNT", "A_GUESS")),
            refused(&same, &BODY.replace("100.01", "1e300")),
            refused(&same, &BODY.replace("0.8", "-0.8")),
        ];
        insta::assert_snapshot!(reasons.join("\n"), @r#"
        attribute budgetId is missing
        schemaVersion is "2.0", known is "1.0"
        the body is no budget notification: EOF while parsing an object at line 1 column 1
        the body is no budget notification: missing field `currencyCode` at line 3 column 63
        the body is no budget notification: unknown variant `A_GUESS`, expected one of `SPECIFIED_AMOUNT`, `LAST_MONTH_COST`, `LAST_PERIODS_COST` at line 3 column 36
        costAmount is out of range
        alertThresholdExceeded is out of range
        "#);
    }
}
