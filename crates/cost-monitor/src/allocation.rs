//! Sharing an amount out so that nothing is lost: what rounding leaves over goes, a millionth each, to those whose shares
//! were cut most (largest remainder). `monitoring/sql/views/tenant_cost.sql` is the same in SQL.

use crate::money::Micros;

/// Weights are brought below this together, so that SQL has room for its products in 64 bits.
const MOST_WEIGHT: u128 = 1_000_000_000;

/// Shares of `total` in proportion to the weights, in their order; they add up to it exactly. `None` where all weights,
/// brought below a thousand million together, are zero: there is nobody to share it out to.
///
/// Of those whose shares were cut by the same, the first ones get what is left over.
#[must_use]
pub fn share_out(total: Micros, weights: &[u64]) -> Option<Vec<Micros>> {
    let all: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    let scale = all / MOST_WEIGHT + 1;
    let weights: Vec<u128> = weights.iter().map(|&weight| u128::from(weight) / scale).collect();
    let all: u128 = weights.iter().sum();
    if all == 0 {
        return None;
    }
    let amount = u128::from(total.0.unsigned_abs());
    let mut shares: Vec<u128> = weights.iter().map(|weight| amount * weight / all).collect();
    let mut cut_most: Vec<usize> = (0..weights.len()).collect();
    // The sort is stable: first come first where the cut is the same.
    cut_most.sort_by_key(|&at| std::cmp::Reverse(amount * weights[at] % all));
    let left_over = amount - shares.iter().sum::<u128>();
    for &at in cut_most.iter().take(usize::try_from(left_over).expect("less is left over than there are shares")) {
        shares[at] += 1;
    }
    let signed = |share: u128| i64::try_from(share).expect("a share is no more than the amount") * total.0.signum();
    Some(shares.into_iter().map(|share| Micros(signed(share))).collect())
}

/// The nearest millionths to amounts in billionths, such that they add up to the nearest to their sum.
#[must_use]
pub fn round_together(nanos: &[i128]) -> Vec<Micros> {
    let total = Micros::from_nanos(nanos.iter().sum());
    let mut micros: Vec<i64> = nanos
        .iter()
        .map(|nanos| i64::try_from(nanos.div_euclid(1000)).expect("a bill is below nine million million"))
        .collect();
    let mut cut_most: Vec<usize> = (0..nanos.len()).collect();
    cut_most.sort_by_key(|&at| std::cmp::Reverse(nanos[at].rem_euclid(1000)));
    let left_over = total.0 - micros.iter().sum::<i64>();
    for &at in cut_most.iter().take(usize::try_from(left_over).expect("amounts were rounded down")) {
        micros[at] += 1;
    }
    micros.into_iter().map(Micros).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_over_goes_to_the_largest_remainders() {
        let shares =
            |total, weights: &[u64]| share_out(Micros(total), weights).unwrap().into_iter().map(|share| share.0);
        assert!(shares(100, &[1, 1, 1]).eq([34, 33, 33]));
        assert!(shares(10, &[5, 3, 1]).eq([6, 3, 1]));
        assert!(shares(-10, &[5, 3, 1]).eq([-6, -3, -1]));
        assert!(shares(7, &[0, 2]).eq([0, 7]));
        assert_eq!(share_out(Micros(7), &[0, 0]), None);
        assert_eq!(share_out(Micros(7), &[]), None);
    }

    #[test]
    fn billionths_are_rounded_as_their_sum_is() {
        assert_eq!(round_together(&[1_400, 1_400, 1_400]), [2, 1, 1].map(Micros));
        assert_eq!(round_together(&[-1_400, 400]), [-1, 0].map(Micros));
        assert_eq!(round_together(&[]), []);
    }

    proptest! {
        #[test]
        fn shares_add_up_and_are_within_one_of_exact(
            total in -10_000_000_000_000_i64..10_000_000_000_000,
            weights in prop::collection::vec(0_u64..2_000_000, 1..40),
        ) {
            let all: u64 = weights.iter().sum();
            let Some(shares) = share_out(Micros(total), &weights) else { prop_assert_eq!(all, 0); return Ok(()) };
            prop_assert_eq!(shares.iter().copied().sum::<Micros>(), Micros(total));
            for (share, weight) in shares.iter().zip(&weights) {
                let exact = i128::from(total) * i128::from(*weight);
                prop_assert!((i128::from(share.0) * i128::from(all) - exact).abs() < i128::from(all));
            }
        }

        #[test]
        fn huge_weights_add_up_too(total in any::<i64>(), weights in prop::collection::vec(any::<u64>(), 1..20)) {
            prop_assume!(total != i64::MIN);
            if let Some(shares) = share_out(Micros(total), &weights) {
                prop_assert_eq!(shares.into_iter().map(|share| i128::from(share.0)).sum::<i128>(), i128::from(total));
            }
        }

        #[test]
        fn amounts_rounded_together_add_up(nanos in prop::collection::vec(-9_000_000_000_000_i128..9_000_000_000_000, 0..30)) {
            let micros = round_together(&nanos);
            prop_assert_eq!(micros.iter().copied().sum::<Micros>(), Micros::from_nanos(nanos.iter().sum()));
            for (micros, nanos) in micros.iter().zip(&nanos) {
                prop_assert!((i128::from(micros.0) * 1000 - nanos).abs() < 1000);
            }
        }
    }
}
