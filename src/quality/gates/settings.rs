//! Which gates are open, and how far.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use thiserror::Error;

use crate::chain::Flag;

/// A gate: one thing that a row must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gate {
    /// A prompt that was run to measure refusals, not to be learned from.
    Control,
    /// Chosen and rejected are the same.
    EqualTexts,
    /// The judge prefers the draft.
    DraftPreferred,
    /// The judge is undecided.
    JudgeTie,
    /// The judge decides by the order in which the texts are shown.
    JudgeDisagrees,
    /// The text shows a failure mode.
    Flags,
    /// The text refuses a benign prompt.
    Refusal,
    /// One text is much longer than the other.
    LengthRatio,
    /// Prompt and response have too many tokens.
    Tokens,
    /// Personal data in prompt or response.
    PersonalData,
    /// Keys, tokens and passwords in prompt or response.
    Secrets,
    /// The response is in another language than the prompt.
    Language,
    /// The row is there already.
    Duplicate,
    /// The row is there already, nearly.
    NearDuplicate,
    /// Wording that revisions repeat and drafts do not.
    Collapse,
}

impl Gate {
    /// Every gate, in the order in which they are asked.
    pub const ALL: [Gate; 15] = [
        Gate::Control,
        Gate::EqualTexts,
        Gate::DraftPreferred,
        Gate::JudgeTie,
        Gate::JudgeDisagrees,
        Gate::Flags,
        Gate::Refusal,
        Gate::LengthRatio,
        Gate::Tokens,
        Gate::PersonalData,
        Gate::Secrets,
        Gate::Language,
        Gate::Duplicate,
        Gate::NearDuplicate,
        Gate::Collapse,
    ];

    /// The name used on the command line, in the store and in filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Gate::Control => "control",
            Gate::EqualTexts => "equal-texts",
            Gate::DraftPreferred => "draft-preferred",
            Gate::JudgeTie => "judge-tie",
            Gate::JudgeDisagrees => "judge-disagrees",
            Gate::Flags => "flags",
            Gate::Refusal => "refusal",
            Gate::LengthRatio => "length-ratio",
            Gate::Tokens => "tokens",
            Gate::PersonalData => "personal-data",
            Gate::Secrets => "secrets",
            Gate::Language => "language",
            Gate::Duplicate => "duplicate",
            Gate::NearDuplicate => "near-duplicate",
            Gate::Collapse => "collapse",
        }
    }

    /// The gate of the given name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|gate| gate.as_str() == name)
    }

    /// Whether it speaks of the pair and leaves the chosen text alone.
    pub fn is_of_pair(self) -> bool {
        matches!(
            self,
            Gate::EqualTexts | Gate::JudgeTie | Gate::JudgeDisagrees | Gate::LengthRatio
        )
    }
}

/// What becomes of a pair whose draft the judge prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftPreferred {
    /// It is left out.
    Drop,
    /// The draft becomes the chosen text.
    Flip,
    /// The revision that the judge likes best takes the place of the last one, where one is better than the
    /// draft.
    Best,
}

/// Which prompts the refusal gate is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalOf {
    /// Those whose row says that they are benign.
    Benign,
    /// All.
    All,
}

/// Settings of all gates; `None` and `false` leave a gate out.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Leave control prompts out.
    pub control: bool,
    /// Leave out pairs of equal texts.
    pub equal_texts: bool,
    /// What becomes of a pair whose draft the judge prefers.
    pub draft_preferred: Option<DraftPreferred>,
    /// The judge is undecided where its margin is below this.
    pub judge_tie: Option<f64>,
    /// Leave out pairs that the judge decides by their order.
    pub judge_disagrees: bool,
    /// Flags that a text must not have.
    pub flags: Option<Vec<Flag>>,
    /// The prompts that must not be refused.
    pub refusal: Option<RefusalOf>,
    /// The least and most length of the chosen text over the rejected one.
    pub length_ratio: Option<(f64, f64)>,
    /// The most tokens of prompt and response.
    pub tokens: Option<u32>,
    /// Look for personal data.
    pub personal_data: bool,
    /// Look for secrets.
    pub secrets: bool,
    /// How sure it must be that the languages differ, 0 to 1.
    pub language: Option<f64>,
    /// Leave out rows that are there already.
    pub duplicate: bool,
    /// The similarity of prompts, and of responses, from which rows count as the same.
    pub near_duplicate: Option<f64>,
    /// The share of rows that may hold a wording which revisions have brought in.
    pub collapse: Option<f64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            control: true,
            equal_texts: true,
            draft_preferred: Some(DraftPreferred::Drop),
            judge_tie: Some(0.1),
            judge_disagrees: true,
            flags: Some(vec![
                Flag::Empty,
                Flag::CritiqueRepeated,
                Flag::NoRevision,
                Flag::ThinkUnclosed,
            ]),
            refusal: Some(RefusalOf::Benign),
            length_ratio: Some((0.2, 5.0)),
            tokens: Some(1024),
            personal_data: true,
            secrets: true,
            language: Some(0.9),
            duplicate: true,
            near_duplicate: Some(0.85),
            collapse: Some(0.05),
        }
    }
}

/// A setting that cannot be read.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{0}")]
pub struct SettingError(String);

impl Settings {
    /// Every gate left out.
    pub fn none() -> Self {
        Self {
            control: false,
            equal_texts: false,
            draft_preferred: None,
            judge_tie: None,
            judge_disagrees: false,
            flags: None,
            refusal: None,
            length_ratio: None,
            tokens: None,
            personal_data: false,
            secrets: false,
            language: None,
            duplicate: false,
            near_duplicate: None,
            collapse: None,
        }
    }

    /// Whether no gate is left.
    pub fn is_none(&self) -> bool {
        *self == Self::none()
    }

    /// Takes over a setting written as `GATE=VALUE`, `GATE=on` or `GATE=off`.
    pub fn set(&mut self, setting: &str) -> Result<(), SettingError> {
        let (name, value) = setting.split_once('=').unwrap_or((setting, "on"));
        let gate = Gate::find(name).ok_or_else(|| unknown_gate(name))?;
        match value {
            "off" => self.take(gate, &Self::none()),
            "on" => self.take(gate, &Self::default()),
            value => self
                .read(gate, value)
                .ok_or_else(|| SettingError(format!("{name}={value}: {}", takes(gate))))?,
        }
        Ok(())
    }

    fn take(&mut self, gate: Gate, from: &Self) {
        match gate {
            Gate::Control => self.control = from.control,
            Gate::EqualTexts => self.equal_texts = from.equal_texts,
            Gate::DraftPreferred => self.draft_preferred = from.draft_preferred,
            Gate::JudgeTie => self.judge_tie = from.judge_tie,
            Gate::JudgeDisagrees => self.judge_disagrees = from.judge_disagrees,
            Gate::Flags => self.flags.clone_from(&from.flags),
            Gate::Refusal => self.refusal = from.refusal,
            Gate::LengthRatio => self.length_ratio = from.length_ratio,
            Gate::Tokens => self.tokens = from.tokens,
            Gate::PersonalData => self.personal_data = from.personal_data,
            Gate::Secrets => self.secrets = from.secrets,
            Gate::Language => self.language = from.language,
            Gate::Duplicate => self.duplicate = from.duplicate,
            Gate::NearDuplicate => self.near_duplicate = from.near_duplicate,
            Gate::Collapse => self.collapse = from.collapse,
        }
    }

    fn read(&mut self, gate: Gate, value: &str) -> Option<()> {
        match gate {
            Gate::DraftPreferred => {
                self.draft_preferred = Some(match value {
                    "drop" => DraftPreferred::Drop,
                    "flip" => DraftPreferred::Flip,
                    "best" => DraftPreferred::Best,
                    _ => return None,
                });
            }
            Gate::Refusal => {
                self.refusal = Some(match value {
                    "benign" => RefusalOf::Benign,
                    "all" => RefusalOf::All,
                    _ => return None,
                });
            }
            Gate::Flags => self.flags = Some(flags(value)?),
            Gate::LengthRatio => {
                let (low, high) = value.split_once('-')?;
                let ratio = (number(low)?, number(high)?);
                self.length_ratio = Some(ratio).filter(|(low, high)| low <= high);
                self.length_ratio?;
            }
            Gate::Tokens => self.tokens = Some(value.parse().ok().filter(|&limit| limit > 0)?),
            Gate::JudgeTie => self.judge_tie = Some(share(value)?),
            Gate::Language => self.language = Some(share(value)?),
            Gate::NearDuplicate => {
                self.near_duplicate = Some(share(value).filter(|&share| share >= 0.5)?);
            }
            Gate::Collapse => self.collapse = Some(share(value)?),
            Gate::Control
            | Gate::EqualTexts
            | Gate::JudgeDisagrees
            | Gate::PersonalData
            | Gate::Secrets
            | Gate::Duplicate => return None,
        }
        Some(())
    }

    /// Every gate with its threshold, `false` where it is left out; what the store and manifests keep.
    pub fn to_json(&self) -> Value {
        let all: BTreeMap<_, _> = Gate::ALL
            .iter()
            .map(|gate| (gate.as_str(), self.value(*gate)))
            .collect();
        json!(all)
    }

    /// A gate's threshold; `false` where it is left out.
    pub fn value(&self, gate: Gate) -> Value {
        let or_false = |value: Option<Value>| value.unwrap_or(Value::Bool(false));
        match gate {
            Gate::Control => json!(self.control),
            Gate::EqualTexts => json!(self.equal_texts),
            Gate::DraftPreferred => or_false(self.draft_preferred.map(|policy| {
                json!(match policy {
                    DraftPreferred::Drop => "drop",
                    DraftPreferred::Flip => "flip",
                    DraftPreferred::Best => "best",
                })
            })),
            Gate::JudgeTie => or_false(self.judge_tie.map(Value::from)),
            Gate::JudgeDisagrees => json!(self.judge_disagrees),
            Gate::Flags => or_false(self.flags.as_ref().map(|flags| {
                let names: Vec<_> = flags.iter().map(|flag| flag.as_str()).collect();
                json!(names)
            })),
            Gate::Refusal => or_false(self.refusal.map(|of| {
                json!(match of {
                    RefusalOf::Benign => "benign",
                    RefusalOf::All => "all",
                })
            })),
            Gate::LengthRatio => or_false(self.length_ratio.map(|ratio| json!(ratio))),
            Gate::Tokens => or_false(self.tokens.map(Value::from)),
            Gate::PersonalData => json!(self.personal_data),
            Gate::Secrets => json!(self.secrets),
            Gate::Language => or_false(self.language.map(Value::from)),
            Gate::Duplicate => json!(self.duplicate),
            Gate::NearDuplicate => or_false(self.near_duplicate.map(Value::from)),
            Gate::Collapse => or_false(self.collapse.map(Value::from)),
        }
    }
}

/// What a gate's setting may be, for messages.
fn takes(gate: Gate) -> &'static str {
    match gate {
        Gate::DraftPreferred => "takes drop, flip, best, on or off",
        Gate::Refusal => "takes benign, all, on or off",
        Gate::Flags => "takes names of flags with commas between them, on or off",
        Gate::LengthRatio => "takes a range such as 0.2-5, on or off",
        Gate::Tokens => "takes a number of tokens, on or off",
        Gate::NearDuplicate => "takes a similarity from 0.5 to 1, on or off",
        Gate::JudgeTie | Gate::Language | Gate::Collapse => "takes a number from 0 to 1, on or off",
        Gate::Control
        | Gate::EqualTexts
        | Gate::JudgeDisagrees
        | Gate::PersonalData
        | Gate::Secrets
        | Gate::Duplicate => "takes on or off",
    }
}

fn unknown_gate(name: &str) -> SettingError {
    let nearest = Gate::ALL
        .iter()
        .map(|gate| (strsim::jaro_winkler(name, gate.as_str()), gate.as_str()))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score > 0.8);
    let names: Vec<_> = Gate::ALL.iter().map(|gate| gate.as_str()).collect();
    SettingError(match nearest {
        Some((_, near)) => format!("no gate is called `{name}`; did you mean `{near}`?"),
        None => format!("no gate is called `{name}`; there are {}", names.join(", ")),
    })
}

fn flags(names: &str) -> Option<Vec<Flag>> {
    let mut flags: Vec<Flag> = names
        .split(',')
        .map(|name| Flag::ALL.into_iter().find(|flag| flag.as_str() == name))
        .collect::<Option<_>>()?;
    flags.sort_unstable();
    flags.dedup();
    Some(flags)
}

fn number(text: &str) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

fn share(text: &str) -> Option<f64> {
    number(text).filter(|number| *number <= 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gate_can_be_left_out_and_put_back() {
        let mut settings = Settings::default();
        for gate in Gate::ALL {
            settings.set(&format!("{}=off", gate.as_str())).unwrap();
            assert_eq!(settings.value(gate), json!(false), "{gate:?}");
        }
        assert!(settings.is_none());
        for gate in Gate::ALL {
            settings.set(gate.as_str()).unwrap();
            assert_ne!(settings.value(gate), json!(false), "{gate:?}");
        }
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn filters_know_every_gate() {
        assert_eq!(Gate::ALL.map(Gate::as_str), crate::store::GATES);
        // Figures are counted by these numbers.
        let numbers: Vec<usize> = Gate::ALL.iter().map(|gate| *gate as usize).collect();
        assert_eq!(numbers, Vec::from_iter(0..Gate::ALL.len()));
    }

    #[test]
    fn thresholds_are_read() {
        let mut settings = Settings::default();
        for setting in [
            "draft-preferred=flip",
            "judge-tie=0.2",
            "flags=preamble,empty",
            "refusal=all",
            "length-ratio=0.5-2",
            "tokens=64",
            "language=0.5",
            "near-duplicate=1",
            "collapse=0.01",
        ] {
            settings.set(setting).unwrap();
        }
        let expected = Settings {
            draft_preferred: Some(DraftPreferred::Flip),
            judge_tie: Some(0.2),
            flags: Some(vec![Flag::Empty, Flag::Preamble]),
            refusal: Some(RefusalOf::All),
            length_ratio: Some((0.5, 2.0)),
            tokens: Some(64),
            language: Some(0.5),
            near_duplicate: Some(1.0),
            collapse: Some(0.01),
            ..Settings::default()
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_would_be() {
        for (setting, part) in [
            ("langauge=0.5", "did you mean `language`?"),
            ("x", "there are control, equal-texts"),
            ("language=2", "from 0 to 1"),
            ("language=NaN", "from 0 to 1"),
            ("tokens=0", "a number of tokens"),
            ("length-ratio=5-0.2", "a range such as"),
            ("length-ratio=-1", "a range such as"),
            ("near-duplicate=0.1", "from 0.5 to 1"),
            ("flags=rude", "names of flags"),
            ("secrets=maybe", "on or off"),
            ("draft-preferred=swap", "drop, flip, best"),
        ] {
            let before = Settings::default();
            let mut settings = before.clone();
            let error = settings.set(setting).unwrap_err().to_string();
            assert!(error.contains(part), "{setting}: {error}");
        }
    }
}
