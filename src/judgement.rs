//! Judgements: which of two responses is better, read from the probabilities of two letters.
//!
//! Models favour a place, most often the first. So every pair is asked twice, each text once as (A) and
//! once as (B), and the mean of both answers stands. Probabilities are rounded to multiples of 2⁻⁵⁰, so
//! that sums and means of them are exact: **the pair the other way round has exactly the probability
//! 1 − p**.

use serde::{Deserialize, Serialize};

use crate::chain::Call;

/// Probabilities are multiples of this, 2⁻⁵⁰.
const GRAIN: f64 = 1.0 / (1u64 << 50) as f64;

/// Where judgements after reasoning are held to (Bai et al. 2022): they are near 0 or 1 otherwise, since a
/// model that has argued for an answer is sure of it.
pub const CLAMP: (f64, f64) = (0.4, 0.6);

/// Which texts of a chain are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PairKind {
    /// The draft with the final text.
    FirstLast,
    /// The draft with each adopted revision.
    DraftEach,
    /// Each response with the one that follows it.
    Adjacent,
    /// The draft with the revision that does best against it.
    Best,
}

impl PairKind {
    /// The name used on the command line and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            PairKind::FirstLast => "first-last",
            PairKind::DraftEach => "draft-each",
            PairKind::Adjacent => "adjacent",
            PairKind::Best => "best",
        }
    }
}

/// How a judgement is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The letter at once.
    Choice,
    /// Reasons first, several times over.
    Cot,
}

impl Mode {
    /// The name used on the command line and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Choice => "choice",
            Mode::Cot => "cot",
        }
    }
}

/// Which text is shown first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The first text of the pair is (A).
    Ab,
    /// The second text of the pair is (A).
    Ba,
}

impl Order {
    /// Both, in the order in which they are asked.
    pub const BOTH: [Order; 2] = [Order::Ab, Order::Ba];

    /// The name used in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Order::Ab => "ab",
            Order::Ba => "ba",
        }
    }
}

/// The probability that the second text of a pair is the better one, in both orders.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Preference {
    /// Where the first text was shown as (A).
    pub p_ab: f64,
    /// Where the second text was shown as (A).
    pub p_ba: f64,
}

impl Preference {
    /// From P(A) in each order; `None` unless both are probabilities.
    pub fn from_letters(a_in_ab: f64, a_in_ba: f64) -> Option<Self> {
        let valid = |p: f64| (0.0..=1.0).contains(&p);
        (valid(a_in_ab) && valid(a_in_ba)).then(|| Self {
            p_ab: 1.0 - round(a_in_ab),
            p_ba: round(a_in_ba),
        })
    }

    /// The mean of several, such as one for each principle; `None` for none.
    pub fn mean(all: &[Preference]) -> Option<Self> {
        let count = all.len() as f64;
        // About one half, where rounding is the same on both sides.
        let mean = |p: fn(&Preference) -> f64| {
            let sum: f64 = all.iter().map(|preference| p(preference) - 0.5).sum();
            0.5 + round(sum / count)
        };
        (!all.is_empty()).then(|| Self {
            p_ab: mean(|preference| preference.p_ab),
            p_ba: mean(|preference| preference.p_ba),
        })
    }

    /// The probability that the second text is the better one: the mean of both orders, clamped where the
    /// model reasoned first.
    pub fn p(self, mode: Mode) -> f64 {
        let mean = f64::midpoint(self.p_ab, self.p_ba);
        match mode {
            Mode::Choice => mean,
            Mode::Cot => mean.clamp(CLAMP.0, CLAMP.1),
        }
    }

    /// Whether both orders prefer the same text. An even answer prefers none.
    pub fn agrees(self) -> bool {
        (self.p_ab > 0.5 && self.p_ba > 0.5) || (self.p_ab < 0.5 && self.p_ba < 0.5)
    }

    /// The same for the pair the other way round.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self {
            p_ab: 1.0 - self.p_ba,
            p_ba: 1.0 - self.p_ab,
        }
    }
}

/// To the nearest multiple of [`GRAIN`]; halves away from zero, so that −x goes where x goes.
fn round(p: f64) -> f64 {
    (p / GRAIN).round() * GRAIN
}

/// What one principle says of a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Vote {
    /// The principle.
    pub principle: String,
    /// What the model prefers under it; after reasoning, the mean over the samples.
    pub preference: Preference,
    /// The model calls it took.
    pub calls: Vec<(Order, Call)>,
}

/// A pair of texts of one chain, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Why these two were compared.
    pub kind: PairKind,
    /// The step that wrote the first text, by its ordinal.
    pub first: u32,
    /// The step that wrote the second text.
    pub second: u32,
    /// One for each principle that was drawn; never empty.
    pub votes: Vec<Vote>,
    /// The mean of the votes.
    pub preference: Preference,
    /// The probability that the second text is the better one.
    pub p: f64,
}

impl Judgement {
    /// A judgement from its votes; `None` without any.
    pub fn new(
        kind: PairKind,
        (first, second): (u32, u32),
        mode: Mode,
        votes: Vec<Vote>,
    ) -> Option<Self> {
        let all: Vec<_> = votes.iter().map(|vote| vote.preference).collect();
        let preference = Preference::mean(&all)?;
        Some(Self {
            kind,
            first,
            second,
            votes,
            preference,
            p: preference.p(mode),
        })
    }

    /// P(second) − P(first), −1 to 1.
    pub fn margin(&self) -> f64 {
        2.0 * self.p - 1.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn preference() -> impl Strategy<Value = Preference> {
        (0.0..=1.0f64, 0.0..=1.0f64).prop_map(|(ab, ba)| Preference::from_letters(ab, ba).unwrap())
    }

    #[test]
    fn a_favoured_place_alone_prefers_nothing() {
        let preference = Preference::from_letters(0.9, 0.9).unwrap();
        assert_eq!(preference.p(Mode::Choice), 0.5);
        assert!(!preference.agrees());
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        for bad in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
            assert_eq!(Preference::from_letters(bad, 0.5), None);
            assert_eq!(Preference::from_letters(0.5, bad), None);
        }
        assert_eq!(Preference::mean(&[]), None);
    }

    #[test]
    fn reasons_do_not_make_certain() {
        let sure = Preference::from_letters(0.0, 1.0).unwrap();
        assert_eq!((sure.p(Mode::Choice), sure.p(Mode::Cot)), (1.0, 0.6));
        assert_eq!(sure.swapped().p(Mode::Cot), 0.4);
    }

    proptest! {
        #[test]
        fn the_pair_the_other_way_round_is_exactly_one_minus(
            all in prop::collection::vec(preference(), 1..8),
            cot in any::<bool>(),
        ) {
            let mode = if cot { Mode::Cot } else { Mode::Choice };
            let mean = Preference::mean(&all).unwrap();
            let swapped: Vec<_> = all.iter().map(|one| one.swapped()).collect();
            let other = Preference::mean(&swapped).unwrap();
            prop_assert_eq!(other, mean.swapped());
            prop_assert_eq!(other.p(mode), 1.0 - mean.p(mode));
            prop_assert_eq!(mean.p(mode), 1.0 - other.p(mode));
            prop_assert_eq!(other.agrees(), mean.agrees());
            prop_assert_eq!(mean.swapped().swapped(), mean);
        }

        #[test]
        fn swapping_is_what_the_letters_say(ab in 0.0..=1.0f64, ba in 0.0..=1.0f64) {
            // Judging (y, x) shows y first where judging (x, y) shows it second.
            let pair = Preference::from_letters(ab, ba).unwrap();
            prop_assert_eq!(Preference::from_letters(ba, ab).unwrap(), pair.swapped());
            prop_assert!((pair.p(Mode::Choice) - (1.0 - ab + ba) / 2.0).abs() < 1e-12);
        }
    }
}
