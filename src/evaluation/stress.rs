//! Looking for principles that pull apart: prompts made for a pair, chains under both orders, and how
//! often mending one breaks the other.

mod prompts;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use serde_json::{Map, json};

use super::coverage::{Coverage, Found, Retrigger, Trace};
use crate::backend::Backend;
use crate::chain::{ChainId, ChainStart, Step, StepKind};
use crate::constitution::{Constitution, Revise};
use crate::digest::Digest;
use crate::engine::event::Event;
use crate::engine::machine::Plan;
use crate::engine::memory::{Memory, Outcome};
use crate::engine::policy::Select;
use crate::engine::{self, EngineError, EngineOptions, Task};
use crate::generation::Message;
use crate::prompt::{Prompt, PromptId};

/// Rounds of a chain: in the second, what the first mended is asked about again.
pub const STRESS_ROUNDS: u32 = 2;

/// Two principles that are tried against each other, by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrinciplePair {
    /// The one that comes first in the constitution.
    pub first: String,
    /// The other.
    pub second: String,
}

/// What became of a pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairStress {
    /// The principles.
    #[serde(flatten)]
    pub pair: PrinciplePair,
    /// What the model wrote for it, and the chains over that.
    pub prompts: Vec<StressPrompt>,
    /// Prompts that it was asked for and that hold no text.
    pub without_prompt: u32,
    /// Chains that ended well, both orders counted.
    pub chains: u64,
    /// Chains that failed.
    pub failed: u64,
    /// How often mending the first made the second fire.
    pub first_breaks_second: Retrigger,
    /// How often mending the second made the first fire.
    pub second_breaks_first: Retrigger,
    /// Both directions: fired over asked; `None` when nothing was mended and asked about again.
    pub share: Option<f64>,
}

/// A prompt that the model wrote for a pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StressPrompt {
    /// What is asked.
    pub prompt: String,
    /// The chain that asks about the first principle before the second.
    pub first_leads: ChainId,
    /// The chain that asks about the second one before the first.
    pub second_leads: ChainId,
}

/// Up to `count` pairs of active principles, drawn by the seed; all of them where there are fewer.
pub fn pairs(constitution: &Constitution, count: usize, seed: u64) -> Vec<PrinciplePair> {
    let active = constitution.active();
    let mut drawn = Vec::new();
    for (n, first) in active.iter().enumerate() {
        for second in &active[n + 1..] {
            let place = Digest::of(&("stress", seed, &first.id, &second.id));
            let pair = PrinciplePair {
                first: first.id.clone(),
                second: second.id.clone(),
            };
            drawn.push((place, pair));
        }
    }
    drawn.sort_by(|a, b| a.0.cmp(&b.0));
    drawn
        .into_iter()
        .take(count)
        .map(|(_, pair)| pair)
        .collect()
}

/// A stress test that is to be run.
pub struct Stress<'a> {
    /// The constitution, pack, sampling and threshold; selection, rounds and revisions aside.
    pub plan: &'a Plan,
    /// The run that the chains belong to: their names are made from it.
    pub run_id: &'a str,
    /// The pairs.
    pub pairs: Vec<PrinciplePair>,
    /// Prompts for each pair.
    pub prompts: u32,
}

/// A prompt with the pair that it was written for.
struct Scene {
    pair: usize,
    prompt: Prompt,
}

impl Stress<'_> {
    /// Writes prompts and runs chains, those of all pairs together, and ranks the pairs: those first whose
    /// principles break each other most often. `done` hears of every chain that ends. `None` when interrupted.
    ///
    /// The n-th prompt of the pair `a`, `b` has the id `a+b.n`; sample 0 asks about `a` first, sample 1 about
    /// `b`, on the same draft.
    ///
    /// # Errors
    ///
    /// When the backend stops or fails to write a prompt, and when the memory's recorder fails.
    pub fn run(
        self,
        backend: &dyn Backend,
        memory: &mut Memory<'_>,
        interrupted: &AtomicBool,
        done: &mut dyn FnMut(),
    ) -> Result<Option<Vec<PairStress>>, EngineError> {
        let Some(written) = self.write_prompts(backend, memory, interrupted)? else {
            return Ok(None);
        };
        let scenes = self.scenes(&written);
        let mut chains = Vec::new();
        let mut drafts = vec![None; scenes.len()];
        for sample in 0..2 {
            let tasks = self.tasks(&scenes, sample, drafts);
            let Some(outcomes) = run(backend, memory, tasks, interrupted, done)? else {
                return Ok(None);
            };
            // The other order begins with the very same drafts.
            drafts = outcomes.iter().map(draft_of).collect();
            chains.push(outcomes);
        }
        let mut results: Vec<_> = (0..self.pairs.len())
            .map(|pair| self.summary(pair, &written[pair], &scenes, &chains))
            .collect();
        // A pair that nothing is known about comes last.
        results.sort_by(|a, b| {
            let key = |r: &PairStress| {
                let fired = r.first_breaks_second.fired + r.second_breaks_first.fired;
                (r.share.unwrap_or(-1.0), fired)
            };
            let (a, b) = (key(a), key(b));
            b.0.total_cmp(&a.0).then(b.1.cmp(&a.1))
        });
        Ok(Some(results))
    }

    fn scenes(&self, written: &[Vec<Option<String>>]) -> Vec<Scene> {
        let mut scenes = Vec::new();
        for (pair, prompts) in written.iter().enumerate() {
            let PrinciplePair { first, second } = &self.pairs[pair];
            for (n, text) in (1..).zip(prompts) {
                let Some(text) = text else { continue };
                let about = json!({ "first": first, "second": second });
                let prompt = Prompt {
                    id: PromptId(format!("{first}+{second}.{n}")),
                    messages: vec![Message::user(text)],
                    metadata: Map::from_iter([("stress".to_owned(), about)]),
                };
                scenes.push(Scene { pair, prompt });
            }
        }
        scenes
    }

    fn chain_id(&self, scene: &Scene, sample: u32) -> ChainId {
        ChainId::new(self.run_id, &scene.prompt.id, sample)
    }

    /// A chain over each scene, in the order of principles that the sample stands for.
    fn tasks(&self, scenes: &[Scene], sample: u32, drafts: Vec<Option<Step>>) -> Vec<Task> {
        let plans: Vec<_> = self
            .pairs
            .iter()
            .map(|p| self.plan_for(p, sample))
            .collect();
        let scenes = scenes.iter().zip(0..).zip(drafts);
        let task = |((scene, n), draft): ((&Scene, u64), Option<Step>)| Task {
            plan: Arc::clone(&plans[scene.pair]),
            start: ChainStart {
                id: self.chain_id(scene, sample),
                position: 2 * n + u64::from(sample),
                prompt: scene.prompt.clone(),
                sample,
            },
            draft,
        };
        scenes.map(task).collect()
    }

    fn plan_for(&self, pair: &PrinciplePair, sample: u32) -> Arc<Plan> {
        let order = match sample {
            0 => [&pair.first, &pair.second],
            _ => [&pair.second, &pair.first],
        };
        Arc::new(Plan {
            select: Select::Ids(order.into_iter().cloned().collect()),
            rounds: STRESS_ROUNDS,
            revise: Revise::WhenViolated,
            recheck: true,
            ..self.plan.clone()
        })
    }

    fn summary(
        &self,
        pair: usize,
        written: &[Option<String>],
        scenes: &[Scene],
        chains: &[Vec<Outcome>],
    ) -> PairStress {
        let mut coverage = Coverage::default();
        let (mut ended, mut failed, mut prompts) = (0, 0, Vec::new());
        let of_pair = scenes.iter().enumerate().filter(|(_, s)| s.pair == pair);
        for (n, scene) in of_pair {
            prompts.push(StressPrompt {
                prompt: scene.prompt.text().to_owned(),
                first_leads: self.chain_id(scene, 0),
                second_leads: self.chain_id(scene, 1),
            });
            for outcome in chains.iter().filter_map(|outcomes| outcomes.get(n)) {
                match &outcome.end {
                    Some(end) if end.error.is_none() => ended += 1,
                    _ => failed += 1,
                }
                let steps: Vec<Trace> = outcome.steps.iter().filter_map(trace).collect();
                coverage.add(&steps);
            }
        }
        let pair = self.pairs[pair].clone();
        let first_breaks_second = coverage.retrigger(&pair.first, &pair.second);
        let second_breaks_first = coverage.retrigger(&pair.second, &pair.first);
        let asked = first_breaks_second.asked + second_breaks_first.asked;
        let fired = first_breaks_second.fired + second_breaks_first.fired;
        let without = written.iter().filter(|text| text.is_none()).count();
        PairStress {
            pair,
            prompts,
            without_prompt: u32::try_from(without).unwrap_or(u32::MAX),
            chains: ended,
            failed,
            first_breaks_second,
            second_breaks_first,
            share: (asked > 0).then(|| fired as f64 / asked as f64),
        }
    }
}

/// Runs tasks, and gives their outcomes in order.
fn run(
    backend: &dyn Backend,
    memory: &mut Memory<'_>,
    tasks: Vec<Task>,
    interrupted: &AtomicBool,
    done: &mut dyn FnMut(),
) -> Result<Option<Vec<Outcome>>, EngineError> {
    let ids: Vec<ChainId> = tasks.iter().map(|task| task.start.id.clone()).collect();
    let options = EngineOptions {
        parallel: backend.parallelism(),
        retry_failed: false,
    };
    let mut tasks = tasks.into_iter().map(Ok);
    let summary = engine::run(
        backend,
        memory,
        &mut tasks,
        options,
        interrupted,
        &mut |event| {
            if let Event::ChainEnded { .. } = event {
                done();
            }
        },
    )?;
    Ok((!summary.interrupted).then(|| ids.iter().map(|id| memory.take(id)).collect()))
}

fn draft_of(outcome: &Outcome) -> Option<Step> {
    let draft = outcome.steps.first()?;
    (draft.kind == StepKind::Draft && draft.adopted).then(|| draft.clone())
}

fn trace(step: &Step) -> Option<Trace> {
    Some(Trace {
        principle: step.principle.clone()?,
        kind: step.kind,
        adopted: step.adopted,
        found: step.verdict.as_ref().map(|verdict| Found {
            violated: verdict.violated,
            probability: verdict.probability,
            quote_verified: verdict.quote_verified,
            source: verdict.source,
        }),
    })
}
