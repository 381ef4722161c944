//! What one decode step does: demands and a token budget in, a plan out. Pure, and without llama.cpp.
//!
//! Every sequence is described by the tokens that it has not decoded yet: 1 while it generates, many while
//! it prefills. A step serves the generating sequences first, so that none of them waits for another one's
//! prompt, and fills the rest of its budget with chunks of prompts, those of the earliest request first,
//! so that chains are finished before others begin. What is left then goes to proposals.

use super::prefix::common;

/// A sequence that waits for tokens to be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Which sequence.
    pub slot: usize,
    /// Tokens that it has not decoded yet; at least 1.
    pub pending: usize,
    /// Tokens that it would like to try behind them.
    pub proposals: usize,
}

/// What a step decodes of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which sequence.
    pub slot: usize,
    /// How many of its pending tokens, from the first on.
    pub tokens: usize,
    /// How many proposals behind them; only where nothing stays pending.
    pub proposals: usize,
}

/// Plans one step of at most `budget` tokens. `demands` come in the order of their requests.
///
/// As long as `budget` is at least 1 the first demand of each kind makes progress: where the
/// generating sequences alone would fill the budget, one token is kept for the first prompt.
pub fn plan(demands: &[Demand], budget: usize, shares: &mut Vec<Share>) {
    shares.clear();
    let prefilling = demands.iter().any(|demand| demand.pending > 1);
    let mut left = budget;
    let kept = usize::from(prefilling && budget > 1);
    let share = |demand: &Demand, tokens| Share {
        slot: demand.slot,
        tokens,
        proposals: 0,
    };
    for demand in demands.iter().filter(|demand| demand.pending == 1) {
        if left <= kept {
            break;
        }
        shares.push(share(demand, 1));
        left -= 1;
    }
    for demand in demands.iter().filter(|demand| demand.pending > 1) {
        if left == 0 {
            break;
        }
        let tokens = demand.pending.min(left);
        shares.push(share(demand, tokens));
        left -= tokens;
    }
    for share in shares.iter_mut() {
        let demand = demands.iter().find(|demand| demand.slot == share.slot);
        let wanted = demand
            .filter(|demand| demand.pending == share.tokens)
            .map_or(0, |demand| demand.proposals);
        share.proposals = wanted.min(left);
        left -= share.proposals;
    }
}

/// A sequence that runs, as one that waits sees it.
#[derive(Clone, Copy, Debug)]
pub struct Ahead<'a> {
    /// Its tokens.
    pub tokens: &'a [u32],
    /// How many of them are in the cache.
    pub decoded: usize,
    /// Under which adapter.
    pub domain: usize,
}

/// Whether a waiting request should let a running sequence prefill first what both begin with. `resident`
/// is how much of it is in the cache already; fewer than `worth` more tokens are rather prefilled twice. The running sequence makes progress at every step, so the
/// wait ends.
pub fn rides_along<'a>(
    tokens: &[u32],
    domain: usize,
    resident: usize,
    worth: usize,
    mut running: impl Iterator<Item = Ahead<'a>>,
) -> bool {
    running.any(|ahead| {
        // What is decoded is in the cache, and counted as resident.
        ahead.domain == domain
            && ahead.tokens.len() > ahead.decoded + 1
            && ahead.tokens.len() >= resident + worth
            && {
                let shared = common(ahead.tokens, tokens).min(tokens.len().saturating_sub(1));
                shared > ahead.decoded && shared >= resident + worth
            }
    })
}

/// Which adapter computes the next step: that of the last step for as long as it has work, but no longer
/// than `patience` steps while an earlier request waits for another one.
pub fn next_domain(
    current: usize,
    steps: usize,
    patience: usize,
    demands: impl Iterator<Item = usize> + Clone,
) -> usize {
    let first = demands.clone().find(|&domain| domain != current);
    match first {
        Some(other) if steps >= patience || demands.clone().all(|d| d != current) => other,
        _ => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn planned(pending: &[usize], budget: usize) -> Vec<Share> {
        let demands: Vec<_> = pending
            .iter()
            .enumerate()
            .map(|(slot, &pending)| Demand {
                slot,
                pending,
                proposals: if pending == 1 { slot % 5 } else { 0 },
            })
            .collect();
        let mut shares = Vec::new();
        plan(&demands, budget, &mut shares);
        shares
    }

    #[test]
    fn generation_goes_before_prefill() {
        let shares = planned(&[100, 1, 1], 10);
        let parts: Vec<_> = shares
            .iter()
            .map(|share| (share.slot, share.tokens))
            .collect();
        assert_eq!(parts, [(1, 1), (2, 1), (0, 8)]);
    }

    #[test]
    fn a_full_house_of_generation_leaves_one_token_for_the_oldest_prompt() {
        let shares = planned(&[1, 1, 1, 1, 50], 4);
        assert_eq!(
            shares.last().map(|share| (share.slot, share.tokens)),
            Some((4, 1))
        );
        assert_eq!(shares.len(), 4);
    }

    #[test]
    fn proposals_take_what_is_left() {
        let shares = planned(&[1, 1, 1, 1, 3], 9);
        let proposals: Vec<_> = shares.iter().map(|share| share.proposals).collect();
        assert_eq!(proposals, [0, 1, 1, 0, 0]);
    }

    #[test]
    fn a_request_waits_for_the_prefix_that_another_is_prefilling() {
        let prompt: Vec<u32> = (0..100).collect();
        let mut other = prompt.clone();
        other.truncate(80);
        other.extend([900, 901]);
        let ahead = |decoded| {
            std::iter::once(Ahead {
                tokens: &prompt,
                decoded,
                domain: 0,
            })
        };
        assert!(rides_along(&other, 0, 0, 24, ahead(0)));
        assert!(rides_along(&other, 0, 30, 24, ahead(30)));
        assert!(
            !rides_along(&other, 0, 70, 24, ahead(70)),
            "too little is left"
        );
        assert!(
            !rides_along(&other, 0, 80, 24, ahead(90)),
            "it is there already"
        );
        assert!(!rides_along(&other, 1, 0, 24, ahead(0)), "another adapter");
        assert!(
            !rides_along(&[7; 50], 0, 0, 24, ahead(0)),
            "nothing in common"
        );
    }

    #[test]
    fn adapters_take_turns() {
        let next = |steps, demands: &[usize]| next_domain(0, steps, 8, demands.iter().copied());
        assert_eq!(next(3, &[0, 1, 0]), 0);
        assert_eq!(next(8, &[0, 1, 0]), 1);
        assert_eq!(next(0, &[2, 1]), 2);
        assert_eq!(next(9, &[0, 0]), 0);
    }

    proptest! {
        #[test]
        fn a_plan_keeps_its_budget_and_names_no_sequence_twice(
            pending in prop::collection::vec(1usize..300, 0..40),
            budget in 1usize..64,
        ) {
            let shares = planned(&pending, budget);
            prop_assert!(shares.iter().map(|s| s.tokens + s.proposals).sum::<usize>() <= budget);
            let mut slots: Vec<_> = shares.iter().map(|s| s.slot).collect();
            slots.sort_unstable();
            slots.dedup();
            prop_assert_eq!(slots.len(), shares.len());
            for share in &shares {
                prop_assert!(share.tokens >= 1 && share.tokens <= pending[share.slot]);
                prop_assert!(share.proposals == 0 || share.tokens == pending[share.slot]);
            }
            // The earliest of those that generate and the earliest of those that read both go on.
            let kinds: [fn(usize) -> bool; 2] = [|pending| pending == 1, |pending| pending > 1];
            for kind in kinds {
                let earliest = pending.iter().position(|&pending| kind(pending));
                prop_assert!(budget < 2 || earliest.is_none_or(|slot| slots.contains(&slot)));
            }
        }

        #[test]
        fn every_sequence_finishes(
            pending in prop::collection::vec(1usize..200, 1..30),
            budget in 2usize..32,
        ) {
            // Each sequence prefills, generates ten tokens, and leaves.
            let mut left: Vec<(usize, usize, usize)> =
                pending.iter().enumerate().map(|(slot, &p)| (slot, p, 10)).collect();
            let bound = pending.iter().sum::<usize>() + 11 * pending.len() + 10;
            let mut shares = Vec::new();
            for _ in 0..bound {
                if left.is_empty() {
                    break;
                }
                let demands: Vec<_> =
                    left.iter().map(|&(slot, pending, _)| Demand { slot, pending, proposals: 0 }).collect();
                plan(&demands, budget, &mut shares);
                prop_assert!(!shares.is_empty());
                for share in &shares {
                    let entry = left.iter_mut().find(|e| e.0 == share.slot).unwrap();
                    entry.1 -= share.tokens;
                    if entry.1 == 0 {
                        entry.2 -= 1;
                        entry.1 = 1;
                    }
                }
                left.retain(|e| e.2 > 0);
            }
            prop_assert!(left.is_empty());
        }

        #[test]
        fn no_adapter_keeps_the_earliest_request_waiting(
            work in prop::collection::vec((0usize..4, 1usize..60), 1..40),
            places in 1usize..8,
            patience in 1usize..40,
        ) {
            // Under which adapter, and how many steps are left. Those behind the places come when others leave.
            let mut left = work;
            let (mut domain, mut steps, mut waited) = (0, 0, 0);
            while !left.is_empty() {
                let taken = places.min(left.len());
                let running = &mut left[..taken];
                let next = next_domain(domain, steps, patience, running.iter().map(|r| r.0));
                steps = if next == domain { steps + 1 } else { 1 };
                domain = next;
                prop_assert!(running.iter().any(|r| r.0 == domain), "a step without work");
                waited = if running[0].0 == domain { 0 } else { waited + 1 };
                prop_assert!(waited <= patience);
                for sequence in running.iter_mut().filter(|r| r.0 == domain) {
                    sequence.1 -= 1;
                }
                left.retain(|sequence| sequence.1 > 0);
            }
        }
    }
}
