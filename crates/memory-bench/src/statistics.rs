//! What a count of failures says of their rate.

/// The rate that is not exceeded with this confidence when `failures` of `trials` failed, `0.0..=1.0`: the one-sided upper
/// bound of Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
/// Biometrika 26 (1934). Exact, so for no failure in n it is `1 - (1 - confidence)^(1/n)`, about 3/n for 0.95.
pub fn upper_bound(failures: usize, trials: usize, confidence: f64) -> f64 {
    if failures >= trials {
        return 1.0;
    }
    // At the bound, so few failures or fewer come with a probability of 1 - confidence; it falls as the rate rises.
    let (mut low, mut high) = (failures as f64 / trials as f64, 1.0);
    for _ in 0..60 {
        let rate = (low + high) / 2.0;
        if at_most(failures, trials, rate) > 1.0 - confidence { low = rate } else { high = rate }
    }
    high
}

/// The probability of at most so many failures in so many trials, by the binomial distribution.
fn at_most(failures: usize, trials: usize, rate: f64) -> f64 {
    // In logarithms, where thousands of trials do not underflow.
    let mut term = trials as f64 * (-rate).ln_1p();
    let mut sum = term.exp();
    for failure in 1..=failures {
        term += ((trials - failure + 1) as f64 / failure as f64).ln() + rate.ln() - (-rate).ln_1p();
        sum += term.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        for (failures, trials, bound) in [(0, 100, 0.029_513), (1, 10, 0.394_163), (5, 100, 0.102_253)] {
            assert!((upper_bound(failures, trials, 0.95) - bound).abs() < 1e-5, "{failures} of {trials}");
        }
    }

    #[test]
    fn no_failure_in_n_is_bounded_by_three_in_n() {
        for trials in [30, 218, 10_000] {
            let bound = upper_bound(0, trials, 0.95) * trials as f64;
            assert!((2.85..=3.0).contains(&bound), "{bound} in {trials}");
        }
    }

    #[test]
    fn nothing_is_known_of_no_trials_and_of_failures_only() {
        assert_eq!(upper_bound(0, 0, 0.95), 1.0);
        assert_eq!(upper_bound(7, 7, 0.95), 1.0);
    }
}
