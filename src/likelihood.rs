//! What rows of logits say of a text: how likely its tokens are, and how far two models lie apart on them.
//!
//! A row holds one logit for every token of the vocabulary, as the model gives them for the place behind the
//! tokens so far. Everything here is arithmetic on such rows, in double precision.

use serde::Serialize;

/// How many tokens are told apart in [`Gap::kl_top`]; the others count as one.
pub const TOP: usize = 64;

/// A text to be read token by token.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// What is answered; empty for a text that stands alone.
    pub messages: Vec<crate::generation::Message>,
    /// The text itself: the reply to the messages, where there are any.
    pub text: String,
}

/// A token of a text and what the model thought of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenScore {
    /// Its number in the vocabulary.
    pub token: u32,
    /// Its log-probability, natural, given everything before it.
    pub logprob: f64,
    /// The tokens that the model thought likeliest at this place, with their logits, the likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// How far two models lie apart at one token of a text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// Log-probability of the token under the first model.
    pub first: f64,
    /// Log-probability of the token under the second one.
    pub second: f64,
    /// Kullback-Leibler divergence of the second from the first over the whole vocabulary, in nats.
    pub kl: f64,
    /// The same over the [`TOP`] tokens likeliest under the first, all others taken together as one. It is
    /// never above `kl`.
    pub kl_top: f64,
    /// Whether both think the same token likeliest.
    pub same_top: bool,
}

/// Whether a row says anything: none of its logits is no number, and the greatest is finite. Single tokens may have no
/// likelihood at all.
pub fn is_sound(row: &[f32]) -> bool {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    most.is_finite() && !row.iter().any(|logit| logit.is_nan())
}

/// The logarithm of the sum of the exponentials; what a logit has to be lessened by to be a log-probability.
fn log_sum(row: &[f32]) -> f64 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let most = f64::from(most);
    let sum: f64 = row.iter().map(|&l| (f64::from(l) - most).exp()).sum();
    most + sum.ln()
}

/// The `count` greatest logits of a row with their tokens, the greatest first.
fn greatest(row: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < all.len() {
        all.select_nth_unstable_by(count, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all
}

fn at(row: &[f32], token: u32) -> f64 {
    row.get(token as usize)
        .map_or(f64::NEG_INFINITY, |&logit| f64::from(logit))
}

/// What a row says of the token that stands at its place; `top` likeliest tokens are listed.
pub fn score(row: &[f32], token: u32, top: usize) -> TokenScore {
    TokenScore {
        token,
        logprob: at(row, token) - log_sum(row),
        top: greatest(row, top),
    }
}

/// How far two rows for the same place lie apart. Both must be of the same vocabulary.
pub fn gap(first: &[f32], second: &[f32], token: u32) -> Gap {
    let (sum_first, sum_second) = (log_sum(first), log_sum(second));
    let kl: f64 = first
        .iter()
        .zip(second)
        .map(|(&a, &b)| {
            let a = f64::from(a) - sum_first;
            term(a, f64::from(b) - sum_second)
        })
        .sum();
    let top = greatest(first, TOP);
    let (mut kl_top, mut rest_first, mut rest_second) = (0.0, 1.0, 1.0);
    for &(token, logit) in &top {
        let a = f64::from(logit) - sum_first;
        let b = at(second, token) - sum_second;
        kl_top += term(a, b);
        rest_first -= a.exp();
        rest_second -= b.exp();
    }
    if rest_first > f64::EPSILON && rest_second > f64::EPSILON {
        kl_top += term(rest_first.ln(), rest_second.ln());
    }
    Gap {
        first: at(first, token) - sum_first,
        second: at(second, token) - sum_second,
        // Rounding may leave something below zero where the rows are equal.
        kl: kl.max(0.0),
        kl_top: kl_top.max(0.0),
        same_top: top.first().map(|t| t.0) == greatest(second, 1).first().map(|t| t.0),
    }
}

/// One term of the divergence, of two log-probabilities.
fn term(a: f64, b: f64) -> f64 {
    let p = a.exp();
    if p > 0.0 { p * (a - b) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_scored_by_its_share() {
        let row = [0.0, 3.0_f32.ln(), f32::NEG_INFINITY];
        let scored = score(&row, 1, 2);
        assert!((scored.logprob - 0.75_f64.ln()).abs() < 1e-6);
        assert_eq!(scored.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(score(&row, 2, 0).logprob, f64::NEG_INFINITY);
    }

    #[test]
    fn the_divergence_is_the_one_of_the_book() {
        // Shares 1/2, 1/2 against 1/4, 3/4: half the logarithm of 4/3.
        let gap = gap(&[1.0, 1.0], &[0.0, 3.0_f32.ln()], 0);
        assert!(
            (gap.kl - 0.5 * (4.0_f64 / 3.0).ln()).abs() < 1e-6,
            "{gap:?}"
        );
        assert!((gap.first - 0.5_f64.ln()).abs() < 1e-6);
        assert!((gap.second - 0.25_f64.ln()).abs() < 1e-6);
        assert!(!gap.same_top, "a tie goes to the token that comes first");
    }

    #[test]
    fn a_row_is_sound_where_its_logits_are_numbers() {
        assert!(is_sound(&[0.0, f32::NEG_INFINITY, -3.0]));
        assert!(!is_sound(&[]));
        for bad in [
            [1.0, f32::NAN],
            [f32::INFINITY, 1.0],
            [f32::NEG_INFINITY, f32::NEG_INFINITY],
        ] {
            assert!(!is_sound(&bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_divergence_between_equal_rows(row in prop::collection::vec(-20.0f32..20.0, 1..200)) {
            let gap = gap(&row, &row, 0);
            prop_assert!(gap.kl < 1e-9 && gap.kl_top < 1e-9 && gap.same_top);
        }

        #[test]
        fn lumping_tokens_together_never_adds(
            rows in prop::collection::vec((-20.0f32..20.0, -20.0f32..20.0), 2..300),
            shift in -5.0f32..5.0,
        ) {
            let first: Vec<f32> = rows.iter().map(|r| r.0).collect();
            let second: Vec<f32> = rows.iter().map(|r| r.1).collect();
            let apart = gap(&first, &second, 1);
            prop_assert!(apart.kl >= 0.0 && apart.kl_top <= apart.kl + 1e-6, "{apart:?}");
            // What is added to all logits alike says nothing.
            let shifted: Vec<f32> = second.iter().map(|l| l + shift).collect();
            prop_assert!((gap(&first, &shifted, 1).kl - apart.kl).abs() < 1e-3);
        }
    }
}
