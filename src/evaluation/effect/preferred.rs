//! Which answers a judge prefers, and what is left of that once length is accounted for.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Estimate;

/// Steps of Newton's method; it is there after a handful.
const STEPS: usize = 50;

/// Keeps the fit finite where every answer of one side is preferred.
const RIDGE: f64 = 1e-3;

/// A judge's verdict on one pair, asked in both orders.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The prompt's id.
    pub prompt: String,
    /// Probability that the answer after is the better one, where the one before was shown first.
    pub shown_second: f64,
    /// The same where the one after was shown first.
    pub shown_first: f64,
    /// Words of the answer before.
    pub words_before: u64,
    /// Words of the answer after.
    pub words_after: u64,
}

impl Verdict {
    fn mean(&self) -> f64 {
        f64::midpoint(self.shown_first, self.shown_second)
    }
}

/// Preference of after over before. Intervals by bootstrap over prompts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preferred {
    /// Pairs that were judged.
    pub pairs: u64,
    /// Pairs of equal answers, which are not judged and count for neither side.
    pub equal: u64,
    /// Mean probability that the answer after is the better one, both orders averaged.
    pub win_rate: Estimate,
    /// The same at equal length: the intercept of a logistic regression of the preference on the hyperbolic
    /// tangent of the difference in words over its standard deviation (after Dubois et al. 2024).
    pub win_rate_length_controlled: Option<Estimate>,
    /// The share of pairs in which the judge prefers the same answer in both orders.
    pub consistent: Estimate,
    /// How much likelier an answer is to be preferred for being shown first, on average.
    pub first_place_bias: Estimate,
}

impl Preferred {
    /// Figures of verdicts, and of pairs that needed none; `None` without a verdict.
    pub fn new(verdicts: &[Verdict], equal: u64) -> Option<Self> {
        let mut groups: BTreeMap<&str, Vec<&Verdict>> = BTreeMap::new();
        for verdict in verdicts {
            groups.entry(&verdict.prompt).or_default().push(verdict);
        }
        let groups: Vec<Vec<&Verdict>> = groups.into_values().collect();
        let mean = |of: fn(&Verdict) -> f64| {
            Estimate::of(groups.len(), |drawn| {
                let (mut sum, mut count) = (0.0, 0.0);
                for (group, &times) in groups.iter().zip(drawn) {
                    sum += f64::from(times) * group.iter().map(|v| of(v)).sum::<f64>();
                    count += f64::from(times) * group.len() as f64;
                }
                Some(sum / count)
            })
        };
        let spread = spread(verdicts);
        Some(Self {
            pairs: verdicts.len() as u64,
            equal,
            win_rate: mean(Verdict::mean)?,
            win_rate_length_controlled: Estimate::of(groups.len(), |drawn| {
                let points = groups.iter().zip(drawn).flat_map(|(group, &times)| {
                    group
                        .iter()
                        .map(move |v| (length_term(v, spread), v.mean(), f64::from(times)))
                });
                intercept(&points.collect::<Vec<_>>()).map(sigmoid)
            }),
            consistent: mean(|v| {
                let (a, b) = (v.shown_first - 0.5, v.shown_second - 0.5);
                f64::from(u8::from(a * b > 0.0))
            })?,
            first_place_bias: mean(|v| (v.shown_first - v.shown_second) / 2.0)?,
        })
    }

    pub(super) fn figures(&self, figures: &mut BTreeMap<String, f64>) {
        figures.insert("win_rate".to_owned(), self.win_rate.value);
        if let Some(controlled) = self.win_rate_length_controlled {
            figures.insert("win_rate_length_controlled".to_owned(), controlled.value);
        }
    }
}

fn difference(verdict: &Verdict) -> f64 {
    verdict.words_after as f64 - verdict.words_before as f64
}

/// The standard deviation of the differences in length, about zero.
fn spread(verdicts: &[Verdict]) -> f64 {
    let squares: f64 = verdicts.iter().map(|v| difference(v).powi(2)).sum();
    (squares / verdicts.len() as f64).sqrt()
}

fn length_term(verdict: &Verdict, spread: f64) -> f64 {
    if spread > 0.0 {
        (difference(verdict) / spread).tanh()
    } else {
        0.0
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The intercept of a logistic regression on one term: points of term, probability and weight.
fn intercept(points: &[(f64, f64, f64)]) -> Option<f64> {
    let (mut a, mut b) = (0.0_f64, 0.0_f64);
    for _ in 0..STEPS {
        let (mut ga, mut gb) = (-RIDGE * a, -RIDGE * b);
        let (mut haa, mut hab, mut hbb) = (RIDGE, 0.0, RIDGE);
        for &(x, y, weight) in points {
            let p = sigmoid(a + b * x);
            let (gradient, curve) = (weight * (y - p), weight * p * (1.0 - p));
            ga += gradient;
            gb += gradient * x;
            haa += curve;
            hab += curve * x;
            hbb += curve * x * x;
        }
        let det = haa * hbb - hab * hab;
        if det.abs() < f64::MIN_POSITIVE {
            return None;
        }
        let (da, db) = ((hbb * ga - hab * gb) / det, (haa * gb - hab * ga) / det);
        // Far from the solution a whole step may overshoot.
        let scale = (2.0 / da.abs().max(db.abs()).max(2.0)).min(1.0);
        a += scale * da;
        b += scale * db;
        if da.abs() + db.abs() < 1e-10 {
            break;
        }
    }
    a.is_finite().then_some(a)
}
