//! What the gates decided about a chain, and what follows for a dataset.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::settings::Gate;
use crate::quality::pair::{Contrast, Origin, Pair, Side, Texts, Why};

/// What a gate does with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is left out.
    Drop,
    /// Chosen and rejected change places.
    Flip,
    /// Another round's text takes the place of the last one.
    Replace,
}

impl Action {
    /// The name used in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Drop => "drop",
            Action::Flip => "flip",
            Action::Replace => "replace",
        }
    }
}

/// What one gate says about a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The gate.
    #[serde(serialize_with = "gate_name", deserialize_with = "gate_named")]
    pub gate: Gate,
    /// What it does.
    pub action: Action,
    /// Whether only the pair is concerned, and the chosen text may still be taught by itself.
    pub pair_only: bool,
    /// Why, in words. Never repeats personal data or a secret.
    pub reason: String,
    /// What was measured and held against the threshold.
    pub value: Option<f64>,
}

fn gate_name<S: serde::Serializer>(gate: &Gate, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(gate.as_str())
}

fn gate_named<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Gate, D::Error> {
    let name = Cow::<str>::deserialize(deserializer)?;
    Gate::find(&name).ok_or_else(|| serde::de::Error::custom("no gate has this name"))
}

impl Finding {
    /// A finding that leaves the row out.
    pub fn drop(gate: Gate, reason: impl Into<String>) -> Self {
        Self {
            gate,
            action: Action::Drop,
            pair_only: gate.is_of_pair(),
            reason: reason.into(),
            value: None,
        }
    }

    /// The same with what was measured.
    pub fn with(self, value: f64) -> Self {
        Self {
            value: Some(value),
            ..self
        }
    }

    /// The same about the pair only.
    pub fn of_pair(self) -> Self {
        Self {
            pair_only: true,
            ..self
        }
    }

    /// The reason as `dropped.jsonl` and manifests count it: the gate, and where it looks for several things
    /// which of them.
    pub fn name(&self) -> Cow<'static, str> {
        match self.gate {
            Gate::Flags => format!("flagged-{}", self.reason).into(),
            gate => gate.as_str().into(),
        }
    }
}

/// What the gates decided about a chain that has texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The text to learn from.
    pub chosen: Origin,
    /// The text that it is preferred to; `None` where the chain has no other.
    pub rejected: Option<Origin>,
    /// Why.
    pub why: Why,
    /// The probability that the chosen text is the better one.
    pub p: Option<f64>,
    /// How far the texts lie apart.
    pub contrast: Contrast,
    /// What the gates found, in their order.
    pub findings: Vec<Finding>,
}

impl Decision {
    /// Why the chosen text is not taught; `None` where it is.
    pub fn text_refused(&self) -> Option<&Finding> {
        self.drops().find(|finding| !finding.pair_only)
    }

    /// Why the pair is not taught; `None` where it is.
    pub fn pair_refused(&self) -> Option<&Finding> {
        // What concerns the text is the weightier reason.
        self.text_refused().or_else(|| self.drops().next())
    }

    /// The same where it is no fault of one text, so that no other text of the chain is taught either.
    pub(super) fn text_refused_as_a_whole(&self) -> Option<&Finding> {
        self.drops().find(|finding| {
            !finding.pair_only
                && matches!(
                    finding.gate,
                    Gate::Control
                        | Gate::DraftPreferred
                        | Gate::Refusal
                        | Gate::Tokens
                        | Gate::Duplicate
                        | Gate::NearDuplicate
                        | Gate::Collapse
                )
        })
    }

    /// Whether the chosen text is taught.
    pub fn keeps_text(&self) -> bool {
        self.text_refused().is_none()
    }

    /// Whether there is a pair and it is taught.
    pub fn keeps_pair(&self) -> bool {
        let two = self.rejected.is_some_and(|from| from != self.chosen);
        two && self.pair_refused().is_none()
    }

    fn drops(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.action == Action::Drop)
    }
}

/// Why a chain or a text gives no row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The name that is counted, such as `failed`, `equal-texts` or `flagged-empty`.
    pub name: Cow<'static, str>,
    /// More words, where there are any.
    pub because: String,
}

impl Refused {
    /// A reason that says everything.
    pub(super) fn plain(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            because: String::new(),
        }
    }

    /// What a gate said.
    pub fn by(finding: &Finding) -> Self {
        Self {
            name: finding.name(),
            because: finding.reason.clone(),
        }
    }
}

/// What a chain gives to a dataset, labels and gates considered.
#[derive(Clone, Debug, PartialEq)]
pub struct Gated<'a> {
    /// The text to learn from.
    pub text: Result<Side<'a>, Refused>,
    /// The pair to learn from.
    pub pair: Result<Pair<'a>, Refused>,
}

impl<'a> Gated<'a> {
    /// A chain that gives nothing.
    pub(super) fn nothing(refused: Refused) -> Self {
        Self {
            text: Err(refused.clone()),
            pair: Err(refused),
        }
    }

    /// What follows from a decision about the chain of these texts.
    pub(super) fn new(texts: &Texts<'a>, decision: &Decision) -> Self {
        let Some(chosen) = texts.get(decision.chosen) else {
            // The chain went on since it was decided about.
            return Self::nothing(Refused::plain("running"));
        };
        let text = match decision.text_refused() {
            Some(finding) => Err(Refused::by(finding)),
            None => Ok(chosen),
        };
        let rejected = decision.rejected.and_then(|from| texts.get(from));
        let pair = match (decision.pair_refused(), rejected) {
            (Some(finding), _) => Err(Refused::by(finding)),
            (None, None) => Err(Refused::plain("empty-draft")),
            // A text makes no pair with itself, whatever the gates say.
            (None, Some(rejected)) if rejected.from == chosen.from => {
                Err(Refused::plain("equal-texts"))
            }
            (None, Some(rejected)) => Ok(Pair {
                chosen,
                rejected,
                why: decision.why,
                p: decision.p,
                contrast: decision.contrast,
            }),
        };
        Self { text, pair }
    }
}
