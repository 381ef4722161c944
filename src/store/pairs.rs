//! Two runs side by side: chains of the same prompt and sample.

use std::ops::ControlFlow;

use rusqlite::OptionalExtension;

use super::query::chain_by_id;
use super::rows::{ChainRow, ChainState};
use super::{Filter, Store, StoreError, read};
use crate::chain::ChainId;
use crate::evaluation::{Asked, Pair, Side};
use crate::prompt::PromptId;

impl Store {
    /// Hands out the chains of `first` with their counterparts in `second`, in the order of `first`.
    /// Chains that have not ended well, that have no counterpart, or whose prompts share an id and say
    /// something else come as `None`. Both are whole ids.
    pub fn for_each_pair<E>(
        &self,
        first: &str,
        second: &str,
        mut each: impl FnMut(Option<Pair>) -> Result<(), E>,
    ) -> Result<Result<(), E>, StoreError> {
        let mut failed = None;
        let flow = self.for_each_chain(&Filter::default(), Some(first), |chain| {
            let outcome = match self.pair(chain, second) {
                Ok(pair) => each(pair),
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(Ok(()));
                }
            };
            match outcome {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(Err(error)),
            }
        })?;
        match (failed, flow) {
            (Some(error), _) => Err(error),
            (None, ControlFlow::Break(outcome)) => Ok(outcome),
            (None, ControlFlow::Continue(())) => Ok(Ok(())),
        }
    }

    fn pair(&self, first: ChainRow, run: &str) -> Result<Option<Pair>, StoreError> {
        // A chain's name is made from its run, prompt and sample.
        let name = ChainId::new(run, &PromptId(first.prompt_id.clone()), first.sample);
        let second = self.read(|conn| chain_by_id(conn, &name.0).optional())?;
        let Some(second) = second else {
            return Ok(None);
        };
        let ended = |chain: &ChainRow| chain.status == ChainState::Done;
        if !ended(&first) || !ended(&second) || !self.same_prompt(&first, &second)? {
            return Ok(None);
        }
        Ok(Some(Pair {
            prompt_id: first.prompt_id.clone(),
            prompt: first.prompt.clone(),
            sample: first.sample,
            first: self.side(first)?,
            second: self.side(second)?,
        }))
    }

    /// Whether two chains respond to the same conversation.
    fn same_prompt(&self, a: &ChainRow, b: &ChainRow) -> Result<bool, StoreError> {
        self.read(|conn| {
            conn.prepare_cached(
                "SELECT count(DISTINCT p.conversation) = 1 FROM chains c JOIN prompts p ON p.id = c.prompt
                 WHERE c.chain_id IN (?1, ?2)",
            )?
            .query_row([&a.chain_id, &b.chain_id], |row| row.get(0))
        })
    }

    fn side(&self, chain: ChainRow) -> Result<Side, StoreError> {
        let asked = self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT s.principle, s.kind, v.violated, v.probability, v.quote
                 FROM chains c JOIN steps s ON s.chain = c.id JOIN verdicts v ON v.step = s.id
                 WHERE c.chain_id = ?1 ORDER BY s.ordinal",
            )?;
            let rows = statement.query_map([&chain.chain_id], |row| {
                Ok(Asked {
                    principle: row.get(0)?,
                    kind: read::name(row, 1)?,
                    violated: row.get(2)?,
                    probability: row.get(3)?,
                    quote: row.get(4)?,
                })
            })?;
            rows.collect()
        })?;
        Ok(Side {
            chain_id: chain.chain_id,
            stop_reason: chain.stop_reason,
            asked,
            draft: chain.draft.unwrap_or_default(),
            last: chain.last.unwrap_or_default(),
            revised: chain.revised,
            rounds: chain.rounds,
            prompt_tokens: chain.prompt_tokens,
            cached_tokens: chain.cached_tokens,
            tokens: chain.tokens,
        })
    }
}
