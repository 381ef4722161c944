use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::store::{
    Agreement, BulkAction, CurrentLabel, Label, LabelAction, LabelEntry, LabelKind, Labels,
};

impl Place {
    fn labels(&self) -> Labels {
        Labels::open(&self.path).unwrap()
    }
}

fn id(prompt: &str) -> ChainId {
    let sample = u32::from(prompt == "bridge");
    ChainId::new("run1", &PromptId(prompt.to_owned()), sample)
}

fn filter(source: &str) -> Filter {
    Filter::parse(source).unwrap()
}

#[test]
fn labels_are_found_read_back_and_taken_back() {
    let place = filled();
    let (mut labels, store) = (place.labels(), place.store());
    let given = labels
        .label(&id("kettle"), " ada ", &LabelAction::Accept)
        .unwrap();
    assert_eq!(
        given,
        LabelEntry {
            chain_id: id("kettle").0,
            ordinal: 1,
            at: given.at.clone(),
            who: "ada".to_owned(),
            action: LabelKind::Accept,
            step: None,
            principle_id: None,
            text: None,
            undoes: None,
            standing: true,
        }
    );
    assert!(
        given.at.ends_with('Z') && given.at.len() == 20,
        "{}",
        given.at
    );
    labels
        .label(&id("bridge"), "ada", &LabelAction::Reject)
        .unwrap();
    labels
        .label(
            &id("bridge"),
            "bo",
            &LabelAction::Edit("A better text".to_owned()),
        )
        .unwrap();
    labels
        .label(&id("garden"), "bo", &LabelAction::Disagree(1))
        .unwrap();
    labels
        .label(&id("garden"), "bo", &LabelAction::Note("odd".to_owned()))
        .unwrap();
    for (filter, expected) in [
        ("label:accept", "kettle"),
        ("label:edit", "bridge"),
        ("label:reject", ""),
        ("label:none", "garden letter window"),
        ("label!=accept", "bridge garden letter window"),
        ("label!=none", "kettle bridge"),
        ("not label:none", "kettle bridge"),
        ("human:disagree", "garden"),
        ("human:disagree principle:honest", ""),
        ("human:disagree principle:kind violated:true", "garden"),
    ] {
        assert_eq!(matching(&store, filter).join(" "), expected, "{filter}");
    }
    let edited = store.chain(&id("bridge")).unwrap();
    assert_eq!(edited.row.label, Some(Label::Edit));
    assert_eq!(edited.row.chosen.as_deref(), Some("A better text"));
    assert_eq!(
        edited.row.last.as_deref(),
        Some("I do not know who built it"),
        "never overwritten"
    );
    let judged = store.chain(&id("garden")).unwrap();
    let agreed: Vec<_> = judged.steps.iter().map(|step| step.agreed).collect();
    assert_eq!(agreed, [None, Some(false), None, None, None]);
    assert_eq!(
        store.current_label(&id("garden")).unwrap(),
        CurrentLabel {
            label: None,
            chosen: None,
            note: Some("odd".to_owned()),
            agreements: vec![Agreement {
                step: 1,
                principle_id: Some("kind".to_owned()),
                agreed: false
            }],
        }
    );

    let taken = labels.undo(&id("bridge"), "ada").unwrap().unwrap();
    assert_eq!(
        (taken.ordinal, taken.action, taken.standing),
        (2, LabelKind::Edit, false)
    );
    assert_eq!(
        store.chain(&id("bridge")).unwrap().row.label,
        Some(Label::Reject)
    );
    assert_eq!(
        labels.undo(&id("garden"), "bo").unwrap().unwrap().action,
        LabelKind::Note
    );
    assert_eq!(
        labels.undo(&id("garden"), "bo").unwrap().unwrap().action,
        LabelKind::Disagree
    );
    assert_eq!(labels.undo(&id("garden"), "bo").unwrap(), None);
    assert!(matching(&store, "human:disagree").is_empty());
    let history = store.history(&id("garden")).unwrap();
    let found: Vec<_> = history
        .iter()
        .map(|e| (e.ordinal, e.action, e.undoes, e.standing))
        .collect();
    assert_eq!(
        found,
        [
            (1, LabelKind::Disagree, None, false),
            (2, LabelKind::Note, None, false),
            (3, LabelKind::Undo, Some(2), false),
            (4, LabelKind::Undo, Some(1), false),
        ]
    );
}

#[test]
fn an_edit_stands_until_it_is_taken_back() {
    let place = filled();
    let (mut labels, store) = (place.labels(), place.store());
    let chain = id("kettle");
    labels
        .label(&chain, "a", &LabelAction::Edit("mine".to_owned()))
        .unwrap();
    labels.label(&chain, "a", &LabelAction::Accept).unwrap();
    let current = store.current_label(&chain).unwrap();
    assert_eq!(
        (current.label, current.chosen.as_deref()),
        (Some(Label::Accept), Some("mine"))
    );
    labels.undo(&chain, "a").unwrap();
    labels.undo(&chain, "a").unwrap();
    assert_eq!(
        store.current_label(&chain).unwrap(),
        CurrentLabel::default()
    );
}

#[test]
fn many_chains_are_labelled_at_once_or_not_at_all() {
    let place = filled();
    let (mut labels, store) = (place.labels(), place.store());
    let all = Filter::all();
    assert_eq!(
        labels.count(&all, None, &BulkAction::Accept).unwrap(),
        4,
        "one still runs"
    );
    let error = labels
        .label_all(&all, None, "a", &BulkAction::Accept, Some(5))
        .unwrap_err();
    assert!(
        error.is_input() && error.to_string().contains("nothing was labelled"),
        "{error}"
    );
    assert!(matching(&store, "label:accept").is_empty());
    let run = Some("run1");
    let done = labels.label_all(
        &filter("status:done"),
        run,
        "a",
        &BulkAction::Accept,
        Some(3),
    );
    assert_eq!(done.unwrap(), 3);
    assert_eq!(
        matching(&store, "label:accept"),
        ["kettle", "bridge", "garden"]
    );
    let note = BulkAction::Note("seen".to_owned());
    assert_eq!(
        labels
            .label_all(
                &filter("label:accept principle:honest"),
                None,
                "a",
                &note,
                None
            )
            .unwrap(),
        2
    );
    // Each chain loses its own last entry.
    assert_eq!(labels.count(&all, None, &BulkAction::Undo).unwrap(), 3);
    assert_eq!(
        labels
            .label_all(&all, None, "a", &BulkAction::Undo, Some(3))
            .unwrap(),
        3
    );
    assert_eq!(matching(&store, "label:accept"), ["bridge", "garden"]);
    assert_eq!(store.current_label(&id("bridge")).unwrap().note, None);
    assert_eq!(
        labels
            .label_all(&filter("run:other"), None, "a", &BulkAction::Reject, None)
            .unwrap(),
        0
    );
}

#[test]
fn what_cannot_be_labelled_is_refused() {
    let place = filled();
    let mut labels = place.labels();
    let before = dump(&place.path);
    for (chain, who, action, expected) in [
        ("window", "a", LabelAction::Accept, "still runs"),
        (
            "window",
            "a",
            LabelAction::Edit("x".to_owned()),
            "still runs",
        ),
        ("kettle", " ", LabelAction::Accept, "--who"),
        ("kettle", "a\nb", LabelAction::Accept, "--who"),
        ("kettle", "a", LabelAction::Edit(" \n".to_owned()), "blank"),
        ("kettle", "a", LabelAction::Note(String::new()), "blank"),
        ("kettle", "a", LabelAction::Agree(0), "step 0"),
        ("kettle", "a", LabelAction::Disagree(9), "step 9"),
        ("nobody", "a", LabelAction::Accept, "no chain"),
    ] {
        let error = labels.label(&id(chain), who, &action).unwrap_err();
        assert!(error.is_input(), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let long = LabelAction::Note("x".repeat(5 * 1024 * 1024));
    assert!(
        labels
            .label(&id("kettle"), "a", &long)
            .unwrap_err()
            .to_string()
            .contains("bytes")
    );
    assert!(labels.undo(&id("nobody"), "a").is_err());
    assert_eq!(dump(&place.path), before);
    assert!(matches!(
        Labels::open(&place.path.with_file_name("none.db")),
        Err(StoreError::Missing(_))
    ));
}

#[test]
fn hostile_texts_are_kept_as_they_are() {
    let place = filled();
    let (mut labels, store) = (place.labels(), place.store());
    let text = "'); DROP TABLE chains; --\0</script>\u{202e}\u{1b}[2J";
    labels
        .label(
            &id("kettle"),
            "o'hara \"x\"",
            &LabelAction::Edit(text.to_owned()),
        )
        .unwrap();
    let entry = &store.history(&id("kettle")).unwrap()[0];
    assert_eq!(
        (entry.who.as_str(), entry.text.as_deref()),
        ("o'hara \"x\"", Some(text))
    );
    assert_eq!(
        store.chain(&id("kettle")).unwrap().row.chosen.as_deref(),
        Some(text)
    );
}

#[test]
fn the_history_cannot_be_changed() {
    let place = filled();
    place
        .labels()
        .label(&id("kettle"), "a", &LabelAction::Accept)
        .unwrap();
    let conn = rusqlite::Connection::open(&place.path).unwrap();
    for sql in [
        "UPDATE label_entries SET action = 'reject'",
        "DELETE FROM label_entries",
    ] {
        let error = conn.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains("only grows"), "{error}");
    }
}

#[test]
fn a_run_goes_on_writing_while_chains_are_labelled() {
    let place = filled();
    let mut writer = Writer::open(&place.path).unwrap();
    writer.begin_run(&new_run("run2")).unwrap();
    let scripts = scripts("run2");
    let mut labels = place.labels();
    for script in &scripts {
        labels
            .label(&id("kettle"), "a", &LabelAction::Accept)
            .unwrap();
        record(&mut writer, script);
        labels.undo(&id("kettle"), "a").unwrap();
    }
    let mut seen = 0;
    let store = place.store();
    let flow = store.for_each_chain(&Filter::all(), None, |_| {
        // A reader that is in the middle of its work holds nobody up.
        labels
            .label(&id("garden"), "a", &LabelAction::Reject)
            .unwrap();
        seen += 1;
        ControlFlow::<()>::Continue(())
    });
    let _ = flow.unwrap();
    assert_eq!(seen, 10);
    assert_eq!(store.history(&id("garden")).unwrap().len(), 10);
    assert_eq!(store.history(&id("kettle")).unwrap().len(), 10);
}

#[derive(Clone, Debug)]
enum Deed {
    Do(LabelAction),
    Undo,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        Just(Deed::Do(LabelAction::Accept)),
        Just(Deed::Do(LabelAction::Reject)),
        "[a-c]".prop_map(|text| Deed::Do(LabelAction::Edit(text))),
        "[a-c]".prop_map(|text| Deed::Do(LabelAction::Note(text))),
        Just(Deed::Do(LabelAction::Agree(1))),
        Just(Deed::Do(LabelAction::Disagree(1))),
        Just(Deed::Do(LabelAction::Disagree(3))),
        Just(Deed::Undo),
        Just(Deed::Undo),
    ]
}

/// What the store should say, from a stack of what stands.
fn expected(standing: &[LabelAction]) -> CurrentLabel {
    let mut current = CurrentLabel::default();
    let mut agreed = std::collections::BTreeMap::new();
    for action in standing {
        match action {
            LabelAction::Accept => current.label = Some(Label::Accept),
            LabelAction::Reject => current.label = Some(Label::Reject),
            LabelAction::Edit(text) => {
                current.label = Some(Label::Edit);
                current.chosen = Some(text.clone());
            }
            LabelAction::Note(text) => current.note = Some(text.clone()),
            LabelAction::Agree(step) => drop(agreed.insert(*step, true)),
            LabelAction::Disagree(step) => drop(agreed.insert(*step, false)),
        }
    }
    let principle = |step| if step == 1 { "honest" } else { "kind" };
    current.agreements = agreed
        .into_iter()
        .map(|(step, agreed)| Agreement {
            step,
            principle_id: Some(principle(step).to_owned()),
            agreed,
        })
        .collect();
    current
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_holds_is_what_nobody_took_back(deeds in prop::collection::vec(deed(), 1..24)) {
        let place = filled();
        let (mut labels, store) = (place.labels(), place.store());
        let chain = id("bridge");
        let mut standing: Vec<LabelAction> = Vec::new();
        let mut written = 0;
        for deed in deeds {
            match deed {
                Deed::Do(action) => {
                    labels.label(&chain, "a", &action).unwrap();
                    standing.push(action);
                    written += 1;
                }
                Deed::Undo => {
                    let taken = labels.undo(&chain, "a").unwrap();
                    prop_assert_eq!(taken.is_some(), standing.pop().is_some());
                    written += usize::from(taken.is_some());
                }
            }
            prop_assert_eq!(store.current_label(&chain).unwrap(), expected(&standing));
            let history = store.history(&chain).unwrap();
            prop_assert_eq!(history.len(), written);
            prop_assert!(history.iter().zip(1..).all(|(entry, n)| entry.ordinal == n));
            prop_assert_eq!(history.iter().filter(|e| e.standing).count(), standing.len());
        }
        // Nobody else's label moved.
        prop_assert_eq!(store.current_label(&id("garden")).unwrap(), CurrentLabel::default());
    }
}
