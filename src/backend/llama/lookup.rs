//! Proposes the next tokens of a text that mostly repeats another one: a revision repeats the response it
//! revises, a quote the text it quotes. Pure.
//!
//! Proposals are decoded together with the token before them and compared with what the sequence's own
//! sampler draws at each place, so they change how fast a text is written and never which text. How many
//! to propose follows from how often they were right and from what a further row in a step costs; the
//! idea of guessing from text at hand is prompt lookup decoding (Saxena 2023), the acceptance rule that of
//! speculative decoding (Leviathan et al., arXiv 2211.17192).

/// The longest run of written tokens that is looked up.
const LONGEST: usize = 4;

/// The shortest: a single token is found anywhere.
const SHORTEST: usize = 2;

/// The most tokens proposed at once.
pub const MOST: usize = 16;

/// How much a past proposal weighs against the next one.
const FORGET: f64 = 0.92;

/// Proposes from one source text.
#[derive(Clone, Debug)]
pub struct Lookup {
    source: Vec<u32>,
    /// Where the source goes on, as far as it is known.
    at: Option<usize>,
    /// Weights of right and of wrong guesses.
    right: f64,
    wrong: f64,
}

impl Lookup {
    /// A lookup in the tokens of `source`. A text is first expected to begin as the source does when
    /// `from_start` is set; otherwise two tokens have to be written before anything is proposed.
    pub fn new(source: Vec<u32>, from_start: bool) -> Self {
        Self {
            at: (from_start && !source.is_empty()).then_some(0),
            source,
            right: 3.0,
            wrong: 1.0,
        }
    }

    /// The tokens that should come next, `most` at most.
    pub fn propose(&self, most: usize) -> &[u32] {
        match self.at {
            Some(at) => &self.source[at..(at + most).min(self.source.len())],
            None => &[],
        }
    }

    /// Probability that a proposed token is right, by what was seen so far.
    pub fn acceptance(&self) -> f64 {
        self.right / (self.right + self.wrong)
    }

    /// Takes note of tokens that were written, `written` being all of them, the last `new` not seen yet.
    pub fn observe(&mut self, written: &[u32], new: usize) {
        for end in written.len() - new.min(written.len())..written.len() {
            let token = written[end];
            if let Some(at) = self.at {
                let hit = self.source.get(at) == Some(&token);
                self.right = self.right * FORGET + f64::from(u8::from(hit));
                self.wrong = self.wrong * FORGET + f64::from(u8::from(!hit));
                self.at = hit.then_some(at + 1);
            }
            if self.at.is_none() {
                self.at = self.find(&written[..=end]);
            }
            self.at = self.at.filter(|&at| at < self.source.len());
        }
    }

    /// The place behind the longest run of the source that `written` ends in, the first one where there
    /// are several.
    fn find(&self, written: &[u32]) -> Option<usize> {
        (SHORTEST..=LONGEST.min(written.len())).rev().find_map(|n| {
            let tail = &written[written.len() - n..];
            self.source
                .windows(n)
                .position(|window| window == tail)
                .map(|start| start + n)
        })
    }
}

/// What a decode step costs by the number of its rows: a line through what was measured, the recent past
/// weighing more. Before there are two different sizes to draw it through, a further row is taken to cost
/// a little more than half of the first.
#[derive(Clone, Debug, Default)]
pub struct StepCost {
    n: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

/// How much a measured step weighs against the next one.
const FADE: f64 = 0.98;

impl StepCost {
    /// A step of `rows` rows took `seconds`.
    pub fn observe(&mut self, rows: usize, seconds: f64) {
        let rows = rows as f64;
        if self.n == 0.0 {
            // Eight rows cost about 4.7 times one on the processors that this was measured on.
            self.add(rows * 8.0, seconds * 4.7);
        }
        for sum in [
            &mut self.n,
            &mut self.x,
            &mut self.y,
            &mut self.xx,
            &mut self.xy,
        ] {
            *sum *= FADE;
        }
        self.add(rows, seconds);
    }

    fn add(&mut self, x: f64, y: f64) {
        self.n += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.xy += x * y;
    }

    /// What one more row costs, as a share of what a row costs on average in a step of `rows` rows; `None`
    /// before anything was measured.
    pub fn marginal(&self, rows: usize) -> Option<f64> {
        let spread = self.n * self.xx - self.x * self.x;
        if spread <= 0.0 {
            return None;
        }
        let slope = (self.n * self.xy - self.x * self.y) / spread;
        let base = (self.y - slope * self.x) / self.n;
        let average = base / rows.max(1) as f64 + slope;
        // A line through noise may fall, or rise too steeply; neither is what a processor does.
        (average > 0.0).then(|| (slope / average).clamp(0.05, 1.0))
    }
}

/// How many tokens are worth proposing: the i-th is right with probability `acceptance`ⁱ and costs
/// `marginal` of a row that is sure to count.
pub fn worthwhile(acceptance: f64, marginal: f64) -> usize {
    let mut chance = acceptance;
    let mut count = 0;
    while count < MOST && chance > marginal {
        count += 1;
        chance *= acceptance;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes `text` with the help of `lookup`, always proposing `most`; gives the number of steps.
    fn steps(lookup: &mut Lookup, text: &[u32], most: usize) -> usize {
        let (mut written, mut steps) = (0, 0);
        while written < text.len() {
            let right = lookup
                .propose(most)
                .iter()
                .zip(&text[written..])
                .take_while(|(a, b)| a == b)
                .count();
            let new = (right + 1).min(text.len() - written);
            written += new;
            steps += 1;
            lookup.observe(&text[..written], new);
        }
        steps
    }

    #[test]
    fn a_copy_is_written_in_leaps() {
        let text: Vec<u32> = (0..100).collect();
        let mut lookup = Lookup::new(text.clone(), true);
        assert_eq!(steps(&mut lookup, &text, 9), 10);
        assert!(lookup.acceptance() > 0.95);
    }

    #[test]
    fn an_edit_costs_little_and_the_copy_goes_on_behind_it() {
        let source: Vec<u32> = (0..100).collect();
        let mut text = source.clone();
        text.splice(40..45, [900, 901, 902]);
        let mut lookup = Lookup::new(source, true);
        assert!(steps(&mut lookup, &text, 9) < 20);
    }

    #[test]
    fn a_quote_is_found_anywhere_in_its_source() {
        let source: Vec<u32> = (0..100).collect();
        let mut lookup = Lookup::new(source, false);
        assert!(lookup.propose(8).is_empty());
        lookup.observe(&[50, 51], 2);
        assert_eq!(lookup.propose(3), [52, 53, 54]);
    }

    #[test]
    fn acceptance_falls_while_nothing_fits_and_nothing_is_proposed_any_more() {
        let mut lookup = Lookup::new((0..100).collect(), true);
        let other: Vec<u32> = (0..60)
            .map(|i| if i % 3 == 2 { 1000 + i } else { i })
            .collect();
        steps(&mut lookup, &other, 8);
        assert!(worthwhile(lookup.acceptance(), 0.8) == 0, "{lookup:?}");
    }

    #[test]
    fn cheap_rows_make_long_proposals_and_dear_ones_none() {
        assert_eq!(worthwhile(0.99, 0.3), MOST);
        assert_eq!(worthwhile(0.9, 0.55), 5);
        assert_eq!(worthwhile(0.5, 0.55), 0);
    }

    #[test]
    fn the_cost_of_a_row_is_read_from_what_steps_took() {
        let mut cost = StepCost::default();
        assert_eq!(cost.marginal(1), None);
        cost.observe(1, 0.010);
        assert!((cost.marginal(1).unwrap() - 0.53).abs() < 0.05);
        for rows in (1..=16).cycle().take(400) {
            cost.observe(rows, 0.008 + 0.002 * rows as f64);
        }
        assert!((cost.marginal(1).unwrap() - 0.2).abs() < 0.02);
        assert!((cost.marginal(16).unwrap() - 0.8).abs() < 0.02);
    }

    proptest! {
        #[test]
        fn proposals_come_from_the_source_and_are_no_longer_than_asked(
            source in prop::collection::vec(0u32..6, 0..60),
            text in prop::collection::vec(0u32..6, 0..80),
            most in 0usize..20,
        ) {
            let mut lookup = Lookup::new(source.clone(), true);
            for end in 1..=text.len() {
                lookup.observe(&text[..end], 1);
                let proposed = lookup.propose(most);
                prop_assert!(proposed.len() <= most);
                prop_assert!(
                    proposed.is_empty()
                        || source.windows(proposed.len()).any(|window| window == proposed)
                );
            }
        }
    }
}
