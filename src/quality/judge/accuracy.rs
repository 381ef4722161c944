//! How good a judge is: figures over labelled comparisons.

use serde::Serialize;

use super::labelled::Scored;
use crate::statistics::{Interval, wilson_of_halves};

/// Bins of confidence, from 0.5 to 1.
pub const BINS: usize = 10;

/// A share of some trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Share {
    /// How often; ties count half and are rounded down.
    pub hits: u64,
    /// Out of how many.
    pub of: u64,
    /// The share; `None` without trials.
    pub share: Option<f64>,
    /// Its 95 % interval (Wilson).
    pub interval: Option<Interval>,
}

/// One bin of confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Where it begins; it is 0.05 wide.
    pub from: f64,
    /// Comparisons in it.
    pub count: u64,
    /// Mean confidence: the probability of the preferred answer.
    pub confidence: f64,
    /// The share that is right.
    pub accuracy: f64,
}

/// Figures of a judge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Comparisons that were answered.
    pub comparisons: u64,
    /// How many of them in one order only, since the other one cannot be made.
    pub one_order: u64,
    /// The right answer is preferred, by the mean of both orders.
    pub accuracy: Share,
    /// The same, with the right answer offered first, in that order alone.
    pub right_first: Share,
    /// The same with the right answer offered second.
    pub right_second: Share,
    /// Both orders prefer the same answer.
    pub agree: Share,
    /// The right answer is preferred where the orders agree.
    pub accuracy_where_agreed: Share,
    /// The answer that is offered first is preferred, over all answers in all orders; 0.5 without a bias where
    /// both orders are asked.
    pub prefers_first: Share,
    /// The longer answer is preferred, where one is longer.
    pub prefers_longer: Share,
    /// The longer answer is the right one.
    pub longer_is_right: Share,
    /// The right answer is preferred where it is the longer one.
    pub accuracy_longer: Share,
    /// The right answer is preferred where it is the shorter one.
    pub accuracy_shorter: Share,
    /// Mean of (1 − P(right))²: 0 is perfect, 0.25 is what 0.5 for everything gives.
    pub brier: Option<f64>,
    /// Expected calibration error: the mean distance of confidence and accuracy over the bins, by count.
    pub ece: Option<f64>,
    /// The bins.
    pub bins: Vec<Bin>,
}

/// Gathers scored comparisons.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    comparisons: u64,
    one_order: u64,
    accuracy: Counter,
    right_first: Counter,
    right_second: Counter,
    agree: Counter,
    neither: u64,
    accuracy_where_agreed: Counter,
    prefers_first: Counter,
    prefers_longer: Counter,
    longer_is_right: Counter,
    accuracy_longer: Counter,
    accuracy_shorter: Counter,
    squares: f64,
    bins: [(u64, f64, f64); BINS],
}

/// Halves, so that ties can be added up exactly.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    halves: u64,
    of: u64,
}

impl Counter {
    /// Counts a probability: above one half is a hit, exactly one half is half of one.
    fn add(&mut self, p: f64) {
        self.halves += hit(p);
        self.of += 1;
    }

    fn share(self) -> Share {
        Share {
            hits: self.halves / 2,
            of: self.of,
            share: (self.of > 0).then(|| self.halves as f64 / 2.0 / self.of as f64),
            interval: wilson_of_halves(self.halves, self.of),
        }
    }
}

/// 2 for a hit, 1 for a tie.
fn hit(p: f64) -> u64 {
    match p.total_cmp(&0.5) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => 1,
        std::cmp::Ordering::Greater => 2,
    }
}

impl Tally {
    /// Comparisons in which neither answer is preferred, whichever is shown first.
    pub fn preferring_neither(&self) -> u64 {
        self.neither
    }

    /// Adds a comparison.
    pub fn add(&mut self, scored: &Scored) {
        self.comparisons += 1;
        self.accuracy.add(scored.p);
        if let Some(p) = scored.right_first {
            self.right_first.add(p);
            self.prefers_first.add(p);
        }
        if let Some(p) = scored.right_second {
            self.right_second.add(p);
            self.prefers_first.add(1.0 - p);
        }
        match scored.agrees() {
            None => self.one_order += 1,
            Some(agrees) => {
                let both = [scored.right_first, scored.right_second];
                self.neither += u64::from(both == [Some(0.5); 2]);
                self.agree.add(f64::from(agrees));
                if agrees {
                    self.accuracy_where_agreed.add(scored.p);
                }
            }
        }
        if let Some(right_longer) = scored.right_longer {
            self.longer_is_right.add(f64::from(right_longer));
            let (prefers, group) = match right_longer {
                true => (scored.p, &mut self.accuracy_longer),
                false => (1.0 - scored.p, &mut self.accuracy_shorter),
            };
            self.prefers_longer.add(prefers);
            group.add(scored.p);
        }
        self.squares += (1.0 - scored.p) * (1.0 - scored.p);
        let confidence = scored.p.max(1.0 - scored.p);
        let bin = ((confidence - 0.5) * 2.0 * BINS as f64) as usize;
        let bin = &mut self.bins[bin.min(BINS - 1)];
        bin.0 += 1;
        bin.1 += confidence;
        bin.2 += hit(scored.p) as f64 / 2.0;
    }

    /// How many comparisons were added.
    pub fn len(&self) -> u64 {
        self.comparisons
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.comparisons == 0
    }

    /// The figures.
    pub fn figures(&self) -> Accuracy {
        let bins: Vec<Bin> = self.bins.iter().enumerate().map(bin).collect();
        let all = self.comparisons as f64;
        let distance = |bin: &Bin| bin.count as f64 / all * (bin.confidence - bin.accuracy).abs();
        let any = self.comparisons > 0;
        Accuracy {
            comparisons: self.comparisons,
            one_order: self.one_order,
            accuracy: self.accuracy.share(),
            right_first: self.right_first.share(),
            right_second: self.right_second.share(),
            agree: self.agree.share(),
            accuracy_where_agreed: self.accuracy_where_agreed.share(),
            prefers_first: self.prefers_first.share(),
            prefers_longer: self.prefers_longer.share(),
            longer_is_right: self.longer_is_right.share(),
            accuracy_longer: self.accuracy_longer.share(),
            accuracy_shorter: self.accuracy_shorter.share(),
            brier: any.then(|| self.squares / all),
            ece: any.then(|| bins.iter().map(distance).sum()),
            bins,
        }
    }
}

fn bin((index, &(count, confidence, right)): (usize, &(u64, f64, f64))) -> Bin {
    let mean = |sum: f64| if count > 0 { sum / count as f64 } else { 0.0 };
    Bin {
        from: 0.5 + index as f64 / (2 * BINS) as f64,
        count,
        confidence: mean(confidence),
        accuracy: mean(right),
    }
}
