//! The keys of the filter language and the values that each takes.

use serde::Serialize;

use super::Label;
use super::filter::Value;
use super::gates::GATES;
use super::rows::ChainState;
use crate::chain::{Flag, StepKind, StopReason};
use crate::constitution::Severity;
use crate::verdict::VerdictSource;

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The principle of a step.
    Principle,
    /// The verdict of a step.
    Violated,
    /// P(violated) of a step.
    P,
    /// Severity of a step's verdict.
    Severity,
    /// Who decided a step's verdict.
    Source,
    /// Whether a person finds a step's verdict right.
    Human,
    /// What a step does.
    Kind,
    /// Where the chain stands.
    Status,
    /// Why it ended.
    Stop,
    /// What people say about it.
    Label,
    /// A failure mode of any of its steps.
    Flag,
    /// Whether a revision was adopted.
    Revised,
    /// A round in which a revision was adopted.
    RevisedIn,
    /// Whether the final text violates a principle again.
    Regressed,
    /// Rounds begun.
    Rounds,
    /// Tokens of all replies.
    Tokens,
    /// Share of words changed from draft to final text.
    Changed,
    /// Length of the final text over that of the draft.
    Len,
    /// The prompt's id.
    Prompt,
    /// What the run's id begins with.
    Run,
    /// What the chain's id begins with.
    Chain,
    /// Which response to the prompt.
    Sample,
    /// Whether gates kept its text.
    Kept,
    /// Whether gates kept its pair.
    Pair,
    /// A gate that had something to say about it.
    Gate,
    /// Words in prompt, draft, critiques and revisions.
    Text,
    /// Whether two of its texts were compared.
    Judged,
    /// Whether a judgement says the same in both orders.
    Agree,
    /// P that the later text of a judged pair is the better one.
    Preference,
    /// P(later) - P(earlier) of a judged pair.
    Margin,
}

/// What values a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Whole,
    Real,
    Name,
    Free,
}

/// What `label` takes for chains without one.
pub(super) const NO_LABEL: &str = "none";

/// What `human` takes: the person finds the verdict right, or wrong.
pub(super) const HUMAN: [&str; 2] = ["agree", "disagree"];

/// Every key with its names, the first of which is the one that is documented.
const KEYS: [(Key, &[&str]); 30] = [
    (Key::Principle, &["principle"]),
    (Key::Violated, &["violated"]),
    (Key::P, &["p", "probability"]),
    (Key::Severity, &["severity"]),
    (Key::Source, &["source"]),
    (Key::Human, &["human"]),
    (Key::Kind, &["kind"]),
    (Key::Status, &["status"]),
    (Key::Stop, &["stop"]),
    (Key::Label, &["label"]),
    (Key::Flag, &["flag"]),
    (Key::Revised, &["revised"]),
    (Key::RevisedIn, &["revised-in"]),
    (Key::Regressed, &["regressed"]),
    (Key::Rounds, &["round", "rounds"]),
    (Key::Tokens, &["tokens"]),
    (Key::Changed, &["changed"]),
    (Key::Len, &["len"]),
    (Key::Prompt, &["prompt"]),
    (Key::Run, &["run"]),
    (Key::Chain, &["chain"]),
    (Key::Sample, &["sample"]),
    (Key::Kept, &["kept"]),
    (Key::Pair, &["pair"]),
    (Key::Gate, &["gate"]),
    (Key::Text, &["text"]),
    (Key::Judged, &["judged"]),
    (Key::Agree, &["agree"]),
    (Key::Preference, &["preference", "p_chosen"]),
    (Key::Margin, &["margin"]),
];

impl Key {
    /// The key of the given name, or what is wrong with it.
    pub fn find(name: &str) -> Result<Self, String> {
        let lower = name.to_lowercase();
        let known = KEYS
            .iter()
            .find(|(_, names)| names.contains(&lower.as_str()));
        if let Some((key, _)) = known {
            return Ok(*key);
        }
        let names: Vec<&str> = KEYS.iter().flat_map(|(_, names)| *names).copied().collect();
        let documented: Vec<&str> = KEYS.iter().map(|(_, names)| names[0]).collect();
        let hint = nearest(&lower, &names, &documented);
        let or = if hint.ends_with('?') { " Or" } else { ", or" };
        Err(format!(
            "unknown key `{}`; {hint}{or} quote the words to search for them as text",
            clip(name)
        ))
    }

    /// Its documented name.
    pub fn name(self) -> &'static str {
        KEYS.iter()
            .find(|(key, _)| *key == self)
            .map_or("", |(_, names)| names[0])
    }

    /// Whether it speaks of a step rather than of the whole chain.
    pub fn is_of_step(self) -> bool {
        matches!(
            self,
            Key::Principle
                | Key::Violated
                | Key::P
                | Key::Severity
                | Key::Source
                | Key::Human
                | Key::Kind
        )
    }

    /// Whether it speaks of a judgement.
    pub fn is_of_judgement(self) -> bool {
        matches!(self, Key::Agree | Key::Preference | Key::Margin)
    }

    /// What values it takes.
    pub fn kind(self) -> Kind {
        match self {
            Key::Judged | Key::Agree => Kind::Bool,
            Key::Preference | Key::Margin => Kind::Real,
            Key::Violated | Key::Revised | Key::Regressed | Key::Kept | Key::Pair => Kind::Bool,
            Key::Rounds | Key::RevisedIn | Key::Tokens | Key::Sample => Kind::Whole,
            Key::P | Key::Changed | Key::Len => Kind::Real,
            Key::Severity
            | Key::Source
            | Key::Kind
            | Key::Status
            | Key::Stop
            | Key::Label
            | Key::Human
            | Key::Flag
            | Key::Gate => Kind::Name,
            Key::Principle | Key::Prompt | Key::Run | Key::Chain | Key::Text => Kind::Free,
        }
    }

    /// The names that it takes as values, where it takes names.
    fn names(self) -> Vec<&'static str> {
        match self {
            Key::Severity => Severity::ALL.map(Severity::as_str).to_vec(),
            Key::Source => [VerdictSource::Model, VerdictSource::Check]
                .map(VerdictSource::as_str)
                .to_vec(),
            Key::Kind => [
                StepKind::Draft,
                StepKind::Critique,
                StepKind::Revision,
                StepKind::Recheck,
            ]
            .map(StepKind::as_str)
            .to_vec(),
            Key::Status => [ChainState::Running, ChainState::Done, ChainState::Failed]
                .map(ChainState::as_str)
                .to_vec(),
            Key::Stop => [
                StopReason::Clean,
                StopReason::RoundsDone,
                StopReason::ContextFull,
                StopReason::Failed,
            ]
            .map(StopReason::as_str)
            .to_vec(),
            Key::Flag => Flag::ALL.map(Flag::as_str).to_vec(),
            Key::Gate => GATES.to_vec(),
            Key::Human => HUMAN.to_vec(),
            Key::Label => {
                let names = Label::ALL.map(Label::as_str);
                names.into_iter().chain([NO_LABEL]).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A condition with this key, for messages.
    pub fn example(self) -> String {
        let name = self.name();
        match self.kind() {
            Kind::Bool => format!("{name}:true"),
            Kind::Whole => format!("{name}>=2"),
            Kind::Real => format!("{name}>0.5"),
            Kind::Name => format!("{name}:{}", self.names().first().unwrap_or(&"…")),
            Kind::Free if self == Key::Text => "text:\"some words\"".to_owned(),
            Kind::Free => format!("{name}:ID"),
        }
    }

    /// Reads a value of this key, or says what is wrong with it.
    pub fn value(self, text: &str) -> Result<Value, String> {
        let name = self.name();
        match self.kind() {
            Kind::Bool => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => Ok(Value::Bool(true)),
                "false" | "no" | "0" => Ok(Value::Bool(false)),
                _ => Err(format!(
                    "`{name}` takes true or false, not `{}`",
                    clip(text)
                )),
            },
            Kind::Whole => text
                .parse()
                .map(Value::Whole)
                .map_err(|_| format!("`{name}` takes a whole number, not `{}`", clip(text))),
            Kind::Real => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Real(number)),
                _ => Err(format!("`{name}` takes a number, not `{}`", clip(text))),
            },
            Kind::Name => {
                let names = self.names();
                let lower = text.to_lowercase();
                if names.contains(&lower.as_str()) {
                    return Ok(Value::Text(lower));
                }
                Err(format!(
                    "`{name}` does not take `{}`; {}",
                    clip(text),
                    nearest(&lower, &names, &names)
                ))
            }
            Kind::Free => Ok(Value::Text(text.to_owned())),
        }
    }
}

/// A suggestion: the name that was probably meant, or those that are documented.
fn nearest(word: &str, names: &[&str], documented: &[&str]) -> String {
    let best = names
        .iter()
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((score, name)) if score > 0.8 => format!("did you mean `{name}`?"),
        _ => format!("write one of {}", documented.join(", ")),
    }
}

/// The beginning of a text that is too long for a message.
fn clip(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A key of the filter language, for whoever helps to write filters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilterKey {
    /// Its names; the first is the one that is documented.
    pub names: Vec<&'static str>,
    /// What it takes: `bool`, `whole` (number), `real` (number), `name` (one of `values`) or `free` (any text).
    pub kind: &'static str,
    /// What it speaks of: a `step`, a `judgement`, or the whole `chain`.
    pub about: &'static str,
    /// The names that it takes as values, where it takes names.
    pub values: Vec<&'static str>,
}

/// Every key.
pub(super) fn keys() -> Vec<FilterKey> {
    let described = KEYS.iter().map(|(key, names)| FilterKey {
        names: names.to_vec(),
        kind: match key.kind() {
            Kind::Bool => "bool",
            Kind::Whole => "whole",
            Kind::Real => "real",
            Kind::Name => "name",
            Kind::Free => "free",
        },
        about: match key {
            key if key.is_of_step() => "step",
            key if key.is_of_judgement() => "judgement",
            _ => "chain",
        },
        values: key.names(),
    });
    described.collect()
}
