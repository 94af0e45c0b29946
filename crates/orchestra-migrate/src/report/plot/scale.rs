//! How far an axis goes, where its ticks are, and how numbers are written on it.

/// About how many ticks an axis has.
const TICKS: f64 = 5.0;
/// What stands for how much.
const UNITS: [(f64, &str); 3] = [(1e9, "G"), (1e6, "M"), (1e3, "k")];

/// An axis from 0.
pub struct Scale {
    most: f64,
    step: f64,
}

impl Scale {
    /// One that ends at `most`.
    pub fn to(most: f64) -> Self {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let least = most / TICKS;
        let power = 10_f64.powf(least.log10().floor());
        let steps = [1.0, 2.0, 5.0].map(|times| times * power);
        let step = steps.into_iter().find(|step| *step >= least).unwrap_or(10.0 * power);
        Self { most, step }
    }

    /// One that ends at a tick, at `most` or behind it.
    pub fn beyond(most: f64) -> Self {
        let Self { most, step } = Self::to(most);
        Self { most: (most / step - 1e-9).ceil() * step, step }
    }

    pub fn ticks(&self) -> impl Iterator<Item = f64> {
        let last = (self.most / self.step + 1e-9).floor() as u32;
        (0..=last).map(|tick| f64::from(tick) * self.step)
    }

    /// Where a value is, from 0 to 1.
    pub fn share(&self, value: f64) -> f64 {
        (value / self.most).clamp(0.0, 1.0)
    }

    /// A tick, with as many digits as tell it from the next.
    pub fn text(&self, tick: f64) -> String {
        if tick == 0.0 {
            return "0".into();
        }
        // From 10,000 on, so that a year or a thousand stays what it is.
        let of = UNITS.into_iter().find(|(unit, _)| self.most >= 10_000.0_f64.max(*unit));
        let (unit, letter) = of.unwrap_or((1.0, ""));
        let places = (-(self.step / unit).log10().floor()).max(0.0) as usize;
        format!("{:.places$}{letter}", tick / unit)
    }
}

/// A value, short.
pub fn short(value: f64) -> String {
    let (unit, letter) = UNITS.into_iter().find(|(unit, _)| value >= 10_000.0_f64.max(*unit)).unwrap_or((1.0, ""));
    let value = value / unit;
    let places = match value {
        0.0 => 0,
        ..0.995 => 2,
        ..99.5 if value.fract() != 0.0 => 1,
        _ => 0,
    };
    format!("{value:.places$}{letter}")
}

/// The unit that so many seconds are shown in: how many seconds it has, and its name.
pub fn time(seconds: f64) -> (f64, &'static str) {
    match seconds {
        ..180.0 => (1.0, "s"),
        ..10_800.0 => (60.0, "min"),
        _ => (3600.0, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(scale: &Scale) -> Vec<String> {
        scale.ticks().map(|tick| scale.text(tick)).collect()
    }

    #[test]
    fn ticks_are_round_and_say_no_more_digits_than_they_need() {
        assert_eq!(ticks(&Scale::beyond(90.0)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(ticks(&Scale::beyond(1.0)), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(ticks(&Scale::beyond(3.0)), ["0", "1", "2", "3"]);
        assert_eq!(ticks(&Scale::beyond(0.04)), ["0", "0.01", "0.02", "0.03", "0.04"]);
        assert_eq!(ticks(&Scale::beyond(20_000.0)), ["0", "5k", "10k", "15k", "20k"]);
        assert_eq!(ticks(&Scale::beyond(5_100_000.0)), ["0", "2M", "4M", "6M"]);
        assert_eq!(ticks(&Scale::to(101.0)), ["0", "50", "100"], "it ends where the values do");
    }

    #[test]
    fn nothing_and_no_number_make_an_axis_too() {
        for most in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(ticks(&Scale::beyond(most)), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"], "{most}");
        }
        let widest = Scale::beyond(u64::MAX as f64);
        assert!(widest.ticks().count() < 8 && widest.share(f64::MAX) <= 1.0 && widest.share(-1.0) >= 0.0);
    }

    #[test]
    fn values_are_short() {
        let values = [0.0, 0.193, 1.0, 5.479, 99.9, 1234.0, 20_500.0, 3.0e6].map(short);
        assert_eq!(values, ["0", "0.19", "1", "5.5", "100", "1234", "20.5k", "3M"]);
    }

    #[test]
    fn times_are_in_the_unit_that_suits_them() {
        assert_eq!([5.0, 180.0, 10_800.0].map(|seconds| time(seconds).1), ["s", "min", "h"]);
    }
}
