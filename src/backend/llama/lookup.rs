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
    fn acceptance_falls_where_little_fits() {
        let mut lookup = Lookup::new((0..100).collect(), true);
        let other: Vec<u32> = (0..60)
            .map(|i| if i % 3 == 2 { 1000 + i } else { i })
            .collect();
        steps(&mut lookup, &other, 8);
        assert!(lookup.acceptance() < 0.7, "{lookup:?}");
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
