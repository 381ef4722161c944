//! Chains: one prompt's draft, critiques and revisions.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::generation::{Generation, Request};
use crate::prompt::{Prompt, PromptId};
use crate::verdict::Verdict;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// The first response.
    Draft,
    /// A judgement of the current response under one principle.
    Critique,
    /// A new response that answers a critique.
    Revision,
    /// A judgement of the final response under a principle that the chain revised for.
    Recheck,
}

impl StepKind {
    /// The name used in packs and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            StepKind::Draft => "draft",
            StepKind::Critique => "critique",
            StepKind::Revision => "revision",
            StepKind::Recheck => "recheck",
        }
    }
}

/// Why a chain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// No principle that was asked found a violation in the current response.
    Clean,
    /// All rounds were done.
    RoundsDone,
    /// A later step did not fit into the context; what was reached before it stands.
    ContextFull,
    /// A step could not be done; the chain keeps its error.
    Failed,
}

impl StopReason {
    /// The name used in the store and in filters.
    pub fn as_str(self) -> &'static str {
        match self {
            StopReason::Clean => "clean",
            StopReason::RoundsDone => "rounds-done",
            StopReason::ContextFull => "context-full",
            StopReason::Failed => "failed",
        }
    }
}

/// A failure mode that a step's output shows. None of them stops a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// The output is empty.
    Empty,
    /// It opens with words about itself, such as "Here is the revised response:".
    Preamble,
    /// A revision that repeats the critique.
    CritiqueRepeated,
    /// A revision that says that no revision is needed.
    NoRevision,
    /// A revision that equals the text it revises.
    Unchanged,
    /// The model speaks as the person, or writes both sides of the conversation.
    RolesSwapped,
    /// The principle's own words are quoted back.
    PrincipleQuoted,
    /// The same words over and over.
    Repetition,
    /// It was cut at the token limit.
    Truncated,
    /// Bytes that are not UTF-8 were replaced.
    InvalidUtf8,
    /// A think block was opened and never closed.
    ThinkUnclosed,
    /// A violated verdict whose quote does not occur in the response, also when asked again.
    QuoteUnverified,
    /// A critique that holds no verdict.
    NoVerdict,
}

impl Flag {
    /// Every flag, in the order in which they are documented.
    pub const ALL: [Flag; 13] = [
        Flag::Empty,
        Flag::Preamble,
        Flag::CritiqueRepeated,
        Flag::NoRevision,
        Flag::Unchanged,
        Flag::RolesSwapped,
        Flag::PrincipleQuoted,
        Flag::Repetition,
        Flag::Truncated,
        Flag::InvalidUtf8,
        Flag::ThinkUnclosed,
        Flag::QuoteUnverified,
        Flag::NoVerdict,
    ];

    /// The name used in the store and in filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Flag::Empty => "empty",
            Flag::Preamble => "preamble",
            Flag::CritiqueRepeated => "critique-repeated",
            Flag::NoRevision => "no-revision",
            Flag::Unchanged => "unchanged",
            Flag::RolesSwapped => "roles-swapped",
            Flag::PrincipleQuoted => "principle-quoted",
            Flag::Repetition => "repetition",
            Flag::Truncated => "truncated",
            Flag::InvalidUtf8 => "invalid-utf8",
            Flag::ThinkUnclosed => "think-unclosed",
            Flag::QuoteUnverified => "quote-unverified",
            Flag::NoVerdict => "no-verdict",
        }
    }
}

/// Names a chain: 16 characters made from the run, the prompt and the sample, so that the same chain
/// has the same name however often a run is interrupted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub String);

impl ChainId {
    /// The chain of one sample of one prompt in one run.
    pub fn new(run_id: &str, prompt: &PromptId, sample: u32) -> Self {
        Self(Digest::of(&("chain", run_id, prompt, sample)).id(16))
    }
}

/// A chain as it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainStart {
    /// Its name.
    pub id: ChainId,
    /// Its place in the run: chains are numbered in the order of the prompt file, samples together.
    pub position: u64,
    /// What is responded to.
    pub prompt: Prompt,
    /// Which response to the prompt this is, from 0.
    pub sample: u32,
}

/// One model call of a step: a step may ask twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The content key: equal keys mean equal requests to equal models.
    pub key: Digest,
    /// What was asked.
    pub request: Request,
    /// What came back.
    pub generation: Generation,
    /// True when the reply was found in the store and the model was not asked.
    pub reused: bool,
}

/// A finished step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its place in the chain, from 0.
    pub ordinal: u32,
    /// The round it belongs to, from 1; 0 for the draft.
    pub round: u32,
    /// What it did.
    pub kind: StepKind,
    /// The principle it was about.
    pub principle: Option<String>,
    /// The model calls it took; empty for a program's check.
    pub calls: Vec<Call>,
    /// What the step yields: the response, the critique's prose, or the verdict's critique.
    pub output: String,
    /// Failure modes of the output.
    pub flags: Vec<Flag>,
    /// What it decided, for critiques and rechecks.
    pub verdict: Option<Verdict>,
    /// For a draft or a revision: whether its output became the chain's current response. A revision
    /// without usable text is kept and not adopted.
    pub adopted: bool,
}

/// How a chain ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainEnd {
    /// Why.
    pub stop: StopReason,
    /// The first response; `None` when there is none.
    pub draft: Option<String>,
    /// The last adopted response; equal to the draft when nothing was revised.
    pub last: Option<String>,
    /// Whether a revision was adopted.
    pub revised: bool,
    /// Rounds begun.
    pub rounds: u32,
    /// Principles that the final text violates again, by recheck.
    pub regressions: Vec<String>,
    /// The error of a failed chain.
    pub error: Option<String>,
}
