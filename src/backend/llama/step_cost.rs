//! What a decode step costs by the number of its rows, and how many guesses are worth theirs. Pure.

/// The most tokens proposed at once.
pub const MOST: usize = 48;

/// Sizes are gathered in classes: 1, 2, 3–4, 5–8, and so on; the last one is open.
const CLASSES: usize = 10;

/// How much a measured step weighs against the next one of its class.
const FADE: f64 = 0.9;

/// What a further row is taken to cost, as a share of a step of one row, before steps of other sizes were
/// measured. With this program's own products a processor takes about this; where rows are dearer or nearly
/// free, the first guesses show it.
const FURTHER: f64 = 0.3;

/// How much steps of a class must weigh before they are believed: three of them do. Were one enough, a step that
/// something else held up would end all guessing, and with it every chance to learn better.
const BELIEVED: f64 = 2.5;

/// How much faster a step with guesses has to be than one without, since both are estimates.
const WORTH: f64 = 1.03;

/// The time that steps took, by their size.
#[derive(Clone, Debug, Default)]
pub struct StepCost([Class; CLASSES]);

/// Fading sums over the steps of a class.
#[derive(Clone, Copy, Debug, Default)]
struct Class {
    weight: f64,
    rows: f64,
    seconds: f64,
}

impl StepCost {
    /// A step of `rows` rows took `seconds`.
    pub fn observe(&mut self, rows: usize, seconds: f64) {
        let class = (usize::BITS - rows.saturating_sub(1).leading_zeros()) as usize;
        let class = &mut self.0[class.min(CLASSES - 1)];
        class.weight = class.weight * FADE + 1.0;
        class.rows = class.rows * FADE + rows as f64;
        class.seconds = class.seconds * FADE + seconds;
    }

    /// Seconds that a step of `rows` rows takes: between two sizes that were measured on the line through
    /// them, elsewhere as [`FURTHER`] has it. `None` before anything was measured.
    pub fn seconds(&self, rows: usize) -> Option<f64> {
        let rows = rows as f64;
        let enough = match self.0.iter().any(|class| class.weight > BELIEVED) {
            true => BELIEVED,
            false => 0.0,
        };
        let mut known = self.0.iter().filter(|class| class.weight > enough);
        let mut below: Option<(f64, f64)> = None;
        let above = known.find_map(|class| {
            let point = (class.rows / class.weight, class.seconds / class.weight);
            if point.0 >= rows {
                return Some(point);
            }
            below = Some(point);
            None
        });
        let scaled = |(at, seconds): (f64, f64)| seconds * prior(rows) / prior(at);
        match (below, above) {
            (Some((r0, s0)), Some((r1, s1))) => {
                // More rows never take less time; where they seem to, it was noise.
                Some(s0 + (s1 - s0).max(0.0) * (rows - r0) / (r1 - r0))
            }
            (Some(point), None) | (None, Some(point)) => Some(scaled(point)),
            (None, None) => None,
        }
    }

    /// How many tokens are worth proposing beside `rows` rows that are sure to count: as many as make most
    /// tokens a second. `chances` gives for each how likely it is right when those before it are.
    pub fn worthwhile(&self, chances: impl Iterator<Item = f64>, rows: usize) -> usize {
        let Some(alone) = self.seconds(rows) else {
            return 0;
        };
        let mut best = (0, WORTH * rows as f64 / alone);
        let (mut chance, mut expected) = (1.0, rows as f64);
        for (count, next) in (1..=MOST).zip(chances) {
            chance *= next;
            expected += chance;
            let speed = self.seconds(rows + count).map_or(0.0, |s| expected / s);
            if speed > best.1 {
                best = (count, speed);
            }
        }
        best.0
    }
}

/// The time of a step in steps of one row, before anything was measured.
fn prior(rows: f64) -> f64 {
    1.0 + FURTHER * (rows - 1.0).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::iter::repeat;

    fn measured(seconds: impl Fn(f64) -> f64, sizes: &[usize]) -> StepCost {
        let mut cost = StepCost::default();
        for &rows in sizes {
            for _ in 0..3 {
                cost.observe(rows, seconds(rows as f64));
            }
        }
        cost
    }

    #[test]
    fn nothing_is_proposed_before_a_step_was_measured() {
        assert_eq!(StepCost::default().worthwhile(repeat(0.99), 1), 0);
    }

    #[test]
    fn cheap_rows_make_long_proposals_and_dear_ones_none() {
        let cheap = measured(|rows| 0.010 + 0.001 * rows, &[1, 8, 64]);
        assert_eq!(cheap.worthwhile(repeat(0.999), 1), MOST);
        assert!((4..=20).contains(&cheap.worthwhile(repeat(0.8), 1)));
        let dear = measured(|rows| 0.010 * rows, &[1, 8, 64]);
        assert_eq!(dear.worthwhile(repeat(0.95), 1), 0);
        assert_eq!(cheap.worthwhile(repeat(0.05), 1), 0);
    }

    #[test]
    fn what_pays_alone_does_not_beside_many_rows() {
        // A row costs less in larger steps, but a full step is fast already.
        let cost = measured(
            |rows| 0.001 + 0.001 * rows.powf(0.9),
            &[1, 2, 4, 8, 16, 32, 64],
        );
        assert!(cost.worthwhile(repeat(0.97), 1) > 8);
        assert_eq!(cost.worthwhile(repeat(0.85), 32), 0);
    }

    #[test]
    fn the_cost_of_a_size_is_read_from_its_neighbours() {
        let mut cost = StepCost::default();
        assert_eq!(cost.seconds(1), None);
        for _ in 0..3 {
            cost.observe(1, 0.010);
        }
        assert!((cost.seconds(9).unwrap() - 0.010 * prior(9.0)).abs() < 1e-12);
        for _ in 0..50 {
            cost.observe(9, 0.030);
        }
        assert!((cost.seconds(5).unwrap() - 0.020).abs() < 1e-4);
        assert!((cost.seconds(17).unwrap() - 0.030 * prior(17.0) / prior(9.0)).abs() < 1e-4);
    }

    #[test]
    fn one_slow_step_does_not_end_all_guessing() {
        let mut cost = measured(|rows| 0.005 + 0.002 * rows, &[2]);
        let before = cost.worthwhile(repeat(0.9), 2);
        assert!(before > 1, "{before}");
        cost.observe(2 + before, 1.0);
        assert_eq!(cost.worthwhile(repeat(0.9), 2), before);
        cost.observe(2 + before, 1.0);
        cost.observe(2 + before, 1.0);
        assert_eq!(cost.worthwhile(repeat(0.9), 2), 0);
    }

    proptest! {
        #[test]
        fn estimates_are_finite_whatever_was_measured(
            steps in prop::collection::vec((1usize..600, 1e-6f64..10.0), 1..40),
            acceptance in 0.0f64..1.0,
        ) {
            let mut cost = StepCost::default();
            for (rows, seconds) in steps {
                cost.observe(rows, seconds);
            }
            for rows in 1..700 {
                let (a, b) = (cost.seconds(rows).unwrap(), cost.seconds(rows + 1).unwrap());
                prop_assert!(a.is_finite() && a > 0.0 && b.is_finite());
            }
            prop_assert!(cost.worthwhile(repeat(acceptance), 3) <= MOST);
        }
    }
}
