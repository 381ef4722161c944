//! What the gates decided about one chain, and where that is kept for all of them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::decision::{Decision, Finding, Gated, Refused};
use super::row;
use super::settings::Settings;
use super::words::hash;
use crate::quality::pair::{Side, Texts};
use crate::store::{ChainDetail, GateFinding, GateRecord, GatedChain, Scratch, Shelf, StoreError};

/// Why a chain that ended well has no text to learn from.
pub(super) const NO_TEXT: &str = "empty-final";

/// The shelf of decisions, by the number of their chains.
const DECIDED: Shelf = 0;

/// What the gates decided about one chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    pub(super) chain_id: String,
    /// The reason where the chain has no text to learn from.
    pub(super) outcome: Result<Decision, Cow<'static, str>>,
    /// Rounds besides the chosen one that must not be taught by themselves, by the ordinals of their steps: what only
    /// [`Helpers`](super::Helpers) find out is not asked again where rows are made.
    pub(super) rounds: Vec<(u32, Refused)>,
}

impl Decided {
    /// About a chain that was not looked at. It counts as one that runs.
    fn nothing(chain_id: &str) -> Self {
        Self {
            chain_id: chain_id.to_owned(),
            outcome: Err("running".into()),
            rounds: Vec::new(),
        }
    }

    /// The decision; `None` for a chain that was not looked at, or has no text.
    pub fn decision(&self) -> Option<&Decision> {
        self.outcome.as_ref().ok()
    }

    /// What the chain gives to a dataset.
    pub fn take<'a>(&self, chain: &'a ChainDetail) -> Gated<'a> {
        let texts = match Texts::of(chain) {
            Ok(texts) => texts,
            Err(reason) => return Gated::nothing(Refused::plain(reason)),
        };
        match &self.outcome {
            Ok(decision) => Gated::new(&texts, decision),
            Err(reason) => Gated::nothing(Refused::plain(reason.clone())),
        }
    }

    /// What every adopted revision of the chain gives, in order: the ordinal of its step with its text or why it
    /// is not taught. A text that an earlier one repeats is refused. Empty for a chain without revisions.
    pub fn rounds<'a>(
        &self,
        chain: &'a ChainDetail,
        settings: &Settings,
    ) -> Vec<(u32, Result<Side<'a>, Refused>)> {
        let mut rounds = row::rounds(chain, settings);
        for (step, refused) in &self.rounds {
            let round = rounds.iter_mut().find(|(ordinal, _)| ordinal == step);
            if let Some((_, taken @ Ok(_))) = round {
                *taken = Err(refused.clone());
            }
        }
        let refused = match &self.outcome {
            // What is said of the chain as a whole holds for all its rounds.
            Ok(decision) => decision.text_refused_as_a_whole().map(Refused::by),
            // Earlier rounds may have a text where the last one has none.
            Err(reason) if reason == NO_TEXT => None,
            // The chain went on since it was looked at.
            Err(reason) => Some(Refused::plain(reason.clone())),
        };
        if let Some(refused) = refused {
            for (_, taken) in &mut rounds {
                *taken = Err(refused.clone());
            }
        }
        rounds
    }

    /// Puts it where decisions are kept.
    pub(super) fn keep(&self, scratch: &Scratch, number: u32) -> Result<(), StoreError> {
        // Plain data always serialises.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        scratch.put(DECIDED, number, &bytes)
    }

    /// The decision of a chain, which was kept.
    pub(super) fn kept(scratch: &Scratch, number: u32) -> Result<Self, StoreError> {
        let bytes = scratch.get(DECIDED, number)?.unwrap_or_default();
        Self::read(&bytes)
    }

    fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| StoreError::Scratch(error.to_string()))
    }

    fn into_record(self) -> GateRecord {
        match self.outcome {
            Ok(decision) => GateRecord::Decided(gated(self.chain_id, decision)),
            Err(_) => GateRecord::Without(self.chain_id),
        }
    }
}

/// The half of a hash that is kept, beside a number below.
const HALF: u64 = !0 << 32;

/// What was decided about every chain. It lies on disk; what is in memory says where.
#[derive(Debug)]
pub(super) struct Decisions {
    scratch: Scratch,
    /// For each chain half a hash of its id, and the number of its decision, in order.
    by_id: Vec<u64>,
}

impl Decisions {
    /// Of the chains whose ids have these hashes, in the order of their numbers.
    pub fn new(scratch: Scratch, hashes: Vec<u64>) -> Self {
        // In place: nothing else grows with the number of chains while rows are made.
        let mut by_id = hashes;
        for (hash, number) in by_id.iter_mut().zip(0_u64..) {
            *hash = *hash & HALF | number;
        }
        by_id.sort_unstable();
        Self { scratch, by_id }
    }

    /// Of one chain.
    pub fn of(&self, chain_id: &str) -> Result<Decided, StoreError> {
        let half = hash(chain_id) & HALF;
        let first = self.by_id.partition_point(|entry| *entry < half);
        let same = |entry: &&u64| *entry & HALF == half;
        for entry in self.by_id[first..].iter().take_while(same) {
            let decided = Decided::kept(&self.scratch, *entry as u32)?;
            if decided.chain_id == chain_id {
                return Ok(decided);
            }
        }
        Ok(Decided::nothing(chain_id))
    }

    /// All of them as the store keeps them, in the order in which it reads chains: so they are written fastest.
    pub fn records(&self) -> impl Iterator<Item = Result<GateRecord, StoreError>> + use<'_> {
        let mut some = Vec::new().into_iter();
        let mut next = Some(0);
        std::iter::from_fn(move || {
            if some.len() == 0 {
                match self.scratch.some(DECIDED, next?) {
                    Ok(read) => {
                        next = read.last().and_then(|(number, _)| number.checked_add(1));
                        some = read.into_iter();
                    }
                    Err(error) => {
                        next = None;
                        return Some(Err(error));
                    }
                }
            }
            let (_, bytes) = some.next()?;
            Some(Decided::read(&bytes).map(Decided::into_record))
        })
    }
}

fn gated(chain_id: String, decision: Decision) -> GatedChain {
    GatedChain {
        chain_id,
        kept: decision.keeps_text(),
        pair: decision.keeps_pair(),
        chosen: decision.chosen.to_string(),
        rejected: decision.rejected.map(|from| from.to_string()),
        why: decision.why.as_str().to_owned(),
        p: decision.p,
        margin: decision.contrast.margin,
        edit_distance: decision.contrast.edit_distance,
        length_ratio: decision.contrast.length_ratio,
        findings: decision.findings.into_iter().map(finding).collect(),
    }
}

fn finding(finding: Finding) -> GateFinding {
    GateFinding {
        gate: finding.gate.as_str().to_owned(),
        action: finding.action.as_str().to_owned(),
        pair_only: finding.pair_only,
        reason: finding.reason,
        value: finding.value,
    }
}
