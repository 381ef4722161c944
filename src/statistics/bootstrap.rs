//! Intervals by resampling, for figures that have no formula of their own.

use super::Interval;

/// How often groups are drawn anew.
pub const RESAMPLES: u32 = 2000;

/// The 95 % percentile bootstrap interval of a statistic (Efron 1979): groups are drawn with replacement,
/// as many as there are, [`RESAMPLES`] times, and the statistic is taken of each draw.
///
/// `statistic` is told how often each group was drawn; where it says `None`, the draw is left out, and where
/// it does so for most of them there is no interval. What belongs together, such as several answers to one
/// prompt, makes one group. One group alone has no interval, since every draw of it is the same. The same groups
/// give the same interval.
pub fn bootstrap(
    groups: usize,
    mut statistic: impl FnMut(&[u32]) -> Option<f64>,
) -> Option<Interval> {
    if groups < 2 {
        return None;
    }
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut drawn = vec![0_u32; groups];
    let mut values = Vec::with_capacity(RESAMPLES as usize);
    for _ in 0..RESAMPLES {
        drawn.fill(0);
        for _ in 0..groups {
            drawn[below(&mut random, groups)] += 1;
        }
        values.extend(statistic(&drawn).filter(|value| value.is_finite()));
    }
    if values.len() * 2 < RESAMPLES as usize {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    Some(Interval {
        low: at(0.025),
        high: at(0.975),
    })
}

/// A number below `limit` (SplitMix64, Steele et al. 2014).
fn below(state: &mut u64, limit: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // The upper bits of the product: as even as makes no difference here.
    ((u128::from(z) * limit as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64]) -> impl Fn(&[u32]) -> Option<f64> {
        move |drawn| {
            let count: u32 = drawn.iter().sum();
            let sum: f64 = drawn
                .iter()
                .zip(values)
                .map(|(n, v)| f64::from(*n) * v)
                .sum();
            Some(sum / f64::from(count))
        }
    }

    #[test]
    fn the_interval_of_a_mean_is_the_normal_one() {
        // 200 values, half of them 0 and half 1: a standard error of 0.5 / sqrt(200).
        let values: Vec<f64> = (0..200).map(|n| f64::from(n % 2)).collect();
        let interval = bootstrap(values.len(), mean(&values)).unwrap();
        let spread = 1.96 * 0.5 / 200_f64.sqrt();
        assert!((interval.low - (0.5 - spread)).abs() < 0.01, "{interval:?}");
        assert!(
            (interval.high - (0.5 + spread)).abs() < 0.01,
            "{interval:?}"
        );
        assert_eq!(bootstrap(values.len(), mean(&values)), Some(interval));
    }

    #[test]
    fn there_is_no_interval_without_values_and_none_of_one_group() {
        assert_eq!(bootstrap(0, |_| Some(1.0)), None);
        assert_eq!(bootstrap(5, |_| None), None);
        assert_eq!(bootstrap(1, |_| Some(3.0)), None);
        assert!(bootstrap(2, |_| Some(3.0)).is_some());
    }
}
