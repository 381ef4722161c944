//! What a chain gives: its lessons, and for every other text the reason why it gives none.

use crate::chain::{Flag, StepKind, StopReason};
use crate::constitution::Constitution;
use crate::quality::gates::{Action, Decided, Finding, Gate, Gating, Refused};
use crate::quality::pair::{Origin, Side, Texts, Why};
use crate::store::{ChainDetail, Label, StepDetail};

use super::lesson::{Critique, Draws, Lesson, Revision};
use super::steps;

/// What became of a text.
#[derive(Debug, PartialEq)]
pub(super) enum Drawn {
    /// Something to learn, and the flags of the text that it teaches.
    Lesson { lesson: Lesson, flags: Vec<Flag> },
    /// Nothing. `step` is set where a chain can give several.
    Dropped { step: Option<u32>, refused: Refused },
}

impl Drawn {
    fn lesson(lesson: Lesson, side: Side<'_>) -> Self {
        Drawn::Lesson {
            lesson,
            flags: side.flags.to_vec(),
        }
    }

    /// A text that gives nothing.
    pub fn dropped(step: Option<u32>, refused: Refused) -> Self {
        Drawn::Dropped { step, refused }
    }
}

/// A reason whose name says everything.
pub(super) fn plain(name: &'static str) -> Refused {
    Refused {
        name: name.into(),
        because: String::new(),
    }
}

/// What is drawn, and from what.
#[derive(Clone, Copy)]
pub(super) struct Drawing<'a> {
    pub draws: Draws,
    /// Every adopted revision gives an answer, and not only the last.
    pub all_rounds: bool,
    /// Control prompts give the drafts that no critique objected to.
    pub benign: bool,
    pub gating: &'a Gating,
}

impl Drawing<'_> {
    /// What a chain gives of which this was decided. A chain that is not done gives one reason.
    pub fn draw(
        self,
        chain: &ChainDetail,
        decided: &Decided,
        constitution: &Constitution,
    ) -> Vec<Drawn> {
        let one = OfOne {
            drawing: self,
            gating: self.gating,
            decided,
        };
        one.draw(chain, constitution)
    }
}

/// The same with what was decided about one chain.
#[derive(Clone, Copy)]
struct OfOne<'a> {
    drawing: Drawing<'a>,
    gating: &'a Gating,
    decided: &'a Decided,
}

impl OfOne<'_> {
    fn draw(self, chain: &ChainDetail, constitution: &Constitution) -> Vec<Drawn> {
        if let Some(drawn) = self.control(chain) {
            return vec![drawn];
        }
        let mut drawn = self.lessons(chain, constitution);
        // Whether a text may leave the store does not depend on what is learned from it.
        for drawn in &mut drawn {
            if let Drawn::Lesson { lesson, .. } = drawn
                && !self.guarded_already()
                && let Some(refused) = self.gating.guard(lesson.texts())
            {
                *drawn = Drawn::dropped(None, refused);
            }
        }
        drawn
    }

    /// Whether the gates looked at every text of these lessons.
    fn guarded_already(self) -> bool {
        match self.drawing.draws {
            Draws::Answers => !self.drawing.all_rounds,
            Draws::Pairs => true,
            Draws::Unpaired
            | Draws::Prompts
            | Draws::Steps
            | Draws::Revisions
            | Draws::Critiques => false,
        }
    }

    fn lessons(self, chain: &ChainDetail, constitution: &Constitution) -> Vec<Drawn> {
        match self.drawing.draws {
            Draws::Answers => self.answers(chain),
            Draws::Pairs => self.pairs(chain),
            Draws::Unpaired => self.unpaired(chain),
            // A prompt is one whatever became of its answer.
            Draws::Prompts => vec![Drawn::Lesson {
                lesson: Lesson::Prompt {
                    prompt: chain.prompt_messages.clone(),
                },
                flags: Vec::new(),
            }],
            Draws::Steps => steps::steps(chain),
            Draws::Revisions => self.revisions(chain, constitution),
            Draws::Critiques => critiques(chain),
        }
    }

    /// What becomes of a chain about a control prompt, where that gate is closed: nothing, or its draft.
    fn control(self, chain: &ChainDetail) -> Option<Drawn> {
        let Some(decision) = self.decided.decision() else {
            // It has no text, and its prompt is no row either.
            let control = self.gating.is_control(chain);
            return control.then(|| Drawn::dropped(None, plain("control")));
        };
        let mut drops = decision
            .findings
            .iter()
            .filter(|finding| finding.action == Action::Drop && !finding.pair_only);
        let control = drops.clone().any(|finding| finding.gate == Gate::Control);
        if !control {
            return None;
        }
        let sound = drops.all(|finding| finding.gate == Gate::Control)
            && decision.chosen == Origin::Draft
            && chain.row.violated.is_empty();
        let draft = Texts::of(chain).ok().map(|texts| texts.draft);
        let lesson = draft
            .filter(|_| self.drawing.benign && sound)
            .and_then(|draft| {
                let lesson = match self.drawing.draws {
                    Draws::Answers => answer(chain, draft),
                    Draws::Unpaired => judged(chain, draft, true),
                    _ => return None,
                };
                // Unless a person accepted it, only the verdicts say that it is sound.
                let accepted = chain.row.label == Some(Label::Accept);
                Some(match !accepted && is_refuted(chain) {
                    true => Drawn::dropped(None, plain("verdict-disagreed")),
                    false => Drawn::lesson(lesson, draft),
                })
            });
        Some(lesson.unwrap_or_else(|| Drawn::dropped(None, plain("control"))))
    }

    fn answers(self, chain: &ChainDetail) -> Vec<Drawn> {
        let given = match self.drawing.all_rounds && !self.prefers_draft() {
            true => self.decided.rounds(chain, &self.gating.settings),
            false => Vec::new(),
        };
        let one = |step, side: Result<Side<'_>, Refused>| match side {
            Ok(side) => Drawn::lesson(answer(chain, side), side),
            Err(refused) => Drawn::dropped(step, refused),
        };
        if given.is_empty() {
            return vec![one(None, self.decided.take(chain).text)];
        }
        given
            .into_iter()
            .map(|(step, side)| one(Some(step), side))
            .collect()
    }

    /// Whether the draft is the text to learn from, so that no revision of it is.
    fn prefers_draft(self) -> bool {
        let decision = self.decided.decision();
        decision.is_some_and(|decision| {
            decision.why == Why::Flipped || decision.chosen == Origin::Draft
        })
    }

    fn pairs(self, chain: &ChainDetail) -> Vec<Drawn> {
        vec![match self.decided.take(chain).pair {
            Ok(pair) => Drawn::lesson(
                Lesson::Pair {
                    prompt: chain.prompt_messages.clone(),
                    chosen: pair.chosen.text.to_owned(),
                    rejected: pair.rejected.text.to_owned(),
                    probability: pair.p,
                },
                pair.chosen,
            ),
            Err(refused) => Drawn::dropped(None, refused),
        }]
    }

    /// Both texts of a pair, each by itself. What a person rejected is bad, and nothing else is known of that
    /// chain. What a person accepted or wrote is good, also where its pair is left out. A chain without a second text
    /// gives its draft where the verdicts say whether that is good.
    fn unpaired(self, chain: &ChainDetail) -> Vec<Drawn> {
        let one = |side: Side<'_>, good| Drawn::lesson(judged(chain, side, good), side);
        match self.gating.rejected(chain) {
            Some(Ok(side)) => return vec![one(side, false)],
            Some(Err(refused)) => return vec![Drawn::dropped(None, refused)],
            None => {}
        }
        let gated = self.decided.take(chain);
        let refused = match gated.pair {
            // One text cannot be good and bad.
            Ok(pair) if pair.chosen.text.trim() == pair.rejected.text.trim() => {
                plain("equal-texts")
            }
            Ok(pair) => return vec![one(pair.chosen, true), one(pair.rejected, false)],
            Err(refused) => refused,
        };
        let approved = matches!(chain.row.label, Some(Label::Accept | Label::Edit));
        let good = match (chain.row.stop_reason, chain.row.revised) {
            _ if approved => Some(true),
            (Some(StopReason::Clean), false) => Some(true),
            (Some(_), false) if !chain.row.violated.is_empty() => Some(false),
            _ => None,
        };
        let alone = approved || ["equal-texts", "empty-draft"].contains(&&*refused.name);
        vec![match (alone, good, gated.text) {
            (true, Some(_), Ok(_)) if !approved && is_refuted(chain) => {
                Drawn::dropped(None, plain("verdict-disagreed"))
            }
            (true, Some(good), Ok(side)) => one(side, good),
            _ => Drawn::dropped(None, refused),
        }]
    }

    /// A lesson for every adopted revision: what it revised, the critique that it answers, and itself.
    fn revisions(self, chain: &ChainDetail, constitution: &Constitution) -> Vec<Drawn> {
        let texts = match Texts::of(chain) {
            Ok(texts) => texts,
            Err(name) => return vec![Drawn::dropped(None, plain(name))],
        };
        let given = self.decided.rounds(chain, &self.gating.settings);
        if given.is_empty() {
            // A text that a person wrote answers no critique.
            let edited = texts.person.is_some() && !texts.revisions.is_empty();
            let name = if edited { "edited" } else { "not-revised" };
            return vec![Drawn::dropped(None, plain(name))];
        }
        let last = given.last().map(|(ordinal, _)| *ordinal);
        let one = |(ordinal, side): (u32, Result<Side<'_>, Refused>)| {
            let side = match side {
                Ok(side) => side,
                Err(refused) => return Drawn::dropped(Some(ordinal), refused),
            };
            // What the judge said is about the text that the chain ended with.
            if let Some(refused) = self.undecided().filter(|_| last == Some(ordinal)) {
                return Drawn::dropped(Some(ordinal), refused);
            }
            let revision = match revision(chain, constitution, ordinal, side.text) {
                Ok(revision) => revision,
                Err(name) => return Drawn::dropped(Some(ordinal), plain(name)),
            };
            match self.gating.lengths(&revision.response, &revision.revision) {
                Some(refused) => Drawn::dropped(Some(ordinal), refused),
                None => Drawn::lesson(Lesson::Revision(Box::new(revision)), side),
            }
        };
        given.into_iter().map(one).collect()
    }

    /// Why the judge does not prefer the text that a chain ended with.
    fn undecided(self) -> Option<Refused> {
        let decision = self.decided.decision()?;
        let by_judge = |finding: &&Finding| {
            matches!(
                finding.gate,
                Gate::DraftPreferred | Gate::JudgeTie | Gate::JudgeDisagrees
            )
        };
        decision.findings.iter().find(by_judge).map(Refused::by)
    }
}

/// Whether the gates leave a chain out since its prompt was run to measure refusals.
pub(super) fn is_control(decided: &Decided) -> bool {
    let control = |finding: &Finding| finding.gate == Gate::Control;
    let decision = decided.decision();
    decision.is_some_and(|decision| decision.findings.iter().any(control))
}

fn answer(chain: &ChainDetail, side: Side<'_>) -> Lesson {
    Lesson::Answer {
        prompt: chain.prompt_messages.clone(),
        response: side.text.to_owned(),
    }
}

fn judged(chain: &ChainDetail, side: Side<'_>, good: bool) -> Lesson {
    Lesson::Unpaired {
        prompt: chain.prompt_messages.clone(),
        completion: side.text.to_owned(),
        good,
    }
}

/// Whether a person disagrees with a verdict about one of its texts.
fn is_refuted(chain: &ChainDetail) -> bool {
    let mut steps = chain.steps.iter();
    steps.any(|step| step.agreed == Some(false))
}

/// The steps whose outputs became the chain's response, in order: draft, then adopted revisions.
fn adopted(chain: &ChainDetail) -> impl DoubleEndedIterator<Item = &StepDetail> {
    chain
        .steps
        .iter()
        .filter(|step| step.adopted && matches!(step.kind, StepKind::Draft | StepKind::Revision))
}

fn revision(
    chain: &ChainDetail,
    constitution: &Constitution,
    ordinal: u32,
    text: &str,
) -> Result<Revision, &'static str> {
    let earlier = |step: &&StepDetail| step.ordinal < ordinal;
    let before = adopted(chain).rfind(earlier).ok_or("empty-draft")?;
    if before.output.trim().is_empty() {
        return Err("empty-draft");
    }
    if before.output.trim() == text.trim() {
        return Err("equal-texts");
    }
    let step = chain.steps.iter().find(|step| step.ordinal == ordinal);
    let principle_id = step.and_then(|step| step.principle_id.as_deref());
    let principle = principle_id.and_then(|id| constitution.principle(id));
    let mut critiques = chain.steps.iter().rev().filter(earlier);
    let critique = critiques.find(|step| {
        step.kind == StepKind::Critique && step.principle_id.as_deref() == principle_id
    });
    Ok(Revision {
        prompt: chain.prompt_messages.clone(),
        response: before.output.clone(),
        critique_request: principle.map_or_else(String::new, |p| p.critique.clone()),
        critique: critique.map_or_else(String::new, |step| step.output.clone()),
        revision_request: principle.map_or_else(String::new, |p| p.revision.clone()),
        revision: text.to_owned(),
        from: Some([
            Origin::Revision(ordinal),
            match before.kind {
                StepKind::Draft => Origin::Draft,
                _ => Origin::Revision(before.ordinal),
            },
        ]),
    })
}

/// A lesson for every critique that a model wrote and that holds.
fn critiques(chain: &ChainDetail) -> Vec<Drawn> {
    if chain.row.label == Some(Label::Reject) {
        return vec![Drawn::dropped(None, plain("rejected"))];
    }
    let asked = |step: &&StepDetail| matches!(step.kind, StepKind::Critique | StepKind::Recheck);
    let drawn: Vec<_> = chain
        .steps
        .iter()
        .filter(asked)
        .map(|step| match critique(step) {
            Ok(critique) => Drawn::Lesson {
                lesson: Lesson::Critique(Box::new(critique)),
                flags: step.flags.clone(),
            },
            Err(name) => Drawn::dropped(
                Some(step.ordinal),
                Refused {
                    name: name.into(),
                    because: String::new(),
                },
            ),
        })
        .collect();
    match drawn.is_empty() {
        true => vec![Drawn::dropped(None, plain("not-judged"))],
        false => drawn,
    }
}

fn critique(step: &StepDetail) -> Result<Critique, String> {
    // A person says that it is wrong.
    if step.agreed == Some(false) {
        return Err("verdict-disagreed".to_owned());
    }
    // Where a verdict was asked for twice, the second reply stands unless the step says otherwise.
    let Some(call) = step.calls.last() else {
        return Err("checked-by-program".to_owned());
    };
    let spoilt = |flag: &&Flag| {
        matches!(
            flag,
            Flag::Empty
                | Flag::QuoteUnverified
                | Flag::NoVerdict
                | Flag::ThinkUnclosed
                | Flag::Truncated
        )
    };
    if let Some(flag) = step.flags.iter().find(spoilt) {
        return Err(format!("flagged-{}", flag.as_str()));
    }
    if call.text.trim().is_empty() {
        return Err("flagged-empty".to_owned());
    }
    Ok(Critique {
        request: call.messages.clone(),
        reply: call.text.clone(),
        principle: step.principle_id.clone().unwrap_or_default(),
        violated: step.verdict.as_ref().map(|verdict| verdict.violated),
        probability: step
            .verdict
            .as_ref()
            .and_then(|verdict| verdict.probability),
    })
}
