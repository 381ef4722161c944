//! What a store gives back: plain rows, ready to be printed or written as JSON.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::chain::{Flag, StepKind, StopReason};
use crate::constitution::Constitution;
use crate::digest::Digest;
use crate::generation::ModelIdentity;
use crate::generation::{Decision, FinishReason, Message, SamplingParams, Shape, Usage};
use crate::verdict::Verdict;

use super::{Label, RunState};

/// One row of `v_runs`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunRow {
    /// Its name.
    pub run_id: String,
    /// When it was first begun, ISO 8601, UTC.
    pub created_at: String,
    /// When something was last recorded, ISO 8601, UTC.
    pub updated_at: String,
    /// Where it stands. A run that was killed still says `running`.
    pub state: RunState,
    /// Name of the constitution.
    pub constitution: String,
    /// Version of the constitution.
    pub constitution_version: String,
    /// Digest of the resolved constitution.
    pub constitution_digest: String,
    /// Name of the prompt pack.
    pub pack: String,
    /// Digest of the prompt pack.
    pub pack_digest: String,
    /// Name of the model.
    pub model: String,
    /// Digest of the model.
    pub model_digest: String,
    /// The prompt file, as it was named.
    pub prompts_path: String,
    /// Digest of the prompt file.
    pub prompts_digest: String,
    /// Chains begun.
    pub chains: u64,
    /// Chains begun and not ended.
    pub running: u64,
    /// Chains that ended well.
    pub done: u64,
    /// Chains that ended with an error.
    pub failed: u64,
}

/// Everything that is kept about a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunDetail {
    /// The run in short.
    pub row: RunRow,
    /// Digest of what decides the run's results.
    pub fingerprint: Digest,
    /// The configuration that the fingerprint was made from.
    pub config: Value,
    /// The resolved constitution.
    pub constitution: Constitution,
    /// The text of the prompt pack.
    pub pack_text: String,
    /// What the model is.
    pub model: ModelIdentity,
    /// Versions of this program and its libraries.
    pub versions: Value,
    /// How the run was executed: paths, threads, parallelism.
    pub execution: Value,
    /// Seconds during which a process worked on the run.
    pub active_seconds: f64,
}

/// One row of `v_chains`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChainRow {
    /// Its name.
    pub chain_id: String,
    /// The run that it belongs to.
    pub run_id: String,
    /// The prompt's id in its file.
    pub prompt_id: String,
    /// What the person says last.
    pub prompt: String,
    /// Which response to the prompt this is, from 0.
    pub sample: u32,
    /// Its place in the run.
    pub position: u64,
    /// Where it stands.
    pub status: ChainState,
    /// Why it ended; `None` while it runs.
    pub stop_reason: Option<StopReason>,
    /// Rounds begun; 0 until the chain ends.
    pub rounds: u32,
    /// The first response.
    pub draft: Option<String>,
    /// The last adopted response; `None` until the chain ends.
    #[serde(rename = "final")]
    pub last: Option<String>,
    /// Whether a revision was adopted.
    pub revised: bool,
    /// Share of words that differ between draft and final text, 0 to 1.
    pub changed: Option<f64>,
    /// Length of the final text over that of the draft, in characters.
    pub length_ratio: Option<f64>,
    /// How many principles the final text violates again, by recheck.
    pub regressions: u32,
    /// Their ids.
    pub regressed: Vec<String>,
    /// Principles that a critique found violated, in the order of the chain.
    pub violated: Vec<String>,
    /// Failure modes that any of its steps shows.
    pub flags: Vec<Flag>,
    /// Finished steps.
    pub steps: u32,
    /// Tokens of all rendered requests.
    pub prompt_tokens: u64,
    /// How many of them were in the KV cache.
    pub cached_tokens: u64,
    /// Tokens of all replies.
    pub tokens: u64,
    /// The error of a failed chain.
    pub error: Option<String>,
    /// What people say about it, in one word.
    pub label: Option<Label>,
    /// The text that a person wrote in place of the final one.
    pub chosen: Option<String>,
    /// A person's remark.
    pub note: Option<String>,
}

/// Where a chain stands, as the store and filters name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainState {
    /// Begun and not ended.
    Running,
    /// Ended.
    Done,
    /// Ended with an error.
    Failed,
}

impl ChainState {
    /// The name used in the store and in filters.
    pub fn as_str(self) -> &'static str {
        match self {
            ChainState::Running => "running",
            ChainState::Done => "done",
            ChainState::Failed => "failed",
        }
    }
}

/// A whole chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChainDetail {
    /// The chain in short.
    pub row: ChainRow,
    /// The conversation that is responded to.
    pub prompt_messages: Vec<Message>,
    /// Every other field of the prompt's row.
    pub prompt_metadata: Map<String, Value>,
    /// Its steps, in order.
    pub steps: Vec<StepDetail>,
}

impl ChainDetail {
    /// About how many bytes its texts take.
    pub fn text_bytes(&self) -> usize {
        let row = &self.row;
        let ends = [&row.draft, &row.last, &row.chosen].into_iter().flatten();
        let turns = self.prompt_messages.iter().map(|turn| &turn.content);
        let outputs = self.steps.iter().map(|step| &step.output);
        let texts = ends.chain(turns).chain(outputs).chain([&row.prompt]);
        let calls = self.steps.iter().flat_map(|step| &step.calls);
        texts.map(String::len).sum::<usize>() + calls.map(CallDetail::text_bytes).sum::<usize>()
    }
}

/// A finished step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepDetail {
    /// Its place in the chain, from 0.
    pub ordinal: u32,
    /// The round it belongs to, from 1; 0 for the draft.
    pub round: u32,
    /// What it did.
    pub kind: StepKind,
    /// The principle it was about.
    pub principle_id: Option<String>,
    /// What it yields.
    pub output: String,
    /// Failure modes of the output.
    pub flags: Vec<Flag>,
    /// Whether its output became the chain's current response.
    pub adopted: bool,
    /// What it decided.
    pub verdict: Option<Verdict>,
    /// Whether a person finds the verdict right; `None` where nobody said.
    pub agreed: Option<bool>,
    /// The model calls it took, in order.
    pub calls: Vec<CallDetail>,
}

/// One model call of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallDetail {
    /// The content key.
    pub key: Digest,
    /// What was asked.
    pub messages: Vec<Message>,
    /// The answer, without a think block.
    pub text: String,
    /// Everything the model wrote.
    pub raw: String,
    /// The content of the think block.
    pub thinking: Option<String>,
    /// Whether a think block never closed.
    pub thinking_unclosed: bool,
    /// Whether bytes that are not UTF-8 were replaced.
    pub invalid_utf8: bool,
    /// Seeded the sampler.
    pub seed: Option<u32>,
    /// How tokens were drawn.
    pub sampling: Option<SamplingParams>,
    /// The form that the reply had to have.
    pub shape: Option<Shape>,
    /// Why the model stopped.
    pub finish: FinishReason,
    /// What it cost.
    pub usage: Usage,
    /// What was read from token probabilities.
    pub decisions: Vec<Decision>,
    /// True when the reply was found in the store and the model was not asked.
    pub reused: bool,
}

impl CallDetail {
    fn text_bytes(&self) -> usize {
        let asked = self.messages.iter().map(|message| message.content.len());
        let thinking = self.thinking.as_deref().map_or(0, str::len);
        asked.sum::<usize>() + self.text.len() + self.raw.len() + thinking
    }
}

/// Figures of one principle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrincipleStats {
    /// The principle.
    pub principle_id: String,
    /// Critiques under it.
    pub asked: u64,
    /// Critiques that found it violated.
    pub violated: u64,
    /// Revisions for it that were adopted.
    pub revised: u64,
    /// Mean P(violated) of its critiques, where it is known.
    pub mean_probability: Option<f64>,
    /// Violated verdicts of the model whose quote does not occur in the response.
    pub unverified_quotes: u64,
    /// Rechecks under it.
    pub rechecked: u64,
    /// Rechecks that found the final text to violate it.
    pub regressed: u64,
}

/// A name and how often it occurs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NameCount {
    /// The name.
    pub name: String,
    /// How often it occurs.
    pub count: u64,
}

/// Figures of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunStats {
    /// The run.
    pub run_id: String,
    /// Chains.
    pub chains: u64,
    /// Chains by status.
    pub statuses: Vec<NameCount>,
    /// Ended chains by stop reason.
    pub stop_reasons: Vec<NameCount>,
    /// Chains in which a revision was adopted.
    pub revised: u64,
    /// Mean share of words changed, over the revised chains.
    pub mean_changed: Option<f64>,
    /// Chains whose final text violates a principle again.
    pub regressed: u64,
    /// Finished steps.
    pub steps: u64,
    /// Steps by flag; a step may have several.
    pub flags: Vec<NameCount>,
    /// Model calls that were made.
    pub calls: u64,
    /// Calls that were answered from the store.
    pub reused_calls: u64,
    /// Tokens of the rendered requests of the calls that were made.
    pub prompt_tokens: u64,
    /// How many of them were in the KV cache.
    pub cached_tokens: u64,
    /// Tokens of the replies of the calls that were made.
    pub completion_tokens: u64,
    /// Tokens of those replies that were guessed from a text that the reply repeats.
    pub proposed_tokens: u64,
    /// How many of the guesses were right.
    pub accepted_tokens: u64,
    /// `cached_tokens` over `prompt_tokens`.
    pub cached_share: Option<f64>,
    /// Seconds during which a process worked on the run.
    pub active_seconds: f64,
    /// Reply tokens per second of that time, over all sequences; `None` where a filter leaves only a part.
    pub tokens_per_second: Option<f64>,
    /// Reply tokens per second as one sequence sees it.
    pub tokens_per_second_each: Option<f64>,
}
