//! Figures for counts and probabilities: intervals, paired tests, thresholds.
//!
//! Everything here is exact for the small counts that tests of principles have, and takes plain numbers.

mod bootstrap;

pub use bootstrap::{RESAMPLES, bootstrap};

use serde::Serialize;

/// The quantile of the normal distribution for two-sided 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// Pairs that disagree from here on make the exact test's sum long and its result the normal one's.
const EXACT_PAIRS: u64 = 10_000;

/// A range of values, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The 95 % interval of a share after `hits` of `trials` (Wilson 1927); `None` without trials.
pub fn wilson(hits: u64, trials: u64) -> Option<Interval> {
    wilson_of_halves(2 * hits.min(trials), trials)
}

/// The same where hits are counted in halves, since a tie is half of one.
pub fn wilson_of_halves(halves: u64, trials: u64) -> Option<Interval> {
    if trials == 0 {
        return None;
    }
    let n = trials as f64;
    let share = halves.min(2 * trials) as f64 / 2.0 / n;
    let square = Z * Z;
    let centre = share + square / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    let scale = 1.0 + square / n;
    Some(Interval {
        low: ((centre - spread) / scale).max(0.0),
        high: ((centre + spread) / scale).min(1.0),
    })
}

/// McNemar's test: the probability of a split of disagreeing pairs at least as uneven as this one, when
/// either direction is as likely. `only_first` pairs are positive in the first only, `only_second` in
/// the second only. Exact (two-sided binomial); normal with continuity correction for very many pairs.
pub fn mcnemar(only_first: u64, only_second: u64) -> f64 {
    let pairs = only_first + only_second;
    if pairs == 0 {
        return 1.0;
    }
    let fewer = only_first.min(only_second);
    if pairs > EXACT_PAIRS {
        let difference = (only_first.abs_diff(only_second) as f64 - 1.0).max(0.0);
        return erfc(difference / (2.0 * pairs as f64).sqrt());
    }
    // Terms of the binomial distribution in logarithms, since 2^-pairs is soon too small.
    let mut log_term = -(pairs as f64) * std::f64::consts::LN_2;
    let mut tail = log_term.exp();
    for k in 1..=fewer {
        log_term += ((pairs - k + 1) as f64).ln() - (k as f64).ln();
        tail += log_term.exp();
    }
    (2.0 * tail).min(1.0)
}

/// The complementary error function, to 1.2e-7 (Numerical Recipes, 6.2).
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let coefficients = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
    ];
    let sum = coefficients.iter().fold(0.0, |sum, c| sum * t + c);
    let tail = t * (-x * x - 1.265_512_23 + t * sum).exp();
    if x >= 0.0 { tail } else { 2.0 - tail }
}

/// Two judges' yes and no on the same things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Both say yes.
    pub both: u64,
    /// Only the first says yes.
    pub only_first: u64,
    /// Only the second says yes.
    pub only_second: u64,
    /// Neither says yes.
    pub neither: u64,
}

impl Table {
    /// How many things were judged.
    pub fn total(&self) -> u64 {
        self.both + self.only_first + self.only_second + self.neither
    }

    /// On how many the judges agree.
    pub fn agreed(&self) -> u64 {
        self.both + self.neither
    }
}

/// Agreement beyond chance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kappa {
    /// Cohen's kappa: 1 is full agreement, 0 what chance gives.
    pub value: f64,
    /// Its 95 % interval.
    pub interval: Interval,
}

/// Cohen's kappa (1960) with the large-sample interval of Fleiss, Cohen and Everitt (1969), which is rough
/// below some thirty judgements; `None` where chance alone gives full agreement, since both judges always
/// say the same.
pub fn cohen_kappa(table: &Table) -> Option<Kappa> {
    let n = table.total() as f64;
    let share = |count: u64| count as f64 / n;
    let cells = [
        [share(table.both), share(table.only_first)],
        [share(table.only_second), share(table.neither)],
    ];
    let row = |i: usize| cells[i][0] + cells[i][1];
    let column = |j: usize| cells[0][j] + cells[1][j];
    let chance = row(0) * column(0) + row(1) * column(1);
    if table.total() == 0 || chance >= 1.0 {
        return None;
    }
    let value = (cells[0][0] + cells[1][1] - chance) / (1.0 - chance);
    let rest = 1.0 - value;
    let mut sum = -(value - chance * rest).powi(2);
    for (i, cells) in cells.iter().enumerate() {
        for (j, cell) in cells.iter().enumerate() {
            sum += cell
                * if i == j {
                    (1.0 - (row(i) + column(i)) * rest).powi(2)
                } else {
                    (rest * (column(i) + row(j))).powi(2)
                };
        }
    }
    // Rounding may leave a little below nothing.
    let error = (sum.max(0.0) / n).sqrt() / (1.0 - chance);
    Some(Kappa {
        value,
        interval: Interval {
            low: (value - Z * error).max(-1.0),
            high: (value + Z * error).min(1.0),
        },
    })
}

/// How two groups of probabilities lie to each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Separation {
    /// Mean of the group that should be high.
    pub mean_positive: f64,
    /// Mean of the group that should be low.
    pub mean_negative: f64,
    /// The difference of the means; below 0 when the groups lie the wrong way round.
    pub gap: f64,
    /// The share of pairs, one of each group, in which the one that should be higher is; ties count
    /// half. 0.5 is chance, 1 is perfect: the area under the ROC curve.
    pub auc: f64,
    /// The threshold that tells the groups apart best; `None` when none does better than chance.
    pub best: Option<Threshold>,
}

/// A threshold: values at or above it count as positive.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// The value, half-way between the two neighbours that it separates.
    pub value: f64,
    /// The mean of the shares of both groups that fall on their side of it.
    pub balanced_accuracy: f64,
}

/// Compares two groups of finite numbers; `None` when one of them is empty.
pub fn separation(positive: &[f64], negative: &[f64]) -> Option<Separation> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    if positive.is_empty() || negative.is_empty() {
        return None;
    }
    let (mean_positive, mean_negative) = (mean(positive), mean(negative));
    Some(Separation {
        mean_positive,
        mean_negative,
        gap: mean_positive - mean_negative,
        auc: auc(positive, negative),
        best: best_threshold(positive, negative),
    })
}

fn auc(positive: &[f64], negative: &[f64]) -> f64 {
    let mut wins = 0.0;
    for p in positive {
        for n in negative {
            wins += match p.total_cmp(n) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    wins / (positive.len() * negative.len()) as f64
}

fn best_threshold(positive: &[f64], negative: &[f64]) -> Option<Threshold> {
    let mut values: Vec<f64> = positive.iter().chain(negative).copied().collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let at = |threshold: f64| {
        let high = positive.iter().filter(|p| **p >= threshold).count() as f64;
        let low = negative.iter().filter(|n| **n < threshold).count() as f64;
        (high / positive.len() as f64 + low / negative.len() as f64) / 2.0
    };
    let mut best: Option<(Threshold, f64)> = None;
    for pair in values.windows(2) {
        let (value, room) = (f64::midpoint(pair[0], pair[1]), pair[1] - pair[0]);
        let balanced_accuracy = at(value);
        // Of equally good thresholds the one with the most room around it.
        let better = best.is_none_or(|(known, known_room)| {
            balanced_accuracy > known.balanced_accuracy
                || (balanced_accuracy == known.balanced_accuracy && room > known_room)
        });
        if balanced_accuracy > 0.5 && better {
            let threshold = Threshold {
                value,
                balanced_accuracy,
            };
            best = Some((threshold, room));
        }
    }
    best.map(|(threshold, _)| threshold)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 5e-4, "{a} is not {b}");
    }

    #[test]
    fn intervals_are_wilsons() {
        // From Newcombe (1998), table I, method 3.
        for (hits, trials, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
            (29, 29, 0.8830, 1.0),
        ] {
            let interval = wilson(hits, trials).unwrap();
            close(interval.low, low);
            close(interval.high, high);
        }
        assert_eq!(wilson(0, 0), None);
        // Half of what can be had lies in the middle.
        let Interval { low, high } = wilson_of_halves(1, 1).unwrap();
        assert!((low + high - 1.0).abs() < 1e-12, "{low} {high}");
    }

    #[test]
    fn mcnemars_test_is_exact() {
        close(mcnemar(0, 0), 1.0);
        close(mcnemar(1, 0), 1.0);
        close(mcnemar(5, 0), 0.0625);
        close(mcnemar(1, 9), 0.0215);
        close(mcnemar(3, 3), 1.0);
        close(mcnemar(10, 25), 0.0167);
        // Far below what 2^-pairs can hold, and beyond the exact sum.
        assert!(mcnemar(900, 1900) < 1e-9);
        close(mcnemar(6000, 6000), 1.0);
        close(mcnemar(5900, 6100), 0.0692);
    }

    #[test]
    fn kappa_is_cohens_with_the_interval_of_fleiss() {
        let table = |both, only_first, only_second, neither| Table {
            both,
            only_first,
            only_second,
            neither,
        };
        // As R's psych::cohen.kappa gives them.
        let kappa = cohen_kappa(&table(20, 5, 10, 15)).unwrap();
        close(kappa.value, 0.4);
        close(kappa.interval.low, 0.1511);
        close(kappa.interval.high, 0.6489);
        let kappa = cohen_kappa(&table(45, 15, 25, 15)).unwrap();
        close(kappa.value, 0.1304);
        let full = cohen_kappa(&table(3, 0, 0, 4)).unwrap();
        assert_eq!((full.value, full.interval.low), (1.0, 1.0));
        assert!(cohen_kappa(&table(0, 2, 2, 0)).unwrap().value < -0.99);
        // Nothing can be said beyond chance.
        assert_eq!(cohen_kappa(&table(5, 0, 0, 0)), None);
        assert_eq!(cohen_kappa(&table(0, 0, 0, 0)), None);
    }

    #[test]
    fn groups_that_do_not_overlap_are_told_apart() {
        let separation = separation(&[0.7, 0.9], &[0.1, 0.3]).unwrap();
        close(separation.gap, 0.6);
        close(separation.auc, 1.0);
        let best = separation.best.unwrap();
        close(best.value, 0.5);
        close(best.balanced_accuracy, 1.0);
    }

    #[test]
    fn groups_the_wrong_way_round_have_no_threshold() {
        let separation = separation(&[0.2, 0.3], &[0.6]).unwrap();
        assert!(separation.gap < 0.0);
        close(separation.auc, 0.0);
        assert_eq!(separation.best, None);
        assert_eq!(super::separation(&[], &[0.5]), None);
        let same = super::separation(&[0.5], &[0.5]).unwrap();
        close(same.auc, 0.5);
        assert_eq!(same.best, None);
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_share(trials in 1u64..500, part in 0.0..=1.0f64) {
            let hits = (trials as f64 * part) as u64;
            let Interval { low, high } = wilson(hits, trials).unwrap();
            let share = hits as f64 / trials as f64;
            prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
            prop_assert!(low <= share + 1e-12 && share <= high + 1e-12);
        }

        #[test]
        fn the_paired_test_is_a_probability_and_symmetric(a in 0u64..3000, b in 0u64..3000) {
            let p = mcnemar(a, b);
            prop_assert!(p > 0.0 || a.abs_diff(b) > 500);
            prop_assert!(p <= 1.0);
            prop_assert_eq!(p, mcnemar(b, a));
        }

        #[test]
        fn no_threshold_does_better_than_the_best(
            positive in prop::collection::vec(0.0..1.0f64, 1..12),
            negative in prop::collection::vec(0.0..1.0f64, 1..12),
            other in 0.0..1.0f64,
        ) {
            let best = separation(&positive, &negative).unwrap().best;
            let high = positive.iter().filter(|p| **p >= other).count() as f64 / positive.len() as f64;
            let low = negative.iter().filter(|n| **n < other).count() as f64 / negative.len() as f64;
            let reached = best.map_or(0.5, |best| best.balanced_accuracy);
            prop_assert!((high + low) / 2.0 <= reached + 1e-12);
        }
    }
}
