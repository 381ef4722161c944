//! Gates on chains in a real store.

mod asked;
mod figures;
mod judge;
mod rounds;
mod worth;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::chain::{ChainEnd, ChainStart, Flag, Step, StepKind, StopReason};
use crate::engine::Recorder;
use crate::prompt::{Prompt, PromptId};
use crate::store::testing::new_run;
use crate::store::{LabelAction, Labels, Writer};

/// A chain of a test: its prompt, its draft and then adopted revisions.
#[derive(Clone, Debug, Default)]
struct Script {
    prompt: String,
    texts: Vec<String>,
    /// Of the last text.
    flags: Vec<Flag>,
    metadata: Map<String, Value>,
}

fn script(prompt: &str, texts: &[&str]) -> Script {
    Script {
        prompt: prompt.to_owned(),
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        ..Script::default()
    }
}

/// A question and an answer that no other number shares.
fn own(number: usize) -> Script {
    let words = |seed: &str, count: usize| -> String {
        (0..count)
            .map(|word| {
                format!(
                    "{seed}{:x} ",
                    words::hash(&format!("{seed}/{number}/{word}")) >> 36
                )
            })
            .collect()
    };
    script(&words("q", 8), &[&words("d", 12), &words("r", 14)])
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(chains: &[Script]) -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let mut writer = Writer::open(&place.path()).unwrap();
        writer.begin_run(&new_run("run-a")).unwrap();
        for (position, script) in (0..).zip(chains) {
            record(&mut writer, position, script);
        }
        writer.commit().unwrap();
        place
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("amend.db")
    }

    fn store(&self) -> Store {
        Store::open_read(&self.path()).unwrap()
    }

    fn chains(&self) -> Vec<ChainDetail> {
        let mut chains = Vec::new();
        let flow = self
            .store()
            .for_each_whole_chain(&Filter::all(), None, Depth::Texts, |chain| {
                chains.push(chain);
                ControlFlow::<()>::Continue(())
            });
        assert!(flow.unwrap().is_continue());
        chains
    }

    fn gate(&self, settings: &Settings) -> Gating {
        gate(
            &self.store(),
            &Filter::all(),
            None,
            settings,
            Helpers::default(),
        )
        .unwrap()
    }

    /// For each chain, what gates said: name, and `pair` where only the pair is concerned.
    fn findings(&self, settings: &Settings) -> Vec<Vec<String>> {
        let gating = self.gate(settings);
        let one = |chain: &ChainDetail| {
            let decided = gating.decided(&chain.row.chain_id).unwrap();
            let decision = decided.decision().unwrap();
            let name = |finding: &Finding| match finding.pair_only {
                true => format!("{} (pair)", finding.name()),
                false => finding.name().into_owned(),
            };
            decision.findings.iter().map(name).collect()
        };
        self.chains().iter().map(one).collect()
    }
}

fn taken<'a>(gating: &Gating, chain: &'a ChainDetail) -> Gated<'a> {
    gating.decided(&chain.row.chain_id).unwrap().take(chain)
}

/// What every round of a chain gives.
fn rounds<'a>(gating: &Gating, chain: &'a ChainDetail) -> Vec<(u32, Result<Side<'a>, Refused>)> {
    let decided = gating.decided(&chain.row.chain_id).unwrap();
    decided.rounds(chain, &gating.settings)
}

fn record(writer: &mut Writer, position: u64, script: &Script) {
    let prompt = Prompt {
        id: PromptId(format!("p{position}")),
        messages: vec![Message::user(&script.prompt)],
        metadata: script.metadata.clone(),
    };
    let id = ChainId::new("run-a", &prompt.id, 0);
    let start = ChainStart {
        id: id.clone(),
        position,
        prompt,
        sample: 0,
    };
    writer.begin_chain(&start).unwrap();
    for (ordinal, text) in script.texts.iter().enumerate() {
        let last = ordinal + 1 == script.texts.len();
        let step = Step {
            ordinal: ordinal as u32,
            round: ordinal as u32,
            kind: if ordinal == 0 {
                StepKind::Draft
            } else {
                StepKind::Revision
            },
            principle: (ordinal > 0).then(|| "calm".to_owned()),
            calls: Vec::new(),
            output: text.clone(),
            flags: if last {
                script.flags.clone()
            } else {
                Vec::new()
            },
            verdict: None,
            adopted: true,
        };
        writer.record_step(&id, &step).unwrap();
    }
    let end = ChainEnd {
        stop: StopReason::RoundsDone,
        draft: script.texts.first().cloned(),
        last: script.texts.last().cloned(),
        revised: script.texts.len() > 1,
        rounds: 1,
        regressions: Vec::new(),
        error: None,
    };
    writer.end_chain(&id, &end).unwrap();
}

#[test]
fn every_gate_that_looks_at_one_row_finds_what_it_is_there_for() {
    let long = |word: &str| format!("{word} ").repeat(40);
    let chains = [
        own(0),
        script(
            "What is rain?",
            &["Water that falls.", " Water that falls.\n"],
        ),
        Script {
            flags: vec![Flag::NoRevision],
            ..own(1)
        },
        Script {
            metadata: json!({"benign": true}).as_object().cloned().unwrap(),
            ..script(
                "How do I kill a process?",
                &["Use kill.", "I'm sorry, but I can't help with that."],
            )
        },
        Script {
            metadata: json!({"control": "benign"}).as_object().cloned().unwrap(),
            ..own(2)
        },
        script("How long is it?", &["Not long, really.", &long("very")]),
        script(
            "Who is she?",
            &[
                "Nobody knows.",
                "Write to anna.kowalska@uni-bremen.de for more.",
            ],
        ),
        script(
            "Who is he?",
            &[
                "His card is 4111 1111 1111 1111.",
                "I do not know who he is.",
            ],
        ),
        script(
            "Could you tell me when the next train leaves for the coast?",
            &[
                "It leaves in the morning at seven.",
                "Der nächste Zug an die Küste fährt morgen früh um sieben Uhr ab.",
            ],
        ),
        script("Clean?", &["Nothing had to be revised here."]),
    ];
    let place = Place::new(&chains);
    let expected: [&[&str]; 10] = [
        &[],
        &["equal-texts (pair)"],
        &["flagged-no-revision"],
        &["refusal"],
        &["control"],
        &["length-ratio (pair)"],
        &["personal-data"],
        &["personal-data (pair)"],
        &["language"],
        &["equal-texts (pair)"],
    ];
    assert_eq!(place.findings(&Settings::default()), expected);
    assert!(place.findings(&Settings::none()).iter().all(Vec::is_empty));
}

#[test]
fn tokens_are_counted_only_where_bytes_do_not_say_enough() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let count = |messages: &[Message]| {
        asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let words = messages.iter().flat_map(|m| m.content.split_whitespace());
        Ok(words.count() as u32)
    };
    let long = |words: usize| "word ".repeat(words);
    let place = Place::new(&[
        script("", &["a", "b"]),
        script("b", &[&long(150), &long(90)]),
        script("c", &[&long(90), &long(150)]),
    ]);
    let settings = Settings {
        tokens: Some(101),
        ..Settings::none()
    };
    let gating = gate(
        &place.store(),
        &Filter::all(),
        None,
        &settings,
        Helpers {
            tokens: Some(&count),
            ..Helpers::default()
        },
    )
    .unwrap();
    let kept: Vec<_> = place
        .chains()
        .iter()
        .map(|chain| {
            let gated = taken(&gating, chain);
            (gated.text.is_ok(), gated.pair.is_ok())
        })
        .collect();
    assert_eq!(kept, [(true, true), (true, false), (false, false)]);
    // Once about the template, twice about the second, once about the third. The bytes of the first say enough.
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 4);
    // Where a text's own tokens say enough, the conversation is not counted: only the template and the long text.
    let words = |text: &str| text.split_whitespace().count() as u32;
    let counted = Helpers {
        tokens: Some(&count),
        text_tokens: Some(&words),
        refusals: None,
    };
    let settings = Settings {
        tokens: Some(200),
        ..Settings::none()
    };
    let place = Place::new(&[script("b", &[&long(150), &long(90)])]);
    let gating = gate(&place.store(), &Filter::all(), None, &settings, counted).unwrap();
    let taken = taken(&gating, &place.chains()[0]).pair.is_ok();
    assert!(taken);
    assert_eq!(asked.into_inner(), 6);
}

#[test]
fn decisions_are_kept_and_replaced() {
    let place = Place::new(&[own(0), own(0), own(1)]);
    let gating = place.gate(&Settings::default());
    let (record, chains) = gating.record(&Filter::all(), None);
    let chains: Vec<GateRecord> = chains.map(Result::unwrap).collect();
    let mut writer = Writer::open(&place.path()).unwrap();
    let records = chains.iter().cloned().map(Ok);
    writer.record_gating(&record, records).unwrap();
    let of = |number: usize| {
        let id = ChainId(place.chains()[number].row.chain_id.clone());
        place.store().gates_of(&id).unwrap().unwrap()
    };
    assert!(of(0).kept && of(0).pair && of(0).findings.is_empty());
    assert!(!of(1).kept && !of(1).pair);
    assert_eq!(of(1).findings[0].gate, "duplicate");
    assert!(chains.contains(&GateRecord::Decided(of(1))));
    let none = place.gate(&Settings::none());
    let (record, chains) = none.record(&Filter::all(), None);
    writer.record_gating(&record, chains).unwrap();
    assert!(of(1).kept && of(1).findings.is_empty());
    assert_eq!(place.store().last_gating().unwrap().unwrap()["kept"], 3);
    // Of a chain that a person rejects, nothing that was decided before stays.
    let id = ChainId(place.chains()[1].row.chain_id.clone());
    let mut labels = Labels::open(&place.path()).unwrap();
    labels.label(&id, "ann", &LabelAction::Reject).unwrap();
    let gating = place.gate(&Settings::none());
    let (record, chains) = gating.record(&Filter::all(), None);
    let chains: Vec<GateRecord> = chains.map(Result::unwrap).collect();
    assert_eq!(chains[1], GateRecord::Without(id.0.clone()));
    let records = chains.into_iter().map(Ok);
    writer.record_gating(&record, records).unwrap();
    assert_eq!(place.store().gates_of(&id).unwrap(), None);
}

#[test]
fn what_was_not_looked_at_gives_nothing() {
    let place = Place::new(&[own(0), script("Blank?", &["Draft.", "A revision.", "  "])]);
    let chains = place.chains();
    let (store, settings) = (place.store(), Settings::default());
    let taken = |run| {
        let gating = gate(&store, &Filter::all(), run, &settings, Helpers::default()).unwrap();
        let name = |refused: Refused| refused.name.into_owned();
        let one = |chain: &ChainDetail| {
            let rounds = rounds(&gating, chain).into_iter();
            let rounds: Vec<_> = rounds.map(|(_, side)| side.err().map(name)).collect();
            (self::taken(&gating, chain).text.err().map(name), rounds)
        };
        chains.iter().map(one).collect::<Vec<_>>()
    };
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(
        taken(None),
        [
            (None, vec![None]),
            (named("empty-final"), vec![None, named("empty-final")])
        ]
    );
    // As for chains that end between the gating and the writing.
    let running = || named("running");
    assert_eq!(
        taken(Some("run-b")),
        [
            (running(), vec![running()]),
            (running(), vec![running(), running()])
        ]
    );
}

/// Chains of few words, so that rows repeat, resemble and collapse.
fn some_chains() -> impl Strategy<Value = Vec<Script>> {
    let word = prop::sample::select(vec![
        "kind", "help", "safe", "note", "care", "that", "is", "red",
    ]);
    let text =
        |most| prop::collection::vec(word.clone(), 0..most).prop_map(|words| words.join(" "));
    let one = (text(4), text(9), text(9))
        .prop_map(|(prompt, draft, last)| script(&prompt, &[&draft, &last]));
    prop::collection::vec(one, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn order_changes_nothing_and_what_was_kept_is_kept_again(chains in some_chains(), turn in 0usize..60) {
        let place = Place::new(&chains);
        let settings = Settings { collapse: Some(0.1), near_duplicate: Some(0.6), ..Settings::default() };
        let look = |chains: &[ChainDetail], room: &Room, turn: usize, store: Option<&Store>| {
            let look = Look::new(&settings, Helpers::default(), room);
            let mut batches: Vec<_> = chains.iter().map(|chain| look_at(look, chain, &[])).enumerate().collect();
            batches.rotate_left(turn % chains.len());
            let mut all = Ordered::begin().unwrap();
            batches.into_iter().for_each(|(number, looked)| all.take(number, vec![looked]));
            let mut rows = all.rows().unwrap();
            compare(&mut rows, &settings, store).unwrap();
            (0..chains.len() as u32).map(|number| rows.decided(number).unwrap()).collect::<Vec<_>>()
        };
        let (details, store) = (place.chains(), place.store());
        let decided = look(&details, &Room::default(), 0, None);
        // Whichever was looked at first.
        prop_assert_eq!(&look(&details, &Room::default(), turn, None), &decided);
        // What found no room is read again and comes to the same.
        prop_assert_eq!(&look(&details, &Room::of(0), turn, Some(&store)), &decided);
        // The whole way through the store comes to the same.
        let gating = place.gate(&settings);
        for decided in &decided {
            prop_assert_eq!(&gating.decided(&decided.chain_id).unwrap(), decided);
        }
        let kept: Vec<ChainDetail> = details
            .into_iter()
            .filter(|chain| taken(&gating, chain).text.is_ok())
            .collect();
        if !kept.is_empty() {
            for decided in look(&kept, &Room::default(), 0, None) {
                prop_assert_eq!(&gating.decided(&decided.chain_id).unwrap(), &decided);
            }
        }
    }
}
