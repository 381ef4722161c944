use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::super::words::{mix, words};
use super::*;
use crate::store::Scratch;

const NEAR: f64 = 0.85;

/// As gates look for them, with the runs that were kept.
fn found(prints: &[Print]) -> Vec<Option<Repeats>> {
    found_again(prints, |_| None)
}

/// The same, with runs that are read again.
fn found_again(prints: &[Print], again: impl FnMut(u32) -> Option<Sets>) -> Vec<Option<Repeats>> {
    found_from(prints, NEAR, again)
}

/// The same from a similarity on.
fn found_from(
    prints: &[Print],
    near: f64,
    mut again: impl FnMut(u32) -> Option<Sets>,
) -> Vec<Option<Repeats>> {
    let scratch = Scratch::begin().unwrap();
    let mut sets = HashMap::new();
    for (number, print) in (0..).zip(prints) {
        scratch.put(0, number, &print.to_bytes()).unwrap();
        sets.extend(print.clone().take_sets().map(|sets| (number, sets)));
    }
    let on_disk = Prints {
        scratch: &scratch,
        shelf: 0,
        sets: &sets,
    };
    let mut all = vec![None; prints.len()];
    let mut again = |number| Ok(again(number));
    let mut found = |number, repeats: Repeats| {
        // As it lies on disk.
        all[number as usize] = Repeats::from_bytes(&repeats.to_bytes());
        Ok(())
    };
    find(
        &on_disk,
        &|_| Some(0),
        true,
        Some(near),
        &mut again,
        &mut found,
    )
    .unwrap();
    all
}

/// The similarity of prints that have kept their runs.
fn alike(one: &Print, other: &Print) -> f64 {
    one.sets().unwrap().similarity(other.sets().unwrap())
}

fn exact_jaccard(a: &str, b: &str) -> f64 {
    let set = |text: &str| -> BTreeSet<Vec<String>> {
        let words = words(text);
        words
            .windows(RUN.min(words.len()).max(1))
            .map(<[String]>::to_vec)
            .collect()
    };
    let (a, b) = (set(a), set(b));
    match a.union(&b).count() {
        0 => 1.0,
        either => a.intersection(&b).count() as f64 / either as f64,
    }
}

fn text(words: &[u16]) -> String {
    words.iter().map(|word| format!("w{word} ")).collect()
}

/// Words of one text, and the same with some of them changed.
fn two_texts() -> impl Strategy<Value = (String, String)> {
    let words = prop::collection::vec(0u16..400, 3..300);
    (words, 0u16..40, any::<u64>()).prop_map(|(words, changes, seed)| {
        let mut other = words.clone();
        for change in 0..u64::from(changes) {
            let at = mix(seed ^ change) as usize % other.len();
            other[at] = 1000 + change as u16;
        }
        (text(&words), text(&other))
    })
}

proptest! {
    #[test]
    fn similarity_is_jaccards((a, b) in two_texts()) {
        let prints = [Print::new("the same prompt", &a, Some(NEAR)), Print::new("the same prompt", &b, Some(NEAR))];
        let similarity = alike(&prints[0], &prints[1]);
        prop_assert!((similarity - exact_jaccard(&a, &b)).abs() < 1e-9);
        prop_assert_eq!(similarity, alike(&prints[1], &prints[0]));
    }

    #[test]
    fn similar_rows_are_found_and_others_are_not((a, b) in two_texts(), prompt in "[a-z]{2,6}( [a-z]{2,6}){3,12}") {
        let prints = [Print::new(&prompt, &a, Some(NEAR)), Print::new(&prompt, &b, Some(NEAR))];
        let found = found(&prints);
        prop_assert_eq!(found[0], None);
        let found = found[1].is_some();
        let similarity = exact_jaccard(&a, &b);
        // Between the threshold and 0.9 a pair may be missed, once in a thousand.
        prop_assert!(found || similarity < 0.9, "missed at {}", similarity);
        prop_assert!(!found || similarity >= 0.85, "found at {}", similarity);
    }
}

#[test]
fn what_is_less_similar_is_looked_for_with_fewer_hashes() {
    let all = [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 1.0].map(hashes);
    assert_eq!(all, [1, 1, 2, 3, 4, 4, 4]);
    // Pairs that share 46 of 70 runs, in prompt and response.
    let prints: Vec<Print> = (0..100)
        .map(|number| {
            let mut words: Vec<u16> = (0..60).map(|word| number / 2 * 60 + word).collect();
            if number % 2 == 1 {
                for place in [7, 22, 37, 52] {
                    words[place] = 10_000 + 100 * place as u16 + number;
                }
            }
            let others: Vec<u16> = words.iter().map(|word| 20_000 + word).collect();
            Print::new(&text(&words), &text(&others), Some(0.6))
        })
        .collect();
    let found = found_from(&prints, 0.6, |_| None);
    for (number, found) in (0..).zip(found) {
        let other = match found {
            Some(Repeats::Nearly(other, _)) => Some(other),
            _ => None,
        };
        assert_eq!(other, (number % 2 == 1).then(|| number - 1), "{number}");
    }
}

#[test]
fn long_texts_are_compared_by_a_sample() {
    let words: Vec<u16> = (0..6000).map(|n| (mix(n) % 30_000) as u16).collect();
    for changed in [20, 200, 1000] {
        let mut other = words.clone();
        for change in 0..changed {
            other[change * 6000 / changed] = 40_000 + change as u16;
        }
        let (a, b) = (text(&words), text(&other));
        let estimate = alike(
            &Print::new("p", &a, Some(NEAR)),
            &Print::new("p", &b, Some(NEAR)),
        );
        let exact = exact_jaccard(&a, &b);
        assert!((estimate - exact).abs() < 0.06, "{estimate} for {exact}");
    }
}

#[test]
fn a_row_is_prompt_and_response() {
    let answer = "The train to the coast leaves every morning from the second platform.";
    let rows = [
        ("When does the train leave?", answer),
        (
            "When does  the Train leave?",
            "the train to the coast leaves every morning from the second platform.",
        ),
        ("What is a glacier?", answer),
        (
            "When does the train leave?",
            "I do not know when it leaves, but the office opens at nine.",
        ),
    ];
    let prints: Vec<_> = rows
        .iter()
        .map(|(p, r)| Print::new(p, r, Some(NEAR)))
        .collect();
    assert_eq!(
        found(&prints),
        [None, Some(Repeats::Exactly(0)), None, None]
    );
}

#[test]
fn runs_that_were_not_kept_are_read_again() {
    let words: Vec<u16> = (0..60).collect();
    let texts: Vec<String> = (0..30)
        .map(|number| {
            let mut words = words.clone();
            // Three at a time differ in one word.
            words[10] = 1000 + number;
            words.rotate_left(usize::from(number / 3) * 2);
            text(&words)
        })
        .collect();
    let mut prints: Vec<_> = texts
        .iter()
        .map(|text| Print::new("the same prompt", text, Some(NEAR)))
        .collect();
    let expected = found(&prints);
    assert!(expected.iter().any(Option::is_some));
    let room = Room::of(0);
    prints.iter_mut().for_each(|print| print.fit(&room));
    assert_eq!(prints[0].sets, None);
    let mut read = 0;
    let again = found_again(&prints, |row| {
        read += 1;
        Some(Sets::of("the same prompt", &texts[row as usize]))
    });
    assert_eq!(again, expected);
    assert!(read <= texts.len(), "{read}");
}

#[test]
fn values_that_agree_are_counted() {
    let mut least: [u32; HASHES] = std::array::from_fn(|place| mix(place as u64) as u32);
    let before = marks(&least);
    assert_eq!(agreeing(&before, &before), HASHES as u32);
    for place in [0, 15, 16, 79] {
        least[place] ^= 1 << (place % 4);
    }
    assert_eq!(agreeing(&before, &marks(&least)), HASHES as u32 - 4);
    let others = least.map(|value| !value);
    assert_eq!(agreeing(&marks(&least), &marks(&others)), 0);
}

#[test]
fn texts_without_words_are_compared_whole() {
    let prints = ["🎉", "…", "…"].map(|response| Print::new("say", response, Some(NEAR)));
    assert!(alike(&prints[0], &prints[1]) < 0.5);
    assert!((alike(&prints[1], &prints[2]) - 1.0).abs() < 1e-12);
}

#[test]
fn prints_and_runs_are_what_they_were_before_they_were_written() {
    let print = Print::new("What is rain?", "Water that falls from clouds.", Some(NEAR));
    let bytes = print.to_bytes();
    assert_eq!(Print::exact_in(&bytes), print.exact);
    assert_eq!(Print::bands_in(&bytes), print.bands);
    assert_eq!(Print::marks_in(&bytes), print.marks);
    let sets = Sets::of("What is rain?", "Water that falls from clouds.");
    assert_eq!(Sets::from_bytes(&sets.to_bytes()), Some(sets));
    assert_eq!(Sets::from_bytes(&[]), None);
}
