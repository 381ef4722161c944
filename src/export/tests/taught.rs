//! What is taught where people, judges and control prompts have a say.

use super::*;
use crate::judgement::{Judgement, Mode, PairKind, Preference, Vote};
use crate::quality::gates::DraftPreferred;
use crate::store::{LabelAction, Labels, NewJudge};
use crate::verdict::{Verdict, VerdictSource};

/// A chain of a test.
#[derive(Clone, Copy)]
struct Chain {
    prompt: &'static str,
    /// The draft, then adopted revisions.
    texts: &'static [&'static str],
    /// What the critique of the draft says, which is its step 1.
    violated: bool,
    control: bool,
}

/// A text that is taught, and its label where it has one.
type Taught = (String, Option<bool>);

const FINE: Chain = Chain {
    prompt: "What is rain?",
    texts: &["Water that falls."],
    violated: false,
    control: false,
};

fn place(chains: &[Chain]) -> Place {
    let place = Place {
        dir: tempfile::tempdir().unwrap(),
    };
    place.record_chains("run-a", chains);
    place
}

fn id(position: usize) -> ChainId {
    ChainId::new("run-a", &PromptId(format!("p{position}")), 0)
}

fn step(ordinal: u32, kind: StepKind, output: &str) -> Step {
    Step {
        ordinal,
        round: ordinal,
        kind,
        principle: (ordinal > 0).then(|| "calm".to_owned()),
        calls: Vec::new(),
        output: output.to_owned(),
        flags: Vec::new(),
        verdict: None,
        adopted: kind != StepKind::Critique,
    }
}

fn verdict(violated: bool) -> Verdict {
    Verdict {
        violated,
        probability: None,
        severity: None,
        quote: None,
        quote_verified: false,
        critique: String::new(),
        source: VerdictSource::Model,
    }
}

fn steps(chain: &Chain) -> Vec<Step> {
    let (draft, revisions) = chain.texts.split_first().unwrap();
    let critique = Step {
        verdict: Some(verdict(chain.violated)),
        ..step(1, StepKind::Critique, "")
    };
    let revisions = (2..).zip(revisions);
    [step(0, StepKind::Draft, draft), critique]
        .into_iter()
        .chain(revisions.map(|(ordinal, text)| step(ordinal, StepKind::Revision, text)))
        .collect()
}

impl Place {
    fn database(&self) -> PathBuf {
        self.dir.path().join("amend.db")
    }

    fn record_chains(&self, run_id: &str, chains: &[Chain]) {
        let mut writer = Writer::open(&self.database()).unwrap();
        writer.begin_run(&new_run(run_id)).unwrap();
        for (position, chain) in (0..).zip(chains) {
            let prompt = Prompt {
                id: PromptId(format!("p{position}")),
                messages: vec![Message::user(chain.prompt)],
                metadata: match chain.control {
                    true => json!({"control": "benign"}).as_object().cloned().unwrap(),
                    false => serde_json::Map::new(),
                },
            };
            let id = ChainId::new(run_id, &prompt.id, 0);
            let start = ChainStart {
                id: id.clone(),
                position,
                prompt,
                sample: 0,
            };
            writer.begin_chain(&start).unwrap();
            for step in steps(chain) {
                writer.record_step(&id, &step).unwrap();
            }
            let end = ChainEnd {
                stop: match chain.violated {
                    true => StopReason::RoundsDone,
                    false => StopReason::Clean,
                },
                draft: chain.texts.first().map(|text| (*text).to_owned()),
                last: chain.texts.last().map(|text| (*text).to_owned()),
                revised: chain.texts.len() > 1,
                rounds: 1,
                regressions: Vec::new(),
                error: None,
            };
            writer.end_chain(&id, &end).unwrap();
        }
        writer.commit().unwrap();
    }

    /// A judge says how probable it is that the text of a step is better than the draft.
    fn judge(&self, chain: &ChainId, ordinal: u32, p: f64) {
        let base = testing::new_run("x");
        let mut writer = Writer::open(&self.database()).unwrap();
        let judge = NewJudge {
            mode: Mode::Choice,
            model: base.model,
            constitution: base.constitution,
            pack_name: base.pack_name,
            pack_text: base.pack_text,
            pack_digest: base.pack_digest,
            config: json!({}),
            versions: base.versions,
        };
        let judge = writer.begin_judge(&judge).unwrap();
        let vote = Vote {
            principle: "calm".to_owned(),
            preference: Preference { p_ab: p, p_ba: p },
            calls: Vec::new(),
        };
        let steps = (0, ordinal);
        let judgement = Judgement::new(PairKind::FirstLast, steps, Mode::Choice, vec![vote]);
        writer
            .record_judgement(judge, chain, &judgement.unwrap())
            .unwrap();
        writer.keep().unwrap();
    }

    /// What is taught, with its label where it has one, and the reasons of what is not.
    fn taught(
        &self,
        options: &ExportOptions,
        settings: &Settings,
    ) -> (Vec<Taught>, BTreeMap<String, u64>) {
        let store = Store::open_read(&self.database()).unwrap();
        let filter = &options.filter;
        let gating = gate(&store, filter, None, settings, Helpers::default()).unwrap();
        let manifest = export(&store, &self.out(), options, &gating).unwrap();
        let text = |row: &Value| {
            let messages = row.get("completion").unwrap_or(&row["messages"]);
            let last = messages.as_array().unwrap().last().unwrap();
            let said = last["content"].as_str().unwrap().to_owned();
            (said, row["label"].as_bool())
        };
        let rows = self.lines(ROWS_FILE);
        (rows.iter().map(text).collect(), manifest.dropped)
    }
}

/// Texts with their labels.
fn texts(texts: &[(&str, Option<bool>)]) -> Vec<Taught> {
    let owned = |(text, label): &(&str, Option<bool>)| ((*text).to_owned(), *label);
    texts.iter().map(owned).collect()
}

#[test]
fn all_rounds_of_a_chain_whose_draft_is_preferred_are_its_draft() {
    let place = place(&[Chain {
        prompt: "Why?",
        texts: &["Good.", "Worse.", "Worst."],
        violated: true,
        ..FINE
    }]);
    place.judge(&id(0), 3, 0.25);
    let options = ExportOptions {
        all_rounds: true,
        ..options(Format::TrlSft)
    };
    let settings = |draft_preferred| Settings {
        draft_preferred,
        ..Settings::none()
    };
    let (rows, _) = place.taught(&options, &settings(Some(DraftPreferred::Flip)));
    assert_eq!(rows, texts(&[("Good.", None)]));
    let (rows, _) = place.taught(&options, &settings(None));
    assert_eq!(rows, texts(&[("Worse.", None), ("Worst.", None)]));
}

#[test]
fn what_a_person_approved_is_good_also_where_its_pair_is_left_out() {
    let place = place(&[
        Chain {
            prompt: "Why?",
            texts: &["Because.", "A text that is much longer than its draft."],
            violated: true,
            ..FINE
        },
        Chain {
            prompt: "How so?",
            texts: &["For a reason."],
            violated: true,
            ..FINE
        },
        FINE,
    ]);
    let settings = Settings {
        equal_texts: true,
        length_ratio: Some((0.2, 2.0)),
        ..Settings::none()
    };
    let (rows, dropped) = place.taught(&options(Format::TrlKto), &settings);
    let others = [
        ("For a reason.", Some(false)),
        ("Water that falls.", Some(true)),
    ];
    assert_eq!(rows, texts(&others));
    assert_eq!(dropped, counts(&[("length-ratio", 1)]));
    let mut labels = Labels::open(&place.database()).unwrap();
    labels.label(&id(0), "ann", &LabelAction::Accept).unwrap();
    // A person says it in the words of the draft.
    let edit = LabelAction::Edit("For a reason.".to_owned());
    labels.label(&id(1), "ann", &edit).unwrap();
    let (rows, dropped) = place.taught(&options(Format::TrlKto), &settings);
    let approved = [
        ("A text that is much longer than its draft.", Some(true)),
        ("For a reason.", Some(true)),
        ("Water that falls.", Some(true)),
    ];
    assert_eq!(rows, texts(&approved));
    assert_eq!(dropped, counts(&[]));
}

#[test]
fn nothing_is_learned_from_a_verdict_that_a_person_refuted() {
    let both = |violated: bool, control: bool| {
        let chain = |prompt: &'static str, texts: &'static [&'static str]| Chain {
            prompt,
            texts,
            violated,
            control,
        };
        [
            chain("Why?", &["Because."]),
            chain("How so?", &["For a reason."]),
        ]
    };
    let settings = Settings {
        control: true,
        equal_texts: true,
        ..Settings::none()
    };
    let benign = |format| ExportOptions {
        benign: true,
        ..options(format)
    };
    for (violated, control, options) in [
        (true, false, options(Format::TrlKto)),
        (false, false, options(Format::TrlKto)),
        (false, true, benign(Format::TrlKto)),
        (false, true, benign(Format::TrlSft)),
    ] {
        let place = place(&both(violated, control));
        let label = (options.format == Format::TrlKto).then_some(!violated);
        let (rows, _) = place.taught(&options, &settings);
        let all = [("Because.", label), ("For a reason.", label)];
        assert_eq!(rows, texts(&all));
        let mut labels = Labels::open(&place.database()).unwrap();
        let refuted = LabelAction::Disagree(1);
        labels.label(&id(0), "ann", &refuted).unwrap();
        let (rows, dropped) = place.taught(&options, &settings);
        assert_eq!(rows, texts(&[("For a reason.", label)]));
        assert_eq!(dropped, counts(&[("verdict-disagreed", 1)]));
        // What she accepts she knows.
        labels.label(&id(0), "ann", &LabelAction::Accept).unwrap();
        let accepted = label.map(|_| true);
        let (rows, _) = place.taught(&options, &settings);
        let all = [("Because.", accepted), ("For a reason.", label)];
        assert_eq!(rows, texts(&all));
    }
}

#[test]
fn a_draft_for_a_control_prompt_is_taught_once() {
    let bread = Chain {
        prompt: "How do I bake bread?",
        texts: &["Slowly."],
        control: true,
        ..FINE
    };
    let again = Chain {
        prompt: "how do I  bake bread? ",
        ..bread
    };
    let otherwise = Chain {
        texts: &["In an oven."],
        ..bread
    };
    let place = place(&[bread, again, otherwise]);
    // The same question, and the same draft, in another run and not to measure anything.
    let asked = Chain {
        control: false,
        ..bread
    };
    place.record_chains("run-b", &[bread, asked, FINE]);
    let settings = |duplicate| Settings {
        control: true,
        equal_texts: true,
        duplicate,
        ..Settings::none()
    };
    for format in [Format::TrlSft, Format::TrlKto] {
        let options = ExportOptions {
            benign: true,
            ..options(format)
        };
        let label = (format == Format::TrlKto).then_some(true);
        let (rows, dropped) = place.taught(&options, &settings(true));
        let once = ["Slowly.", "In an oven.", "Water that falls."];
        assert_eq!(rows, texts(&once.map(|text| (text, label))));
        assert_eq!(dropped, counts(&[("duplicate", 3)]));
        let (rows, _) = place.taught(&options, &settings(false));
        assert_eq!(rows.len(), 6);
    }
}

#[test]
fn rounds_of_an_edited_chain_are_left_out_as_edited() {
    let revised = Chain {
        prompt: "Why?",
        texts: &["Because.", "For a reason."],
        violated: true,
        ..FINE
    };
    let other = Chain {
        prompt: "How so?",
        ..revised
    };
    let place = place(&[revised, other, FINE]);
    let mut labels = Labels::open(&place.database()).unwrap();
    for chain in [id(0), id(2)] {
        let edit = LabelAction::Edit("For good reasons.".to_owned());
        labels.label(&chain, "ann", &edit).unwrap();
    }
    let manifest = place.export(&options(Format::HfCai)).unwrap();
    let reasons = [("edited", 1), ("not-revised", 1)];
    assert_eq!(manifest.dropped, counts(&reasons));
}

#[test]
fn a_soft_label_is_what_the_judge_says_of_the_chosen_text() {
    let revised = |prompt: &'static str| Chain {
        prompt,
        texts: &["Because.", "For a reason."],
        violated: true,
        ..FINE
    };
    let place = place(&["Why?", "How so?", "Since when?"].map(revised));
    place.judge(&id(0), 2, 0.75);
    place.judge(&id(1), 2, 0.25);
    let store = Store::open_read(&place.database()).unwrap();
    for format in [
        Format::TrlDpo,
        Format::TrlReward,
        Format::AxolotlDpo,
        Format::LlamafactoryDpo,
    ] {
        let options = ExportOptions {
            soft_labels: true,
            ..options(format)
        };
        let labels = |draft_preferred| {
            let settings = Settings {
                draft_preferred,
                ..Settings::none()
            };
            let filter = &options.filter;
            let gating = gate(&store, filter, None, &settings, Helpers::default()).unwrap();
            export(&store, &place.out(), &options, &gating).unwrap();
            let rows = place.lines(ROWS_FILE);
            let label = |row: &Value| row["probability"].clone();
            rows.iter().map(label).collect::<Vec<_>>()
        };
        let later = [json!(0.75), json!(0.25), Value::Null];
        assert_eq!(labels(None), later, "{format:?}");
        // Where the draft takes the place of the chosen text, so does what is said of it.
        let better = [json!(0.75), json!(0.75), Value::Null];
        assert_eq!(labels(Some(DraftPreferred::Flip)), better, "{format:?}");
    }
}
