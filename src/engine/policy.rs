//! Policy: which principle next, and seeds that derive from what is being done and never from when.

use serde::{Deserialize, Serialize};

use crate::constitution::{Constitution, Principle, by_weight};
use crate::digest::Digest;
use crate::prompt::PromptId;

/// Which principles a chain is held to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Select {
    /// One principle a round, drawn by weight, each at most once until all were drawn.
    Sample,
    /// All active principles in every round, lower precedence first.
    All,
    /// These principles in every round, in this order.
    Ids(Vec<String>),
}

impl From<String> for Select {
    fn from(text: String) -> Self {
        match text.trim() {
            "sample" => Select::Sample,
            "all" => Select::All,
            list => Select::Ids(
                list.split(',')
                    .map(|id| id.trim().to_owned())
                    .filter(|id| !id.is_empty())
                    .collect(),
            ),
        }
    }
}

impl From<Select> for String {
    fn from(select: Select) -> Self {
        match select {
            Select::Sample => "sample".to_owned(),
            Select::All => "all".to_owned(),
            Select::Ids(ids) => ids.join(","),
        }
    }
}

/// The principles of one round, from 1: indices into `constitution.principles`.
pub fn principles_of_round(
    constitution: &Constitution,
    select: &Select,
    seed: ChainSeed<'_>,
    round: u32,
) -> Vec<usize> {
    let index = |wanted: &Principle| {
        constitution
            .principles
            .iter()
            .position(|principle| principle.id == wanted.id)
    };
    match select {
        Select::All => constitution
            .active()
            .into_iter()
            .filter_map(index)
            .collect(),
        Select::Ids(ids) => ids
            .iter()
            .filter_map(|id| constitution.principle(id))
            .filter_map(index)
            .collect(),
        Select::Sample => {
            let active = constitution.active();
            let drawable = active.iter().filter(|p| p.weight > 0.0).count();
            let Some(draw) = (round as usize).checked_sub(1).filter(|_| drawable > 0) else {
                return Vec::new();
            };
            let order = weighted_order(&active, seed, draw / drawable);
            order
                .get(draw % drawable)
                .and_then(|principle| index(principle))
                .into_iter()
                .collect()
        }
    }
}

/// The drawable principles in the random order of one epoch.
fn weighted_order<'a>(
    active: &[&'a Principle],
    seed: ChainSeed<'_>,
    epoch: usize,
) -> Vec<&'a Principle> {
    by_weight(active, &("principle", seed, epoch))
}

/// What every seed of a chain derives from.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ChainSeed<'a> {
    /// The seed of the run.
    pub run: u64,
    /// The prompt.
    pub prompt: &'a PromptId,
    /// The sample of the prompt.
    pub sample: u32,
}

impl ChainSeed<'_> {
    /// The seed of one model call of one step.
    pub fn step(self, ordinal: u32, attempt: u32) -> u32 {
        Digest::of(&("step", self, ordinal, attempt)).seed()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::testing::{constitution, principle};

    fn seed(prompt: &PromptId) -> ChainSeed<'_> {
        ChainSeed {
            run: 1,
            prompt,
            sample: 0,
        }
    }

    #[test]
    fn principles_are_drawn_by_the_digest_of_what_they_are_drawn_for() {
        let prompt = PromptId("a \"quoted\"] id".to_owned());
        let principles = ["a", "b", "c", "d"].map(principle);
        let active: Vec<_> = principles.iter().collect();
        let order = weighted_order(&active, seed(&prompt), 3);
        let hash = |p: &Principle| Digest::of(&("principle", seed(&prompt), 3, &p.id)).seed();
        let mut expected = active.clone();
        expected.sort_by_key(|p| std::cmp::Reverse(hash(p)));
        assert_eq!(order, expected);
    }

    #[test]
    fn draws_do_not_repeat_until_all_were_drawn() {
        let constitution = constitution(&["a", "b", "c"]);
        for n in 0..50 {
            let id = PromptId(n.to_string());
            let drawn: Vec<usize> = (1..=6)
                .flat_map(|r| principles_of_round(&constitution, &Select::Sample, seed(&id), r))
                .collect();
            for epoch in drawn.chunks(3) {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                assert_eq!(sorted, [0, 1, 2]);
            }
        }
    }

    #[test]
    fn weights_are_shares_and_zero_is_never_drawn() {
        let mut constitution = constitution(&["heavy", "light", "never"]);
        constitution.principles[0].weight = 3.0;
        constitution.principles[2].weight = 0.0;
        let mut counts = BTreeMap::new();
        for n in 0..4000 {
            let id = PromptId(n.to_string());
            let first = principles_of_round(&constitution, &Select::Sample, seed(&id), 1)[0];
            *counts.entry(first).or_insert(0) += 1;
        }
        assert!(!counts.contains_key(&2));
        let share = f64::from(counts[&0]) / 4000.0;
        assert!((share - 0.75).abs() < 0.03, "{share}");
    }

    #[test]
    fn all_follows_precedence_and_a_list_its_own_order() {
        let mut constitution = constitution(&["a", "b", "c"]);
        constitution.principles[2].precedence = -5;
        let id = PromptId("p".into());
        let all = principles_of_round(&constitution, &Select::All, seed(&id), 1);
        assert_eq!(all, [2, 0, 1]);
        let list = Select::from("b,a".to_owned());
        assert_eq!(
            principles_of_round(&constitution, &list, seed(&id), 2),
            [1, 0]
        );
    }

    #[test]
    fn adding_a_principle_keeps_the_order_of_the_others() {
        let few = constitution(&["a", "b", "c", "d"]);
        let mut more = few.clone();
        more.principles.push(principle("e"));
        let id = PromptId("p".into());
        let order = |c: &Constitution| {
            let active = c.active();
            weighted_order(&active, seed(&id), 0)
                .iter()
                .map(|p| p.id.clone())
                .collect::<Vec<_>>()
        };
        let kept: Vec<_> = order(&more).into_iter().filter(|id| id != "e").collect();
        assert_eq!(order(&few), kept);
    }

    #[test]
    fn seeds_differ_by_step_attempt_and_sample() {
        let id = PromptId("p".into());
        let a = seed(&id);
        let b = ChainSeed { sample: 1, ..a };
        let seeds = [a.step(0, 0), a.step(1, 0), a.step(0, 1), b.step(0, 0)];
        for (i, x) in seeds.iter().enumerate() {
            assert!(seeds[i + 1..].iter().all(|y| x != y));
        }
    }
}
