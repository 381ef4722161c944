//! A chain as its page shows it: every text once, and what changed and what is quoted as places in texts.
//!
//! Places and lengths count UTF-16 units, as JavaScript does.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::chain::{Flag, StepKind};
use crate::diff::{self, Change, Piece};
use crate::generation::Message;
use crate::store::{CallDetail, ChainDetail, RunDetail, StepDetail};
use crate::verdict::Verdict;

/// The most bytes that may differ between two texts for a word diff to be made.
const DIFF_BYTES: usize = 64 * 1024;

/// What a chain's page needs besides the chain.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The chain's run.
    pub run: &'a RunDetail,
    /// The command that makes the chain again; empty where there is none.
    pub command: &'a str,
}

/// A chain's page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChainPage {
    /// The row of the list, without its texts.
    pub chain: Value,
    /// The conversation that is responded to.
    pub messages: Vec<Message>,
    /// Every other field of the prompt's row.
    pub metadata: Map<String, Value>,
    /// The steps, in order.
    pub steps: Vec<StepPage>,
    /// The step that wrote the draft.
    pub draft: Option<u32>,
    /// The step that wrote the final text.
    pub last: Option<u32>,
    /// From draft to final text, where they are not the same step.
    pub total: Option<Difference>,
    /// The run in short.
    pub run: RunHead,
    /// Titles of the principles that the steps name.
    pub titles: BTreeMap<String, String>,
    /// The command that makes the chain again.
    pub command: String,
}

/// What a chain's page says of its run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunHead {
    /// Its id.
    pub run_id: String,
    /// Name and version of its constitution.
    pub constitution: String,
    /// Its model.
    pub model: String,
    /// Its prompt pack.
    pub pack: String,
    /// The name of its prompt file.
    pub prompts: String,
    /// The least P(violated) that counts as violated, where the run has kept it.
    pub threshold: Option<f64>,
    /// What all seeds derive from.
    pub seed: Option<u64>,
    /// Whether results are independent of batch size and order.
    pub deterministic: bool,
}

/// A step of a chain's page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepPage {
    /// Its place in the chain, from 0.
    pub ordinal: u32,
    /// The round it belongs to, from 1; 0 for the draft.
    pub round: u32,
    /// What it did.
    pub kind: StepKind,
    /// The principle it was about.
    pub principle: Option<String>,
    /// What it yields.
    pub output: String,
    /// Failure modes of the output.
    pub flags: Vec<Flag>,
    /// Whether its output became the chain's current response.
    pub adopted: bool,
    /// What it decided; the critique is left out where it is the output.
    pub verdict: Option<Verdict>,
    /// The step whose text this one is about.
    pub about: Option<u32>,
    /// Of a revision: from the text it revises to its own.
    pub diff: Option<Difference>,
    /// Places of this text that critiques quote.
    pub quoted: Vec<Quoted>,
    /// What its model calls cost.
    pub cost: Option<Cost>,
}

/// A place of a text that a critique quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quoted {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The critique.
    pub step: u32,
}

/// A word diff: lengths of what is the same, removed and added, in turn, over the two texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Difference {
    /// `[same, removed, added, same, removed, …]`.
    Lengths(Vec<usize>),
    /// More differs than is compared word by word.
    TooLarge {
        /// Bytes of both texts.
        too_large: usize,
    },
}

/// What the model calls of a step cost, all attempts together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Model calls.
    pub calls: usize,
    /// How many of them were answered from the store.
    pub reused: usize,
    /// Tokens of the requests.
    pub prompt_tokens: u64,
    /// How many of them were in the KV cache.
    pub cached_tokens: u64,
    /// Tokens of the replies.
    pub tokens: u64,
    /// Milliseconds.
    pub duration_ms: f64,
    /// The seed of the last call.
    pub seed: Option<u32>,
    /// Why the last call stopped.
    pub finish: &'static str,
}

impl ChainPage {
    /// The page of a chain. Costs are there where the chain was read with its calls.
    pub fn new(chain: ChainDetail, context: Context<'_>) -> Self {
        let run = context.run;
        let writers = Writers::of(&chain.steps);
        let total = match (writers.draft, writers.last) {
            (Some(draft), Some(last)) if draft != last => Some(difference(
                &chain.steps[draft].output,
                &chain.steps[last].output,
            )),
            _ => None,
        };
        let ordinal = |at: Option<usize>| at.map(|at| chain.steps[at].ordinal);
        let (draft, last) = (ordinal(writers.draft), ordinal(writers.last));
        let diffs: Vec<_> = (0..chain.steps.len())
            .map(|at| {
                let before = writers.about[at]?;
                let revision = chain.steps[at].kind == StepKind::Revision;
                revision.then(|| difference(&chain.steps[before].output, &chain.steps[at].output))
            })
            .collect();
        let about: Vec<_> = writers.about.iter().map(|at| ordinal(*at)).collect();
        let mut quoted = quotes(&chain.steps, &writers.about);
        let titles = titles(&chain.steps, run);
        let row = row(&chain);
        let steps = chain.steps.into_iter().zip(diffs).zip(about);
        let steps = steps.enumerate().map(|(at, ((step, diff), about))| {
            StepPage::new(step, about, diff, std::mem::take(&mut quoted[at]))
        });
        Self {
            chain: row,
            messages: chain.prompt_messages,
            metadata: chain.prompt_metadata,
            steps: steps.collect(),
            draft,
            last,
            total,
            run: RunHead::of(run),
            titles,
            command: context.command.to_owned(),
        }
    }
}

impl RunHead {
    fn of(run: &RunDetail) -> Self {
        let row = &run.row;
        Self {
            run_id: row.run_id.clone(),
            constitution: format!("{} {}", row.constitution, row.constitution_version),
            model: row.model.clone(),
            pack: row.pack.clone(),
            prompts: file_name(&row.prompts_path).to_owned(),
            threshold: run.config["threshold"].as_f64(),
            seed: run.config["seed"].as_u64(),
            deterministic: run.config["deterministic"] == true,
        }
    }
}

/// The name of a file, without the folders that it is in on the machine of the run.
pub fn file_name(path: &str) -> &str {
    let name = Path::new(path).file_name().and_then(OsStr::to_str);
    name.unwrap_or(path)
}

impl StepPage {
    fn new(
        step: StepDetail,
        about: Option<u32>,
        diff: Option<Difference>,
        quoted: Vec<Quoted>,
    ) -> Self {
        let cost = Cost::of(&step.calls);
        let mut verdict = step.verdict;
        if let Some(verdict) = &mut verdict
            && verdict.critique == step.output
        {
            verdict.critique.clear();
        }
        Self {
            ordinal: step.ordinal,
            round: step.round,
            kind: step.kind,
            principle: step.principle_id,
            output: step.output,
            flags: step.flags,
            adopted: step.adopted,
            verdict,
            about,
            diff,
            quoted,
            cost,
        }
    }
}

impl Cost {
    fn of(calls: &[CallDetail]) -> Option<Self> {
        let last = calls.last()?;
        let sum = |count: fn(&CallDetail) -> u32| calls.iter().map(|c| u64::from(count(c))).sum();
        Some(Self {
            calls: calls.len(),
            reused: calls.iter().filter(|call| call.reused).count(),
            prompt_tokens: sum(|call| call.usage.prompt_tokens),
            cached_tokens: sum(|call| call.usage.cached_tokens),
            tokens: sum(|call| call.usage.completion_tokens),
            duration_ms: calls.iter().map(|call| call.usage.duration_ms).sum(),
            seed: last.seed,
            finish: last.finish.as_str(),
        })
    }
}

/// Which steps wrote the responses, as indices.
struct Writers {
    draft: Option<usize>,
    last: Option<usize>,
    /// By step: what wrote the response that stood when the step began.
    about: Vec<Option<usize>>,
}

impl Writers {
    fn of(steps: &[StepDetail]) -> Self {
        let mut writers = Self {
            draft: None,
            last: None,
            about: Vec::with_capacity(steps.len()),
        };
        for (at, step) in steps.iter().enumerate() {
            writers.about.push(writers.last);
            let writes = matches!(step.kind, StepKind::Draft | StepKind::Revision);
            if step.kind == StepKind::Draft {
                writers.draft = Some(at);
            }
            if writes && step.adopted {
                writers.last = Some(at);
            }
        }
        writers
    }
}

/// By step: the places that critiques quote from its text.
fn quotes(steps: &[StepDetail], about: &[Option<usize>]) -> Vec<Vec<Quoted>> {
    let mut quoted = vec![Vec::new(); steps.len()];
    for (step, about) in steps.iter().zip(about) {
        let quote = step.verdict.as_ref().and_then(|v| v.quote.as_deref());
        let (Some(quote), Some(about)) = (quote, *about) else {
            continue;
        };
        let text = &steps[about].output;
        if let Some(place) = diff::find(quote, text) {
            let Range { start, end } = units(text, place);
            quoted[about].push(Quoted {
                start,
                end,
                step: step.ordinal,
            });
        }
    }
    quoted
}

/// A range of bytes as one of UTF-16 units.
fn units(text: &str, place: Range<usize>) -> Range<usize> {
    let start = length(&text[..place.start]);
    start..start + length(&text[place])
}

fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The word diff of two texts.
pub fn difference(old: &str, new: &str) -> Difference {
    match diff::words_within(old, new, DIFF_BYTES) {
        Some(pieces) => Difference::Lengths(lengths(&pieces)),
        None => Difference::TooLarge {
            too_large: old.len() + new.len(),
        },
    }
}

fn lengths(pieces: &[Piece]) -> Vec<usize> {
    let place = |change| match change {
        Change::Same => 0,
        Change::Removed => 1,
        Change::Added => 2,
    };
    let mut lengths: Vec<usize> = Vec::new();
    for piece in pieces {
        while lengths.len() % 3 != place(piece.change) {
            lengths.push(0);
        }
        lengths.push(length(&piece.text));
    }
    lengths
}

fn titles(steps: &[StepDetail], run: &RunDetail) -> BTreeMap<String, String> {
    let ids = steps.iter().filter_map(|step| step.principle_id.as_ref());
    let known = ids.filter_map(|id| Some((id.clone(), run.constitution.principle(id)?)));
    known.map(|(id, p)| (id, p.title.clone())).collect()
}

/// The chain's row without the texts that steps and messages hold.
fn row(chain: &ChainDetail) -> Value {
    // Plain data, which has a form in JSON.
    let mut row = serde_json::to_value(&chain.row).unwrap_or_default();
    if let Some(row) = row.as_object_mut() {
        for text in ["draft", "final", "prompt"] {
            row.remove(text);
        }
    }
    row
}
