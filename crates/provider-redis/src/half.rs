//! 32-bit floats as 16-bit ones (IEEE 754 binary16) and back.

/// Rounds to the nearest, ties to even. What is too large becomes infinite; what is not a number stays none.
pub(crate) fn to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    // From half way between the largest finite number and the next.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    // Normal from 2^-14 on: the exponent's bias goes from 127 to 15, and 13 bits of the fraction go away.
    let (significand, dropped) = if magnitude >= 0x3880_0000 {
        (magnitude - (112 << 23), 13)
    } else {
        let exponent = magnitude >> 23;
        // Less than half of the smallest number, 2^-24.
        if exponent < 102 {
            return sign;
        }
        (magnitude & 0x007f_ffff | 0x0080_0000, 126 - exponent)
    };
    let kept = significand >> dropped;
    let rest = significand & ((1 << dropped) - 1);
    let half_way = 1 << (dropped - 1);
    let up = rest > half_way || (rest == half_way && kept & 1 == 1);
    // A carry out of the fraction goes into the exponent, where it belongs.
    sign | (kept + u32::from(up)) as u16
}

/// The same number, exactly.
pub(crate) fn from_half(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(half >> 10 & 0x1f), u32::from(half & 0x3ff));
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_half_is_itself_and_every_midpoint_goes_to_the_even_one() {
        for half in 0..=u16::MAX {
            let value = from_half(half);
            if value.is_nan() {
                assert!(from_half(to_half(value)).is_nan());
                continue;
            }
            assert_eq!(to_half(value), half, "{value}");
            if half & 0x7fff >= 0x7bff {
                continue;
            }
            let next = from_half(half + 1);
            let middle = f32::midpoint(value, next);
            let even = if half & 1 == 0 { half } else { half + 1 };
            assert_eq!(to_half(middle), even, "between {value} and {next}");
            assert_eq!(to_half(f32::from_bits(middle.to_bits() - 1)), half);
            assert_eq!(to_half(f32::from_bits(middle.to_bits() + 1)), half + 1);
        }
        assert_eq!(to_half(65_519.996), 0x7bff);
        assert_eq!(to_half(-65_520.0), 0xfc00);
        assert_eq!((to_half(f32::MIN_POSITIVE), to_half(-0.0)), (0, 0x8000));
    }

    /// What rounding both vectors costs a cosine: the reason why a threshold is met less exactly than with 32 bits.
    #[test]
    fn a_cosine_is_off_by_a_few_hundred_thousandths() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        };
        let cosine = |a: &[f32], b: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let rounded = |values: &[f32]| -> Vec<f32> { values.iter().map(|&value| from_half(to_half(value))).collect() };
        let mut worst = 0_f64;
        for dimensions in [64, 256, 768] {
            for _ in 0..200 {
                let size = (dimensions as f32).sqrt();
                let one: Vec<f32> = (0..dimensions).map(|_| next() * 2.0 / size).collect();
                let near: Vec<f32> = one.iter().map(|value| value + 0.6 * next() / size).collect();
                worst = worst.max((cosine(&one, &near) - cosine(&rounded(&one), &rounded(&near))).abs());
            }
        }
        println!("off by up to {worst:e}");
        assert!((1e-6..1e-4).contains(&worst), "{worst:e}");
    }

    proptest! {
        #[test]
        fn rounding_is_off_by_half_a_step_at_most(value in -1.0f32..=1.0) {
            let off = (from_half(to_half(value)) - value).abs();
            prop_assert!(off <= (value.abs() * 0.5f32.powi(11)).max(0.5f32.powi(25)), "{value}: {off}");
        }
    }
}
