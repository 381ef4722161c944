//! Which of several rows that say the same stays.

use super::*;

fn settings() -> Settings {
    Settings {
        equal_texts: true,
        duplicate: true,
        near_duplicate: Some(0.85),
        ..Settings::none()
    }
}

/// A chain that answers the same question with nearly the same words as all others of its kind.
fn alike(last: &str) -> Script {
    let (own, other) = (own(0), own(1));
    let text = own.texts.concat() + last;
    script(&own.prompt, &[&other.texts[0], &text])
}

#[test]
fn a_row_without_a_pair_keeps_no_pair_out() {
    let Script { prompt, texts, .. } = own(0);
    let [draft, last] = [&texts[0], &texts[1]];
    let chains = [
        script(&prompt, &[last, last]),
        script(&prompt, &[draft, last]),
        script(&prompt, &[last, last]),
    ];
    let expected: [&[&str]; 3] = [
        &["equal-texts (pair)", "duplicate"],
        &[],
        &["equal-texts (pair)", "duplicate"],
    ];
    assert_eq!(Place::new(&chains).findings(&settings()), expected);
}

#[test]
fn what_a_person_decided_goes_for_nothing_that_is_alike() {
    for action in [
        LabelAction::Accept,
        LabelAction::Edit(alike("better").texts.remove(1)),
    ] {
        let place = Place::new(&[alike("first"), alike("second"), alike("third")]);
        let id = ChainId(place.chains()[1].row.chain_id.clone());
        let mut labels = Labels::open(&place.path()).unwrap();
        labels.label(&id, "ann", &action).unwrap();
        let expected: [&[&str]; 3] = [&["near-duplicate"], &[], &["near-duplicate"]];
        assert_eq!(place.findings(&settings()), expected, "{action:?}");
    }
}
