//! Figures, and the notes and wordings that come with them.

use super::*;

#[test]
fn figures_count_what_was_decided() {
    let benign = || json!({"control": "benign"}).as_object().cloned().unwrap();
    let refusal = "I'm sorry, but I cannot help with that.";
    let mut chains: Vec<Script> = (0..10).map(own).collect();
    chains.push(script("Blank?", &["  ", " "]));
    for number in 0..8 {
        let last = if number < 3 {
            refusal
        } else {
            "Certainly, here is how it is done."
        };
        let texts = ["Here is how it is done.", last];
        chains.push(Script {
            metadata: benign(),
            ..script(&format!("Question {number} of eight"), &texts)
        });
    }
    let gating = Place::new(&chains).gate(&Settings::default());
    let figures = &gating.figures;
    assert_eq!((figures.chains, figures.kept, figures.pairs), (19, 10, 10));
    assert_eq!(
        figures.without,
        BTreeMap::from([("empty-final".to_owned(), 1)])
    );
    let refusals = figures.refusals.unwrap();
    assert_eq!(
        (
            refusals.prompts,
            refusals.drafts.count,
            refusals.finals.count
        ),
        (8, 0, 3)
    );
    assert!((refusals.increase - 0.375).abs() < 1e-12 && (refusals.p_value - 0.25).abs() < 1e-12);
    let of = |gate: &str| {
        figures
            .gates
            .iter()
            .find(|figures| figures.gate == gate)
            .unwrap()
    };
    assert_eq!((of("control").dropped, of("refusal").dropped), (8, 3));
    let contrast = figures.contrast.unwrap();
    assert_eq!((contrast.pairs, contrast.judged), (10, 0));
    assert!((contrast.edit_distance.median - 1.0).abs() < 1e-12);
    assert!(
        figures.notes[0].contains("no judge compared"),
        "{:?}",
        figures.notes
    );
}

#[test]
fn minimal_revisions_get_a_note() {
    let chains: Vec<Script> = (0..4)
        .map(|number| {
            let draft = own(number).texts[0].repeat(2);
            script(&own(number).prompt, &[&draft, &format!("{draft} indeed")])
        })
        .collect();
    let figures = Place::new(&chains).gate(&Settings::default()).figures;
    assert!(figures.notes[0].contains("apo_zero"), "{:?}", figures.notes);
}

/// The notes on pairs of which so many of ten words differ, with texts that are so many times as long.
fn notes_on(differing: usize, times: usize) -> Vec<String> {
    let chains: Vec<Script> = (0..4)
        .map(|number| {
            let word = |kind: &str, at: usize| format!("{kind}{number}x{at} ");
            let draft: String = (0..10).map(|at| word("a", at)).collect();
            let revised = |at| word(if at < differing { "b" } else { "a" }, at);
            let last: String = (0..10).map(revised).collect();
            script(&own(number).prompt, &[&draft, &last.repeat(times)])
        })
        .collect();
    Place::new(&chains).gate(&Settings::none()).figures.notes
}

#[test]
fn notes_begin_at_their_borders_and_say_what_is_so() {
    let minimal = |differing| notes_on(differing, 1)[0].contains("apo_zero");
    assert_eq!([2, 3, 4].map(minimal), [true, false, false]);
    assert!(
        notes_on(2, 1)[0].starts_with("half of the pairs differ in 20 % of their words or less")
    );
    assert!(notes_on(10, 2)[0].starts_with("half of the chosen texts are 2.0 times as long"));
}

#[test]
fn wordings_are_told_in_the_words_of_an_example() {
    let chains: Vec<Script> = (0..60)
        .map(|number| {
            let mut chain = own(number);
            if number % 2 == 0 {
                chain.texts[1].push_str("You are Valid, valued and cared for. 💛");
            }
            chain
        })
        .collect();
    let place = Place::new(&chains);
    let gating = place.gate(&Settings::default());
    let words: Vec<_> = gating
        .figures
        .wordings
        .iter()
        .map(|wording| wording.words.as_str())
        .collect();
    assert_eq!(words, ["You are Valid valued and cared for 💛"]);
    let dropped = gating
        .figures
        .gates
        .iter()
        .find(|figures| figures.gate == "collapse")
        .unwrap()
        .dropped;
    assert_eq!(dropped, 29);
    assert_eq!(gating.figures.kept, 31);
    let off = Settings {
        collapse: None,
        ..Settings::default()
    };
    assert_eq!(place.gate(&off).figures.kept, 60);
}
