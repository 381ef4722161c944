//! What is handed out of the overview to be counted while nobody else waits for it.

use super::{Known, Mark, MarkedStep, Question};

/// A chain that is done.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Done {
    /// Its key.
    pub key: i64,
    /// Its place in its run.
    pub position: i64,
    /// Which response to the prompt it is.
    pub sample: u32,
    /// What it responds to.
    pub question: Question,
    /// The key of the draft's text. Texts are kept once, so equal texts have equal keys.
    pub draft: Option<i64>,
    /// The key of the final text.
    pub last: Option<i64>,
    /// Whether a revision was adopted.
    pub revised: bool,
}

/// Steps about principles, chain by chain, those of a chain in order.
pub(in crate::store) struct Histories {
    marks: Vec<Mark>,
    steps: Vec<MarkedStep>,
    /// By chain: where its steps end.
    ends: Vec<usize>,
}

impl Histories {
    /// Of chains by their places.
    pub(super) fn of(known: &Known, places: impl Iterator<Item = usize>) -> Self {
        let (mut steps, mut ends): (Vec<MarkedStep>, Vec<usize>) = (Vec::new(), Vec::new());
        for place in places {
            let begin = steps.len();
            steps.extend(known.steps.items(known.chains[place].steps));
            // The last one came first.
            steps[begin..].reverse();
            ends.push(steps.len());
        }
        Self {
            marks: known.marks.all().to_vec(),
            steps,
            ends,
        }
    }

    /// Marks by number.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The principles that marks name, in order, and by mark the place of its principle among them.
    pub fn principles(&self) -> (Vec<&str>, Vec<usize>) {
        let mut names: Vec<&str> = self.marks.iter().map(|m| m.principle.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let place = |mark: &Mark| names.partition_point(|name| *name < mark.principle.as_str());
        let places = self.marks.iter().map(place).collect();
        (names, places)
    }

    /// The steps of each chain.
    pub fn chains(&self) -> impl Iterator<Item = &[MarkedStep]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let ends = self.ends.iter().copied();
        begins.zip(ends).map(|(from, to)| &self.steps[from..to])
    }
}
