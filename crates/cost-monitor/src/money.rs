//! Amounts of money as whole numbers: a sum of them is exact, in whatever order it is made.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Neg, Sub};

use serde::{Deserialize, Serialize};

/// An amount in millionths of a currency's unit. Negative ones are credits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The nearest amount to a number of units, halves away from zero. `None` for what is no amount: not a number, or
    /// above nine million million units.
    #[must_use]
    pub fn from_units(units: f64) -> Option<Self> {
        let micros = (units * 1e6).round();
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked, and it is a whole number")]
        (micros.abs() < 9e18).then_some(Self(micros as i64))
    }

    /// The nearest amount to so many billionths, halves away from zero.
    ///
    /// # Panics
    /// Above nine million million units.
    #[must_use]
    pub fn from_nanos(nanos: i128) -> Self {
        let micros = nanos.signum() * ((nanos.abs() + 500) / 1000);
        Self(i64::try_from(micros).expect("a bill is below nine million million"))
    }

    /// The amount in units, for plots: not exact above nine thousand million.
    #[must_use]
    pub fn units(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a plot needs no more")]
        let micros = self.0 as f64;
        micros / 1e6
    }
}

impl Add for Micros {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Micros {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Neg for Micros {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Sum for Micros {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// With two digits, as money is written; small amounts with the digits that they need, at most six.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, micros) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let text = if micros == 0 || micros >= 1_000_000 {
            let cents = (micros + 5_000) / 10_000;
            format!("{sign}{}.{:02}", cents / 100, cents % 100)
        } else {
            let digits = format!("{micros:06}");
            format!("{sign}0.{:0<2}", digits.trim_end_matches('0'))
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_once_and_away_from_zero() {
        assert_eq!(Micros::from_units(100.01), Some(Micros(100_010_000)));
        assert_eq!(Micros::from_units(-0.000_000_5), Some(Micros(-1)));
        assert_eq!([f64::NAN, f64::INFINITY, 1e13].map(Micros::from_units), [None; 3]);
        assert_eq!([499, 500, -500, -499].map(Micros::from_nanos), [0, 1, -1, 0].map(Micros));
    }

    #[test]
    fn amounts_are_shown_as_money() {
        let shown = [0, 7, 120_000, 999_999, 1_234_567, -1_995_000, -40].map(|micros| Micros(micros).to_string());
        assert_eq!(shown, ["0.00", "0.000007", "0.12", "0.999999", "1.23", "-2.00", "-0.00004"]);
    }
}
