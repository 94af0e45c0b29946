//! Prices, and since when each holds. One is never changed: a new one begins later.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::money::Micros;

/// What an answer that no model had to compute would have cost, for each token.
pub const MODEL_TOKEN: &str = "model-token";
/// What a wrong answer of the cache costs, beyond that it has to be computed after all.
pub const FALSE_HIT: &str = "false-hit";

/// A row of the table `prices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Since when it holds, until the next one of the same SKU and currency.
    pub effective_from: DateTime<Utc>,
    /// What is paid for: [`MODEL_TOKEN`], [`FALSE_HIT`], or a SKU of the invoice.
    pub sku: String,
    /// The part of the system that uses it.
    pub component: String,
    /// What one of it is.
    pub unit: String,
    /// How many units the price is for; at least one.
    pub per: u32,
    /// Of so many units.
    pub price_micros: Micros,
    /// As ISO 4217 has it.
    pub currency_code: String,
    /// Where the price was read.
    pub source: String,
}

/// The price of `sku` in `currency` that holds at `at`, if there was one by then.
#[must_use]
pub fn price_at<'a>(prices: &'a [Price], sku: &str, currency: &str, at: DateTime<Utc>) -> Option<&'a Price> {
    let held = prices.iter().filter(|price| price.sku == sku && price.currency_code == currency);
    held.filter(|price| price.effective_from <= at).max_by_key(|price| price.effective_from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_price_that_has_begun_holds() {
        let at = |day: i64| DateTime::from_timestamp(day * 86_400, 0).unwrap();
        let price = |day, micros| Price {
            effective_from: at(day),
            sku: MODEL_TOKEN.into(),
            component: "model".into(),
            unit: "token".into(),
            per: 1_000_000,
            price_micros: Micros(micros),
            currency_code: "USD".into(),
            source: "list".into(),
        };
        let prices = [price(30, 4), price(10, 5)];
        let found = |day| price_at(&prices, MODEL_TOKEN, "USD", at(day)).map(|price| price.price_micros.0);
        assert_eq!([9, 10, 29, 30].map(found), [None, Some(5), Some(5), Some(4)]);
        assert_eq!(price_at(&prices, FALSE_HIT, "USD", at(40)), None);
        assert_eq!(price_at(&prices, MODEL_TOKEN, "EUR", at(40)), None);
    }
}
