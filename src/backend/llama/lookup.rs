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

/// How much a past guess weighs against the next one of its class.
const FORGET: f64 = 0.95;

/// Guesses are more often right the longer they have been right in a row: classes by the length of the run,
/// each with the least length and how often a guess is taken to be right before it was seen.
const CLASSES: [(usize, f64); 5] = [(0, 0.7), (2, 0.8), (4, 0.88), (8, 0.94), (16, 0.97)];

/// How many guesses those first shares count as.
const PRIOR: f64 = 4.0;

/// Proposes from one source text.
#[derive(Clone, Debug)]
pub struct Lookup {
    source: Vec<u32>,
    /// Where the source goes on, as far as it is known.
    at: Option<usize>,
    /// Where it was last known to go on.
    last: usize,
    /// Written tokens that the source has as well, in a row up to the last one.
    run: usize,
    /// Weights of right and of wrong guesses, by class.
    right: [f64; CLASSES.len()],
    wrong: [f64; CLASSES.len()],
}

impl Lookup {
    /// A lookup in the tokens of `source`. A text is first expected to begin as the source does when
    /// `from_start` is set; otherwise two tokens have to be written before anything is proposed.
    pub fn new(source: Vec<u32>, from_start: bool) -> Self {
        Self {
            at: (from_start && !source.is_empty()).then_some(0),
            source,
            last: 0,
            run: 0,
            right: CLASSES.map(|(_, share)| PRIOR * share),
            wrong: CLASSES.map(|(_, share)| PRIOR * (1.0 - share)),
        }
    }

    /// The tokens that should come next, `most` at most.
    pub fn propose(&self, most: usize) -> &[u32] {
        match self.at {
            Some(at) => &self.source[at..(at + most).min(self.source.len())],
            None => &[],
        }
    }

    /// For each token that can be proposed, the probability that it is right when those before it are, by
    /// what was seen so far.
    pub fn chances(&self) -> impl Iterator<Item = f64> {
        let left = self.at.map_or(0, |at| self.source.len() - at);
        (self.run..self.run + left).map(|run| {
            let class = class(run);
            self.right[class] / (self.right[class] + self.wrong[class])
        })
    }

    /// Takes note of tokens that were written, `written` being all of them, the last `new` not seen yet.
    pub fn observe(&mut self, written: &[u32], new: usize) {
        for end in written.len() - new.min(written.len())..written.len() {
            let token = written[end];
            if let Some(at) = self.at {
                let hit = self.source.get(at) == Some(&token);
                let class = class(self.run);
                self.right[class] = self.right[class] * FORGET + f64::from(u8::from(hit));
                self.wrong[class] = self.wrong[class] * FORGET + f64::from(u8::from(!hit));
                self.last = at;
                self.at = hit.then_some(at + 1);
                self.run += 1;
            }
            if self.at.is_none() {
                (self.at, self.run) = match self.find(&written[..=end]) {
                    Some((at, run)) => (Some(at), run),
                    None => (None, 0),
                };
            }
            self.at = self.at.filter(|&at| at < self.source.len());
        }
    }

    /// The place behind the longest run of the source that `written` ends in, and the length of the run.
    /// Where there are several, the one nearest to where the source was lost: behind an edit, a copy mostly
    /// goes on close by.
    fn find(&self, written: &[u32]) -> Option<(usize, usize)> {
        (SHORTEST..=LONGEST.min(written.len())).rev().find_map(|n| {
            let tail = &written[written.len() - n..];
            let places = self.source.windows(n).enumerate();
            places
                .filter(|&(_, window)| window == tail)
                .map(|(start, _)| start + n)
                .min_by_key(|&at| at.abs_diff(self.last))
                .map(|at| (at, n))
        })
    }
}

/// The class of a guess that follows `run` right ones.
fn class(run: usize) -> usize {
    CLASSES
        .iter()
        .rposition(|&(least, _)| run >= least)
        .unwrap_or(0)
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
        lookup = Lookup::new(text.clone(), true);
        lookup.observe(&text[..60], 60);
        assert!(lookup.chances().all(|chance| chance > 0.97));
        assert_eq!(lookup.chances().count(), 40);
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
    fn guesses_are_trusted_less_where_few_were_right() {
        let mut lookup = Lookup::new((0..100).collect(), true);
        let other: Vec<u32> = (0..60)
            .map(|i| if i % 3 == 2 { 1000 + i } else { i })
            .collect();
        steps(&mut lookup, &other, 8);
        assert!(lookup.right[1] < 0.5 * lookup.wrong[1], "{lookup:?}");
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
