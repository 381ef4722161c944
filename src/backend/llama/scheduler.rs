//! What one decode step does: demands and a token budget in, a plan out. Pure, and without llama.cpp.
//!
//! Every sequence is described by one number, the tokens it has not decoded yet: 1 while it generates,
//! many while it prefills. A step serves the generating sequences first, so that none of them waits for
//! another one's prompt, and fills the rest of its budget with chunks of prompts, oldest first.

/// A sequence that waits for tokens to be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Which sequence.
    pub slot: usize,
    /// Tokens that it has not decoded yet; at least 1.
    pub pending: usize,
}

/// What a step decodes of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which sequence.
    pub slot: usize,
    /// How many of its pending tokens, from the first on.
    pub tokens: usize,
}

/// Plans one step of at most `budget` tokens. `demands` come in the order of their arrival.
///
/// As long as `budget` is at least 1 the oldest demand of each kind makes progress: where the
/// generating sequences alone would fill the budget, one token is kept for the oldest prompt.
pub fn plan(demands: &[Demand], budget: usize, shares: &mut Vec<Share>) {
    shares.clear();
    let prefilling = demands.iter().any(|demand| demand.pending > 1);
    let mut left = budget;
    let kept = usize::from(prefilling && budget > 1);
    for demand in demands.iter().filter(|demand| demand.pending == 1) {
        if left <= kept {
            break;
        }
        shares.push(Share {
            slot: demand.slot,
            tokens: 1,
        });
        left -= 1;
    }
    for demand in demands.iter().filter(|demand| demand.pending > 1) {
        if left == 0 {
            break;
        }
        let tokens = demand.pending.min(left);
        shares.push(Share {
            slot: demand.slot,
            tokens,
        });
        left -= tokens;
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
            .map(|(slot, &pending)| Demand { slot, pending })
            .collect();
        let mut shares = Vec::new();
        plan(&demands, budget, &mut shares);
        shares
    }

    #[test]
    fn generation_goes_before_prefill() {
        let shares = planned(&[100, 1, 1], 10);
        assert_eq!(
            shares,
            [
                Share { slot: 1, tokens: 1 },
                Share { slot: 2, tokens: 1 },
                Share { slot: 0, tokens: 8 }
            ]
        );
    }

    #[test]
    fn a_full_house_of_generation_leaves_one_token_for_the_oldest_prompt() {
        let shares = planned(&[1, 1, 1, 1, 50], 4);
        assert_eq!(shares.last(), Some(&Share { slot: 4, tokens: 1 }));
        assert_eq!(shares.len(), 4);
    }

    proptest! {
        #[test]
        fn a_plan_keeps_its_budget_and_names_no_sequence_twice(
            pending in prop::collection::vec(1usize..300, 0..40),
            budget in 1usize..64,
        ) {
            let shares = planned(&pending, budget);
            prop_assert!(shares.iter().map(|s| s.tokens).sum::<usize>() <= budget);
            let mut slots: Vec<_> = shares.iter().map(|s| s.slot).collect();
            slots.sort_unstable();
            slots.dedup();
            prop_assert_eq!(slots.len(), shares.len());
            for share in &shares {
                prop_assert!(share.tokens >= 1 && share.tokens <= pending[share.slot]);
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
                    left.iter().map(|&(slot, pending, _)| Demand { slot, pending }).collect();
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
    }
}
