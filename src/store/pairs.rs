//! Two runs side by side: chains of the same prompt and sample.

use std::collections::HashSet;
use std::ops::ControlFlow;

use rusqlite::{OptionalExtension, params_from_iter};

use super::compared::ComparedPair;
use super::query::{chain_by_id, chain_row};
use super::rows::{ChainRow, ChainState};
use super::{Filter, Store, StoreError, filter_sql, read};
use crate::chain::ChainId;
use crate::evaluation::{Asked, Pair, Side};
use crate::prompt::PromptId;

/// What became of a chain of the first run.
#[derive(Clone, Debug, PartialEq)]
pub enum Paired {
    /// It has a counterpart, and either of them matches the filter.
    Pair(Box<Pair>),
    /// It has a counterpart, and neither of them matches the filter.
    Unmatched,
    /// It has not ended well, has no counterpart that has, or the two prompts share an id only.
    Alone,
}

impl Store {
    /// Hands out the chains of `first` with their counterparts in `second`, in the order of `first`. Both are
    /// whole ids. Chains that are in no pair come as `None`.
    pub fn for_each_pair<E>(
        &self,
        first: &str,
        second: &str,
        mut each: impl FnMut(Option<Pair>) -> Result<(), E>,
    ) -> Result<Result<(), E>, StoreError> {
        self.for_each_matching_pair(first, second, &Filter::all(), |paired| {
            each(match paired {
                Paired::Pair(pair) => Some(*pair),
                Paired::Unmatched | Paired::Alone => None,
            })
        })
    }

    /// The same with a filter, and with what became of the chains that are handed out in no pair.
    ///
    /// A pair is taken when either of its chains matches the filter: a filter that looked at one run only
    /// would choose by that run's own chance, and bend every comparison.
    pub fn for_each_matching_pair<E>(
        &self,
        first: &str,
        second: &str,
        filter: &Filter,
        mut each: impl FnMut(Paired) -> Result<(), E>,
    ) -> Result<Result<(), E>, StoreError> {
        let matching = match filter.is_all() {
            true => None,
            false => Some([first, second].map(|run| self.matching(filter, run))),
        };
        let matching = match matching {
            Some([first, second]) => Some((first?, second?)),
            None => None,
        };
        let wanted = |first: &str, second: &str| match &matching {
            Some((a, b)) => a.contains(first) || b.contains(second),
            None => true,
        };
        let mut failed = None;
        let flow = self.for_each_chain(&Filter::default(), Some(first), |chain| {
            let outcome = match self.paired(chain, second, &wanted) {
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

    /// The chains of a pair; `second` is the whole id of the second run. `None` where they are no pair any more.
    pub fn pair(&self, pair: ComparedPair, second: &str) -> Result<Option<Pair>, StoreError> {
        let first = self.read(|conn| chain_row(conn, pair.first).optional())?;
        let Some(first) = first else { return Ok(None) };
        Ok(match self.paired(first, second, &|_, _| true)? {
            Paired::Pair(pair) => Some(*pair),
            Paired::Unmatched | Paired::Alone => None,
        })
    }

    /// The names of the chains of a run that match.
    fn matching(&self, filter: &Filter, run: &str) -> Result<HashSet<String>, StoreError> {
        let condition = filter_sql::condition(filter, Some(run));
        self.read(|conn| {
            let from = filter_sql::FROM;
            let sql = format!("SELECT c.chain_id FROM {from} WHERE {}", condition.sql);
            let mut statement = conn.prepare(&sql)?;
            let names =
                statement.query_map(params_from_iter(&condition.params), |row| row.get(0))?;
            names.collect()
        })
    }

    fn paired(
        &self,
        first: ChainRow,
        run: &str,
        wanted: &impl Fn(&str, &str) -> bool,
    ) -> Result<Paired, StoreError> {
        // A chain's name is made from its run, prompt and sample.
        let name = ChainId::new(run, &PromptId(first.prompt_id.clone()), first.sample);
        let second = self.read(|conn| chain_by_id(conn, &name.0).optional())?;
        let Some(second) = second else {
            return Ok(Paired::Alone);
        };
        let ended = |chain: &ChainRow| chain.status == ChainState::Done;
        if !ended(&first) || !ended(&second) || !self.same_prompt(&first, &second)? {
            return Ok(Paired::Alone);
        }
        if !wanted(&first.chain_id, &second.chain_id) {
            return Ok(Paired::Unmatched);
        }
        Ok(Paired::Pair(Box::new(Pair {
            prompt_id: first.prompt_id.clone(),
            prompt: first.prompt.clone(),
            sample: first.sample,
            first: self.side(first)?,
            second: self.side(second)?,
        })))
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
