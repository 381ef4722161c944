//! How far a model has moved, read from its probabilities on text that it was not trained on.
//!
//! Forgetting shows here before a benchmark shows it: a model that still answers its suite may already think
//! other words likely everywhere else.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Estimate;
use crate::likelihood::Gap;

/// Texts that moved most, as many as are named.
const NAMED: usize = 5;

/// Figures over all tokens of all texts; intervals by bootstrap over texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// Texts with at least one token.
    pub texts: u64,
    /// Tokens.
    pub tokens: u64,
    /// Texts that are longer than the context and were cut to it.
    pub cut: u64,
    /// Mean Kullback-Leibler divergence of after from before, a token, over the whole vocabulary, in nats.
    pub kl: Estimate,
    /// The same over the tokens likeliest before, all others taken together as one.
    pub kl_top: Estimate,
    /// The share of places at which both think the same token likeliest.
    pub same_top: Estimate,
    /// Perplexity before.
    pub perplexity_before: Estimate,
    /// Perplexity after.
    pub perplexity: Estimate,
    /// After by before; above 1 the texts have become less likely.
    pub perplexity_ratio: Estimate,
    /// The texts with the highest mean divergence.
    pub furthest: Vec<(String, f64)>,
}

/// What is summed over the tokens of a text.
#[derive(Clone, Copy, Default)]
struct Sums {
    tokens: f64,
    kl: f64,
    kl_top: f64,
    same: f64,
    first: f64,
    second: f64,
}

impl Sums {
    fn of(gaps: &[Gap]) -> Self {
        let mut sums = Self::default();
        for gap in gaps {
            sums.add(
                &Self {
                    tokens: 1.0,
                    kl: gap.kl,
                    kl_top: gap.kl_top,
                    same: f64::from(u8::from(gap.same_top)),
                    first: gap.first,
                    second: gap.second,
                },
                1.0,
            );
        }
        sums
    }

    fn add(&mut self, other: &Self, times: f64) {
        self.tokens += times * other.tokens;
        self.kl += times * other.kl;
        self.kl_top += times * other.kl_top;
        self.same += times * other.same;
        self.first += times * other.first;
        self.second += times * other.second;
    }
}

impl Drift {
    /// Figures of texts, each with its name and what was found at its tokens; `cut` of them were too long. `None`
    /// without a token.
    pub fn new(texts: &[(String, Vec<Gap>)], cut: u64) -> Option<Self> {
        let texts: Vec<(&String, Sums)> = texts
            .iter()
            .map(|(name, gaps)| (name, Sums::of(gaps)))
            .filter(|(_, sums)| sums.tokens > 0.0)
            .collect();
        let figure = |of: fn(&Sums) -> f64| {
            Estimate::of(texts.len(), |drawn| {
                let mut all = Sums::default();
                for ((_, sums), &times) in texts.iter().zip(drawn) {
                    all.add(sums, f64::from(times));
                }
                Some(of(&all))
            })
        };
        let mut furthest: Vec<(String, f64)> = texts
            .iter()
            .map(|(name, sums)| ((*name).clone(), sums.kl / sums.tokens))
            .collect();
        furthest.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        furthest.truncate(NAMED);
        Some(Self {
            texts: texts.len() as u64,
            tokens: texts.iter().map(|(_, sums)| sums.tokens).sum::<f64>() as u64,
            cut,
            kl: figure(|s| s.kl / s.tokens)?,
            kl_top: figure(|s| s.kl_top / s.tokens)?,
            same_top: figure(|s| s.same / s.tokens)?,
            perplexity_before: figure(|s| (-s.first / s.tokens).exp())?,
            perplexity: figure(|s| (-s.second / s.tokens).exp())?,
            perplexity_ratio: figure(|s| ((s.first - s.second) / s.tokens).exp())?,
            furthest,
        })
    }

    pub(super) fn figures(&self, figures: &mut BTreeMap<String, f64>) {
        let named = [
            ("drift", self.kl),
            ("drift_top", self.kl_top),
            ("same_top", self.same_top),
            ("perplexity", self.perplexity),
            ("perplexity_before", self.perplexity_before),
            ("perplexity_ratio", self.perplexity_ratio),
        ];
        figures.extend(named.map(|(name, estimate)| (name.to_owned(), estimate.value)));
    }
}
