//! The texts of a chain, and the pair that they make.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::chain::{Flag, StepKind};
use crate::store::{ChainDetail, ChainState, Label};

/// Where a text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The first response.
    Draft,
    /// The adopted revision with this ordinal.
    Revision(u32),
    /// A person wrote it.
    Person,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Draft => f.write_str("draft"),
            Origin::Revision(ordinal) => write!(f, "revision:{ordinal}"),
            Origin::Person => f.write_str("person"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let revision = |text: &str| text.strip_prefix("revision:")?.parse().ok();
        match &*text {
            "draft" => Ok(Origin::Draft),
            "person" => Ok(Origin::Person),
            text => revision(text)
                .map(Origin::Revision)
                .ok_or_else(|| serde::de::Error::custom("no text comes from there")),
        }
    }
}

/// A response of a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side<'a> {
    /// What it says.
    pub text: &'a str,
    /// Where it comes from.
    pub from: Origin,
    /// Failure modes of the step that wrote it.
    pub flags: &'a [Flag],
}

/// Why one text of a pair is preferred to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It is the later one; nobody compared them.
    Later,
    /// The judge prefers it, and it is the later one.
    Judge,
    /// The judge prefers the draft, so the pair was turned round.
    Flipped,
    /// The judge prefers it to the draft, and it is not the last round.
    BestRound,
    /// A person says so.
    Person,
}

impl Why {
    /// The name used in the store and in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Later => "later",
            Why::Judge => "judge",
            Why::Flipped => "flipped",
            Why::BestRound => "best-round",
            Why::Person => "person",
        }
    }
}

/// How far the texts of a pair lie apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contrast {
    /// Words removed and added over the words of both: 0 for equal texts, 1 for texts without a word in
    /// common. As `changed` in `v_chains`.
    pub edit_distance: f64,
    /// Characters of the chosen text over those of the rejected one; `None` where that is empty.
    pub length_ratio: Option<f64>,
    /// By how much the judge prefers the chosen text: P(chosen) − P(rejected), −1 to 1; `None` without a
    /// judge.
    pub margin: Option<f64>,
}

/// Two responses to one prompt, one of them preferred.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair<'a> {
    /// The preferred one.
    pub chosen: Side<'a>,
    /// The other one.
    pub rejected: Side<'a>,
    /// Why.
    pub why: Why,
    /// The probability that the chosen text is the better one, a soft label; `None` without a judge.
    pub p: Option<f64>,
    /// How far they lie apart.
    pub contrast: Contrast,
}

/// The responses of a chain: its draft, then what was adopted in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts<'a> {
    /// The first response.
    pub draft: Side<'a>,
    /// Adopted revisions, in order.
    pub revisions: Vec<Side<'a>>,
    /// What a person wrote in place of all these.
    pub person: Option<Side<'a>>,
}

impl<'a> Texts<'a> {
    /// The responses of a chain that has ended well and that nobody rejected; the name of the reason for any
    /// other.
    pub fn of(chain: &'a ChainDetail) -> Result<Self, &'static str> {
        match chain.row.label {
            Some(Label::Reject) => Self::unlabelled(chain).and(Err("rejected")),
            _ => Self::unlabelled(chain),
        }
    }

    /// The responses of a chain that has ended well, whatever a person said of it.
    pub fn unlabelled(chain: &'a ChainDetail) -> Result<Self, &'static str> {
        match chain.row.status {
            ChainState::Done => {}
            ChainState::Running => return Err("running"),
            ChainState::Failed => return Err("failed"),
        }
        let adopted = |kind| {
            chain
                .steps
                .iter()
                .filter(move |step| step.adopted && step.kind == kind)
        };
        let draft = adopted(StepKind::Draft).next_back();
        Ok(Self {
            draft: Side {
                text: chain.row.draft.as_deref().unwrap_or_default(),
                from: Origin::Draft,
                flags: draft.map_or(&[], |step| &step.flags),
            },
            revisions: adopted(StepKind::Revision)
                .map(|step| Side {
                    text: &step.output,
                    from: Origin::Revision(step.ordinal),
                    flags: &step.flags,
                })
                .collect(),
            person: chain.row.chosen.as_deref().map(|text| Side {
                text,
                from: Origin::Person,
                flags: &[],
            }),
        })
    }

    /// The response that the chain ended with.
    pub fn last(&self) -> Side<'a> {
        self.revisions.last().copied().unwrap_or(self.draft)
    }

    /// The response of the given origin.
    pub fn get(&self, from: Origin) -> Option<Side<'a>> {
        std::iter::once(&self.draft)
            .chain(&self.revisions)
            .chain(&self.person)
            .find(|side| side.from == from)
            .copied()
    }
}
